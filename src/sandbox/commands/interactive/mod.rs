//! Processes that a client takes part in, with a terminal or with pipes.
//!
//! ```text
//! process -> pipe or terminal -> tape (a file) -> the one client that has the seat
//! client -> input -> pipe or terminal -> process
//! ```
//!
//! The process begins with its first client and does not end with any: what nobody sees is on the tape, and who comes
//! back says from where on it wants to see it. A client that is slow reads from the tape later, and nothing waits for it in
//! memory. A daemon that is started again finds tape and blueprint in the sandbox's directory, and the descriptors with
//! PID 1.

mod entrypoint;
mod input;
mod pump;
mod seat;
mod source;
mod start;
mod store;
mod tape;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::{OnceCell, watch};

use crate::model::{ExecId, Phase};
use crate::sandbox::{ExecError, Execution, Inside, Program, WindowSize};
use crate::sys;

use input::Input;
use seat::Seat;
use store::Place;

pub use entrypoint::{Entrypoint, EntrypointSeat};
pub use pump::Over;
pub use seat::Occupied;
pub(super) use store::Found;
pub use tape::{Piece, Tape};

/// What to run when the first client comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blueprint {
    pub program: Program,
    /// Whether it has a standard input; otherwise that is `/dev/null`. A terminal is always one.
    pub stdin: bool,
    /// Whether it waits for a client that is slower than its output, and for half a minute for one that has gone;
    /// otherwise old output is forgotten.
    pub patient: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Terminal(WindowSize),
    Pipes,
}

/// One such process, from before its start until it is deleted.
#[derive(Debug)]
pub struct Interactive {
    id: ExecId,
    blueprint: Blueprint,
    place: Place,
    inside: Inside,
    tape: Arc<Tape>,
    seat: Arc<Seat>,
    running: OnceCell<Running>,
    closed: watch::Sender<bool>,
}

/// The process, once it was started.
#[derive(Debug)]
pub struct Running {
    execution: Execution,
    has_terminal: bool,
    input: Arc<Input>,
    over: watch::Receiver<Option<Over>>,
}

/// A client's right to take part. It is given back when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    pub process: Arc<Interactive>,
    number: u64,
}

impl Interactive {
    #[must_use]
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    #[must_use]
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }

    /// Whether it runs. One that was not started does not.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.get().is_some_and(|running| running.execution.end().is_none())
    }

    fn has_ended(&self) -> bool {
        self.running.get().is_some_and(|running| running.execution.end().is_some())
    }

    /// Lets one client take part.
    ///
    /// # Errors
    /// When another does, and must not be sent away.
    pub fn attach(self: &Arc<Self>, by_force: bool) -> Result<Attachment, Occupied> {
        let number = self.seat.take(by_force)?;
        Ok(Attachment { process: Arc::clone(self), number })
    }

    /// Starts it, if it has not been started; `mode` matters only then.
    ///
    /// # Errors
    /// Why it was not started. It may be tried again.
    pub async fn start(&self, mode: Mode) -> Result<&Running, ExecError> {
        self.running.get_or_try_init(|| start::start(self, mode)).await
    }

    /// Ends the process and forgets everything of it.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        self.place.remove();
        let Some(running) = self.running.get() else { return };
        running.input.close();
        start::end(running.execution.clone());
    }

    /// Resolves when it was deleted.
    pub async fn closed(&self) {
        // The sender is our own, so it is there.
        drop(self.closed.subscribe().wait_for(|closed| *closed).await);
    }
}

impl Running {
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// Resolves when the process has ended and all that it wrote is on the tape; never when the sandbox goes first.
    pub async fn over(&self) -> Over {
        let over = self.over.clone().wait_for(Option::is_some).await.ok().and_then(|over| *over);
        match over {
            Some(over) => over,
            None => std::future::pending().await,
        }
    }

    /// Writes some of the bytes to its standard input, and says how many; waits for a process that does not read. Whoever
    /// gives up waiting has written nothing.
    ///
    /// # Errors
    /// When nobody can read that any more.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.input.write(bytes).await
    }

    /// How many bytes were written to its input by this daemon, or discarded.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.input.taken()
    }

    /// Counts bytes that nobody will read as taken.
    pub fn discard(&self, bytes: usize) {
        self.input.count(bytes);
    }

    /// The end of its standard input. A terminal has none.
    pub fn end_input(&self) {
        if !self.has_terminal && self.input.fd().is_some() {
            self.input.close();
            // PID 1 keeps it for the next daemon.
            self.execution.release_last();
        }
    }

    /// Sets the size of its terminal, which tells the program.
    ///
    /// # Errors
    /// When there is no terminal.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        let terminal = self.terminal()?;
        sys::set_window_size(terminal.as_fd(), size.columns, size.rows).map_err(|error| error.errno.into())
    }

    /// Sends a signal. With a terminal, SIGINT and SIGQUIT go to what runs in its foreground, as from its keys.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub fn signal(&self, signal: i32) -> Result<(), ExecError> {
        if matches!(signal, libc::SIGINT | libc::SIGQUIT)
            && let Ok(terminal) = self.terminal()
            && sys::signal_foreground(terminal.as_fd(), signal).is_ok()
        {
            return Ok(());
        }
        self.execution.signal(signal)
    }

    fn terminal(&self) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        let none = || io::Error::new(io::ErrorKind::Unsupported, "there is no terminal");
        self.input.fd().filter(|_| self.has_terminal).ok_or_else(none)
    }
}

impl Attachment {
    /// Resolves when another client has taken over.
    pub async fn lost(&self) {
        self.process.seat.lost(self.number).await;
    }

    /// Tells how far the client has seen the output.
    pub fn shown(&self, offset: u64) {
        self.process.seat.shown(self.number, offset);
    }

    /// Resolves when the sandbox has ended or is being removed.
    pub async fn sandbox_left(&self) -> Phase {
        self.process.inside.left().await
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.process.seat.leave(self.number);
    }
}
