//! The entrypoint as a process that clients take part in.
//!
//! PID 1 has made its input or its terminal, keeps it, and writes all output to the sandbox's log, where clients see it. So
//! it needs no tape, and it goes on whatever becomes of clients and daemons.

use std::sync::Arc;

use tokio::sync::watch;

use super::Running;
use super::input::Input;
use super::seat::{Occupied, Seat};
use crate::model::{ExecId, Interaction};
use crate::sandbox::commands::shelf::io_failed;
use crate::sandbox::{ExecError, Inside};
use crate::sys;

#[derive(Debug)]
pub struct Entrypoint {
    inside: Inside,
    running: Running,
    seat: Seat,
}

/// A client's right to take part in the entrypoint. It is given back when this is dropped.
#[derive(Debug)]
pub struct EntrypointSeat {
    pub entrypoint: Arc<Entrypoint>,
    number: u64,
}

impl Entrypoint {
    /// `None` when PID 1 is of a version that hands nothing of it out.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub(in crate::sandbox::commands) async fn find(inside: Inside) -> Result<Option<Self>, ExecError> {
        let found = inside.executions().await?;
        let Some(found) = found.into_iter().find(|found| *found.execution.id() == ExecId::entrypoint()) else {
            return Ok(None);
        };
        let execution = found.execution;
        // Nothing, when it has no input or that was closed.
        let input = match execution.kept().await?.pop() {
            Some(fd) => Input::new(Arc::new(sys::watch(fd).map_err(io_failed)?)),
            None => Input::default(),
        };
        let has_terminal = matches!(inside.sandbox().spec.interaction, Interaction::Terminal { .. });
        // How it ends is the end of the sandbox, and told there.
        let (_, over) = watch::channel(None);
        let running = Running { execution, has_terminal, input: Arc::new(input), over };
        Ok(Some(Self { inside, running, seat: Seat::new(0) }))
    }

    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Lets one client take part.
    ///
    /// # Errors
    /// When another does, and must not be sent away.
    pub fn attach(self: &Arc<Self>, by_force: bool) -> Result<EntrypointSeat, Occupied> {
        let number = self.seat.take(by_force)?;
        Ok(EntrypointSeat { entrypoint: Arc::clone(self), number })
    }
}

impl EntrypointSeat {
    /// Resolves when another client has taken over.
    pub async fn lost(&self) {
        self.entrypoint.seat.lost(self.number).await;
    }
}

impl Drop for EntrypointSeat {
    fn drop(&mut self) {
        self.entrypoint.seat.leave(self.number);
        // Nothing waits for who has gone; a client that has taken over says anew how far it is.
        self.entrypoint.inside.seen_output(u64::MAX);
    }
}
