//! Resource limits of a sandbox and the quantities that the API writes them in.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a sandbox may use. `None` is "the server's default".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time in thousandths of one CPU (`500` is half a CPU).
    pub cpu_millis: Option<u64>,
    /// Memory in bytes; swap is not given on top of it.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse the quantity {text:?}: {problem}")]
pub struct InvalidQuantity {
    pub text: String,
    pub problem: &'static str,
}

/// Parses a CPU quantity: `500m` (thousandths), `2`, `0.5`. Result in thousandths of a CPU, at least 1.
///
/// # Errors
/// When the text is not such a quantity, is not positive, or is larger than 1,000,000 CPUs.
pub fn parse_cpu(text: &str) -> Result<u64, InvalidQuantity> {
    let refuse = |problem| InvalidQuantity { text: text.to_owned(), problem };
    let (number, per_unit) = match text.strip_suffix('m') {
        Some(millis) => (millis, 1),
        None => (text, 1000),
    };
    let millis = scaled(number, per_unit).map_err(refuse)?;
    if millis > 1_000_000_000 {
        return Err(refuse("larger than a million CPUs"));
    }
    Ok(millis)
}

/// Parses a memory quantity in bytes: a number with an optional unit `k M G T` (powers of 1000) or
/// `Ki Mi Gi Ti` (powers of 1024), case-insensitive and with an optional trailing `b`, as the reference server reads it.
///
/// # Errors
/// When the text is not such a quantity, is not positive, or does not fit 2^62 bytes.
pub fn parse_memory(text: &str) -> Result<u64, InvalidQuantity> {
    let refuse = |problem| InvalidQuantity { text: text.to_owned(), problem };
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let units: [(&str, u64); 8] = [
        ("ki", 1 << 10),
        ("mi", 1 << 20),
        ("gi", 1 << 30),
        ("ti", 1 << 40),
        ("k", 1_000),
        ("m", 1_000_000),
        ("g", 1_000_000_000),
        ("t", 1_000_000_000_000),
    ];
    let (number, per_unit) = units
        .iter()
        .find_map(|(suffix, factor)| plain.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((plain, 1));
    let bytes = scaled(number, per_unit).map_err(refuse)?;
    if bytes > 1 << 62 {
        return Err(refuse("larger than 2^62 bytes"));
    }
    Ok(bytes)
}

/// `number` (digits, at most one point) times `factor`, rounded up to a whole number, exactly.
fn scaled(number: &str, factor: u64) -> Result<u64, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return Err("not a positive number with a known unit");
    }
    if whole.len() > 19 || fraction.len() > 9 {
        return Err("more digits than any real quantity has");
    }
    // Both lengths are bounded above, so these values and products fit u128.
    let whole: u128 = whole.parse().map_err(|_| "not a number")?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| "too many digits")?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| "not a number")? };
    let total = ((whole * scale + fraction) * u128::from(factor)).div_ceil(scale);
    match u64::try_from(total) {
        Ok(0) => Err("not positive"),
        Ok(value) => Ok(value),
        Err(_) => Err("too large"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_quantities() {
        for (text, millis) in [("500m", 500), ("2", 2000), ("0.5", 500), ("1.25", 1250), ("0.0001", 1)] {
            assert_eq!(parse_cpu(text), Ok(millis), "{text}");
        }
        for bad in ["", "m", "abc", "0", "0m", "-1", "1e3", "1.", ".5", "nan", "99999999999999999999", "2000000"] {
            assert!(parse_cpu(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_quantities() {
        for (text, bytes) in [
            ("512Mi", 512 << 20),
            ("1Gi", 1 << 30),
            ("1.5gi", 3 << 29),
            ("100", 100),
            ("2k", 2000),
            ("64MB", 64_000_000),
            ("64mib", 64 << 20),
        ] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for bad in ["", "b", "Mi", "0", "-5Mi", "1Xi", "1 Gi", "inf", "9999999999999999999Ti"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
    }
}
