//! `bivouac stats`: what sandboxes use, once or as a table that is drawn anew each second.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Call;
use super::{Client, Failure, find, screen};

#[derive(Debug, Args)]
pub struct Stats {
    /// Id, beginning of an id, or name of one sandbox [default: all that live]
    pub id: Option<String>,

    /// Go on each second, until Ctrl-C or the end of the sandbox
    #[arg(long, short)]
    pub follow: bool,

    /// Print JSON: what the API gives; a line each second with -f
    #[arg(long)]
    pub json: bool,
}

/// What is read of the API's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    sandbox_id: String,
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    io: Option<Io>,
    disk: Option<Disk>,
    network: Option<Network>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    count: f64,
    used_percent: f64,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    total_bytes: u64,
    used_bytes: u64,
    oom_kills: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Pids {
    current: Option<u64>,
    limit: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Io {
    read_bytes: u64,
    written_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Network {
    sent: Traffic,
    received: Traffic,
}

#[derive(Debug, Deserialize)]
struct Traffic {
    bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    used_bytes: u64,
    complete: bool,
}

/// Prints what sandboxes use.
///
/// # Errors
/// When there is no such sandbox, or the daemon cannot be asked.
pub async fn stats(client: &Client, args: &Stats) -> Result<(), Failure> {
    let id = match &args.id {
        Some(text) => Some(find::id(client, text).await?),
        None => None,
    };
    let mut shown = false;
    loop {
        match read(client, id.as_deref()).await {
            Ok(answer) => show(&answer, args, shown)?,
            // It was there, and has ended or was removed.
            Err(Failure::Refused { status: 404 | 409, .. }) if shown => return Ok(()),
            Err(failure) => return Err(failure),
        }
        if !args.follow {
            return Ok(());
        }
        shown = true;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn read(client: &Client, id: Option<&str>) -> Result<Value, Failure> {
    let (path, action) = match id {
        Some(id) => (format!("/v1/sandboxes/{id}/stats"), format!("read what sandbox {id} uses")),
        None => ("/v1/stats".to_owned(), "read what the sandboxes use".to_owned()),
    };
    client.json(Call::new(Method::GET, path, action)).await
}

fn show(answer: &Value, args: &Stats, again: bool) -> Result<(), Failure> {
    match (args.json, args.follow) {
        (true, true) => return Ok(writeln!(io::stdout(), "{answer}")?),
        (true, false) => return screen::json(answer),
        (false, _) => {}
    }
    let unreadable = |error: serde_json::Error| Failure::Unreadable {
        action: "read what the sandboxes use".to_owned(),
        problem: error.to_string(),
    };
    let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![answer.clone()]);
    let used: Vec<Used> =
        items.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().map_err(unreadable)?;
    if again && io::stdout().is_terminal() {
        // To the upper left corner, and everything below it away (ECMA-48: CUP, ED).
        write!(io::stdout(), "\x1b[H\x1b[2J")?;
    }
    let rows: Vec<_> = used.iter().map(row).collect();
    screen::table(
        ["ID", "CPU", "CPUS", "THROTTLED", "MEMORY", "LIMIT", "OOM", "PIDS", "READ/WRITTEN", "DISK", "SENT/RECEIVED"],
        &rows,
    )
}

fn row(used: &Used) -> [String; 11] {
    let absent = || "-".to_owned();
    let Used { sandbox_id, cpu, memory, pids, io, disk, network } = used;
    let throttled = cpu.throttled_periods.zip(cpu.periods).filter(|(_, all)| *all > 0);
    let pids_of = |current: u64| match pids.limit {
        Some(limit) => format!("{current}/{limit}"),
        None => current.to_string(),
    };
    [
        sandbox_id.chars().filter(|c| *c != '-').take(12).collect(),
        format!("{:.1}%", cpu.used_percent),
        cpu.count.to_string(),
        throttled.map_or_else(absent, |(some, all)| format!("{}%", some * 100 / all)),
        screen::bytes(memory.used_bytes),
        screen::bytes(memory.total_bytes),
        memory.oom_kills.map_or_else(absent, |kills| kills.to_string()),
        pids.current.map_or_else(absent, pids_of),
        io.as_ref()
            .map_or_else(absent, |io| format!("{}/{}", screen::bytes(io.read_bytes), screen::bytes(io.written_bytes))),
        disk.as_ref().map_or_else(absent, |disk| {
            format!("{}{}", if disk.complete { "" } else { ">" }, screen::bytes(disk.used_bytes))
        }),
        network.as_ref().map_or_else(absent, |network| {
            format!("{}/{}", screen::bytes(network.sent.bytes), screen::bytes(network.received.bytes))
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_is_counted() {
        let full = serde_json::json!({
            "sandboxId": "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11",
            "cpu": {"count": 0.5, "usedPercent": 12.34, "usedSeconds": 1.0, "periods": 10, "throttledPeriods": 3},
            "memory": {"totalBytes": 1 << 30, "usedBytes": 1536, "oomKills": 1},
            "pids": {"current": 3, "limit": 64},
            "io": {"readBytes": 1024, "writtenBytes": 0}, "disk": {"usedBytes": 1 << 20, "complete": false},
            "network": {"sent": {"bytes": 2048, "packets": 2}, "received": {"bytes": 0, "packets": 0}},
        });
        let used: Used = serde_json::from_value(full).expect("sound");
        let expected = [
            "0b5e5d5e6f70",
            "12.3%",
            "0.5",
            "30%",
            "1.5 KiB",
            "1.0 GiB",
            "1",
            "3/64",
            "1.0 KiB/0 B",
            ">1.0 MiB",
            "2.0 KiB/0 B",
        ];
        assert_eq!(row(&used), expected);
        let bare = serde_json::json!({
            "sandboxId": "x", "cpu": {"count": 2, "usedPercent": 0}, "memory": {"totalBytes": 0, "usedBytes": 0}, "pids": {},
        });
        let used: Used = serde_json::from_value(bare).expect("sound");
        assert_eq!(row(&used), ["x", "0.0%", "2", "-", "0 B", "0 B", "-", "-", "-", "-", "-"]);
    }
}
