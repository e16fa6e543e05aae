//! `networkPolicy`: what the sandbox may reach, and with that a network.

use crate::api::egress::read_policy;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::{NetworkMode, NetworkOffer, NetworkPolicy};

/// The network that the sandbox is to have, and its policy. An empty object is none, as for the protocol's own server; whoever wants
/// everything closed says `"defaultAction": "deny"`. One that says something else alone is misspelt, and must not open everything.
pub fn read(
    body: &Fields<'_>,
    asked: Option<NetworkMode>,
    offer: &NetworkOffer,
) -> Result<(Option<NetworkMode>, Option<NetworkPolicy>), ApiError> {
    let fields = body.object("networkPolicy")?;
    if let Some(fields) = &fields
        && !fields.has("defaultAction")
        && !fields.has("egress")
        && let Some(other) = fields.given().next()
    {
        return Err(ApiError::invalid(format!(
            "networkPolicy has neither defaultAction nor egress, but {}; say {{\"defaultAction\": \"deny\", \"egress\": [...]}}, or \
             leave networkPolicy out.",
            shown(other)
        )));
    }
    let fields = fields.filter(|fields| fields.given().next().is_some());
    let policy = fields.map(|fields| read_policy(&fields)).transpose()?.filter(|policy| !policy.is_open());
    match (&policy, asked) {
        (None, asked) => Ok((asked, None)),
        (Some(_), Some(mode)) if mode != NetworkMode::Bridge => Err(ApiError::invalid(format!(
            "networkPolicy says what the network of a sandbox lets through, and extensions[\"bivouac.network\"] = \"{}\" gives \
             it none of that kind; leave one of them out.",
            mode.as_str()
        ))),
        (Some(_), _) if !offer.has_bridge() => Err(ApiError::invalid(format!(
            "networkPolicy needs a network, and the sandboxes of this server have none: {}. Without networkPolicy, the sandbox \
             reaches nothing.",
            offer.why
        ))),
        (Some(_), _) => Ok((Some(NetworkMode::Bridge), policy)),
    }
}
