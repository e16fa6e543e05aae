//! System calls by number, with whatever arguments: the kernel refuses what is wrong with them.

use nix::errno::Errno;

/// The outcome in the words of `errno(3)`, or `ok`.
pub fn call(number: i64, arguments: [u64; 6]) -> String {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: every pointer that is passed here is null, or of a C string or buffer that outlives the call, so the kernel
    // writes nothing that this process needs.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    outcome(result)
}

pub fn outcome(result: i64) -> String {
    if result == -1 { name(Errno::last()) } else { "ok".to_owned() }
}

pub fn name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// `getpid` by the entry of 32-bit programs.
#[cfg(target_arch = "x86_64")]
pub fn by_interrupt() -> String {
    let mut result: i64 = 20;
    // SAFETY: getpid takes nothing and writes nothing; the entry preserves every register but rax, r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    // The answer is 32 bits wide.
    match result as i32 {
        errno if errno < 0 => name(Errno::from_raw(-errno)),
        _ => "ok".to_owned(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn by_interrupt() -> String {
    "ENOSYS".to_owned()
}
