//! What a sandbox is, in plain data: ids, the specification of a sandbox, its states, its limits.
//!
//! Floor 0: nothing here does I/O or imports another module of the project. Each type is parsed once, at the
//! edge, and is valid from then on.

mod causes;
mod exec_id;
mod finding;
mod history;
mod id;
mod limits;
mod network;
mod policy;
mod spec;
mod status;
mod usage;

pub use causes::with_causes;
pub use exec_id::{ExecId, InvalidExecId};
pub use finding::Finding;
pub use history::{Event, History};
pub use id::{InvalidSandboxId, SandboxId};
pub use limits::{InvalidQuantity, LIMIT_NAMES, Limits, OutOfMemory, parse_cpu, parse_memory};
pub use network::{
    InvalidNetworkName, LEAST_BANDWIDTH, NetworkBounds, NetworkMode, NetworkName, NetworkOffer, NetworkTerms,
    UnknownNetworkMode,
};
pub use policy::{
    Action, InvalidTarget, MOST_ADDRESS_RULES, MOST_RULES, NetworkPolicy, PolicyChange, PolicyRule, PolicyTooLarge,
    Target,
};
pub use spec::{Interaction, Platform, SandboxSpec};
pub use status::{Exit, Phase, Reason, Status};
pub use usage::{
    CpuUsage, DiskUsage, HostSize, IoUsage, MemoryUsage, NetworkUsage, PidsUsage, Refusal, Throttling, Traffic, Usage,
};
