//! How soon the scheduler runs the calling thread (`sched(7)`).

use nix::errno::Errno;

use super::error::{Result, checked};

/// Asks that the calling thread is run in short slices, of this many nanoseconds: a thread that wakes then takes the
/// processor from one with longer slices at once, and does not get more of it (custom slices of `SCHED_OTHER`, Linux 6.12;
/// before that nothing happens), and has this nice value. Threads and processes that it starts do not inherit it, and a nice
/// value below 0 neither. A thread of another policy is left alone. Who may not have the nice value gets the slices alone.
///
/// # Errors
/// As `sched_getattr(2)` and `sched_setattr(2)`.
pub fn ask_for_short_slices(nanos: u64, nice: i32) -> Result<()> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default();
    // SAFETY: sched_attr is plain integers, for which all-zero is a valid value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes to `attributes`, which lives across the call. 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    checked(result, || "sched_getattr(0)".to_owned())?;
    if attributes.sched_policy != libc::SCHED_OTHER.unsigned_abs() {
        return Ok(());
    }
    let own_nice = attributes.sched_nice;
    attributes.size = size;
    attributes.sched_runtime = nanos;
    attributes.sched_nice = nice;
    attributes.sched_flags |= u64::from(libc::SCHED_FLAG_RESET_ON_FORK.unsigned_abs());
    match set(&attributes) {
        // A service without CAP_SYS_NICE.
        Err(error) if error.errno == Errno::EPERM && nice < own_nice => {
            attributes.sched_nice = own_nice;
            set(&attributes)
        }
        done => done,
    }
}

fn set(attributes: &libc::sched_attr) -> Result<()> {
    // SAFETY: the kernel reads `attributes.size` bytes of `attributes`, which are all there and live across the call. 0 is
    // the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
    let (nanos, nice) = (attributes.sched_runtime, attributes.sched_nice);
    checked(result, || format!("sched_setattr(0, {{runtime={nanos}, nice={nice}}})"))?;
    Ok(())
}

/// The nice value of this process: of its first thread (`getpriority(2)`).
///
/// # Errors
/// As that call.
pub fn own_nice() -> Result<i32> {
    nice_of(std::process::id())
}

fn nice_of(thread: u32) -> Result<i32> {
    // SAFETY: the system call takes integers.
    let result = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, thread) };
    // The kernel answers 20 for 0, because below 0 there are errors.
    let told = checked(result, || format!("getpriority(PRIO_PROCESS, {thread})"))?;
    Ok(20 - i32::try_from(told).unwrap_or(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_asks_for_itself_and_keeps_its_policy() {
        std::thread::spawn(|| {
            ask_for_short_slices(100_000, 0).expect("asked");
            let status = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            // Kernels without this file, or before custom slices, have nothing to show.
            if let Some(line) = status.lines().find(|line| line.starts_with("se.slice")) {
                assert!(line.ends_with("100000"), "{line}");
            }
            let policy = status.lines().find(|line| line.starts_with("policy")).map(|line| line.ends_with(" 0"));
            assert_ne!(policy, Some(false), "{status}");
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn who_may_not_go_before_others_has_short_slices() {
        std::thread::spawn(|| {
            if nix::unistd::geteuid().is_root() {
                // SAFETY: the system call takes integers, and changes the calling thread alone.
                let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
                assert_eq!(result, 0, "this thread is nobody now");
            }
            let own = || nice_of(nix::unistd::gettid().as_raw().unsigned_abs()).expect("a nice value");
            let before = own();
            ask_for_short_slices(100_000, before - 3).expect("asked");
            assert_eq!(own(), before);
            let status = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            if let Some(line) = status.lines().find(|line| line.starts_with("se.slice")) {
                assert!(line.ends_with("100000"), "{line}");
            }
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn a_nice_value_below_0_is_asked_for_by_every_thread() {
        // Only root may.
        let nice = if nix::unistd::geteuid().is_root() { -3 } else { 0 };
        let own = || nice_of(nix::unistd::gettid().as_raw().unsigned_abs()).expect("a nice value");
        let first = std::thread::spawn(move || {
            ask_for_short_slices(100_000, nice).expect("asked");
            let inherits = std::thread::spawn(own).join().expect("the thread ends well");
            let asks = std::thread::spawn(move || {
                ask_for_short_slices(100_000, nice).expect("asked");
                own()
            });
            (own(), inherits, asks.join().expect("the thread ends well"))
        });
        assert_eq!(first.join().expect("the thread ends well"), (nice, 0, nice));
    }
}
