//! `bivouac get`: everything about one sandbox.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::client::Call;
use super::list::span;
use super::wire::Sandbox;
use super::{Client, Failure, find, screen};

#[derive(Debug, Args)]
pub struct Get {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,

    /// Print JSON: the sandbox as the API gives it
    #[arg(long)]
    pub json: bool,
}

/// Prints the sandbox.
///
/// # Errors
/// When there is no such sandbox, or the daemon cannot be asked.
pub async fn get(client: &Client, args: &Get) -> Result<(), Failure> {
    let id = find::id(client, &args.id).await?;
    let call = Call::new(Method::GET, format!("/v1/sandboxes/{id}"), format!("look up sandbox {id}"));
    if args.json {
        return screen::json(&client.json::<Value>(call).await?);
    }
    let sandbox: Sandbox = client.json(call).await?;
    screen::details(&details(&sandbox, Utc::now()))
}

fn details(sandbox: &Sandbox, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let status = &sandbox.status;
    let labels: Vec<String> = sandbox.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        ("ID", sandbox.id.clone()),
        ("Name", sandbox.name().unwrap_or_default().to_owned()),
        ("Image", sandbox.image.as_ref().map(|image| image.uri.clone()).unwrap_or_default()),
        ("Command", sandbox.entrypoint.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
        ("State", status.state.clone()),
        ("Reason", status.reason.clone().unwrap_or_default()),
        ("Message", status.message.clone().unwrap_or_default()),
        ("Exit code", status.exit_code.map(|code| code.to_string()).unwrap_or_default()),
        ("Since", status.last_transition_at.map(|at| past(at, now)).unwrap_or_default()),
        ("Created", past(sandbox.created_at, now)),
        ("Expires", sandbox.expires_at.map_or_else(|| "never".to_owned(), |at| future(at, now))),
        ("Metadata", labels.join(", ")),
    ]
}

fn past(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({} ago)", instant(at), span(at, now))
}

fn future(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} (in {})", instant(at), span(now, at))
}

/// RFC 3339, whole seconds.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The word as a shell would need it, where it is not plain.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:=,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        for (word, shown) in [("sh", "sh"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("--x=/y", "--x=/y")]
        {
            assert_eq!(quoted(word), shown);
        }
    }
}
