//! A log as a stream of frames, to its present end or to the end of the sandbox.

use std::io;
use std::pin::pin;

use tokio::sync::mpsc;

use super::reader::Reader;
use super::watcher::{Changes, Watcher};
use super::{Frame, Logs, tail};
use crate::model::SandboxId;

/// Batches that wait for a slow client; a batch is one chunk of the log, mostly 64 KiB.
const WAITING: usize = 4;

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on with what is written until the sandbox has ended.
    pub follow: bool,
    /// Only the last lines of what is there.
    pub tail: Option<usize>,
    /// Only what was written since then, in nanoseconds of the Unix epoch.
    pub since: Option<u64>,
}

/// Frames as they come; after an error nothing more comes.
pub type Batches = mpsc::Receiver<io::Result<Vec<Frame>>>;

impl Logs {
    /// Streams a log. A follower's stream ends after `ended` has resolved and everything that was written before is read.
    ///
    /// # Errors
    /// When the log cannot be read or watched.
    pub async fn stream(
        &self,
        id: &SandboxId,
        options: Options,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Batches> {
        // Watched before the first byte is read, so that nothing is missed in between.
        let changes = if options.follow { self.changes(id).await? } else { None };
        let mut reader = self.reader(id);
        let reader = blocking(move || position(&mut reader, options).map(|()| reader)).await??;
        let (sender, batches) = mpsc::channel(WAITING);
        tokio::spawn(pump((reader, read), options.follow, changes, ended, sender));
        Ok(batches)
    }

    /// Streams a log from its beginning and follows it. Each batch comes with the offset of its first byte in all that was
    /// written.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn whole(
        &self,
        id: &SandboxId,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<mpsc::Receiver<io::Result<(u64, Vec<Frame>)>>> {
        let changes = self.changes(id).await?;
        let reader = self.reader(id);
        let (sender, batches) = mpsc::channel(WAITING);
        tokio::spawn(pump((reader, read_placed), true, changes, ended, sender));
        Ok(batches)
    }

    /// `None` when the sandbox has no directory: it is gone, and so is what could be followed.
    async fn changes(&self, id: &SandboxId) -> io::Result<Option<Changes>> {
        let watcher = self.watcher.get_or_try_init(|| async { Watcher::start() }).await?;
        match watcher.watch(&self.dir.join(id.as_str())) {
            Ok(changes) => Ok(Some(changes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn position(reader: &mut Reader, options: Options) -> io::Result<()> {
    reader.since = options.since;
    match options.tail {
        Some(lines) => tail::seek(reader, lines, options.since).map(drop)?,
        None => reader.stop_at_present_end()?,
    }
    if options.follow {
        reader.follow();
    }
    Ok(())
}

/// What is read next; `None` when there is nothing for now.
type Read<T> = fn(&mut Reader) -> io::Result<Option<T>>;

fn read(reader: &mut Reader) -> io::Result<Option<Vec<Frame>>> {
    reader.read().map(|frames| (!frames.is_empty()).then_some(frames))
}

fn read_placed(reader: &mut Reader) -> io::Result<Option<(u64, Vec<Frame>)>> {
    let Some(frames) = read(reader)? else { return Ok(None) };
    let length: u64 = frames.iter().map(|frame| frame.payload.len() as u64).sum();
    Ok(Some((reader.position.saturating_sub(length), frames)))
}

async fn pump<T: Send + 'static>(
    (mut reader, read): (Reader, Read<T>),
    follow: bool,
    mut changes: Option<Changes>,
    ended: impl Future<Output = ()>,
    sender: mpsc::Sender<io::Result<T>>,
) {
    let mut ended = pin!(ended);
    let mut over = !follow;
    loop {
        let batch;
        (reader, batch) = match blocking(move || {
            let batch = read(&mut reader);
            (reader, batch)
        })
        .await
        {
            Ok(read) => read,
            Err(lost) => return drop(sender.send(Err(lost)).await),
        };
        let failed = batch.is_err();
        let Some(batch) = batch.transpose() else {
            if over {
                return;
            }
            tokio::select! {
                () = changed(&mut changes) => {}
                () = &mut ended => over = true,
                () = sender.closed() => return,
            }
            continue;
        };
        if sender.send(batch).await.is_err() || failed {
            return;
        }
    }
}

async fn changed(changes: &mut Option<Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// File work stays off the threads that serve everybody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
