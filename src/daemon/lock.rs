//! One daemon for one state directory and one run directory: locks that end with its process, however that ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::StartFailure;

/// Held as long as the daemon runs.
#[derive(Debug)]
#[must_use = "the lock ends with this value"]
pub struct DirLock {
    _file: Flock<File>,
}

impl DirLock {
    /// Makes the directory with this mode, and takes it for this process.
    ///
    /// # Errors
    /// [`StartFailure::Taken`] when another daemon has it.
    pub fn take(dir: &Path, mode: u32) -> Result<Self, StartFailure> {
        let path = dir.join("lock");
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StartFailure::File { action, path, source }
        };
        make_dir(dir, mode).map_err(failed("make the directory", dir))?;
        let file = open(&path).map_err(failed("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                sign(&mut file).map_err(failed("write", &path))?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                Err(StartFailure::Taken { dir: dir.to_owned(), holder: holder(&mut file) })
            }
            Err((_, error)) => Err(failed("lock", &path)(error.into())),
        }
    }
}

/// Makes the directory, or takes one that is there: with a lock file of ours in it, its mode is put right; otherwise it is
/// somebody's, and is refused when it lets others do more than `mode` would.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    let there = path.metadata().map(|metadata| metadata.permissions().mode() & 0o777);
    match there {
        Ok(found) if !path.join("lock").exists() && found & !mode & 0o077 != 0 => {
            let advice =
                format!("it is there with mode {found:03o}; name one that is bivouac's own, or `chmod {mode:o}` it");
            return Err(io::Error::other(advice));
        }
        Ok(_) => {}
        Err(_) => DirBuilder::new().recursive(true).mode(mode).create(path)?,
    }
    // The umask has cut the mode of a new one.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes who we are, for the message that the next one prints.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "pid {}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(64).read_to_string(&mut text);
    if read.is_ok() && !text.is_empty() { text } else { "it does not say which".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_others_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        for mode in [0o700, 0o711] {
            let refused = DirLock::take(dir.path(), mode).expect_err("somebody's").story();
            assert!(refused.contains("mode 777"), "{refused}");
        }
        assert_eq!(fs::metadata(dir.path()).expect("there").permissions().mode() & 0o777, 0o777);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state");
        let first = DirLock::take(&state, 0o700).expect("free");
        assert_eq!(fs::metadata(&state).expect("there").permissions().mode() & 0o777, 0o700);
        let refused = DirLock::take(&state, 0o700).expect_err("taken");
        assert_eq!(refused.exit_code(), 75);
        assert!(refused.story().contains(&format!("(pid {})", std::process::id())), "{}", refused.story());
        drop(first);
        drop(DirLock::take(&state, 0o700).expect("free again"));
    }
}
