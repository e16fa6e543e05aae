//! Which sandbox is meant: by its full id, its name, or the beginning of its id.

use super::wire::Sandbox;
use super::{Client, Failure, list};
use crate::model::SandboxId;

/// The full id of the sandbox that `text` names.
///
/// # Errors
/// When no sandbox, or more than one, fits; when the daemon cannot be asked.
pub async fn id(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<SandboxId>().is_ok() {
        return Ok(text.to_owned());
    }
    let all: Vec<Sandbox> = list::fetch(client, &list::Filter::default()).await?;
    choose(text, &all).map(|sandbox| sandbox.id.clone())
}

/// A name is taken before the beginning of an id, as it was given on purpose.
fn choose<'a>(text: &str, all: &'a [Sandbox]) -> Result<&'a Sandbox, Failure> {
    let named: Vec<&Sandbox> = all.iter().filter(|sandbox| sandbox.name() == Some(text)).collect();
    let fitting = if named.is_empty() { begins_with(text, all) } else { named };
    match fitting.as_slice() {
        [] => Err(Failure::NoSuchSandbox { text: text.to_owned() }),
        [one] => Ok(one),
        several => Err(Failure::Ambiguous {
            text: text.to_owned(),
            candidates: several.iter().map(|sandbox| candidate(sandbox)).collect(),
        }),
    }
}

/// Hyphens do not count: the table shows the id without them.
fn begins_with<'a>(text: &str, all: &'a [Sandbox]) -> Vec<&'a Sandbox> {
    let digits = |text: &str| text.replace('-', "");
    let wanted = digits(text);
    all.iter().filter(|sandbox| !wanted.is_empty() && digits(&sandbox.id).starts_with(&wanted)).collect()
}

fn candidate(sandbox: &Sandbox) -> String {
    match sandbox.name() {
        Some(name) => format!("{} ({name})", sandbox.id),
        None => sandbox.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(id: &str, name: Option<&str>) -> Sandbox {
        let metadata = name.map(|name| serde_json::json!({ "name": name })).unwrap_or(serde_json::json!({}));
        serde_json::from_value(serde_json::json!({
            "id": id, "status": {"state": "Running"}, "metadata": metadata, "createdAt": "2026-01-02T03:04:05Z",
        }))
        .expect("a sandbox")
    }

    #[test]
    fn a_name_or_a_unique_beginning_is_enough() {
        let all = [
            sandbox("0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11", Some("web")),
            sandbox("0b5e5d5f-6f70-4a39-9d3e-2f0f3c9f6f11", Some("twin")),
            sandbox("ffff5d5f-6f70-4a39-9d3e-2f0f3c9f6f11", Some("twin")),
            sandbox("abcd5d5f-6f70-4a39-9d3e-2f0f3c9f6f11", Some("f")),
        ];
        let chosen =
            |text: &str| choose(text, &all).map(|found| found.id[..8].to_owned()).map_err(|error| error.line());
        assert_eq!(chosen("web").as_deref(), Ok("0b5e5d5e"));
        assert_eq!(chosen("0b5e5d5e6").as_deref(), Ok("0b5e5d5e"));
        assert_eq!(chosen("0b5e5d5f-6f7").as_deref(), Ok("0b5e5d5f"));
        assert_eq!(chosen("f").as_deref(), Ok("abcd5d5f"), "the name wins over the beginning of an id");
        assert!(chosen("twin").expect_err("two").contains("0b5e5d5f-6f70-4a39-9d3e-2f0f3c9f6f11 (twin), ffff"));
        assert!(chosen("0b5e").expect_err("two").contains("give more of the id"));
        assert!(chosen("nobody").expect_err("none").contains("bivouac list"));
        assert!(chosen("").is_err());
        assert!(chosen("-").is_err());
    }
}
