//! From the JSON of `POST /sandboxes` to a valid [`SandboxSpec`]: every error of the input is found here.
//!
//! Pure: the checks need no host, only the [`Rules`]. First the shape of the request is checked as a whole, then what it asks
//! for; a feature that this version lacks is refused by name, never ignored.

mod entrypoint;
mod env;
mod extensions;
mod fetch;
pub mod labels;
mod limits;
mod network;
mod platform;
mod policy;
mod source;
mod timeout;
mod volumes;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::model::{Limits, NetworkBounds, NetworkOffer, SandboxSpec};
use crate::sandbox::Fetch;

/// What the checks must know of the server and the moment.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The shortest time to live, in seconds.
    pub min_timeout: u64,
    /// The longest, in seconds, when there is one.
    pub max_timeout: Option<u64>,
    /// The most that a sandbox may ask for.
    pub max_limits: Limits,
    /// What there is of a network.
    pub network: &'a NetworkOffer,
    pub network_bounds: NetworkBounds,
    /// The architecture of this host in the words of OCI (`amd64`).
    pub arch: &'static str,
    pub now: DateTime<Utc>,
}

/// Reads the request for a sandbox.
pub fn read(body: &Value, rules: &Rules<'_>) -> Result<SandboxSpec, ApiError> {
    let body = Fields::body(body)?;
    source::check_template(&body)?;
    let image = source::read(&body)?;
    let entrypoint = entrypoint::read(&body)?;
    let timeout = timeout::read(&body, rules)?;
    let env = env::read(&body)?;
    let asked = network::mode(&body, rules.network)?;
    let (network, policy) = policy::read(&body, asked, rules.network)?;
    let spec = SandboxSpec {
        limits: limits::read(&body, &rules.max_limits)?,
        metadata: labels::read(&body)?,
        platform: platform::read(&body, rules.arch)?,
        network,
        network_terms: network::terms(&body, network, rules)?,
        policy,
        interaction: extensions::interaction(&body)?,
        cwd: extensions::cwd(&body)?,
        extensions: extensions::read(&body)?,
        image,
        entrypoint,
        env,
        timeout,
    };
    refuse_absent_features(&body)?;
    volumes::check(&body)?;
    entrypoint::check_size(&spec.entrypoint, &spec.env)?;
    Ok(spec)
}

/// Reads how the image of that sandbox is to be had.
pub fn read_fetch(body: &Value) -> Result<Fetch, ApiError> {
    fetch::read(&Fields::body(body)?)
}

/// What the protocol has and this version has not.
fn refuse_absent_features(body: &Fields<'_>) -> Result<(), ApiError> {
    let absent = |what: &str| ApiError::invalid(format!("{what} is not supported by this version; leave it out."));
    if body.boolean("secureAccess")? {
        return Err(absent("secureAccess"));
    }
    let policy = body.object("networkPolicy")?;
    if let Some(proxy) = body.object("credentialProxy")?
        && proxy.boolean("enabled")?
    {
        let needs_policy = || ApiError::invalid("credentialProxy.enabled requires networkPolicy.");
        return Err(policy.map_or_else(needs_policy, |_| absent("credentialProxy")));
    }
    if body.object("lifecycle")?.is_some() {
        return Err(ApiError::invalid("lifecycle hooks are not supported by this version; leave them out."));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
