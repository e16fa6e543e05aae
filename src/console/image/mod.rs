//! `bivouac image`: the images that sandboxes can be made of.

mod archive;
pub mod export;
pub mod import;
pub mod inspect;
mod layout;
pub mod list;
mod progress;
pub mod prune;
pub mod pull;
pub mod rm;

use hyper::Method;
use serde::Deserialize;

use super::client::{Call, encoded};
use super::command::Defaults;
use super::{Client, Failure};

/// An image as the API shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    name: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    shared_size: u64,
    #[serde(default)]
    used_by: Vec<String>,
    #[serde(default)]
    imported_at: Option<chrono::DateTime<chrono::Utc>>,
}

#[derive(Deserialize)]
struct Configured {
    #[serde(default)]
    config: Defaults,
}

/// What the image says about its command. It is fetched if it is not here.
///
/// # Errors
/// When there is no such image, or the daemon cannot be asked.
pub async fn defaults(client: &Client, name: &str) -> Result<Defaults, Failure> {
    let image: Configured = match client.json(lookup(name)).await {
        Err(Failure::Refused { status: 404, .. }) => {
            let fetched = pull::fetch(client, name).await?;
            client.json(lookup(&fetched.name)).await?
        }
        found => found?,
    };
    Ok(image.config)
}

fn lookup(name: &str) -> Call {
    Call::new(Method::GET, path(name), format!("look up image {name}"))
}

/// Slashes, colons and at signs belong to a name and stay readable in the path.
fn path(name: &str) -> String {
    let encoded = encoded(name).replace("%2F", "/").replace("%3A", ":").replace("%40", "@");
    format!("/v1/images/{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_path_and_nothing_else() {
        assert_eq!(path("ghcr.io/a/b:1"), "/v1/images/ghcr.io/a/b:1");
        assert_eq!(path("a?x=1#b c"), "/v1/images/a%3Fx%3D1%23b%20c");
    }
}
