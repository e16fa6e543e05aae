//! The key file: one key a line, for the eyes of its owner only.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::key::{ApiKey, InvalidKey};

/// More than a thousand keys; a larger file is another file.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("read the API key file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("use the API key file {path}: it is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("use the API key file {path}: others may read it (mode {mode:04o}); run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("use the API key file {path}: it is larger than {MOST_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("use the API key file {path}: it has no key; put one on a line, for example from `openssl rand -hex 32`")]
    Empty { path: PathBuf },
    #[error("use line {line} of the API key file {path}")]
    Line { path: PathBuf, line: usize, source: InvalidKey },
}

/// Reads the keys of a file: one a line; empty lines and lines that start with `#` are skipped.
///
/// # Errors
/// When the file cannot be read, is readable by its group or the world, holds no key, or holds a bad one.
pub fn read_key_file(path: &Path) -> Result<Vec<ApiKey>, KeyFileError> {
    let text = read_private(path)?;
    let lines = text.lines().map(str::trim).enumerate();
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(at, line)| {
        ApiKey::parse(line).map_err(|source| KeyFileError::Line { path: path.to_owned(), line: at + 1, source })
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(KeyFileError::Empty { path: path.to_owned() }) } else { Ok(keys) }
}

/// Checks the opened file, not the path, so that nobody can swap it in between; a FIFO in its place does not block.
fn read_private(path: &Path) -> Result<String, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode: facts.mode() & 0o7777 });
    }
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    let fits = text.len() as u64 <= MOST_BYTES;
    if fits { Ok(text) } else { Err(KeyFileError::TooLarge { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("mode set");
        file
    }

    #[test]
    fn keys_are_read_a_line_each() {
        let file = file("# for the CI\n0123456789abcdef0123\n\n  fedcba9876543210fedc \n", 0o600);
        let keys = read_key_file(file.path()).expect("keys");
        assert_eq!(keys.len(), 2);
        assert!(super::super::key::any_matches(&keys, b"fedcba9876543210fedc"));
    }

    #[test]
    fn unfit_files_are_refused_and_named() {
        let good = "0123456789abcdef0123\n";
        for (text, mode, wanted) in [
            (good, 0o640, "mode 0640"),
            (good, 0o604, "chmod 600"),
            ("", 0o600, "no key"),
            ("# only a comment\n", 0o600, "no key"),
            ("0123456789abcdef0123\nshort\n", 0o400, "line 2"),
        ] {
            let file = file(text, mode);
            let error = read_key_file(file.path()).expect_err("refused").to_string();
            assert!(error.contains(wanted) && error.contains(&file.path().display().to_string()), "{error}");
            assert!(!error.contains("0123456789"), "the key is not shown: {error}");
        }
        assert!(matches!(read_key_file(Path::new("/nonexistent/keys")), Err(KeyFileError::Read { .. })));
        assert!(matches!(read_key_file(Path::new("/")), Err(KeyFileError::NotAFile { .. })));
    }
}
