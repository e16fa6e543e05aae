//! `bivouac list`: the sandboxes, newest first.

use chrono::{DateTime, Utc};
use clap::Args;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Call, encoded};
use super::duration::roughly;
use super::wire::{Page, Sandbox};
use super::{Client, Failure, create, screen};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub filter: Filter,

    /// Print JSON: an array of sandboxes as the API gives them
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Only sandboxes in this state; may be given more than once
    #[arg(long, value_name = "STATE")]
    pub state: Vec<String>,

    /// Only sandboxes with this label; all that are given must fit
    #[arg(long, value_name = "K=V", value_parser = create::pair)]
    pub metadata: Vec<(String, String)>,
}

/// Prints the sandboxes.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn list(client: &Client, args: &List) -> Result<(), Failure> {
    if args.json {
        return screen::json(&fetch::<Value>(client, &args.filter).await?);
    }
    let now = Utc::now();
    let rows: Vec<_> = fetch(client, &args.filter).await?.iter().map(|sandbox| row(sandbox, now)).collect();
    screen::table(["ID", "NAME", "IMAGE", "STATE", "CREATED", "EXPIRES"], &rows)
}

/// All sandboxes that fit, page by page.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn fetch<T: DeserializeOwned>(client: &Client, filter: &Filter) -> Result<Vec<T>, Failure> {
    const ACTION: &str = "list the sandboxes";
    let mut all = Vec::new();
    for number in 1.. {
        let page: Page = client.json(Call::new(Method::GET, query(filter, number), ACTION)).await?;
        let more = page.pagination.has_next_page && !page.items.is_empty();
        for item in page.items {
            let item = serde_json::from_value(item)
                .map_err(|error| Failure::Unreadable { action: ACTION.to_owned(), problem: error.to_string() })?;
            all.push(item);
        }
        if !more {
            break;
        }
    }
    Ok(all)
}

/// The labels are themselves a query inside one parameter, hence encoded twice.
fn query(filter: &Filter, page: u64) -> String {
    let mut path = format!("/v1/sandboxes?pageSize=200&page={page}");
    for state in &filter.state {
        path.push_str(&format!("&state={}", encoded(state)));
    }
    if !filter.metadata.is_empty() {
        let labels: Vec<String> =
            filter.metadata.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
        path.push_str(&format!("&metadata={}", encoded(&labels.join("&"))));
    }
    path
}

fn row(sandbox: &Sandbox, now: DateTime<Utc>) -> [String; 6] {
    [
        sandbox.short_id(),
        sandbox.name().unwrap_or("-").to_owned(),
        sandbox.image.as_ref().map_or("-", |image| &image.uri).to_owned(),
        state(sandbox),
        format!("{} ago", span(sandbox.created_at, now)),
        sandbox.expires_at.map_or_else(|| "never".to_owned(), |at| expiry(at, now)),
    ]
}

/// The state, with the exit code where the program has ended.
fn state(sandbox: &Sandbox) -> String {
    match sandbox.status.exit_code {
        Some(code) => format!("{} ({code})", sandbox.status.state),
        None => sandbox.status.state.clone(),
    }
}

fn expiry(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if at > now { format!("in {}", span(now, at)) } else { "now".to_owned() }
}

/// Zero where the two clocks disagree about the order.
pub(super) fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    roughly((to - from).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_encodes_labels_twice() {
        let filter = Filter {
            state: vec!["Running".to_owned(), "Paused".to_owned()],
            metadata: vec![("a".to_owned(), "x y".to_owned()), ("b/c".to_owned(), "1".to_owned())],
        };
        assert_eq!(
            query(&filter, 2),
            "/v1/sandboxes?pageSize=200&page=2&state=Running&state=Paused&metadata=a%3Dx%2520y%26b%252Fc%3D1"
        );
    }

    #[test]
    fn a_row_tells_age_and_what_is_left() {
        let sandbox: Sandbox = serde_json::from_value(serde_json::json!({
            "id": "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11", "image": {"uri": "base"}, "status": {"state": "Failed", "exitCode": 3},
            "createdAt": "2026-01-02T03:00:00Z", "expiresAt": "2026-01-02T03:30:00Z",
        }))
        .expect("a sandbox");
        let now = "2026-01-02T03:05:00Z".parse().expect("a time");
        assert_eq!(row(&sandbox, now), ["0b5e5d5e6f70", "-", "base", "Failed (3)", "5 minutes ago", "in 25 minutes"]);
    }
}
