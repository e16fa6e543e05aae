//! Installing a seccomp filter (`seccomp(2)`).

use super::error::{Result, checked};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// Puts the filter on the calling thread. Needs `no_new_privs` or `CAP_SYS_ADMIN` in the user namespace.
///
/// # Errors
/// `EINVAL` for a program that the kernel's verifier refuses.
pub fn install_filter(program: &[Instruction]) -> Result<()> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter` (repr(C), the same four fields in order); the kernel only
    // reads `len` of them during the call, and `program` outlives it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header) };
    checked(result, || format!("seccomp(SET_MODE_FILTER, {} instructions)", program.len()))?;
    Ok(())
}
