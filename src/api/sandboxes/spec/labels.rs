//! Metadata: labels by the rules of Kubernetes.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};

const CODE: &str = "SANDBOX::INVALID_METADATA_LABEL";
const RESERVED: &str = "opensandbox.io/";

/// The labels of a new sandbox.
pub fn read(body: &Fields<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let labels = body.text_map("metadata")?.unwrap_or_default();
    for (key, value) in &labels {
        if key.starts_with(RESERVED) {
            let key = brief(key);
            return Err(ApiError::refused(
                CODE,
                format!(
                    "Metadata key '{key}' uses the reserved prefix '{RESERVED}'. Keys under this prefix are managed by \
                     the system and cannot be set via metadata."
                ),
            ));
        }
        check(key, value)?;
    }
    Ok(labels)
}

/// A merge patch of labels: text sets a label, null removes it.
pub fn read_patch(body: &Fields<'_>) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    let patch = body.nullable_texts(shown)?;
    for (key, value) in &patch {
        if key.starts_with(RESERVED) {
            let message = format!("Metadata key '{}' is reserved ({RESERVED} prefix).", brief(key));
            // Without the prefix of the other code: clients read it so.
            return Err(ApiError::refused("INVALID_METADATA_LABEL", message));
        }
        if let Some(value) = value {
            check(key, value)?;
        }
    }
    Ok(patch)
}

fn check(key: &str, value: &str) -> Result<(), ApiError> {
    if !valid_key(key) {
        return Err(ApiError::refused(
            CODE,
            format!(
                "Metadata key '{}' is invalid: must be either a name or a DNS-subdomain prefix and name separated by /, \
                 where the name is up to 63 characters and matches [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?, and the \
                 optional prefix is a valid DNS subdomain up to 253 characters.",
                brief(key)
            ),
        ));
    }
    if !value.is_empty() && !valid_name(value) {
        return Err(ApiError::refused(
            CODE,
            format!(
                "Metadata value '{}' for key '{}' is invalid: must be empty, or up to 63 characters that match \
                 [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?.",
                brief(value),
                brief(key)
            ),
        ));
    }
    Ok(())
}

fn valid_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => valid_subdomain(prefix) && valid_name(name),
        None => valid_name(key),
    }
}

/// Up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    (1..=63).contains(&bytes.len())
        && end(bytes.first())
        && end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Lower-case labels of letters, digits and inner `-`, separated by points (RFC 1123).
fn valid_subdomain(prefix: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
    };
    (1..=253).contains(&prefix.len()) && prefix.split('.').all(label)
}

fn brief(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in
            ["a", "A-b_c.9", "example.com/name", "a.b-c.d/x", &"a".repeat(63), &format!("{}/a", "b".repeat(253))]
        {
            assert!(valid_key(good), "{good}");
        }
        let long_prefix = format!("{}/a", "b".repeat(254));
        for bad in [
            "",
            "a b",
            "-a",
            "a-",
            ".a",
            "/a",
            "a/",
            "a/b/c",
            "Example.com/a",
            "a..b/c",
            "a-/b",
            "\u{e9}",
            "a\n",
            &long_prefix,
        ] {
            assert!(!valid_key(bad), "{bad}");
        }
        assert!(!valid_key(&"a".repeat(64)));
    }

    #[test]
    fn values() {
        assert!(check("k", "").is_ok() && check("k", "v1.2_3-x").is_ok());
        for bad in [" ", "a b", "-", "a/b", "\u{1F600}", &"v".repeat(64)] {
            assert_eq!(check("k", bad).map_err(|error| error.code()), Err(CODE), "{bad}");
        }
    }
}
