//! What the daemon sets for its own process, once, before the runtime starts a thread.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd;

use super::StartFailure;
use crate::sys;

/// Descriptors for which room is made. A thousand sandboxes and as many connections stay far below.
const ROOM: u64 = 16_384;

/// Prepares the process, which is to go before the others of the host or not.
///
/// # Errors
/// When the kernel refuses; nothing was started then.
pub fn prepare(ahead: bool) -> Result<(), StartFailure> {
    // Whatever is made from here on is for root alone until it is deliberately opened.
    umask(Mode::from_bits_truncate(0o077));
    let failed = |what| move |error: nix::Error| StartFailure::Process { what, source: error.into() };
    if ahead {
        go_first(Path::new("/proc/self/autogroup"));
    }
    // The API key is in this memory: no core file of it, and no debugger of an ordinary user.
    prctl::set_dumpable(false).map_err(failed("make it not dumpable"))?;
    let descriptors = raise_descriptor_limit().map_err(failed("raise the limit of open files"))?;
    grow_descriptor_table(descriptors)
        .map_err(|source| StartFailure::Process { what: "make room for descriptors", source })
}

/// The shortest slice that the kernel gives.
const SLICE_NANOS: u64 = 100_000;

/// Lets the calling thread answer at once also where sandboxes keep every processor busy: it needs little time, and has to
/// wait for others' slices (3 ms each) without this. It is an optimization; where the kernel refuses, nothing else changes.
///
/// Sandboxes inherit nothing of it. A nice value below 0, which the daemon was started with, they do not inherit either, and
/// so each thread takes it for itself.
pub fn be_prompt() {
    let asked = sys::own_nice().and_then(|nice| sys::ask_for_short_slices(SLICE_NANOS, nice));
    if let Err(error) = asked {
        tracing::debug!(%error, "this thread waits for the slices of others");
    }
}

/// The nice value of a session whose leader is the daemon: three times the usual part. It counts before all of the host,
/// and what clients cause (an image that is unpacked) is done in it as well.
const SESSION_NICE: &str = "-5";

/// Lets the daemon go before its sandboxes, where the kernel shares the processors among sessions (autogroup of `sched(7)`:
/// on hosts where no service manager has put the daemon into a cgroup). It needs little of them, and as one session of many
/// it waits for some turns of the others each time that it has something to do. Of a session that is not the daemon's own,
/// and of one that somebody has given a nice value, nothing is changed. Sandboxes and their launcher have sessions of their
/// own.
fn go_first(file: &Path) {
    let is_leader = unistd::getsid(None) == Ok(unistd::getpid());
    // Kernels without autogroups have no such file.
    let found = fs::read_to_string(file).unwrap_or_default();
    if is_leader
        && found.trim_end().ends_with(" nice 0")
        && let Err(error) = fs::write(file, SESSION_NICE)
    {
        tracing::debug!(%error, "this session waits for the turns of others");
    }
}

/// Raises the soft limit of open files to the hard one, which it returns.
fn raise_descriptor_limit() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Grows the kernel's table of this process's descriptors to its final size, by using its last place for a moment.
///
/// The kernel doubles the table when it is full. In a process with several threads each growth waits for an RCU grace
/// period (measured: 14 ms against 18 us), which would be seen by whoever creates the 64th or the 256th sandbox.
fn grow_descriptor_table(limit: u64) -> io::Result<()> {
    let last = i32::try_from(limit.min(ROOM).saturating_sub(1)).unwrap_or(i32::MAX);
    let anything = File::open("/dev/null")?;
    let copy = fcntl(&anything, FcntlArg::F_DUPFD_CLOEXEC(last))?;
    Ok(unistd::close(copy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_room_up_to_the_limit() {
        let limit = raise_descriptor_limit().expect("raised");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft), Ok(limit));
        grow_descriptor_table(limit).expect("grown");
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("FDSize");
        assert!(size.trim().parse::<u64>().expect("a number") >= limit.min(ROOM), "{size}");
    }
}
