//! `GET /metrics`: a few true numbers in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::api::sandboxes::metered;
use crate::api::state::{ApiState, Counters};
use crate::api::types::seconds;
use crate::model::{NetworkUsage, Phase, SandboxId, Usage};
use crate::sandbox::{Filter, Metered, Sandboxes};

pub async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let mut text = written(&state.sandboxes, &state.counters);
    if state.sandbox_metrics {
        text += &of_sandboxes(&metered(&state.sandboxes).await);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

fn written(sandboxes: &Sandboxes, counters: &Counters) -> String {
    let mut text = String::new();
    family(&mut text, "bivouac_sandboxes", "gauge", "Sandboxes by their state.");
    for phase in Phase::ALL {
        let filter = Filter { phases: vec![phase], ..Filter::default() };
        let total = sandboxes.list(&filter, 1, 1).total;
        sample(&mut text, &format!("bivouac_sandboxes{{state=\"{phase}\"}}"), total);
    }
    family(&mut text, "bivouac_sandbox_creates_total", "counter", "Valid requests for a sandbox.");
    sample(&mut text, "bivouac_sandbox_creates_total", counters.creates.load(Ordering::Relaxed));
    family(
        &mut text,
        "bivouac_sandbox_create_failures_total",
        "counter",
        "Those that did not become a running sandbox.",
    );
    sample(&mut text, "bivouac_sandbox_create_failures_total", counters.create_failures.load(Ordering::Relaxed));
    family(&mut text, "process_start_time_seconds", "gauge", "When the daemon began to serve, in Unix time.");
    sample(&mut text, "process_start_time_seconds", counters.started_unix_seconds);
    text
}

/// A family of series: name, kind, help, and the value of one sandbox, where it has one.
type Series = (&'static str, &'static str, &'static str, fn(&Usage) -> Option<f64>);

const SERIES: &[Series] = &[
    ("cpu_seconds_total", "counter", "CPU time that was used.", |usage| usage.cpu.used_micros.map(seconds)),
    ("cpu_limit", "gauge", "CPUs that may be used.", |usage| Some(usage.cpu_millis() as f64 / 1000.0)),
    ("cpu_throttled_seconds_total", "counter", "Time that was waited for the CPU quota.", |usage| {
        usage.cpu.throttling.map(|throttling| seconds(throttling.throttled_micros))
    }),
    ("memory_working_set_bytes", "gauge", "Memory without file pages that were not used lately.", |usage| {
        usage.memory.current.map(|_| usage.memory_used() as f64)
    }),
    ("memory_peak_bytes", "gauge", "The most memory so far.", |usage| usage.memory.peak.map(float)),
    ("memory_limit_bytes", "gauge", "Memory that may be used.", |usage| Some(usage.memory_total() as f64)),
    ("oom_kills_total", "counter", "Processes killed for want of memory.", |usage| usage.memory.oom_kills.map(float)),
    ("pids", "gauge", "Processes and threads.", |usage| usage.pids.current.map(float)),
    ("io_read_bytes_total", "counter", "Read from block devices.", |usage| usage.io.map(|io| float(io.read_bytes))),
    ("io_written_bytes_total", "counter", "Written to block devices.", |usage| {
        usage.io.map(|io| float(io.written_bytes))
    }),
    ("disk_used_bytes", "gauge", "Written over the image.", |usage| usage.disk.map(|disk| float(disk.bytes))),
    ("network_sent_bytes_total", "counter", "Sent over the network.", |usage| network(usage, |all| all.sent.bytes)),
    ("network_sent_packets_total", "counter", "Sent, in packets.", |usage| network(usage, |all| all.sent.packets)),
    ("network_received_bytes_total", "counter", "Received over the network.", |usage| {
        network(usage, |all| all.received.bytes)
    }),
    ("network_received_packets_total", "counter", "Received, in packets.", |usage| {
        network(usage, |all| all.received.packets)
    }),
];

fn network(usage: &Usage, count: fn(&NetworkUsage) -> u64) -> Option<f64> {
    usage.network.as_ref().map(|usage| float(count(usage)))
}

/// The series of each sandbox that has processes; of the youngest thousand, so that the text has a bound.
fn of_sandboxes(metered: &[(SandboxId, Metered)]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in SERIES {
        let name = format!("bivouac_sandbox_{name}");
        family(&mut text, &name, kind, help);
        for (id, Metered { usage, .. }) in metered {
            if let Some(value) = value(usage) {
                sample(&mut text, &format!("{name}{{sandbox=\"{id}\"}}"), value);
            }
        }
    }
    let name = "bivouac_sandbox_network_refused_packets_total";
    family(&mut text, name, "counter", "Packets of the sandbox that the rules refused.");
    for (id, Metered { usage, .. }) in metered {
        for (reason, packets) in usage.network.iter().flat_map(NetworkUsage::refusals) {
            sample(&mut text, &format!("{name}{{sandbox=\"{id}\",reason=\"{}\"}}", reason.as_str()), packets);
        }
    }
    text
}

fn float(count: u64) -> f64 {
    count as f64
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or_default();
}

fn sample(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name} {value}").unwrap_or_default();
}
