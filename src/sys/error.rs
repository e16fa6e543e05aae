//! A failed system call, told the way `strace` would.

use nix::errno::Errno;
use thiserror::Error;

/// `call` holds the call with its arguments, `errno` what the kernel answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{call}: {} ({})", errno_name(*.errno), .errno.desc())]
pub struct SyscallError {
    pub call: String,
    pub errno: Errno,
}

pub type Result<T> = std::result::Result<T, SyscallError>;

fn errno_name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// Turns the error of a `nix` or standard library call into one that says what was called.
pub fn told<T, E: Into<std::io::Error>>(result: std::result::Result<T, E>, call: impl FnOnce() -> String) -> Result<T> {
    result.map_err(|error| {
        let errno = error.into().raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        SyscallError { call: call(), errno }
    })
}

/// The result of a raw `syscall(2)`: negative means that `errno` is set.
pub(super) fn checked(result: libc::c_long, call: impl FnOnce() -> String) -> Result<libc::c_long> {
    if result < 0 { Err(SyscallError { call: call(), errno: Errno::last() }) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_strace() {
        let error = SyscallError { call: "fsmount([7], 0)".into(), errno: Errno::EPERM };
        assert_eq!(error.to_string(), "fsmount([7], 0): EPERM (Operation not permitted)");
    }
}
