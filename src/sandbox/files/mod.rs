//! The files of sandboxes, through servants inside.
//!
//! A servant is a process of the sandbox with the rights of one user. It is started when somebody asks, serves one request
//! at a time, and is kept for a while for the next. Once it has handed out a descriptor for reading it is free again: what
//! takes long needs no servant.

mod error;
mod lease;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tokio::time::Instant;

use super::{Execution, Inside, Job, Order, Program};
use crate::guest::Servant;
use crate::model::SandboxId;

pub use crate::proto::{
    FileEntry, FileFailure, FileFailureKind, FileKind, FileRequest, FileTime, PATH_BYTES, Permission,
};
pub use error::FileError;
pub use lease::Lease;

/// How long a servant waits for the next request.
const IDLE: Duration = Duration::from_secs(10);
/// Servants that wait for one user of one sandbox.
const WAITING: usize = 8;
/// Where a servant has its socket.
const SOCKET: i32 = 3;

/// Whose servant: the user as [`Process`](super::Process) has it, or none for the sandbox's own.
type Owner = (SandboxId, Option<String>);

/// The servants that wait, of all sandboxes.
#[derive(Debug, Default)]
pub struct Files {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    servants: HashMap<Owner, Vec<(Instant, Member)>>,
    /// Somebody looks after them.
    watched: bool,
}

/// A servant and the process that it is.
#[derive(Debug)]
struct Member {
    servant: Servant,
    execution: Execution,
}

impl Files {
    /// A servant for this user, or for the sandbox's own; `program` has user, directory and environment for a new one.
    ///
    /// # Errors
    /// When none could be started.
    pub async fn enter<E: From<FileError>>(
        self: &Arc<Self>,
        inside: &Inside,
        user: Option<String>,
        program: impl Future<Output = Result<Program, E>>,
    ) -> Result<Lease, E> {
        let owner = (inside.id().clone(), user);
        let member = match self.take(&owner) {
            Some(member) => member,
            None => start(inside, program.await?).await?,
        };
        Ok(Lease::new(Arc::clone(self), owner, inside.clone(), member))
    }

    fn take(&self, owner: &Owner) -> Option<Member> {
        let mut waiting = self.waiting();
        let servants = waiting.servants.get_mut(owner)?;
        // The youngest first, so that those that are too many get old.
        std::iter::from_fn(|| servants.pop()).map(|(_, member)| member).find(|member| member.servant.is_waiting())
    }

    fn put_back(self: &Arc<Self>, owner: Owner, member: Member) {
        let mut waiting = self.waiting();
        let servants = waiting.servants.entry(owner).or_default();
        if servants.len() < WAITING {
            servants.push((Instant::now(), member));
        }
        // A runtime that ends lets go of everything anyway.
        if !waiting.watched
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            waiting.watched = true;
            let files = Arc::clone(self);
            drop(runtime.spawn(async move { while files.let_go().await {} }));
        }
    }

    /// Lets go of those that nobody has wanted for long; false when none is left.
    async fn let_go(&self) -> bool {
        tokio::time::sleep(IDLE / 2).await;
        let mut waiting = self.waiting();
        waiting.servants.retain(|_, servants| {
            servants.retain(|(since, member)| since.elapsed() < IDLE && member.servant.is_waiting());
            !servants.is_empty()
        });
        waiting.watched = !waiting.servants.is_empty();
        waiting.watched
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start(inside: &Inside, program: Program) -> Result<Member, FileError> {
    let (ours, theirs) = pair()?;
    let order = Order { fds: vec![(theirs, SOCKET)], ..Order::new(Job::Files(Box::new(program))) };
    let started = tokio::select! {
        started = inside.start(order) => started?,
        phase = inside.interrupted() => return Err(FileError::NotRunning(phase)),
    };
    // The socket says whether it lives. A later daemon has no use for it.
    started.execution.forget();
    let servant = Servant::new(ours).map_err(|error| FileError::Broken(error.to_string()))?;
    Ok(Member { servant, execution: started.execution })
}

fn pair() -> Result<(OwnedFd, OwnedFd), FileError> {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    pair.map_err(|error| FileError::Broken(format!("make a socket pair: {error}")))
}
