//! What a sandbox is, in plain data: ids, the specification of a sandbox, its states, its limits.
//!
//! Floor 0: nothing here does I/O or imports another module of the project. Each type is parsed once, at the
//! edge, and is valid from then on.

mod exec_id;
mod id;
mod limits;
mod spec;
mod status;

pub use exec_id::{ExecId, InvalidExecId};
pub use id::{InvalidSandboxId, SandboxId};
pub use limits::{InvalidQuantity, Limits, parse_cpu, parse_memory};
pub use spec::{Platform, SandboxSpec};
pub use status::{Exit, Phase, Reason, Status};
