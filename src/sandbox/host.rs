//! What the lifecycle needs of the host, as a trait, so that everything above it is tested without a kernel.

use async_trait::async_trait;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::ConnectError;
use super::execution::{ExecError, FoundExecution, Order, Process, Started};
use super::fetch::{Fetch, Presence};
use crate::model::{Exit, NetworkPolicy, OutOfMemory, Reason, SandboxId, SandboxSpec, Usage};

/// The first host id of a sandbox's exclusive range of 65,536 (`user_namespaces(7)`).
pub type IdBase = u32;

/// Makes, changes and removes what a sandbox is made of on the host.
///
/// Every name on the host derives from the sandbox's id and its id base; both are recorded before [`launch`](Self::launch),
/// so that [`destroy`](Self::destroy) works from the record alone. `destroy` may be called any number of times, in any state.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Identifies this boot of the host (`/proc/sys/kernel/random/boot_id`).
    fn boot_id(&self) -> &str;

    /// Seconds of `CLOCK_BOOTTIME`, as nanoseconds: does not jump when the wall clock is set.
    fn boot_nanos(&self) -> u64;

    /// Nanoseconds of the Unix epoch (`CLOCK_REALTIME`).
    fn unix_nanos(&self) -> i64;

    /// Says whether the image is there or is to be fetched, before anything is recorded.
    async fn check_image(&self, image: &str, fetch: &Fetch) -> Result<Presence, HostError>;

    /// Says whether the host's disk has room for another sandbox; if not, what is short and what to do.
    async fn check_room(&self) -> Result<(), String>;

    /// Fetches the image and keeps it for this sandbox; `tell` hears how far that is. Whoever drops the future gives it up.
    async fn fetch_image(
        &self,
        id: &SandboxId,
        image: &str,
        fetch: Fetch,
        tell: watch::Sender<String>,
    ) -> Result<(), HostError>;

    /// Takes an id and an id range that no sandbox, recorded or living, uses. What is prepared on the host under that id
    /// is gone after [`release`](Self::release), or part of the sandbox after [`launch`](Self::launch).
    async fn reserve(&self) -> Result<Reservation, HostError>;

    /// Marks the range of a recorded sandbox as taken; called for every record before anything else at start.
    fn claim(&self, base: IdBase);

    /// Gives an id range back: called once the record no longer says that it is taken. Neither
    /// [`stop`](Self::stop) nor [`destroy`](Self::destroy) does that, so that no range ever stands in two records.
    fn release(&self, base: IdBase);

    /// Makes the sandbox and starts its entrypoint; returns once the entrypoint has been executed.
    async fn launch(&self, id: &SandboxId, base: IdBase, spec: &SandboxSpec) -> Result<Launched, HostError>;

    /// Finds a sandbox that an earlier daemon launched, and proves that it is the one that was recorded.
    async fn adopt(&self, id: &SandboxId, base: IdBase, proof: &str) -> Result<Launched, HostError>;

    /// Puts a policy in force for a sandbox that lives, or takes it away; its connections that are forbidden now end. Says for
    /// a sandbox that was adopted what holds for it.
    async fn set_policy(&self, id: &SandboxId, policy: Option<&NetworkPolicy>) -> Result<(), HostError>;

    /// Freezes all processes of the sandbox; returns when the kernel says that they are frozen, and gives up by itself.
    async fn freeze(&self, id: &SandboxId) -> Result<(), HostError>;

    /// Thaws them; returns when the kernel says so, and gives up by itself. Harmless on a sandbox that is not frozen.
    async fn thaw(&self, id: &SandboxId) -> Result<(), HostError>;

    /// Whether the kernel says that the sandbox is frozen.
    async fn is_frozen(&self, id: &SandboxId) -> Result<bool, HostError>;

    /// Sends a signal to the entrypoint.
    async fn signal(&self, id: &SandboxId, signal: i32) -> Result<(), HostError>;

    /// Tells PID 1 how far a reader has seen the entrypoint's output, which waits for it for a while.
    fn seen_output(&self, _id: &SandboxId, _offset: u64) {}

    /// What the sandbox uses now. Of one that is gone: nothing.
    async fn usage(&self, id: &SandboxId) -> Result<Usage, HostError>;

    /// What the sandbox is on this host, as names and values for people.
    fn describe(
        &self,
        id: &SandboxId,
        base: Option<IdBase>,
        spec: &SandboxSpec,
        proof: Option<&str>,
    ) -> Vec<(String, String)>;

    /// What image and request give to every process of the sandbox: environment, user, working directory; no arguments.
    async fn process_defaults(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<Process, HostError>;

    /// Starts a process beside the entrypoint; returns once its program was executed. One that is frozen meanwhile
    /// starts when it is thawed.
    async fn exec(&self, id: &SandboxId, order: Order) -> Result<Started, ExecError>;

    /// What [`exec`](Self::exec) started and nobody forgot, also for an earlier daemon.
    async fn executions(&self, id: &SandboxId) -> Result<Vec<FoundExecution>, ExecError>;

    /// A connection to a port of the sandbox's own loopback.
    async fn connect(&self, id: &SandboxId, port: u16) -> Result<TcpStream, ConnectError>;

    /// Listens on a port of the sandbox's own 127.0.0.1.
    async fn listen(&self, id: &SandboxId, port: u16, backlog: u32) -> Result<TcpListener, ConnectError>;

    /// Kills every process and removes everything the sandbox has on the host but its logs.
    /// May be called any number of times, in any state.
    async fn stop(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError>;

    /// As [`stop`](Self::stop), and removes the logs as well.
    async fn destroy(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError>;

    /// Removes what is on the host for sandboxes that are not among `known`. Returns what it removed, for the log.
    async fn sweep(&self, known: &[SandboxId]) -> Vec<String>;

    /// The daemon ends, and the sandboxes stay: from here on nothing that runs in it still reaches a process of theirs.
    fn leave(&self);
}

/// A place for a sandbox that is to be recorded next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub id: SandboxId,
    pub base: IdBase,
}

/// A sandbox whose entrypoint was started.
#[expect(missing_debug_implementations, reason = "holds a trait object")]
pub struct Launched {
    /// What a later daemon must find again to believe that a process is this sandbox.
    pub proof: String,
    /// Facts a user should know (a limit that could not be set), for the status message.
    pub notes: Vec<String>,
    pub life: Box<dyn Life>,
}

/// The living side of a sandbox: held by its driver.
#[async_trait]
pub trait Life: Send {
    /// Resolves when the entrypoint has ended. Cancel-safe; called again after it resolved it returns the same.
    async fn ended(&mut self) -> End;
}

/// How a sandbox's life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub exit: Exit,
    /// The kernel killed something of the workload for want of memory, and that is how it ended.
    pub oom: Option<OutOfMemory>,
    /// PID 1 is gone without having reported the entrypoint's end.
    pub lost: bool,
}

/// A step on the host that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct HostError {
    pub reason: Reason,
    /// The whole chain, ending in the call, its arguments and errno; says what to do where something can be done.
    pub message: String,
}
