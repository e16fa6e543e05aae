//! An API key, kept only as its digest.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// Shorter keys are refused; at 32 random bytes guessing is hopeless.
const LEAST_BYTES: usize = 16;
/// Longer texts are no keys but a file given by mistake.
const MOST_BYTES: usize = 4096;

/// A key that lets in. Only its SHA-256 is kept, so that no dump or log of this process can show it.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidKey {
    #[error(
        "accept an API key of {0} bytes: it must have at least {LEAST_BYTES} (better 32, from `openssl rand -hex 32`)"
    )]
    TooShort(usize),
    #[error("accept an API key of {0} bytes: it must have at most {MOST_BYTES}")]
    TooLong(usize),
    #[error("accept an API key with characters that no HTTP header carries: use visible ASCII without spaces")]
    NotVisibleAscii,
}

impl ApiKey {
    /// # Errors
    /// When the text is too short, too long, or could not be sent in a header.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        match text.len() {
            short if short < LEAST_BYTES => Err(InvalidKey::TooShort(short)),
            long if long > MOST_BYTES => Err(InvalidKey::TooLong(long)),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(InvalidKey::NotVisibleAscii),
            _ => Ok(Self(digest(text.as_bytes()))),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Whether `presented` is one of the keys. Compares digests, so that lengths and contents take the same time, and all
/// keys, so that the time does not tell which one it was.
pub fn any_matches(keys: &[ApiKey], presented: &[u8]) -> bool {
    let presented = digest(presented);
    let none = Choice::from(0);
    keys.iter().fold(none, |found, key| found | key.0.ct_eq(&presented)).into()
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_unsendable_keys_are_refused() {
        assert_eq!(ApiKey::parse("").err(), Some(InvalidKey::TooShort(0)));
        assert_eq!(ApiKey::parse("fifteen-bytes-x").err(), Some(InvalidKey::TooShort(15)));
        assert!(ApiKey::parse("sixteen-bytes-xx").is_ok());
        assert_eq!(ApiKey::parse("with a space in the key").err(), Some(InvalidKey::NotVisibleAscii));
        assert_eq!(
            ApiKey::parse("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}").err(),
            Some(InvalidKey::NotVisibleAscii)
        );
        assert_eq!(ApiKey::parse(&"k".repeat(5000)).err(), Some(InvalidKey::TooLong(5000)));
    }
}
