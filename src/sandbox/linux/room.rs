//! Whether the host's disk has room for another sandbox: what is kept free is for those that run, and for the records.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

/// A sandbox takes about ten files before it writes any itself.
const KEPT_FILES: u64 = 1000;

/// `Err` says what is short, and what to do.
pub fn check(state_dir: &Path, kept_bytes: u64) -> Result<(), String> {
    if kept_bytes == 0 {
        return Ok(());
    }
    let found = retried(|| statvfs(state_dir)).map_err(|errno| format!("statvfs({}): {errno}", state_dir.display()))?;
    let bytes = found.blocks_available().saturating_mul(found.fragment_size());
    // File systems without a table of inodes say that there are none at all.
    let files = (found.files() > 0).then(|| found.files_available());
    short(bytes, files, kept_bytes).map_or(Ok(()), |what| {
        Err(format!(
            "the file system of {} has {what}; delete sandboxes, remove images (`bivouac image prune`), or set \
             runtime.min_free_disk lower",
            state_dir.display()
        ))
    })
}

fn short(bytes: u64, files: Option<u64>, kept_bytes: u64) -> Option<String> {
    const MIB: u64 = 1 << 20;
    if bytes < kept_bytes {
        return Some(format!("{} MiB left, and {} MiB are kept free", bytes / MIB, kept_bytes.div_ceil(MIB)));
    }
    let files = files.filter(|files| *files < KEPT_FILES)?;
    Some(format!("inodes for {files} files left, and {KEPT_FILES} are kept free"))
}

fn retried<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_are_kept() {
        assert_eq!(short(100 << 20, Some(1000), 100 << 20), None);
        assert_eq!(short(100 << 20, None, 100 << 20), None);
        let few_bytes = short((100 << 20) - 1, None, 100 << 20).expect("short of bytes");
        assert_eq!(few_bytes, "99 MiB left, and 100 MiB are kept free");
        assert!(short(u64::MAX, Some(999), 1).is_some_and(|what| what.starts_with("inodes for 999 files left")));
    }

    #[test]
    fn what_is_done_about_it_is_said() {
        let here = std::env::temp_dir();
        assert_eq!(check(&here, 0), Ok(()));
        assert!(check(&here, u64::MAX).is_err_and(|problem| problem.contains("bivouac image prune")));
        assert!(check(Path::new("/nowhere/at/all"), 1).is_err());
    }
}
