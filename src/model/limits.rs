//! Resource limits of a sandbox and the quantities that the API writes them in.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a sandbox may use. `None` is "the server's default", or no limit where the server has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPU time in thousandths of one CPU (`500` is half a CPU).
    pub cpu_millis: Option<u64>,
    /// Share of the CPUs where there are too few for all, 1 to 10000; a sandbox that does not ask has 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// Memory in bytes; swap is not given on top of it.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Bytes a second from and to the device of the writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write: Option<u64>,
    /// Size of the writable layer in bytes, and how many files it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_inodes: Option<u64>,
}

/// What a limit is called in requests and in the configuration.
pub const LIMIT_NAMES: [&str; 8] = ["cpu", "cpu-weight", "memory", "pids", "io-read", "io-write", "disk", "inodes"];

impl Limits {
    /// These, and `defaults` for the rest.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let (own, defaults) = (self.values(), defaults.values());
        Self::of(std::array::from_fn(|at| own[at].or(defaults[at])))
    }

    /// None of them more than `most` allows.
    #[must_use]
    pub fn at_most(&self, most: &Self) -> Self {
        let (own, most) = (self.values(), most.values());
        Self::of(std::array::from_fn(|at| own[at].map(|value| value.min(most[at].unwrap_or(u64::MAX)))))
    }

    /// The first that is more than `most` allows: its name, its value, and the most.
    #[must_use]
    pub fn above(&self, most: &Self) -> Option<(&'static str, u64, u64)> {
        let pairs = self.values().into_iter().zip(most.values());
        let mut named = LIMIT_NAMES.into_iter().zip(pairs);
        named.find_map(|(name, (value, most))| match (value, most) {
            (Some(value), Some(most)) if value > most => Some((name, value, most)),
            _ => None,
        })
    }

    /// In the order of [`LIMIT_NAMES`].
    fn values(&self) -> [Option<u64>; 8] {
        let Self { cpu_millis, cpu_weight, memory_bytes, pids, io_read, io_write, disk_bytes, disk_inodes } = *self;
        [cpu_millis, cpu_weight, memory_bytes, pids, io_read, io_write, disk_bytes, disk_inodes]
    }

    fn of(values: [Option<u64>; 8]) -> Self {
        let [cpu_millis, cpu_weight, memory_bytes, pids, io_read, io_write, disk_bytes, disk_inodes] = values;
        Self { cpu_millis, cpu_weight, memory_bytes, pids, io_read, io_write, disk_bytes, disk_inodes }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.cpu_millis.map(|millis| format!("cpu {millis}m")),
            self.cpu_weight.map(|weight| format!("cpu weight {weight}")),
            self.memory_bytes.map(|bytes| format!("memory {bytes} bytes, no swap")),
            self.pids.map(|count| format!("{count} processes and threads")),
            self.io_read.map(|bytes| format!("reading {bytes} bytes a second")),
            self.io_write.map(|bytes| format!("writing {bytes} bytes a second")),
            self.disk_bytes.map(|bytes| format!("disk {bytes} bytes")),
            self.disk_inodes.map(|count| format!("{count} files")),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Processes of a workload that the kernel killed for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    pub kills: u64,
    /// What the workload may use, in bytes; `None` when it was the host that had none left.
    pub limit: Option<u64>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kills {
            1 => f.write_str("the kernel killed a process of the sandbox for want of memory")?,
            kills => write!(f, "the kernel killed {kills} processes of the sandbox for want of memory")?,
        }
        match self.limit {
            Some(limit) => write!(f, ": its memory limit is {limit} bytes (raise resourceLimits.memory)"),
            None => f.write_str(": it has no limit, the host had none left"),
        }
    }
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
    fn defaults_and_maxima() {
        let asked = Limits { cpu_millis: Some(3000), disk_bytes: Some(5), ..Limits::default() };
        let most = Limits { cpu_millis: Some(2000), memory_bytes: Some(9), disk_bytes: Some(5), ..Limits::default() };
        assert_eq!(asked.above(&most), Some(("cpu", 3000, 2000)));
        let all = asked.or(&most);
        assert_eq!((all.cpu_millis, all.memory_bytes, all.pids), (Some(3000), Some(9), None));
        assert_eq!(all.at_most(&most), most);
        assert_eq!(most.above(&most), None);
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let old: Limits = serde_json::from_str(r#"{"cpu_millis":5,"memory_bytes":null,"pids":7}"#).expect("limits");
        assert_eq!(old, Limits { cpu_millis: Some(5), pids: Some(7), ..Limits::default() });
    }

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
