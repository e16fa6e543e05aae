//! A thread that clears away what sandboxes leave behind, and looks after the rules.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bridge::{Leg, Ways};
use crate::model::SandboxId;

/// A namespace takes its end of the pair, and so the other, along when it goes, in the background and many at a time. To remove
/// an interface by itself would take longer and hold up those that are being made.
const PATIENCE: Duration = Duration::from_millis(500);
/// What goes in so much more time is cleared away with it: to look through the connections of the host takes as long for one as for
/// many.
const TOGETHER: Duration = Duration::from_millis(250);
/// How often the rules are looked at.
const ROUND: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Reaper {
    /// As many as there are sandboxes at most, so without a bound of its own.
    gone: Option<Sender<Gone>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Gone {
    id: SandboxId,
    leg: Leg,
    since: Instant,
}

impl Reaper {
    pub(super) fn start(ways: Arc<Ways>) -> io::Result<Self> {
        let (gone, coming) = channel();
        let thread = std::thread::Builder::new().name("network".into()).spawn(move || run(&ways, &coming))?;
        Ok(Self { gone: Some(gone), thread: Some(thread) })
    }

    pub(super) fn take(&self, id: SandboxId, leg: Leg) {
        // The thread lives as long as this sender.
        if let Some(gone) = &self.gone {
            drop(gone.send(Gone { id, leg, since: Instant::now() }));
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.gone.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks after the network panicked");
        }
    }
}

fn run(ways: &Ways, coming: &Receiver<Gone>) {
    let (mut looked, mut waiting, mut left) = (Instant::now(), Vec::<Gone>::new(), Vec::new());
    loop {
        if let Some(first) = waiting.first() {
            std::thread::sleep((PATIENCE + TOGETHER).saturating_sub(first.since.elapsed()));
            waiting.extend(coming.try_iter());
            let due = waiting.extract_if(.., |gone| gone.since.elapsed() >= PATIENCE);
            let due = due.map(|gone| (gone.id, gone.leg)).collect();
            left.extend(ways.clear(due));
        } else {
            match coming.recv_timeout(ROUND.saturating_sub(looked.elapsed())) {
                Ok(gone) => waiting.push(gone),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if looked.elapsed() >= ROUND {
            ways.guard();
            left = ways.clear(left);
            looked = Instant::now();
        }
    }
}
