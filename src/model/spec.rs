//! What a client asks for when it creates a sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Limits, NetworkMode, NetworkPolicy, NetworkTerms};

/// A valid request for a sandbox: every input error was found before this exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The image as the client named it.
    pub image: String,
    /// The whole argument vector; it replaces the image's `Entrypoint` and `Cmd`. Never empty.
    pub entrypoint: Vec<String>,
    /// Variables laid over the image's `Env`.
    pub env: BTreeMap<String, String>,
    /// Labels of the sandbox, valid by the Kubernetes label rules.
    pub metadata: BTreeMap<String, String>,
    pub limits: Limits,
    /// Time to live, counted from the first moment of running; `None` lives until it is deleted.
    pub timeout: Option<Duration>,
    /// What it has of a network; `None` is what the operator decided, until the sandbox is made.
    pub network: Option<NetworkMode>,
    pub network_terms: NetworkTerms,
    /// What it may reach of it; `None` is all that the operator leaves open.
    pub policy: Option<NetworkPolicy>,
    /// What clients can give to the program while it runs.
    #[serde(default)]
    pub interaction: Interaction,
    /// The directory that it starts in, in place of the image's.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Echoed back only when the client asked for one.
    pub platform: Option<Platform>,
    /// The extensions that are echoed back (`opensandbox.extensions.*`).
    pub extensions: BTreeMap<String, String>,
}

/// The platform of an image, in the words of the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub arch: String,
}

/// What the entrypoint has as its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interaction {
    /// Nothing.
    #[default]
    None,
    /// A pipe that clients write.
    Input,
    /// A terminal, as all of its standard streams; of this size until a client has another.
    Terminal { columns: u16, rows: u16 },
}
