//! Addresses that let in by themselves until a time (OSEP-0011).
//!
//! The token in such an address is `{id}-{port}-{expires in base 36}-{signature}`, and what is signed is the text of the
//! proposal. Its signature is the first 32 bits of a SHA-256 over key and text; ours is 128 bits of an HMAC, because
//! 32 bits can be guessed over a network.

use std::fmt;

use super::secret::Secret;
use super::target::Target;
use crate::model::SandboxId;

/// What stands in the path of a signed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAddress(String);

impl fmt::Display for SignedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn sign(secret: &Secret, id: &SandboxId, port: u16, expires: u64) -> SignedAddress {
    let expires = base_36(expires);
    let signature = secret.derive(&message(id, port, &expires));
    SignedAddress(format!("{id}-{port}-{expires}-{signature}"))
}

/// Everything that is not signed (another id, another port in the path) must say what the signed part says.
pub fn verify(secret: &Secret, target: &Target<'_>, address: &str, now: u64) -> bool {
    let mut parts = address.rsplitn(4, '-');
    let (Some(signature), Some(expires), Some(port), Some(id)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let right = secret.verify(&message(&target.id, target.door, expires), signature.as_bytes());
    let same = id == target.id.as_str() && port == target.door.to_string();
    let in_time = u64::from_str_radix(expires, 36).is_ok_and(|expires| now < expires);
    right && same && in_time
}

fn message(id: &SandboxId, port: u16, expires: &str) -> String {
    format!("v1\nshort\n{id}\n{port}\n{expires}\n")
}

fn base_36(number: u64) -> String {
    let mut digits = Vec::new();
    let mut rest = number;
    loop {
        let digit = u32::try_from(rest % 36).unwrap_or_default();
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        rest /= 36;
        if rest == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_base_36() {
        for (number, text) in [(0, "0"), (35, "z"), (36, "10"), (2_000_000_000, "x2qxvk"), (u64::MAX, "3w5e11264sgsf")]
        {
            assert_eq!(base_36(number), text);
            assert_eq!(u64::from_str_radix(text, 36), Ok(number));
        }
    }
}
