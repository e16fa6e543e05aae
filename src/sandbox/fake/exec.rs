//! Processes of a pretended sandbox: real ones, on the machine of the test, with nothing of a sandbox around them.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::lock;
use crate::model::{ExecId, Exit};
use crate::sandbox::execution::{Ended, ExecError, Execution, Job, Order, Program, Reins, Started};

/// The processes of all pretended sandboxes by their ids.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<HashMap<ExecId, Pid>>);

impl Processes {
    /// Starts a program with its descriptors; users are not pretended.
    pub fn start(self: &Arc<Self>, order: Order) -> Result<Started, ExecError> {
        let Job::Program(program) = order.job else {
            return Err(ExecError::Host("the pretended host has no file servants".to_owned()));
        };
        let mut streams = [None, None, None];
        let mut others = Vec::new();
        for (fd, number) in order.fds {
            match usize::try_from(number).ok().and_then(|number| streams.get_mut(number)) {
                Some(stream) => *stream = Some(fd),
                None => others.push((fd, number)),
            }
        }
        let mut child = command(&program, streams, &others).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ExecError::NotFound(error.to_string()),
            _ => ExecError::NotExecutable(error.to_string()),
        })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
        lock(&self.0).insert(order.id.clone(), pid);
        let (sender, ended) = watch::channel(None);
        let (processes, id) = (Arc::clone(self), order.id.clone());
        std::thread::spawn(move || {
            // Until then the child may still have to open them.
            let _others = others;
            let exit = child.wait().map_or(Exit::Unknown, |status| match status.code() {
                Some(code) => Exit::Code(code),
                None => Exit::Signal(status.signal().unwrap_or_default()),
            });
            lock(&processes.0).remove(&id);
            sender.send_replace(Some(Ended::new(exit, crate::sys::unix_nanos())));
        });
        let reins: Arc<dyn Reins> = Arc::clone(self) as Arc<dyn Reins>;
        Ok(Started { execution: Execution::new(order.id, ended, reins), terminal: None })
    }
}

/// A shell opens what has another number than the standard streams, and becomes the program.
fn with_descriptors(argv: &[String], others: &[(OwnedFd, i32)]) -> Vec<String> {
    if others.is_empty() {
        return argv.to_vec();
    }
    let open = |(fd, number): &(OwnedFd, i32)| {
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::O_RDWR, OFlag::from_bits_truncate);
        let way = if flags & OFlag::O_ACCMODE == OFlag::O_WRONLY { '>' } else { '<' };
        format!(" {number}{way}/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
    };
    let script = format!("exec \"$@\"{}", others.iter().map(open).collect::<String>());
    let words = ["bash".to_owned(), "-c".to_owned(), script, "bash".to_owned()];
    words.into_iter().chain(argv.iter().cloned()).collect()
}

fn command(program: &Program, streams: [Option<OwnedFd>; 3], others: &[(OwnedFd, i32)]) -> Command {
    let argv = with_descriptors(&program.process.argv, others);
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    let [stdin, stdout, stderr] = streams.map(|stream| stream.map_or_else(Stdio::null, Stdio::from));
    command.args(argv.iter().skip(1)).stdin(stdin).stdout(stdout).stderr(stderr);
    command.env_clear().process_group(0).current_dir(&program.process.cwd);
    let env = program.process.env.iter().chain(&program.overrides);
    command.envs(env.filter_map(|entry| entry.split_once('=')));
    command
}

#[async_trait]
impl Reins for Processes {
    fn signal(&self, id: &ExecId, signal: i32) -> Result<(), ExecError> {
        if let (Some(pid), Ok(signal)) = (lock(&self.0).get(id), Signal::try_from(signal)) {
            // It may have ended just now.
            let _ = killpg(*pid, signal);
        }
        Ok(())
    }

    fn release(&self, _id: &ExecId) {}

    fn release_last(&self, _id: &ExecId) {}

    fn forget(&self, _id: &ExecId) {}

    async fn kept(&self, _id: &ExecId) -> Result<Vec<OwnedFd>, ExecError> {
        Ok(Vec::new())
    }
}
