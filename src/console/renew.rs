//! `bivouac renew`: give a sandbox more time.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::Call;
use super::{Client, Failure, duration, find, get, screen};

#[derive(Debug, Args)]
pub struct Renew {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,

    /// How long it may live from now on: 90s, 30m, 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub time: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    expires_at: DateTime<Utc>,
}

/// Lets the sandbox live until the given time from now, and prints that instant.
///
/// # Errors
/// When there is no such sandbox, it never expires, or it would live longer without this.
pub async fn renew(client: &Client, args: &Renew) -> Result<(), Failure> {
    let id = find::id(client, &args.id).await?;
    // The parser bounds the duration to 100 years, which chrono can add to any present.
    let until = (Utc::now() + args.time).to_rfc3339_opts(SecondsFormat::Micros, true);
    let call = Call::new(Method::POST, format!("/v1/sandboxes/{id}/renew-expiration"), format!("renew sandbox {id}"));
    let renewed: Renewed = client.json(call.with(json!({ "expiresAt": until }))).await?;
    screen::line(&get::instant(renewed.expires_at))
}
