//! `GET /sandboxes/{id}/diagnostics/inspect`: what a sandbox is and uses, for people.

use axum::extract::State;
use axum::response::Response;

use super::plain;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::time;
use crate::model::{SandboxId, Usage};
use crate::sandbox::{Sandbox, Sandboxes};

pub async fn inspect(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<Response, ApiError> {
    let content = inspection(&sandboxes, &id).await.ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    Ok(plain(content))
}

/// The whole text; `None` when there is no such sandbox.
pub async fn inspection(sandboxes: &Sandboxes, id: &SandboxId) -> Option<String> {
    let sandbox = sandboxes.get(id)?;
    let mut lines = known(&sandbox);
    lines.extend(sandboxes.describe(id)?);
    // One without processes uses nothing.
    if let Ok(usage) = sandboxes.reading(id).await {
        lines.extend(used(&usage));
    }
    lines.extend(listed("Env", sandbox.spec.env.iter().map(|(name, value)| masked(name, value))));
    lines.extend(listed("Metadata", sandbox.spec.metadata.iter().map(|(name, value)| format!("{name}={value}"))));
    Some(lines.into_iter().map(|(name, value)| format!("{:<15} {value}\n", name + ":")).collect())
}

fn known(sandbox: &Sandbox) -> Vec<(String, String)> {
    let Sandbox { id, spec, status, created_at, expires_at } = sandbox;
    let mut lines = vec![
        ("Sandbox", id.to_string()),
        ("Image", spec.image.clone()),
        ("Entrypoint", format!("{:?}", spec.entrypoint)),
        (
            "State",
            format!(
                "{}, {} since {}",
                status.phase,
                status.reason.as_str(),
                time::write_nanos(status.since_unix_nanos)
            ),
        ),
        ("Message", status.message.clone()),
        ("Created", time::write(*created_at)),
        ("Expires", expires_at.map_or_else(|| "never".to_owned(), time::write)),
    ];
    let exit = status.exit.map(|exit| exit.shell_code().map_or_else(|| "unknown".to_owned(), |code| code.to_string()));
    lines.extend(exit.map(|exit| ("Exit code", exit)));
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the kernel counts, and what it enforces, where it says so.
fn used(usage: &Usage) -> Vec<(String, String)> {
    let limited = |limit: Option<u64>| limit.map_or_else(|| "not limited".to_owned(), |limit| format!("limit {limit}"));
    let shown = |count: Option<u64>| count.map_or_else(|| "not counted".to_owned(), |count| count.to_string());
    let (cpu, memory) = (&usage.cpu, &usage.memory);
    let throttled =
        cpu.throttling.map(|times| format!(", throttled in {} of {} periods", times.throttled_periods, times.periods));
    let quota = cpu.quota_millis.map_or_else(|| "not limited".to_owned(), |millis| format!("quota {millis}m"));
    let mut lines = vec![
        ("CPU", format!("{} us used, {quota}{}", shown(cpu.used_micros), throttled.unwrap_or_default())),
        (
            "Memory",
            format!(
                "{} bytes, peak {}, {}, {} killed for want of it",
                shown(memory.current),
                shown(memory.peak),
                limited(memory.limit),
                shown(memory.oom_kills),
            ),
        ),
        ("Processes", format!("{}, {}", shown(usage.pids.current), limited(usage.pids.limit))),
    ];
    if let Some(io) = usage.io {
        lines.push(("IO", format!("{} bytes read, {} written", io.read_bytes, io.written_bytes)));
    }
    if let Some(disk) = usage.disk {
        let least = if disk.complete { "" } else { "at least " };
        lines.push(("Disk", format!("{least}{} bytes in {} files and directories", disk.bytes, disk.inodes)));
    }
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn listed(name: &str, values: impl Iterator<Item = String>) -> Vec<(String, String)> {
    values.map(|value| (name.to_owned(), value)).collect()
}

/// Values whose names say that they are secret are not shown to whoever reads diagnostics.
fn masked(name: &str, value: &str) -> String {
    const SECRET: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL"];
    let upper = name.to_ascii_uppercase();
    if SECRET.iter().any(|word| upper.contains(word)) { format!("{name}=***") } else { format!("{name}={value:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_their_names() {
        for name in ["API_KEY", "db_password", "GitHubToken", "SECRET", "AWS_CREDENTIALS"] {
            assert_eq!(masked(name, "hidden"), format!("{name}=***"));
        }
        assert_eq!(masked("PATH", "/bin\n"), "PATH=\"/bin\\n\"");
    }
}
