//! The secret that tokens and signatures are derived from.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

const BYTES: usize = 32;
/// What is shown of a digest: half of it, which is more than anybody can guess.
const SHOWN: usize = 16;

#[derive(Debug, Error)]
pub enum SecretError {
    #[error("{action} the secret of the sandboxes' addresses, {path}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "use {path}: it is not what this program wrote there; remove it, and a new one is made (tokens and signed \
         addresses that were handed out are refused from then on)",
        path = path.display()
    )]
    Damaged { path: PathBuf },
    #[error(
        "use {path}: others may read it (mode {mode:04o}); remove it, and a new one is made",
        path = path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
}

/// 32 random bytes, kept from all logs.
#[derive(Clone)]
pub struct Secret([u8; BYTES]);

impl Secret {
    /// A fresh one, of the 244 random bits of two UUIDs.
    #[must_use]
    pub fn random() -> Self {
        let [first, second] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
        let mut bytes = [0; BYTES];
        bytes.iter_mut().zip(first.into_iter().chain(second)).for_each(|(place, byte)| *place = byte);
        Self(bytes)
    }

    /// Reads the secret of a file, or makes the file, for the eyes of its owner only.
    ///
    /// # Errors
    /// When the file cannot be read or made, is not one of ours, or can be read by others.
    pub fn keep(path: &Path) -> Result<Self, SecretError> {
        match File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path) {
            Ok(file) => read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
            Err(source) => Err(SecretError::File { action: "open", path: path.to_owned(), source }),
        }
    }

    /// 32 hexadecimal digits that only we can tell of this text.
    #[must_use]
    pub fn derive(&self, text: &str) -> String {
        let digest = self.mac(text).finalize().into_bytes();
        digest.iter().take(SHOWN).fold(String::new(), |mut shown, byte| {
            // Writing to a text does not fail.
            let _ = write!(shown, "{byte:02x}");
            shown
        })
    }

    /// Whether `presented` is what [`derive`](Self::derive) makes of the text, in a time that does not depend on it.
    #[must_use]
    pub fn verify(&self, text: &str, presented: &[u8]) -> bool {
        let Some(bytes) = from_hex(presented) else { return false };
        self.mac(text).verify_truncated_left(&bytes).is_ok()
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        // A key of any length will do.
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key.iter_mut().zip(self.0).for_each(|(place, byte)| *place = byte);
        Hmac::<Sha256>::new(&key).chain_update(text.as_bytes())
    }
}

fn from_hex(text: &[u8]) -> Option<[u8; SHOWN]> {
    let text: &[u8; 2 * SHOWN] = text.try_into().ok()?;
    let mut bytes = [0; SHOWN];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        // In one spelling only.
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn read(mut file: File, path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::File { action: "read", path: path.to_owned(), source };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() || about.len() != BYTES as u64 {
        return Err(SecretError::Damaged { path: path.to_owned() });
    }
    if about.mode() & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode: about.mode() & 0o7777 });
    }
    let mut bytes = [0; BYTES];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(Secret(bytes))
}

/// Under another name first: after a power cut there is a whole file or none.
fn make(path: &Path) -> Result<Secret, SecretError> {
    let secret = Secret::random();
    let draft = path.with_extension("new");
    let written = || -> io::Result<()> {
        if let Err(error) = fs::remove_file(&draft)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&secret.0)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    written().map_err(|source| SecretError::File { action: "make", path: path.to_owned(), source })?;
    Ok(secret)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.key");
        let first = Secret::keep(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        let derived = first.derive("x");
        assert_eq!((derived.len(), Secret::keep(&path).expect("found").derive("x")), (32, derived.clone()));
        assert!(first.verify("x", derived.as_bytes()));
        for wrong in [derived.to_uppercase(), derived[..30].to_owned(), format!("{derived}00"), "0".repeat(32)] {
            assert!(!first.verify("x", wrong.as_bytes()), "{wrong}");
        }
        assert!(!first.verify("y", derived.as_bytes()));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "no draft is left");
    }

    #[test]
    fn what_is_not_ours_or_is_open_to_others_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.key");
        fs::write(&path, "short").expect("written");
        assert!(matches!(Secret::keep(&path), Err(SecretError::Damaged { .. })));
        fs::write(&path, [7; BYTES]).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        let error = Secret::keep(&path).expect_err("exposed").to_string();
        assert!(error.contains("0644"), "{error}");
        assert!(matches!(Secret::keep(dir.path()), Err(SecretError::Damaged { .. })));
    }
}
