//! PID 1 at work: one loop over signals, the daemon's commands, the entrypoint's output and the processes that are being
//! started.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::MsgFlags;
use nix::unistd::Pid;

use super::exec::{Execs, Nursery};
use super::log::{LogWriter, Stream};
use super::workload::{Born, Outputs};
use crate::model::{ExecId, Exit, Interaction};
use crate::proto::{self, Command, MAX_CONTROL_BYTES, READER_SECONDS, Report};
use crate::sys::{self, Ended, Patience};

/// Signals that PID 1 passes on to the entrypoint, as `docker kill` and CI runners send them.
const FORWARDED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Bytes read from a pipe at a time: its whole default capacity.
const CHUNK: usize = 64 * 1024;

/// What PID 1 looks after.
#[derive(Debug)]
pub struct Running {
    pub nonce: String,
    pub log: LogWriter,
    pub born: Born,
    pub interaction: Interaction,
}

#[derive(Debug)]
pub struct Supervisor<'a> {
    control: OwnedFd,
    nonce: String,
    log: LogWriter,
    outputs: [Option<(OwnedFd, Stream)>; 2],
    entrypoint: Pid,
    exit: Option<Exit>,
    /// How much of the output a reader has seen, and until when it is waited for.
    reader: Option<(u64, Instant)>,
    execs: Execs<'a>,
    /// The socket to the daemon has no room for what is to be said.
    waits_for_room: bool,
}

impl<'a> Supervisor<'a> {
    pub fn new(control: OwnedFd, running: Running, nursery: Nursery<'a>) -> Self {
        let Running { nonce, log, born: Born { pid: entrypoint, outputs, handed }, interaction } = running;
        let Outputs { mut stdout, stderr } = outputs;
        let mut execs = Execs::new(nursery);
        let is_terminal = matches!(interaction, Interaction::Terminal { .. });
        // Without a second descriptor nothing could be typed, or nothing be seen; it runs in any case.
        if is_terminal && let Some(Ok(master)) = handed.as_ref().map(OwnedFd::try_clone) {
            stdout = master;
        }
        execs.know_entrypoint(entrypoint, handed, is_terminal);
        let outputs = [Some((stdout, Stream::Stdout)), Some((stderr, Stream::Stderr))];
        Self { control, nonce, log, outputs, entrypoint, exit: None, reader: None, execs, waits_for_room: false }
    }

    /// Runs until the daemon and the launcher have both let go of the control socket, or the sandbox is killed.
    pub fn run(mut self) -> i32 {
        let Ok(signals) = self.take_signals() else { return 1 };
        loop {
            let Ready { signals: signal, control, outputs, words } = self.wait(&signals);
            for id in words {
                self.execs.hear(&id);
            }
            if signal {
                self.on_signals(&signals);
            }
            for (index, ready) in outputs.into_iter().enumerate() {
                if ready {
                    self.on_output(index);
                }
            }
            if control && !self.on_command() {
                return 0;
            }
            self.waits_for_room = self.execs.speak(self.control.as_fd());
        }
    }

    fn take_signals(&self) -> nix::Result<SignalFd> {
        let mut mask: SigSet = FORWARDED.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // The entrypoint may have ended before the signal was blocked.
        kill(Pid::this(), Signal::SIGCHLD)?;
        Ok(signals)
    }

    fn wait(&self, signals: &SignalFd) -> Ready {
        let room = if self.waits_for_room { PollFlags::POLLOUT } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN | room),
        ];
        let mut places = [None, None];
        let (held, patience) = self.held();
        for (place, output) in places.iter_mut().zip(&self.outputs) {
            if let Some((fd, _)) = output
                && !held
            {
                *place = Some(fds.len());
                fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            }
        }
        let first_word = fds.len();
        fds.extend(self.execs.words().map(|(_, word)| PollFd::new(word, PollFlags::POLLIN)));
        // An interrupted poll shows nothing as ready, and the loop comes back.
        let _ = poll(&mut fds, patience);
        let ready = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        let readable =
            |at: usize| fds.get(at).and_then(PollFd::revents).is_some_and(|found| found != PollFlags::POLLOUT);
        let words = self.execs.words().zip(first_word..).filter(|(_, at)| ready(*at)).map(|((id, _), _)| id.clone());
        Ready {
            signals: ready(0),
            control: ready(1) && readable(1),
            outputs: places.map(|place| place.is_some_and(ready)),
            words: words.collect(),
        }
    }

    /// Whether the output stays with the entrypoint, and how long at most.
    fn held(&self) -> (bool, PollTimeout) {
        match self.reader {
            Some((seen, lapses)) if self.log.kept() >= seen.saturating_add(self.log.ahead()) => {
                let left = lapses.saturating_duration_since(Instant::now());
                let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
                if left.is_zero() { (false, PollTimeout::NONE) } else { (true, PollTimeout::from(millis.max(1))) }
            }
            _ => (false, PollTimeout::NONE),
        }
    }

    /// One signal at a time: the kernel hands out low numbers first, and a sandbox that sends them without end must not
    /// keep PID 1 from its children, its output and the daemon.
    fn on_signals(&mut self, signals: &SignalFd) {
        if let Ok(Some(info)) = signals.read_signal() {
            match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGCHLD) | None => {}
                Some(signal) => self.pass_on(signal as i32),
            }
        }
        self.reap();
    }

    fn pass_on(&self, signal: i32) {
        if self.exit.is_none()
            && let Ok(signal) = Signal::try_from(signal)
        {
            // It may be a zombie already; its end is on the way then.
            let _ = kill(self.entrypoint, signal);
        }
    }

    /// Takes in every child that ended: ours, and the orphans that the kernel gave to PID 1.
    fn reap(&mut self) {
        while let Ok(Some((pid, ended))) = sys::wait_any(Patience::Look) {
            if pid == self.entrypoint {
                self.execs.ended(pid, exit_of(ended));
                self.finish(exit_of(ended));
            } else {
                self.execs.ended(pid, exit_of(ended));
            }
        }
    }

    /// The entrypoint is the sandbox's life: with it everything else ends, and what they wrote is in the log before
    /// anyone hears of it.
    fn finish(&mut self, exit: Exit) {
        if self.exit.is_some() {
            return;
        }
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while let Ok(reaped) = sys::wait_any(Patience::Wait) {
            if let Some((pid, ended)) = reaped {
                self.execs.ended(pid, exit_of(ended));
            }
        }
        self.exit = Some(exit);
        for index in 0..self.outputs.len() {
            while self.outputs[index].is_some() {
                self.on_output(index);
            }
        }
        self.execs.say(Report::Exited(exit));
    }

    /// Reads what is there; end of file and errors close the pipe.
    fn on_output(&mut self, index: usize) {
        let Some((fd, stream)) = self.outputs.get_mut(index).and_then(Option::as_mut) else { return };
        let mut chunk = vec![0; CHUNK];
        match nix::unistd::read(&*fd, &mut chunk) {
            Err(Errno::EINTR) => {}
            // The daemon has made the master of a terminal so. Nobody has the other side any more once all have ended.
            Err(Errno::EAGAIN) if self.exit.is_none() => {}
            Ok(0) | Err(_) => self.outputs[index] = None,
            Ok(length) => {
                let stream = *stream;
                self.log.append(stream, sys::unix_nanos(), chunk.get(..length).unwrap_or_default());
            }
        }
    }

    /// Carries out one command; false when nobody is left at the other end.
    fn on_command(&mut self) -> bool {
        let message = match sys::receive(self.control.as_fd(), MAX_CONTROL_BYTES, MsgFlags::MSG_DONTWAIT) {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(error) => return matches!(error.errno, Errno::EAGAIN | Errno::EMSGSIZE),
        };
        match proto::decode(&message.bytes) {
            Ok(Command::Hello) => {
                self.execs.say(Report::Hello { nonce: self.nonce.clone() });
                if let Some(exit) = self.exit {
                    self.execs.say(Report::Exited(exit));
                }
            }
            Ok(Command::Signal(signal)) => self.pass_on(signal),
            Ok(Command::Seen { offset }) => {
                self.reader = Some((offset, Instant::now() + Duration::from_secs(u64::from(READER_SECONDS))));
            }
            Ok(Command::Exec { id }) => self.execs.start(id, message.fds),
            Ok(Command::SignalExec { id, signal }) => self.execs.signal(&id, signal),
            Ok(Command::Release { id }) => self.execs.release(&id),
            Ok(Command::ReleaseLast { id }) => self.execs.release_last(&id),
            Ok(Command::Forget { id }) => self.execs.forget(&id),
            Ok(Command::HandOut { id }) => self.execs.hand_out(&id),
            Ok(Command::Execs { after }) => self.execs.tell(after.as_ref()),
            // It runs already; or from a daemon of another version, which will notice that nothing happened.
            Ok(Command::Start) | Err(_) => {}
        }
        true
    }
}

fn exit_of(ended: Ended) -> Exit {
    match ended {
        Ended::Code(code) => Exit::Code(code),
        Ended::Signal(signal) => Exit::Signal(signal),
    }
}

struct Ready {
    signals: bool,
    control: bool,
    outputs: [bool; 2],
    words: Vec<ExecId>,
}
