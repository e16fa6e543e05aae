//! What a sandbox is to have of a network: `extensions` of ours.

use super::Rules;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::{LEAST_BANDWIDTH, NetworkMode, NetworkName, NetworkOffer, NetworkTerms, parse_memory};

/// `none`, `bridge` or `host`.
const MODE: &str = "bivouac.network";
/// Connections at once.
const CONNECTIONS: &str = "bivouac.network.connections";
/// The network that it shares with others.
const NAME: &str = "bivouac.network.name";
/// Bytes a second that it sends, as a quantity: `10Mi`.
const BANDWIDTH: &str = "bivouac.network.bandwidth";

pub fn mode(body: &Fields<'_>, offer: &NetworkOffer) -> Result<Option<NetworkMode>, ApiError> {
    let mode = given(body, MODE)?.map(|text| text.parse::<NetworkMode>());
    match mode.transpose().map_err(|error| refused(MODE, &error.to_string()))? {
        Some(NetworkMode::Bridge) if !offer.has_bridge() => {
            Err(refused(MODE, &format!("the sandboxes of this server have no network: {}", offer.why)))
        }
        Some(NetworkMode::Host) if !offer.allows_host => Err(refused(
            MODE,
            "this server does not give the host's own network to sandboxes; [network] allow_host = true of its configuration \
             would, and with it everything that the host itself reaches",
        )),
        mode => Ok(mode),
    }
}

/// What it asks for beside the mode, of what the operator allows.
pub fn terms(body: &Fields<'_>, mode: Option<NetworkMode>, rules: &Rules<'_>) -> Result<NetworkTerms, ApiError> {
    let most = &rules.network_bounds;
    let connections = given(body, CONNECTIONS)?.map(|text| match text.parse::<u32>() {
        Ok(0) | Err(_) => Err(refused(CONNECTIONS, &format!("must be a whole number above 0, got {}", shown(&text)))),
        Ok(asked) => at_most(CONNECTIONS, asked, most.connections),
    });
    let bandwidth = given(body, BANDWIDTH)?.map(|text| match parse_memory(&text) {
        Ok(asked) if asked >= LEAST_BANDWIDTH => at_most(BANDWIDTH, asked, most.bandwidth),
        _ => Err(refused(
            BANDWIDTH,
            &format!("must be bytes a second, as 10Mi, and at least {LEAST_BANDWIDTH}, got {}", shown(&text)),
        )),
    });
    let name = given(body, NAME)?.map(|text| {
        text.parse::<NetworkName>().map_err(|error| refused(NAME, &format!("{error}, got {}", shown(&text))))
    });
    let (connections, bandwidth, shared) = (connections.transpose()?, bandwidth.transpose()?, name.transpose()?);
    let terms = NetworkTerms { connections, bandwidth, name: shared };
    if !terms.is_empty() && mode.unwrap_or(rules.network.mode) != NetworkMode::Bridge {
        let given = [(NAME, terms.name.is_some()), (CONNECTIONS, terms.connections.is_some()), (BANDWIDTH, true)];
        let name = given.into_iter().find(|(_, is_given)| *is_given).map_or(MODE, |(name, _)| name);
        let why = if mode.is_none() { format!(" ({})", rules.network.why) } else { String::new() };
        return Err(refused(
            name,
            &format!("it is about a network of the sandbox's own, and this one would have none{why}; leave it out"),
        ));
    }
    Ok(terms)
}

fn given(body: &Fields<'_>, name: &str) -> Result<Option<String>, ApiError> {
    let mut extensions = body.text_map("extensions")?.unwrap_or_default();
    Ok(extensions.remove(name).map(|text| text.trim().to_owned()))
}

fn at_most<T: PartialOrd + std::fmt::Display>(name: &str, asked: T, most: Option<T>) -> Result<T, ApiError> {
    match most {
        Some(most) if asked > most => Err(refused(name, &format!("is {asked} and this server allows at most {most}"))),
        _ => Ok(asked),
    }
}

fn refused(name: &str, why: &str) -> ApiError {
    ApiError::invalid(format!("Invalid extensions[{name:?}]: {why}."))
}
