//! An archive of an OCI image layout, as a directory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Writes the files of the archive below `dir`, which is there and empty. Only the names of a layout are taken, and each blob must
/// be what its name says.
///
/// # Errors
/// When the archive is no such layout, or the disk fails.
pub fn unpack(mut from: impl Read, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    let mut archive = tar::Archive::new(&mut from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap_or_default();
        let digest = name.strip_prefix("blobs/sha256/");
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !(matches!(name.as_str(), "oci-layout" | "index.json") || digest.is_some_and(is_digest)) {
            return Err(wrong(format!("{name:?} is no part of a layout")));
        }
        let found = write(&mut entry, &dir.join(&name))?;
        if digest.is_some_and(|digest| digest != found) {
            return Err(wrong(format!("{name} arrived damaged: its content is sha256:{found}")));
        }
    }
    // The archive ends where its marker is; that nothing was cut off shows at the end of what is read.
    io::copy(&mut from, &mut io::sink())?;
    match dir.join("index.json").is_file() {
        true => Ok(()),
        false => Err(wrong("the archive has no index.json".to_owned())),
    }
}

fn write(from: &mut impl Read, path: &Path) -> io::Result<String> {
    let mut file = File::create_new(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        // `read` returns no more than the buffer holds.
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    file.sync_all()?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn wrong(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            if let Some(ustar) = header.as_ustar_mut() {
                ustar.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
            }
            header.set_cksum();
            tar.append(&header, content.as_bytes()).expect("appended");
        }
        tar.into_inner().expect("ended")
    }

    #[test]
    fn a_layout_is_taken_and_nothing_else() {
        let empty = "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = [("oci-layout", "{}"), ("index.json", "{}"), (empty, "")];
        let take = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().expect("a directory");
            unpack(archive(files).as_slice(), dir.path()).map(|()| dir.path().join(empty).is_file())
        };
        assert!(take(&good).expect("taken"));
        for bad in [
            [good[0], good[1], (empty, "x")],
            [good[0], good[1], ("../x", "")],
            [good[0], good[1], ("/etc/x", "")],
            [good[0], good[1], ("blobs/sha256/../../x", "")],
            [good[0], good[0], good[1]],
            [good[0], good[2], good[2]],
        ] {
            assert!(take(&bad).is_err(), "{bad:?}");
        }
        assert!(take(&good[..1]).is_err(), "no index");
        assert!(unpack(&archive(&good)[..1700], tempfile::tempdir().expect("a directory").path()).is_err(), "cut off");
    }
}
