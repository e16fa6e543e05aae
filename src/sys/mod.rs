//! Every system call that the standard library and `nix` do not wrap safely, and the only `unsafe` of the project.
//!
//! Floor 0. Each wrapper is safe to call; each `unsafe` block says why. A call that fails is told the way `strace`
//! would: the call, its arguments, the name of the error.

mod clock;
mod error;
mod fdpass;
mod files;
mod keyring;
#[cfg(feature = "daemon")]
mod loopback;
mod mount;
mod network;
mod process;
#[cfg(feature = "daemon")]
mod quota;
#[cfg(feature = "daemon")]
mod schedule;
mod seccomp;
mod terminal;
#[cfg(test)]
pub mod trial;
#[cfg(feature = "daemon")]
mod watch;
mod xattr;

pub use clock::{boot_nanos, unix_nanos};
pub use error::{Result, SyscallError, told};
pub use fdpass::{Message, receive, send};
#[cfg(feature = "daemon")]
pub use files::write_in_place;
pub use files::{adopt_fd, begin_writeback, cloexec_from, close_all_but, is_of_kernel, memfd, move_fd, set_cloexec};
pub use keyring::join_anonymous_session_keyring;
#[cfg(feature = "daemon")]
pub use loopback::{LoopDevice, attach_loop};
pub use mount::{
    FsContext, MountAttr, TreeSource, attach, clone_tree, idmap_mount, move_mount_at, set_mount_attributes,
};
pub use network::bring_loopback_up;
pub use process::{
    CloneTarget, Cloned, Ended, ForkFlags, Patience, SingleThreaded, pidfd_open, pidfd_signal, reset_signals,
    set_parent_death_signal, set_resource_limit, wait_any,
};
#[cfg(feature = "daemon")]
pub use quota::{
    OfProject, ProjectQuotas, QUOTA_UNIT, Quota, limit_project, next_project_quota, project_of, project_quota,
    project_quotas, set_project,
};
#[cfg(feature = "daemon")]
pub use schedule::{ask_for_short_slices, own_nice};
pub use seccomp::{Instruction, install_filter};
pub use terminal::{Terminal, open_terminal, set_window_size, signal_foreground, take_terminal, window_size};
#[cfg(feature = "daemon")]
pub use watch::{watch, watch_readable};
pub use xattr::{get_xattr, has_xattr, list_xattrs, set_xattr};
