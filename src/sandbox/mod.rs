//! The life of a sandbox: its states, who may change them, and who remembers them.
//!
//! Floor 4: the only place that knows the order of things.
//!
//! ```text
//!              launched             pause              frozen
//!   Pending ------------> Running --------> Pausing ------------> Paused
//!      |                   |  ^ ^              |                   |  ^
//!      | launch            |  | |freeze failed |            resume |  | thaw failed
//!      | failed            |  | +--------------+                   v  |
//!      |                   |  +-------------------------------- Resuming
//!      |                   |                thawed
//!      |    entrypoint     |
//!      v    ended, lost    v           (from Running and Paused; the others wait a moment)
//!   Failed <----------- Failed | Terminated
//!
//!   any of these -- delete, expire --> Stopping -- destroyed --> Terminated -- retention over --> (gone)
//! ```
//!
//! - Pending may begin with fetching the image; whoever asked for the sandbox has the answer by then, and reads in the status
//!   how far it is. A delete gives the fetching up; a daemon that starts begins with it anew.
//! - launched: the entrypoint was executed; the time of life begins to count.
//! - launch failed: a step of making it failed; the status names the step, what was made is removed.
//! - pause: recorded, then all processes are being frozen.
//! - frozen: the kernel says that all processes are.
//! - freeze failed: it is thawed again, and runs on with reason `pause_failed`; the caller hears the error.
//! - resume: recorded, then all processes are being thawed.
//! - thawed: the kernel says that they run.
//! - thaw failed: it stays paused with reason `resume_failed`; the caller hears the error.
//! - entrypoint ended: Terminated if it exited with 0, else Failed; everything but record and logs is removed.
//! - lost: PID 1 ended without a report, or a new daemon did not find it; Failed.
//! - found otherwise: a new daemon finds one frozen that should run, or the other way round; what was meant is done again
//!   (Running becomes Resuming, Paused becomes Pausing).
//! - delete, expire: recorded; from now on it is not found by any call, and it is removed from the host.
//! - destroyed: nothing of it is left on the host; it can still be read for a while.
//! - retention over: its record is deleted.
//!
//! A call during Pausing or Resuming waits for the end of it and is then decided. Clean-up that fails is tried again
//! with growing delays for as long as the daemon lives.

mod adoption;
mod birth;
pub mod code;
pub mod commands;
mod config;
mod denial;
mod driver;
mod execution;
mod expiry;
#[cfg(any(test, feature = "fake-host"))]
pub mod fake;
mod fetch;
pub mod files;
mod host;
mod inside;
pub mod linux;
mod listing;
pub mod logs;
mod machine;
mod ports;
mod probe_port;
mod registry;
mod snapshot;
mod usage;

pub use adoption::{StartError, StartReport};
pub use config::LifecycleConfig;
pub use denial::Denial;
pub use execution::{
    Ended, ExecError, Execution, FoundExecution, Job, LABEL_BYTES, Order, Process, Program, Reins, Started, WindowSize,
};
pub use fetch::{Fetch, Presence};
pub use host::{End, Host, HostError, IdBase, Launched, Life, Reservation};
pub use inside::Inside;
pub use listing::{Filter, Found, Listing};
pub use ports::ConnectError;
pub use probe_port::ProbePorts;
pub use registry::Sandboxes;
pub use snapshot::Sandbox;
pub use usage::Metered;

#[cfg(test)]
mod tests;
