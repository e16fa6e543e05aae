//! Environment variables.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};

const EGRESS_PREFIX: &str = "OPENSANDBOX_EGRESS_";

/// The settings of the egress proxy that a client may set, without the prefix.
const EGRESS_SETTINGS: [&str; 11] = [
    "CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH",
    "CREDENTIAL_VAULT_REQUIRE_TLS",
    "CREDENTIAL_VAULT_TRUSTED_PROXY_CIDRS",
    "DENY_WEBHOOK",
    "DNS_UPSTREAM_TIMEOUT",
    "LOG_LEVEL",
    "METRICS_EXTRA_ATTRS",
    "MITMPROXY_EXTRA_PORTS",
    "MITMPROXY_SSL_INSECURE",
    "MITMPROXY_TRANSPARENT",
    "POLICY_FILE",
];

/// The one setting that the sandbox itself sees too.
const SEEN_INSIDE: &str = "MITMPROXY_TRANSPARENT";

/// The variables of the sandbox; those that are null are left out.
pub fn read(body: &Fields<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let given = body.nullable_text_map("env")?.unwrap_or_default();
    for (name, value) in &given {
        check(name, value.as_deref().unwrap_or_default())?;
    }
    let set = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(set.filter(|(name, _)| reaches_sandbox(name)).collect())
}

fn check(name: &str, value: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let name = shown(name);
        return Err(ApiError::invalid(format!(
            "env name {name} is invalid: it must be non-empty, without '=' and NUL."
        )));
    }
    if value.contains('\0') {
        return Err(ApiError::invalid(format!("env[{}] must not contain a NUL character.", shown(name))));
    }
    if name == "OPENSANDBOX_LIFECYCLE" {
        return Err(ApiError::invalid(
            "Environment variable 'OPENSANDBOX_LIFECYCLE' is reserved. Use the lifecycle request field instead.",
        ));
    }
    match name.strip_prefix(EGRESS_PREFIX) {
        Some(setting) if !EGRESS_SETTINGS.contains(&setting) => Err(not_allowed(name)),
        _ => Ok(()),
    }
}

fn not_allowed(name: &str) -> ApiError {
    let allowed = EGRESS_SETTINGS.map(|setting| format!("'{EGRESS_PREFIX}{setting}'")).join(", ");
    let name: String = name.chars().take(128).collect();
    ApiError::invalid(format!(
        "Environment variable '{name}' is not allowed; permitted {EGRESS_PREFIX} keys: [{allowed}]"
    ))
}

/// Settings of the egress proxy are not the sandbox's business.
fn reaches_sandbox(name: &str) -> bool {
    name.strip_prefix(EGRESS_PREFIX).is_none_or(|setting| setting == SEEN_INSIDE)
}
