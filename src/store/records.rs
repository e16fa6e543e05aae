//! The record of a sandbox: what it means, the form it has on disk, and the way between the two.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::StoreError;
use crate::model::{
    Exit, History, Interaction, Limits, NetworkMode, NetworkPolicy, NetworkTerms, Phase, Platform, Reason, SandboxId,
    SandboxSpec, Status,
};

/// Everything that must outlive the daemon about one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub id: SandboxId,
    pub spec: SandboxSpec,
    pub status: Status,
    pub created_unix_micros: i64,
    /// The first id of its range, as long as the range is its own.
    pub id_base: Option<u32>,
    /// The boot of the host that it belongs to; boot times mean something only within it.
    pub boot_id: String,
    /// What proves that a process is this sandbox; there from the first moment of running.
    pub proof: Option<String>,
    /// Facts for the user that outlive a change of state.
    pub notes: Vec<String>,
    pub expiry: Option<Expiry>,
    /// A delete was accepted, or its time was up.
    pub removed: bool,
    /// Nothing but its logs is on the host any more.
    pub cleaned: bool,
    /// When the record of a removed sandbox goes.
    pub forget: Option<Deadline>,
    pub history: History,
    /// There while the image of a sandbox that is Pending is being fetched.
    pub fetching: Option<Fetching>,
}

/// How an image is being fetched, so that the next daemon can go on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {
    /// The request's own pull policy.
    pub policy: Option<String>,
    /// It is fetched with credentials of the request, which are kept nowhere.
    pub with_credentials: bool,
}

/// A point in time on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// `CLOCK_BOOTTIME` in nanoseconds: decides.
    pub boot_nanos: u64,
    /// `CLOCK_REALTIME` in microseconds of the Unix epoch: shown, and decides after a reboot.
    pub unix_micros: i64,
}

/// When a sandbox's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    pub deadline: Deadline,
    /// The sandbox does not run yet: the time starts to count when it does.
    pub provisional: bool,
}

/// The version of [`Body`]. An unknown field is ignored, a new optional one needs no new version.
const VERSION: u32 = 1;

/// The form on disk. Words and small values of `model` are embedded as they are; `the_form_on_disk_is_pinned` in the
/// tests notices when one of them changes.
#[derive(Serialize, Deserialize)]
struct Body {
    version: u32,
    id: SandboxId,
    id_base: Option<u32>,
    boot_id: String,
    proof: Option<String>,
    created_unix_micros: i64,
    expiry: Option<Expiry>,
    removed: bool,
    cleaned: bool,
    forget: Option<Deadline>,
    notes: Vec<String>,
    status: StatusBody,
    spec: SpecBody,
    #[serde(default)]
    history: History,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetching: Option<Fetching>,
}

#[derive(Serialize, Deserialize)]
struct StatusBody {
    phase: Phase,
    reason: Reason,
    message: String,
    since_unix_nanos: i64,
    exit: Option<Exit>,
}

#[derive(Serialize, Deserialize)]
struct SpecBody {
    image: String,
    entrypoint: Vec<String>,
    env: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    limits: Limits,
    timeout: Option<Duration>,
    platform: Option<Platform>,
    extensions: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<NetworkMode>,
    #[serde(default, skip_serializing_if = "NetworkTerms::is_empty")]
    network_terms: NetworkTerms,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<NetworkPolicy>,
    #[serde(default, skip_serializing_if = "is_none")]
    interaction: Interaction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
}

fn is_none(interaction: &Interaction) -> bool {
    *interaction == Interaction::None
}

/// A body as bytes, with the digest that is stored beside it.
pub(super) struct Sealed {
    pub(super) body: Vec<u8>,
    pub(super) digest: [u8; 32],
}

/// Why a row cannot be believed.
#[derive(Debug, Error)]
pub(super) enum Unbelievable {
    #[error("the digest does not fit the body")]
    Digest,
    #[error("the body does not parse: {0}")]
    Parse(#[from] serde_json::Error),
    #[error("the body has version {0}, known is {VERSION}")]
    Version(u32),
    #[error("the body speaks of another {0} than its row")]
    Column(&'static str),
}

/// Only the version, which must be understood before the rest.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

pub(super) fn seal(record: &Record) -> Result<Sealed, StoreError> {
    let body = serde_json::to_vec(&Body::from(record))
        .map_err(|source| StoreError::Encode { id: record.id.clone(), source })?;
    let digest = Sha256::digest(&body).into();
    Ok(Sealed { body, digest })
}

pub(super) fn unseal(body: &[u8], digest: &[u8]) -> Result<Record, Unbelievable> {
    if Sha256::digest(body).as_slice() != digest {
        return Err(Unbelievable::Digest);
    }
    let Versioned { version } = serde_json::from_slice(body)?;
    if version != VERSION {
        return Err(Unbelievable::Version(version));
    }
    Ok(serde_json::from_slice::<Body>(body)?.into())
}

impl From<&Record> for Body {
    fn from(record: &Record) -> Self {
        let Record { id, spec, status, created_unix_micros, id_base, boot_id, .. } = record;
        Self {
            version: VERSION,
            id: id.clone(),
            id_base: *id_base,
            boot_id: boot_id.clone(),
            proof: record.proof.clone(),
            created_unix_micros: *created_unix_micros,
            expiry: record.expiry,
            removed: record.removed,
            cleaned: record.cleaned,
            forget: record.forget,
            notes: record.notes.clone(),
            status: status.into(),
            spec: spec.into(),
            history: record.history.clone(),
            fetching: record.fetching.clone(),
        }
    }
}

impl From<Body> for Record {
    fn from(body: Body) -> Self {
        Self {
            id: body.id,
            spec: body.spec.into(),
            status: body.status.into(),
            created_unix_micros: body.created_unix_micros,
            id_base: body.id_base,
            boot_id: body.boot_id,
            proof: body.proof,
            notes: body.notes,
            expiry: body.expiry,
            removed: body.removed,
            cleaned: body.cleaned,
            forget: body.forget,
            history: body.history,
            fetching: body.fetching,
        }
    }
}

impl From<&Status> for StatusBody {
    fn from(status: &Status) -> Self {
        let Status { phase, reason, message, since_unix_nanos, exit } = status.clone();
        Self { phase, reason, message, since_unix_nanos, exit }
    }
}

impl From<StatusBody> for Status {
    fn from(StatusBody { phase, reason, message, since_unix_nanos, exit }: StatusBody) -> Self {
        Self { phase, reason, message, since_unix_nanos, exit }
    }
}

/// Makes one of the other, which has the same parts: a part that is forgotten here is an error.
macro_rules! remade {
    ($from:ident, $value:expr) => {{
        #[rustfmt::skip]
        let $from {
            image, entrypoint, env, metadata, limits, timeout, network, policy, network_terms, interaction, cwd, platform,
            extensions,
        } = $value;
        #[rustfmt::skip]
        let remade = Self {
            image, entrypoint, env, metadata, limits, timeout, network, policy, network_terms, interaction, cwd, platform,
            extensions,
        };
        remade
    }};
}

impl From<&SandboxSpec> for SpecBody {
    fn from(spec: &SandboxSpec) -> Self {
        remade!(SandboxSpec, spec.clone())
    }
}

impl From<SpecBody> for SandboxSpec {
    fn from(spec: SpecBody) -> Self {
        remade!(SpecBody, spec)
    }
}
