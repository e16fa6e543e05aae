//! `bivouac create`: a new sandbox that runs by itself.

use std::collections::BTreeMap;
use std::env;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::Call;
use super::duration::Lifetime;
use super::wire::{Sandbox, Status};
use super::{Client, Failure, command, screen};

#[derive(Debug, Args)]
pub struct Create {
    /// Name of an image that was imported (see `bivouac image list`)
    pub image: String,

    /// Name for the sandbox, usable wherever an ID is (kept as the metadata `name`)
    #[arg(long)]
    pub name: Option<String>,

    /// Variable of the program's environment; K alone passes on the caller's own value
    #[arg(long, short, value_name = "K=V", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// CPU time, in CPUs: 2, 0.5 or 500m
    #[arg(long, value_name = "CPUS")]
    pub cpu: Option<String>,

    /// Memory: 512Mi, 2Gi
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// How much it may write over its image, for example 1Gi
    #[arg(long, value_name = "BYTES")]
    pub disk: Option<String>,

    /// How long it may live: 90s, 30m, 1h30m, or none
    #[arg(long, value_name = "DURATION", default_value = "none", value_parser = Lifetime::parse)]
    pub timeout: Lifetime,

    /// Label of the sandbox
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub metadata: Vec<(String, String)>,

    /// What to run instead of the image's own command
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// Creates the sandbox and prints its id.
///
/// # Errors
/// When the daemon refuses, or the program could not be started.
pub async fn create(client: &Client, args: &Create) -> Result<(), Failure> {
    let sandbox = submit(client, args, &BTreeMap::new()).await?;
    screen::line(&sandbox.id)?;
    if sandbox.status.state == "Failed" { Err(not_started(&sandbox.id, &sandbox.status)) } else { Ok(()) }
}

/// Creates the sandbox. It may have failed to start: then it is there, and its status says why.
///
/// # Errors
/// When the daemon refuses.
pub async fn submit(client: &Client, args: &Create, extensions: &BTreeMap<&str, String>) -> Result<Sandbox, Failure> {
    let entrypoint = command::of(client, &args.image, &args.command).await?;
    let call = Call::new(Method::POST, "/v1/sandboxes", format!("create a sandbox of {}", args.image));
    client.json(call.with(request(args, &entrypoint, extensions))).await
}

fn request(args: &Create, entrypoint: &[String], extensions: &BTreeMap<&str, String>) -> Value {
    let mut limits = BTreeMap::new();
    limits.extend(args.cpu.as_ref().map(|cpu| ("cpu", cpu)));
    limits.extend(args.memory.as_ref().map(|memory| ("memory", memory)));
    limits.extend(args.disk.as_ref().map(|disk| ("disk", disk)));
    let mut metadata: BTreeMap<&str, &str> = borrowed(&args.metadata);
    metadata.extend(args.name.as_deref().map(|name| ("name", name)));
    json!({
        "image": { "uri": args.image },
        "entrypoint": entrypoint,
        "env": borrowed(&args.env),
        "metadata": metadata,
        "resourceLimits": limits,
        "timeout": args.timeout.seconds(),
        "extensions": extensions,
    })
}

fn borrowed(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The failure of a sandbox that is there but does not run.
#[must_use]
pub fn not_started(id: &str, status: &Status) -> Failure {
    let problem = status.message.clone().or_else(|| status.reason.clone());
    Failure::Unusable {
        action: format!("start sandbox {id}"),
        problem: problem.unwrap_or_else(|| "the daemon does not say why".to_owned()),
    }
}

/// Parses `K=V`.
///
/// # Errors
/// When there is no key.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Parses `K=V`, or `K` for a variable that is set here.
///
/// # Errors
/// When there is no key, or no such variable.
pub fn variable(text: &str) -> Result<(String, String), String> {
    if text.is_empty() || text.contains('=') {
        return pair(text);
    }
    match env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(problem) => Err(format!("{text} cannot be passed on: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_carries_what_was_asked_and_nothing_else() {
        let args = Create {
            image: "base".to_owned(),
            name: Some("web".to_owned()),
            env: vec![("A".to_owned(), "1=2".to_owned())],
            cpu: Some("500m".to_owned()),
            memory: None,
            disk: None,
            timeout: Lifetime::Unlimited,
            metadata: vec![("team".to_owned(), "x".to_owned())],
            command: Vec::new(),
        };
        assert_eq!(
            request(&args, &["sh".to_owned()], &BTreeMap::from([("bivouac.stdin", "true".to_owned())])),
            json!({
                "image": {"uri": "base"}, "entrypoint": ["sh"], "env": {"A": "1=2"},
                "metadata": {"name": "web", "team": "x"}, "resourceLimits": {"cpu": "500m"}, "timeout": null,
                "extensions": {"bivouac.stdin": "true"},
            })
        );
    }

    #[test]
    fn pairs_and_variables() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err());
        assert!(pair("=b").is_err());
        assert!(variable("").is_err());
        assert!(variable("PATH").is_ok_and(|(key, value)| key == "PATH" && !value.is_empty()));
        assert!(variable("BIVOUAC_SURELY_NOT_SET").is_err());
    }
}
