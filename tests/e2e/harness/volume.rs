//! A file system in a file, mounted as an operator would mount it, to have projects bounded where it can.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Enough for what a daemon keeps free, and for a log of xfs. What is not used takes no room.
const BYTES: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    /// Without quotas.
    Btrfs,
}

impl Kind {
    fn make(self) -> Command {
        let (program, arguments) = match self {
            Self::Ext4 => ("mkfs.ext4", ["-q", "-O", "quota,project"].as_slice()),
            Self::Xfs => ("mkfs.xfs", ["-q"].as_slice()),
            Self::Btrfs => ("mkfs.btrfs", ["-q"].as_slice()),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

/// Mounted as long as this is there.
#[derive(Debug)]
pub struct Volume(PathBuf);

impl Volume {
    /// Mounts a new one, in the file `image`, on the directory `at`.
    ///
    /// # Errors
    /// What this kernel says when it cannot.
    ///
    /// # Panics
    /// When the program that makes it is missing.
    pub fn mount(kind: Kind, image: &Path, at: &Path) -> Result<Self, String> {
        File::create_new(image).and_then(|file| file.set_len(BYTES)).expect("a sparse file");
        let made = run(kind.make().arg(image));
        assert!(made.status.success(), "{made:?}");
        let options = if kind == Kind::Btrfs { "loop" } else { "loop,prjquota" };
        let mounted = run(Command::new("mount").args(["-o", options]).args([image, at]));
        if !mounted.status.success() {
            let told = String::from_utf8_lossy(&mounted.stderr).into_owned();
            return Err(format!("{kind:?} ({options}): {}", told.lines().next().unwrap_or_default()));
        }
        let volume = Self(at.to_owned());
        fs::set_permissions(at, Permissions::from_mode(0o700)).expect("a directory of root's");
        Ok(volume)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What was killed a moment ago may still be in it.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
