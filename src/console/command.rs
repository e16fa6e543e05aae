//! What runs in a sandbox: the image's own command, or the one that was given.

use serde::Deserialize;

use super::{Client, Failure, image};

/// What the image says about its command.
#[derive(Debug, Default, Deserialize)]
pub struct Defaults {
    #[serde(default)]
    pub entrypoint: Vec<String>,
    #[serde(default)]
    pub cmd: Vec<String>,
}

/// The whole argument vector for a sandbox of `image`, put together as Docker does: the image's Entrypoint, then the
/// given words or, without any, the image's Cmd.
///
/// # Errors
/// When the image is not there, or nothing says what to run.
pub async fn of(client: &Client, image: &str, given: &[String]) -> Result<Vec<String>, Failure> {
    let defaults = image::defaults(client, image).await?;
    let whole = put_together(defaults, given);
    if whole.is_empty() {
        return Err(Failure::Unusable {
            action: format!("start {image}"),
            problem: "the image has neither Entrypoint nor Cmd: say what to run after --".to_owned(),
        });
    }
    Ok(whole)
}

fn put_together(defaults: Defaults, given: &[String]) -> Vec<String> {
    let words = if given.is_empty() { defaults.cmd } else { given.to_vec() };
    defaults.entrypoint.into_iter().chain(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_replace_the_cmd_and_follow_the_entrypoint() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (entrypoint, cmd, given, whole) in [
            ("", "sh", "", "sh"),
            ("", "sh", "echo hi", "echo hi"),
            ("/init -x", "serve", "", "/init -x serve"),
            ("/init -x", "serve", "check", "/init -x check"),
            ("", "", "", ""),
        ] {
            let defaults = Defaults { entrypoint: words(entrypoint), cmd: words(cmd) };
            assert_eq!(put_together(defaults, &words(given)), words(whole));
        }
    }
}
