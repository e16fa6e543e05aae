//! The bare-kernel floor of a create: what one single-threaded program needs to get a static program running in its own
//! namespaces, with nothing between it and the kernel.
//!
//! Each run clones a child into a fresh cgroup with a new user, mount, PID, IPC, UTS, network and cgroup namespace, gives
//! it an exclusive id range, and the child mounts an overlay, `/proc`, `/dev` and `/sys`, enters that root and executes
//! the program. The clock runs from just before the clone until the kernel has closed a close-on-exec pipe, which it does
//! when the program has been executed. What a run needs beforehand (cgroup, directories) is made before the clock starts.
//!
//! `floor --base DIR [--runs 200] [--json]`: DIR is an unpacked root with a static `/bin/busybox`, traversable by all.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Uid, chdir, pipe2, pivot_root, setresgid, setresuid};

/// The first host id of the range: above what distributions hand out, and never one of the host's own users.
const BASE_ID: u32 = 0x7F00_0000;
const IDS: u32 = 65_536;

const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

struct Options {
    base: PathBuf,
    runs: usize,
    json: bool,
}

/// Where one run takes place; everything of it is removed when this is dropped.
struct Place {
    cgroup: PathBuf,
    dir: PathBuf,
}

fn main() {
    let options = options().unwrap_or_else(|problem| fail(&problem));
    let done = measure_all(&options);
    match done {
        Ok(times) => print(&options, times),
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(problem: &str) -> ! {
    say(&mut io::stderr(), &format!("floor: {problem}"));
    std::process::exit(1)
}

fn say(out: &mut dyn Write, line: &str) {
    // Nobody is left to tell when the reader has gone.
    drop(writeln!(out, "{line}"));
}

fn options() -> Result<Options, String> {
    let mut options = Options { base: PathBuf::new(), runs: 200, json: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--base" => options.base = words.next().unwrap_or_default().into(),
            "--runs" => {
                options.runs = words.next().and_then(|text| text.parse().ok()).ok_or("--runs takes a number")?
            }
            "--json" => options.json = true,
            other => return Err(format!("{other}: unknown; floor --base DIR [--runs N] [--json]")),
        }
    }
    match options.base.join("bin/busybox").is_file() && options.runs > 0 {
        true => Ok(options),
        false => Err("--base must name a directory with bin/busybox in it, and --runs at least 1".to_owned()),
    }
}

fn measure_all(options: &Options) -> io::Result<Vec<Duration>> {
    let root = cgroup2()?.join("bivouac-bench");
    let scratch = std::env::temp_dir().join(format!("bivouac-floor-{}", std::process::id()));
    make_dir(&root)?;
    make_dir(&scratch)?;
    // The first runs warm caches, for the product as for this.
    let times = (0..options.runs + 5).map(|run| measure(options, &root, &scratch, run)).collect::<io::Result<Vec<_>>>();
    let removed = fs::remove_dir(&root).and(fs::remove_dir_all(&scratch));
    let mut times = times?.split_off(5);
    removed?;
    times.sort();
    Ok(times)
}

/// The mount point of the version 2 hierarchy.
fn cgroup2() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let point = line.and_then(|line| line.split(' ').nth(1));
    point.map(PathBuf::from).ok_or_else(|| io::Error::other("no cgroup2 mount in /proc/mounts"))
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o711).create(path)
}

impl Place {
    fn make(root: &Path, scratch: &Path, run: usize) -> io::Result<Self> {
        let place = Self { cgroup: root.join(run.to_string()), dir: scratch.join(run.to_string()) };
        make_dir(&place.cgroup)?;
        make_dir(&place.dir)?;
        for name in ["upper", "work", "root"] {
            let path = place.dir.join(name);
            make_dir(&path)?;
            chown(&path, Some(BASE_ID), Some(BASE_ID))?;
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A run that failed has told so already.
        drop(fs::remove_dir(&self.cgroup));
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn measure(options: &Options, root: &Path, scratch: &Path, run: usize) -> io::Result<Duration> {
    let place = Place::make(root, scratch, run)?;
    let cgroup = File::open(&place.cgroup)?;
    let (mut executed, on_exec) = pipe2(OFlag::O_CLOEXEC).map(|(read, write)| (File::from(read), write))?;
    let (mapped, tell_mapped) = pipe2(OFlag::O_CLOEXEC)?;
    let plan = Plan::new(options, &place);
    let start = Instant::now();
    let Some((pid, pidfd)) = clone_into(&cgroup)? else {
        drop((executed, tell_mapped));
        become_program(&plan, mapped, on_exec)
    };
    drop((on_exec, mapped));
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), format!("0 {BASE_ID} {IDS}\n"))?;
    }
    File::from(tell_mapped).write_all(b"!")?;
    let mut failure = String::new();
    executed.read_to_string(&mut failure)?;
    let took = start.elapsed();
    waitid(Id::PIDFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitPidFlag::WEXITED)?;
    if failure.is_empty() { Ok(took) } else { Err(io::Error::other(failure)) }
}

/// Clones this process; `None` in the child.
fn clone_into(cgroup: &File) -> io::Result<Option<(libc::c_long, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain integers, for which all-zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from((NAMESPACES | libc::CLONE_PIDFD).cast_unsigned()) | CLONE_INTO_CGROUP;
    args.pidfd = (&raw mut pidfd) as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: this program has one thread, so the child's copy of its memory is whole. `args` and `pidfd` live across
    // the call, and no stack is given: the child goes on with its copy of this one.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: CLONE_PIDFD stored a new descriptor that only we have.
        pid => Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// `CLONE_INTO_CGROUP` of `linux/sched.h`, Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Everything that needs memory, made before the clock starts.
struct Plan {
    root: PathBuf,
    overlay: String,
    program: CString,
    arguments: [CString; 2],
}

impl Plan {
    fn new(options: &Options, place: &Place) -> Self {
        let (base, dir) = (options.base.display(), place.dir.display());
        Self {
            root: place.dir.join("root"),
            overlay: format!("lowerdir={base},upperdir={dir}/upper,workdir={dir}/work,userxattr"),
            program: c"/bin/busybox".to_owned(),
            arguments: [c"busybox".to_owned(), c"true".to_owned()],
        }
    }
}

/// The child: builds its root, enters it, executes. Comes back only to tell what failed.
fn become_program(plan: &Plan, mapped: OwnedFd, report: OwnedFd) -> ! {
    let failed = build_and_execute(plan, mapped).err().unwrap_or_else(|| "execve returned".to_owned());
    drop(File::from(report).write_all(failed.as_bytes()));
    // SAFETY: ends this process at once; nothing of the parent's copied state may run.
    unsafe { libc::_exit(127) }
}

fn build_and_execute(plan: &Plan, mapped: OwnedFd) -> Result<(), String> {
    File::from(mapped).read_exact(&mut [0]).map_err(|error| format!("wait for the maps: {error}"))?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).map_err(|errno| format!("setresgid(0): {errno}"))?;
    setresuid(uid, uid, uid).map_err(|errno| format!("setresuid(0): {errno}"))?;
    attach(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    attach(Some("overlay"), &plan.root, Some("overlay"), MsFlags::MS_NODEV, Some(&plan.overlay))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach(Some("proc"), &plan.root.join("proc"), Some("proc"), safe, None)?;
    attach(Some("sysfs"), &plan.root.join("sys"), Some("sysfs"), safe | MsFlags::MS_RDONLY, None)?;
    let dev = plan.root.join("dev");
    attach(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=755,size=1m"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = dev.join(name);
        File::create(&node).map_err(|error| format!("open({}): {error}", node.display()))?;
        attach(Some(&format!("/dev/{name}")), &node, None, MsFlags::MS_BIND, None)?;
    }
    chdir(&plan.root).map_err(|errno| format!("chdir(root): {errno}"))?;
    pivot_root(".", ".").map_err(|errno| format!("pivot_root: {errno}"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|errno| format!("umount2: {errno}"))?;
    chdir("/").map_err(|errno| format!("chdir(/): {errno}"))?;
    let environment: [&CStr; 1] = [c"PATH=/bin"];
    nix::unistd::execve(&plan.program, &plan.arguments, &environment)
        .map(drop)
        .map_err(|errno| format!("execve({:?}): {errno}", plan.program))
}

fn attach(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), String> {
    let done = mount(source, target, kind, flags, data);
    done.map_err(|errno| format!("mount({source:?}, {}, {kind:?}, {flags:?}, {data:?}): {errno}", target.display()))
}

fn print(options: &Options, times: Vec<Duration>) {
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    let (p50, p90, p99) = (at(50), at(90), at(99));
    let line = if options.json {
        format!("{{\"runs\": {}, \"p50_us\": {p50:.1}, \"p90_us\": {p90:.1}, \"p99_us\": {p99:.1}}}", times.len())
    } else {
        format!("floor, {} runs: p50 {p50:.0} us, p90 {p90:.0} us, p99 {p99:.0} us", times.len())
    };
    say(&mut io::stdout(), &line);
}
