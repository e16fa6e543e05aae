//! Which hierarchies this host has, and which controller lives where.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::CgroupError;

/// The controllers that sandboxes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Cpu,
    Memory,
    Pids,
    /// Version 1 calls it blkio, and knows nothing of what goes through the page cache.
    Io,
    /// Version 1 only; version 2 has a BPF hook instead.
    Devices,
}

impl Controller {
    pub(super) const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io, Self::Devices];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "io",
            Self::Devices => "devices",
        }
    }

    /// What it is called in the mount options of version 1.
    fn legacy_name(self) -> &'static str {
        if self == Self::Io { "blkio" } else { self.name() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The mount point of the version 2 hierarchy.
    pub unified: PathBuf,
    /// The controllers that it offers.
    pub unified_controllers: Vec<Controller>,
    /// The mount points of version 1 hierarchies.
    pub legacy: Vec<(Controller, PathBuf)>,
}

impl Layout {
    /// Reads this process's mount table and the controllers of the version 2 root.
    pub fn find() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(CgroupError::io("read", path))?;
        let mut layout = Self::from_mounts(&mounts).ok_or(CgroupError::NoVersion2)?;
        layout.unified_controllers = Self::controllers(&layout.unified)?;
        Ok(layout)
    }

    /// What a version 2 cgroup offers to its children.
    pub fn controllers(dir: &Path) -> Result<Vec<Controller>, CgroupError> {
        let path = dir.join("cgroup.controllers");
        let offered = fs::read_to_string(&path).map_err(CgroupError::io("read", &path))?;
        let offers = |controller: &Controller| offered.split_whitespace().any(|name| name == controller.name());
        Ok(Controller::ALL.into_iter().filter(offers).collect())
    }

    /// Understands the lines of `proc_pid_mountinfo(5)`; the first mount of a hierarchy's own root counts.
    fn from_mounts(mounts: &str) -> Option<Self> {
        let (mut unified, mut legacy): (Option<PathBuf>, Vec<(Controller, PathBuf)>) = (None, Vec::new());
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
            let (Some("/"), Some(point)) = (left.next(), left.next()) else { continue };
            let point = unescaped(point);
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) if unified.is_none() => unified = Some(point),
                (Some("cgroup"), Some(options)) => {
                    for controller in Controller::ALL {
                        let mounted = options.split(',').any(|option| option == controller.legacy_name());
                        if mounted && !legacy.iter().any(|(known, _)| *known == controller) {
                            legacy.push((controller, point.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self { unified: unified?, unified_controllers: Vec::new(), legacy })
    }

    /// The directory with this controller's files of a sandbox's workload, and whether it is of version 2.
    #[must_use]
    pub fn workload_of(&self, controller: Controller, below: &Path) -> Option<(PathBuf, bool)> {
        if let Some((_, mount)) = self.legacy.iter().find(|(known, _)| *known == controller) {
            return Some((mount.join(below), false));
        }
        let offered = self.unified_controllers.contains(&controller);
        offered.then(|| (self.unified.join(below).join("workload"), true))
    }

    /// The directory with this controller's files of all sandboxes together.
    #[must_use]
    pub fn parent_of(&self, controller: Controller, parent: &Path) -> Option<PathBuf> {
        if let Some((_, mount)) = self.legacy.iter().find(|(known, _)| *known == controller) {
            return Some(mount.join(parent));
        }
        self.unified_controllers.contains(&controller).then(|| self.unified.join(parent))
    }

    /// Passes the version 2 controllers on to the children of `dir`, from `base` down.
    pub fn delegate(&self, base: &Path, dir: &Path) -> Result<(), CgroupError> {
        if self.unified_controllers.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = self.unified_controllers.iter().map(|known| format!("+{}", known.name())).collect();
        let parents: Vec<&Path> = dir.ancestors().take_while(|path| path.starts_with(base)).collect();
        for parent in parents.into_iter().rev() {
            let file = parent.join("cgroup.subtree_control");
            let present = fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
            let passes = |known: &Controller| present.split_whitespace().any(|name| name == known.name());
            if !self.unified_controllers.iter().all(passes) {
                fs::write(&file, words.join(" ")).map_err(CgroupError::io("write", &file))?;
            }
        }
        Ok(())
    }
}

/// A path of `proc_pid_mountinfo(5)`: space, tab, newline and backslash stand there as `\` and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(tail.get(..3)?)).flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host() {
        let mounts = "\
24 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 24 0:24 /docker /mnt/memory rw - cgroup cgroup rw,memory
28 24 0:25 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw
";
        let layout = Layout::from_mounts(mounts).expect("a layout");
        assert_eq!(layout.unified, Path::new("/sys/fs/cgroup/unified"));
        let legacy = [(Controller::Cpu, "/sys/fs/cgroup/cpu"), (Controller::Memory, "/sys/fs/cgroup/memory")];
        assert_eq!(layout.legacy, legacy.map(|(controller, path)| (controller, PathBuf::from(path))));
        let place = layout.workload_of(Controller::Memory, Path::new("bivouac/x"));
        assert_eq!(place, Some(("/sys/fs/cgroup/memory/bivouac/x".into(), false)));
        assert_eq!(layout.workload_of(Controller::Pids, Path::new("bivouac/x")), None);
    }

    #[test]
    fn a_pure_host() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let mut layout = Layout::from_mounts(mounts).expect("a layout");
        layout.unified_controllers = vec![Controller::Pids];
        let place = layout.workload_of(Controller::Pids, Path::new("bivouac/x"));
        assert_eq!(place, Some(("/sys/fs/cgroup/bivouac/x/workload".into(), true)));
    }

    #[test]
    fn a_mount_point_with_a_space() {
        let mounts = "30 1 0:26 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::from_mounts(mounts).expect("a layout");
        assert_eq!(layout.unified, Path::new("/mnt/a b\\c"));
        for odd in ["\\", "\\04", "\\999", "\\777", "\\+12"] {
            assert_eq!(unescaped(odd), Path::new(odd), "{odd}");
        }
    }

    #[test]
    fn a_host_without_version_2_is_refused() {
        assert_eq!(Layout::from_mounts("25 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nrubbish\n"), None);
    }
}
