//! What the file system of the state directory is: sandboxes are made and removed in it all the time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::model::Finding;

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDisk {
    /// The state directory, or what is there of the way to it.
    pub dir: PathBuf,
    /// As in `/proc/mounts`; empty when that does not tell.
    pub kind: String,
    /// The device by the kernel's name, which has no directory.
    pub device: String,
    /// Whether `/` is on it too, which nobody can unmount.
    pub is_root: bool,
    /// `/sys/fs/ext4/DEVICE/journal_task`: a process id, or `<none>`.
    pub journal: Option<String>,
}

impl StateDisk {
    /// Of a directory that may be made yet.
    pub fn of(state_dir: &Path) -> Self {
        let there = state_dir.ancestors().find_map(|dir| Some((dir, fs::metadata(dir).ok()?)));
        let (dir, number) = there.map_or((Path::new("/"), 0), |(dir, about)| (dir, about.dev()));
        let number = format!("{}:{}", major(number), minor(number));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let named = fs::canonicalize(format!("/sys/dev/block/{number}")).ok();
        let device = named.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_default();
        let journal = fs::read_to_string(format!("/sys/fs/ext4/{device}/journal_task")).ok();
        let journal = journal.map(|text| text.trim().to_owned());
        let is_root = is_root(&mounts, &number);
        Self { dir: dir.to_owned(), kind: kind(&mounts, &number).unwrap_or_default(), device, is_root, journal }
    }

    /// Only ext4 is told of by this file.
    fn lacks_journal(&self) -> bool {
        self.journal.as_deref() == Some("<none>")
    }
}

/// The type of the file system with this device number, of the lines of `proc_pid_mountinfo(5)`.
fn kind(mounts: &str, number: &str) -> Option<String> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(number))?;
    let (_, right) = line.split_once(" - ")?;
    right.split(' ').next().map(str::to_owned)
}

/// Whether the file system with this device number is mounted on `/`.
fn is_root(mounts: &str, number: &str) -> bool {
    let mut places = mounts.lines().map(|line| line.split(' ').skip(2));
    places.any(|mut fields| fields.next() == Some(number) && fields.nth(1) == Some("/"))
}

/// Ext4 without a journal gives no inode number out again for some minutes, and looks at each of them for every file that is
/// made: so that what a crash leaves is not another file's.
pub fn finding(disk: &StateDisk) -> Finding {
    let (dir, found) = (disk.dir.display(), !disk.lacks_journal());
    let detail = match (found, disk.kind.as_str()) {
        (false, _) if disk.is_root => format!(
            "{dir} is on ext4 without a journal, as / is; `tune2fs -O has_journal /dev/{}` where another system is booted, or \
             set server.state_dir to another file system",
            disk.device
        ),
        (false, _) => format!(
            "{dir} is on ext4 without a journal; unmount it and `tune2fs -O has_journal /dev/{}`, or set server.state_dir to \
             another file system",
            disk.device
        ),
        (true, "") => format!("{dir} is on an unknown file system"),
        (true, kind) if disk.journal.is_some() => format!("{dir} is on {kind} with a journal"),
        (true, kind) => format!("{dir} is on {kind}"),
    };
    Finding {
        feature: "inodes given out again at once".to_owned(),
        found,
        detail,
        fallback: None,
        lost: Some(
            "the speed of creates, which falls with every sandbox that was removed in the minutes before".to_owned(),
        ),
        required: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_found_by_the_number_of_the_device() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 22 0:26 / /tmp rw shared:3 - tmpfs tmpfs rw\n";
        assert_eq!(kind(mounts, "254:0").as_deref(), Some("ext4"));
        assert_eq!(kind(mounts, "0:26").as_deref(), Some("tmpfs"));
        assert_eq!(kind(mounts, "4:0"), None);
        assert_eq!([is_root(mounts, "254:0"), is_root(mounts, "0:26")], [true, false]);
    }

    #[test]
    fn ext4_without_a_journal_is_told_of_and_nothing_else() {
        let disk = StateDisk {
            dir: "/var/lib".into(),
            kind: "ext4".into(),
            device: "sda2".into(),
            is_root: false,
            journal: Some("<none>".into()),
        };
        let told = finding(&disk);
        assert!(!told.found && told.detail.contains("unmount it and `tune2fs -O has_journal /dev/sda2"), "{told:?}");
        let root = finding(&StateDisk { is_root: true, ..disk.clone() });
        assert!(!root.found && root.detail.contains("where another system is booted"), "{root:?}");
        let with = finding(&StateDisk { journal: Some("423".into()), ..disk.clone() });
        assert!(with.found && with.detail == "/var/lib is on ext4 with a journal", "{with:?}");
        let other = finding(&StateDisk { journal: None, kind: "xfs".into(), ..disk });
        assert!(other.found && other.detail == "/var/lib is on xfs", "{other:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_on_what_is_above_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (there, none) = (StateDisk::of(dir.path()), StateDisk::of(&dir.path().join("not/yet")));
        assert_eq!(there, none);
        assert!(there.dir == dir.path() && !there.kind.is_empty(), "{there:?}");
    }
}
