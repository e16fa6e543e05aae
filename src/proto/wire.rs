//! One JSON value a message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

#[derive(Debug, Error)]
#[error("decode a message of {length} bytes")]
pub struct Malformed {
    length: usize,
    source: serde_json::Error,
}

/// The bytes of a message.
///
/// Serialising these types cannot fail: they hold no map with other than string keys and no foreign serialiser.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// # Errors
/// When the bytes are not exactly one JSON value of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|source| Malformed { length: bytes.len(), source })
}
