//! The section `[limits]`: what a sandbox gets that does not ask, and the most that it may ask for.

use super::Unenforceable;
use super::reader::Reader;
use crate::model::{Limits, parse_cpu, parse_memory};

/// One CPU, 2 GiB, 4096 processes, unless told otherwise, and no more than the maxima. What has a maximum is never without
/// a limit.
pub fn defaults(from: &mut Reader, most: &Limits) -> Limits {
    let given = read(from, "default");
    if let Some((name, value, most)) = given.above(most) {
        from.problem(
            format!("limits.default_{name} is {value}, more than limits.max_{name}, {most}").replace('-', "_"),
        );
    }
    let usual = Limits { cpu_millis: Some(1000), memory_bytes: Some(2 << 30), pids: Some(4096), ..Limits::default() };
    given.or(&usual.at_most(most)).or(&Limits { cpu_weight: None, ..*most })
}

/// `limits.default_...` or `limits.max_...`
pub fn read(from: &mut Reader, kind: &str) -> Limits {
    let key = |name: &str| format!("limits.{kind}_{name}");
    Limits {
        cpu_millis: from.parsed(&key("cpu"), parse_cpu),
        cpu_weight: from.number(&key("cpu_weight")),
        memory_bytes: from.parsed(&key("memory"), parse_memory),
        pids: from.number(&key("pids")),
        io_read: from.parsed(&key("io_read"), parse_memory),
        io_write: from.parsed(&key("io_write"), parse_memory),
        disk_bytes: from.parsed(&key("disk"), parse_memory),
        disk_inodes: from.number(&key("inodes")),
    }
}

pub fn unenforceable(text: &str) -> Result<Unenforceable, &'static str> {
    match text {
        "accept" => Ok(Unenforceable::Accept),
        "refuse" => Ok(Unenforceable::Refuse),
        _ => Err("it must be accept or refuse"),
    }
}
