//! The session keyring (`keyctl(2)`).

use super::error::{Result, checked};

/// Leaves the inherited session keyring for a new, empty, unnamed one, so that no key of the host is in reach.
///
/// # Errors
/// `ENOSYS` on kernels without keyrings, which is as good.
pub fn join_anonymous_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is read or written.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    checked(result, || "keyctl(JOIN_SESSION_KEYRING, NULL)".to_owned())?;
    Ok(())
}
