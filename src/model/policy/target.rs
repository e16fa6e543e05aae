//! What a rule is about.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name that the domain name system knows, as text.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// In its one spelling: lower case, no dot at the end, no bits behind a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// This name and no other.
    Name(String),
    /// Every name below this one, however far; not this one itself.
    Below(String),
    /// The addresses with this prefix, of so many bits.
    Net(IpAddr, u8),
}

/// Completes "the target ... ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    #[error("is empty; name a domain, *.domain, an IP address or a CIDR range")]
    Empty,
    #[error("has a wildcard in another place than as *. at its beginning; for all names set defaultAction")]
    Wildcard,
    #[error("is longer than the {LONGEST_NAME} bytes of a name, or has a label of more than {LONGEST_LABEL}")]
    TooLong,
    #[error("is not ASCII; write an international name in its xn-- form")]
    NotAscii,
    #[error("is no CIDR range; write one as 192.0.2.0/24 or 2001:db8::/32")]
    Range,
    #[error("is no IP address, and no name ends in a label of digits")]
    Address,
    #[error("is no domain, *.domain, IP address or CIDR range: no scheme, port, path or space may stand in it")]
    Other,
}

impl Target {
    /// Whether the name falls under it; in lower case and without the dot at its end.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(domain) => name.strip_suffix(domain.as_str()).is_some_and(|below| below.ends_with('.')),
            Self::Net(..) => false,
        }
    }

    /// How much of a name that falls under it is left to the asker.
    #[must_use]
    pub fn length_below(&self, name: &str) -> usize {
        match self {
            Self::Below(domain) => name.len().saturating_sub(domain.len() + 1),
            Self::Name(_) | Self::Net(..) => 0,
        }
    }

    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Self::Net(IpAddr::V4(net), bits), IpAddr::V4(address)) => {
                masked_v4(address.to_bits(), *bits) == net.to_bits()
            }
            (Self::Net(IpAddr::V6(net), bits), IpAddr::V6(address)) => {
                masked_v6(address.to_bits(), *bits) == net.to_bits()
            }
            _ => false,
        }
    }
}

fn masked_v4(bits: u32, length: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

fn masked_v6(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(Self::Net(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        match text.split_once('/') {
            Some((address, bits)) => net(address, bits),
            None => name(text),
        }
    }
}

fn net(address: &str, bits: &str) -> Result<Target, InvalidTarget> {
    let plain = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let address: IpAddr = address.parse().map_err(|_| InvalidTarget::Other)?;
    let bits: u8 = bits.parse().ok().filter(|_| plain).ok_or(InvalidTarget::Range)?;
    match address {
        IpAddr::V4(address) if bits <= 32 => {
            Ok(Target::Net(IpAddr::V4(masked_v4(address.to_bits(), bits).into()), bits))
        }
        // One of IPv4 in the form of IPv6 covers nothing that a packet of IPv6 could go to.
        IpAddr::V6(address) if bits <= 128 && address.to_ipv4_mapped().is_none() => {
            Ok(Target::Net(IpAddr::V6(masked_v6(address.to_bits(), bits).into()), bits))
        }
        _ => Err(InvalidTarget::Range),
    }
}

fn name(text: &str) -> Result<Target, InvalidTarget> {
    if !text.is_ascii() {
        return Err(InvalidTarget::NotAscii);
    }
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (below, domain) = match lower.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, lower.as_str()),
    };
    if domain.contains('*') {
        return Err(InvalidTarget::Wildcard);
    }
    if domain.len() > LONGEST_NAME || domain.split('.').any(|label| label.len() > LONGEST_LABEL) {
        return Err(InvalidTarget::TooLong);
    }
    if !domain.split('.').all(is_label) {
        return Err(InvalidTarget::Other);
    }
    if domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(InvalidTarget::Address);
    }
    let domain = domain.to_owned();
    Ok(if below { Target::Below(domain) } else { Target::Name(domain) })
}

/// Letters, digits, hyphens within, and the underscores of service names.
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Net(address, bits) if *bits == if address.is_ipv4() { 32 } else { 128 } => write!(f, "{address}"),
            Self::Net(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = InvalidTarget;

    fn try_from(text: String) -> Result<Self, InvalidTarget> {
        text.parse()
    }
}
