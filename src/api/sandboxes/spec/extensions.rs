//! `extensions`: switches by name. Those with our clients' prefix are kept and echoed; unknown ones are ignored.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::NetworkMode;

const ECHOED_PREFIX: &str = "opensandbox.extensions.";
const RENEW: &str = "access.renew.extend.seconds";
/// Our own: `none` or `bridge`.
const NETWORK: &str = "bivouac.network";
const ISOLATION: &str = "bootstrap.execd.isolation";

/// The extensions that are echoed back.
pub fn read(body: &Fields<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let extensions = body.text_map("extensions")?.unwrap_or_default();
    if extensions.contains_key("poolRef") {
        return Err(ApiError::refused(
            "SANDBOX::UNSUPPORTED_POOL_REF",
            "poolRef is not supported by this version, which has no pools; give an image and an entrypoint instead.",
        ));
    }
    if let Some(seconds) = extensions.get(RENEW) {
        check_renew(seconds)?;
    }
    if extensions.contains_key(ISOLATION) {
        return Err(ApiError::invalid(format!(
            "extensions[{ISOLATION:?}] is not supported by this version; leave it out."
        )));
    }
    Ok(extensions.into_iter().filter(|(name, _)| name.starts_with(ECHOED_PREFIX)).collect())
}

/// What the sandbox is to have of a network.
pub fn network(body: &Fields<'_>) -> Result<Option<NetworkMode>, ApiError> {
    let extensions = body.text_map("extensions")?.unwrap_or_default();
    let mode = extensions.get(NETWORK).map(|text| text.trim().parse::<NetworkMode>());
    mode.transpose().map_err(|error| ApiError::invalid(format!("Invalid extensions[{NETWORK:?}]: {error}.")))
}

fn check_renew(text: &str) -> Result<(), ApiError> {
    let refuse = |why: String| Err(ApiError::invalid(format!("Invalid extensions[{RENEW:?}]: {why}")));
    match text.trim().parse::<i64>() {
        Ok(300..=86_400) => Ok(()),
        Ok(other) => {
            refuse(format!("must be between 300 and 86400 seconds (5 minutes to 24 hours inclusive), got {other}."))
        }
        Err(_) => refuse(format!("must be a whole number of seconds, got {}.", shown(text))),
    }
}
