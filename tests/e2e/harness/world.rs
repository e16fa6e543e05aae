//! A small Internet: a host for the daemon, and everything outside of it, each in a network namespace of its own.
//!
//! Nothing of the machine's own network is looked at or changed. The outside has addresses of every kind; at each of them
//! somebody answers TCP and UDP on one port, and echo requests.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

use super::able::able;
use super::daemon::Daemon;
use super::wait::until;

/// Where those outside answer.
pub const PORT: u16 = 7777;

/// The host's addresses on the way out, and one more that looks like any other of the Internet.
pub const HOST: [&str; 4] = ["203.0.113.10", "2a02:9:9::10", "45.9.9.9", "2a02:9:9::9"];

/// Addresses that everybody may reach.
pub const PUBLIC: [&str; 4] = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::34", "2001:4860:4860::8888"];

/// Addresses outside that nobody may reach unless the operator says so: private, shared, metadata, translated.
pub const PRIVATE: [&str; 12] = [
    "10.0.0.5",
    "172.16.0.5",
    "192.168.50.5",
    "100.64.0.5",
    "169.254.169.254",
    "168.63.129.16",
    "198.51.100.5",
    "fd00:ec2::254",
    "fd12::5",
    "64:ff9b::a00:5",
    "2002:a00:5::1",
    "2001:db8::5",
];

/// A network namespace; it is gone with the last clone and the last process in it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("opened")
        };
        let namespace = Self(Arc::new(std::thread::scope(|scope| scope.spawn(make).join().expect("made"))));
        namespace.ip("link set lo up");
        namespace
    }

    /// The one that a process is in.
    pub fn of(pid: i32) -> Self {
        Self(Arc::new(File::open(format!("/proc/{pid}/ns/net")).expect("the network namespace of a process")))
    }

    /// Runs `work` on a thread in this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).expect("entered");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("done"))
    }

    /// Runs a program in this namespace and returns what it prints.
    #[track_caller]
    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        self.printed(Command::new(program).args(arguments))
    }

    /// The same, of this group: who may send echo requests is decided by the group.
    #[track_caller]
    pub fn command_of(&self, group: u32, program: &str, arguments: &[&str]) -> String {
        self.printed(Command::new(program).args(arguments).gid(group))
    }

    #[track_caller]
    fn printed(&self, command: &mut Command) -> String {
        let output = self.run(|| command.output().expect("started"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        self.command("ip", &arguments.split(' ').collect::<Vec<_>>())
    }
}

pub struct World {
    pub host: Namespace,
    pub outside: Namespace,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    over: Arc<AtomicBool>,
}

impl World {
    /// `None` (and a line about it) where sandboxes cannot run.
    pub fn start(test: &str) -> Option<Self> {
        if !able(test) {
            return None;
        }
        let (host, outside) = (Namespace::new(), Namespace::new());
        let world = Self { host, outside, seen: Arc::default(), over: Arc::default() };
        world.lay_the_line();
        world.answer();
        world.wait_for_the_line();
        Some(world)
    }

    /// A daemon on this world's host.
    pub fn daemon(&self, config: &str) -> Daemon {
        Daemon::start_within(&self.host, config)
    }

    fn lay_the_line(&self) {
        let here = format!("/proc/{}/fd/{}", std::process::id(), self.outside.0.as_raw_fd());
        self.host.ip(&format!("link add up0 type veth peer name line0 netns {here}"));
        // Neither end waits a second to be sure that nobody else has its address.
        self.host.ip("link set up0 addrgenmode none");
        self.outside.ip("link set line0 addrgenmode none");
        self.host.ip("addr add fe80::10/64 dev up0 nodad");
        self.outside.ip("addr add fe80::1/64 dev line0 nodad");
        self.host.ip("addr add 203.0.113.10/24 dev up0");
        self.host.ip("addr add 2a02:9:9::10/64 dev up0 nodad");
        self.host.ip("addr add 45.9.9.9/32 dev lo");
        self.host.ip("addr add 2a02:9:9::9/128 dev lo nodad");
        self.outside.ip("addr add 203.0.113.1/24 dev line0");
        self.outside.ip("addr add 2a02:9:9::1/64 dev line0 nodad");
        self.host.ip("link set up0 up");
        self.outside.ip("link set line0 up");
        self.host.ip("route add default via 203.0.113.1");
        self.host.ip("-6 route add default via 2a02:9:9::1");
        for address in PUBLIC.iter().chain(&PRIVATE) {
            let bits = if address.contains(':') { 128 } else { 32 };
            let quick = if address.contains(':') { " nodad" } else { "" };
            self.outside.ip(&format!("addr add {address}/{bits} dev lo{quick}"));
        }
    }

    /// A line that was just laid loses the first packets of IPv6, until both ends know each other.
    fn wait_for_the_line(&self) {
        for address in PUBLIC {
            let to = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), PORT);
            let ask = || {
                let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.set_read_timeout(Some(Duration::from_millis(200)))?;
                socket.connect(to)?;
                socket.send(b"?")?;
                socket.recv(&mut [0; 100])
            };
            until("answered", || self.host.run(ask).map_err(|error| error.to_string()));
        }
        drop(self.seen());
    }

    /// Answers at every address outside with the address that asks.
    fn answer(&self) {
        for address in PUBLIC.iter().chain(&PRIVATE) {
            self.answer_at(&self.outside, address, PORT);
        }
    }

    /// Answers at this address and port.
    pub fn answer_at(&self, place: &Namespace, address: &str, port: u16) {
        let at = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port);
        let (tcp, udp) = place.run(|| (TcpListener::bind(at).expect("bound"), UdpSocket::bind(at).expect("bound")));
        let (seen, over) = (Arc::clone(&self.seen), Arc::clone(&self.over));
        std::thread::spawn(move || serve(&tcp, &udp, &seen, &over));
    }

    /// Has this address outside as well, and answers there.
    pub fn stand_at(&self, address: &str) {
        let (bits, quick) = if address.contains(':') { (128, " nodad") } else { (32, "") };
        self.outside.ip(&format!("addr add {address}/{bits} dev lo{quick}"));
        self.answer_at(&self.outside, address, PORT);
    }

    /// Answers for names at this address outside: `missing...` does not exist, every other has the first of [`PUBLIC`].
    pub fn name(&self, address: &str) {
        let at = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), 53);
        let socket = self.outside.run(|| UdpSocket::bind(at).expect("bound"));
        let over = Arc::clone(&self.over);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                poll(&mut ready, PollTimeout::from(200_u8)).expect("polled");
                let mut question = [0; 512];
                if ready[0].any().unwrap_or(false)
                    && let Ok((length, from)) = socket.recv_from(&mut question)
                {
                    drop(socket.send_to(&named(&question[..length]), from));
                }
            }
        });
    }

    /// Who has asked since the last look.
    pub fn seen(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.seen.lock().expect("whole"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn serve(tcp: &TcpListener, udp: &UdpSocket, seen: &Mutex<Vec<SocketAddr>>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(tcp.as_fd(), PollFlags::POLLIN), PollFd::new(udp.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(200_u8)).expect("polled");
        let ready = ready.map(|one| one.any().unwrap_or(false));
        if ready[0]
            && let Ok((stream, from)) = tcp.accept()
        {
            seen.lock().expect("whole").push(from);
            drop(greet(stream, from));
        }
        let mut question = [0; 100];
        if ready[1]
            && let Ok((_, from)) = udp.recv_from(&mut question)
        {
            seen.lock().expect("whole").push(from);
            drop(udp.send_to(from.ip().to_string().as_bytes(), from));
        }
    }
}

/// The answer to a question for an address (RFC 1035, section 4).
fn named(question: &[u8]) -> Vec<u8> {
    let name_end = question[12..].iter().position(|byte| *byte == 0).map_or(question.len(), |at| 12 + at + 1);
    let asked = &question[..(name_end + 4).min(question.len())];
    let (missing, is_v4) = (asked[13..].starts_with(b"missing"), asked.get(name_end + 1) == Some(&1));
    let mut answer = asked.to_vec();
    answer[2..4].copy_from_slice(&[0x81, if missing { 0x83 } else { 0x80 }]);
    answer[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    if !missing && is_v4 {
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 93, 184, 216, 34]);
    }
    answer
}

fn greet(mut stream: TcpStream, from: SocketAddr) -> std::io::Result<()> {
    stream.write_all(from.ip().to_string().as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.read(&mut [0; 10]).map(drop)
}
