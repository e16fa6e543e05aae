//! `GET /metrics`: a few true numbers in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::api::state::{ApiState, Counters};
use crate::model::Phase;
use crate::sandbox::{Filter, Sandboxes};

pub async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let text = written(&state.sandboxes, &state.counters);
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

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or_default();
}

fn sample(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name} {value}").unwrap_or_default();
}
