//! From a process to its tape.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::seat::Seat;
use super::source::{Moved, Source};
use super::tape::Tape;
use crate::model::Exit;
use crate::sandbox::{Execution, Inside};

/// So much at most is of the process itself when it has ended; what comes after that is of others, which it left behind.
const LAST: usize = 128 << 10;

/// How a process ended, and where its output did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    pub exit: Exit,
    pub at: u64,
}

/// What the pumps of a process share.
#[derive(Debug, Clone)]
pub struct Flow {
    pub execution: Execution,
    pub inside: Inside,
    pub tape: Arc<Tape>,
    pub seat: Arc<Seat>,
    /// How many bytes may be written that nobody has seen; the program waits then.
    pub unseen: Option<u64>,
}

/// Moves the output of a process to its tape for as long as anybody writes, and calls `end` after that. Tells when the
/// process has ended and everything that it had written is on the tape.
pub fn follow(flow: Flow, sources: Vec<Source>, end: impl FnOnce() + Send + 'static) -> watch::Receiver<Option<Over>> {
    let (over, told) = watch::channel(None);
    let (drained, mut all_drained) = mpsc::channel::<()>(1);
    let pumps: Vec<_> =
        sources.into_iter().map(|source| tokio::spawn(pump(flow.clone(), source, drained.clone()))).collect();
    drop(drained);
    tokio::spawn(async move {
        let (execution, tape) = (flow.execution.clone(), Arc::clone(&flow.tape));
        let ended = async {
            let ended = execution.ended().await;
            // Nothing is ever sent: it ends when the last pump has let go.
            all_drained.recv().await;
            ended.exit
        };
        tokio::select! {
            exit = ended => drop(over.send_replace(Some(Over { exit, at: tape.end() }))),
            _ = flow.inside.left() => {}
        }
        for pump in pumps {
            drop(pump.await);
        }
        end();
        // Whoever listens hears of the sandbox's end elsewhere, and not from a sender that is gone.
        over.closed().await;
    });
    told
}

/// Reads one source to its end. `drained` is let go of as soon as the process has ended and the source was empty after
/// that.
async fn pump(flow: Flow, source: Source, drained: mpsc::Sender<()>) {
    let mut drained = Some(drained);
    let mut left: Option<usize> = None;
    loop {
        let ended = flow.execution.end().is_some();
        if ended {
            left.get_or_insert(LAST);
        }
        let guard = tokio::select! {
            guard = source.readable(), if drained.is_none() || !ended => match guard {
                Ok(guard) => Some(guard),
                Err(_) => break,
            },
            // What is on its way through the terminal makes it readable only when it is asked for.
            () = std::future::ready(()), if drained.is_some() && ended => None,
            _ = flow.execution.ended(), if !ended => continue,
            _ = flow.inside.left() => break,
        };
        if let Some(unseen) = flow.unseen.filter(|_| left.is_none()) {
            tokio::select! {
                () = flow.seat.seen(flow.tape.end().saturating_sub(unseen)) => {}
                _ = flow.execution.ended() => {}
                _ = flow.inside.left() => break,
            }
        }
        match source.take(&flow.tape).await {
            Ok(Moved::Nothing) => {
                if let Some(mut guard) = guard {
                    guard.clear_ready();
                }
                if ended {
                    drained = None;
                }
            }
            Ok(Moved::Some(moved)) => {
                left = left.map(|left| left.saturating_sub(moved));
                if left == Some(0) {
                    drained = None;
                }
            }
            Ok(Moved::End) => break,
            Err(error) => {
                tracing::warn!(%error, "the output of a process cannot be kept");
                break;
            }
        }
    }
}
