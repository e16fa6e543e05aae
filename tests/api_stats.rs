//! What sandboxes use: for clients inside and outside, for Prometheus, and in diagnostics.

mod api_support;

use std::time::Duration;

use api_support::{Server, id};
use axum::body::Body;
use axum::http::Request;
use bivouac::model::{CpuUsage, DiskUsage, HostSize, IoUsage, MemoryUsage, PidsUsage, Throttling, Usage};
use chrono::{DateTime, SecondsFormat, Utc};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A quarter of the host's two CPUs and half of its memory, after `micros` of work.
fn usage(micros: u64) -> Usage {
    let throttling = Some(Throttling { periods: 10, throttled_periods: 2, throttled_micros: 500_000 });
    Usage {
        cpu: CpuUsage { used_micros: Some(micros), quota_millis: Some(500), throttling },
        memory: MemoryUsage {
            current: Some(96 << 20),
            inactive_file: Some(32 << 20),
            peak: Some(100 << 20),
            limit: Some(512 << 20),
            oom_kills: Some(3),
        },
        pids: PidsUsage { current: Some(7), limit: Some(64) },
        io: Some(IoUsage { read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 }),
        disk: Some(DiskUsage { bytes: 8192, inodes: 2, complete: true }),
        host: HostSize { cpu_millis: 2000, memory_bytes: 1 << 30 },
        ..Usage::default()
    }
}

/// A sandbox of which somebody just took a first reading.
async fn metered(server: &Server) -> String {
    let sandbox = server.created(json!({"timeout": 3600, "env": {"API_TOKEN": "hidden", "LANG": "C"}})).await;
    server.host.uses(&id(&sandbox), usage(1_000_000));
    assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}/stats")).await.status, 200);
    sandbox
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_tells_what_it_uses() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    server.host.uses(&id(&sandbox), usage(1_500_000));
    let mut stats = server.get(&format!("/sandboxes/{sandbox}/stats")).await.json();
    assert!(stats["timestamp"].take().is_string());
    // Half a second of work in two seconds, of half a CPU.
    let share = stats["cpu"]["usedPercent"].take().as_f64().expect("a number");
    assert!((49.0..=50.0).contains(&share), "{share}");
    let expected = json!({
        "sandboxId": sandbox, "timestamp": null,
        "cpu": {"count": 0.5, "usedPercent": null, "usedSeconds": 1.5, "periods": 10, "throttledPeriods": 2,
            "throttledSeconds": 0.5},
        "memory": {"totalBytes": 512 << 20, "usedBytes": 64 << 20, "currentBytes": 96 << 20, "peakBytes": 100 << 20,
            "oomKills": 3},
        "pids": {"current": 7, "limit": 64},
        "io": {"readBytes": 1, "writtenBytes": 2, "reads": 3, "writes": 4},
        "disk": {"usedBytes": 8192, "usedInodes": 2, "complete": true},
    });
    assert_eq!(stats, expected);
}

#[tokio::test(start_paused = true)]
async fn all_that_live_tell() {
    let server = Server::start().await;
    let (first, second) = (metered(&server).await, metered(&server).await);
    let gone = metered(&server).await;
    assert_eq!(server.send("DELETE", &format!("/v1/sandboxes/{gone}"), None).await.status, 204);
    let list = server.get("/v1/stats").await.json();
    let mut ids: Vec<_> =
        list["items"].as_array().expect("items").iter().map(|item| item["sandboxId"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    let mut expected = [json!(first), json!(second)];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(ids, expected);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_uses_nothing() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    server.host.exit(&id(&sandbox), 0);
    assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}/wait")).await.status, 200);
    for path in ["stats", "proxy/44772/metrics", "proxy/44772/metrics/watch"] {
        assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}/{path}")).await.refusal().0, 409, "{path}");
    }
    let nobody = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";
    for path in ["stats", "proxy/44772/metrics", "proxy/44772/metrics/watch", "diagnostics/summary"] {
        let refusal = server.get(&format!("/v1/sandboxes/{nobody}/{path}")).await.refusal();
        assert_eq!(refusal, (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_metrics_inside_are_of_the_sandbox_alone() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    let path = format!("/sandboxes/{sandbox}/proxy/44772/metrics");
    let mut metrics = server.get(&path).await.json();
    assert!(metrics["timestamp"].take().as_i64().is_some_and(|millis| millis > 1_600_000_000_000));
    let expected = json!({
        "cpu_count": 0.5, "cpu_used_pct": 0.0, "mem_total_mib": 512.0, "mem_used_mib": 64.0, "timestamp": null,
    });
    assert_eq!(metrics, expected);
    assert_eq!(server.send("POST", &format!("/v1/sandboxes/{sandbox}/pause"), None).await.status, 202);
    let paused = server.get(&path).await;
    assert_eq!(paused.status, 409);
    assert!(paused.message().contains("Paused"), "{}", paused.message());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_has_a_line_each_second_until_the_sandbox_ends() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    let request = Request::get(format!("/v1/sandboxes/{sandbox}/proxy/44772/metrics/watch"));
    let request = request.body(Body::empty()).expect("a request");
    let answer = server.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    let mut next = async || {
        let frame = body.frame().await?.expect("sound").into_data().expect("data");
        let line = std::str::from_utf8(&frame).expect("text").strip_suffix('\n').expect("a line").to_owned();
        Some(serde_json::from_str::<Value>(&line).expect("JSON"))
    };
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(next().await.expect("a line")["mem_total_mib"], 512.0);
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    server.host.exit(&id(&sandbox), 0);
    // A line may be on its way.
    while next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn prometheus_has_series_of_each_sandbox_unless_told_otherwise() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    let text = server.get("/metrics").await.text();
    for line in [
        "# TYPE bivouac_sandbox_cpu_seconds_total counter".to_owned(),
        format!("bivouac_sandbox_cpu_seconds_total{{sandbox=\"{sandbox}\"}} 1"),
        format!("bivouac_sandbox_memory_working_set_bytes{{sandbox=\"{sandbox}\"}} 67108864"),
        format!("bivouac_sandbox_oom_kills_total{{sandbox=\"{sandbox}\"}} 3"),
        format!("bivouac_sandbox_disk_used_bytes{{sandbox=\"{sandbox}\"}} 8192"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let mut state = server.state.clone();
    state.sandbox_metrics = false;
    let request = Request::get("/metrics").body(Body::empty()).expect("a request");
    let answer = bivouac::api::router(state).oneshot(request).await.expect("infallible");
    let text = answer.into_body().collect().await.expect("whole").to_bytes();
    assert!(!String::from_utf8_lossy(&text).contains(&sandbox));
}

#[tokio::test(start_paused = true)]
async fn diagnostics_tell_a_whole_life() {
    let server = Server::start().await;
    let sandbox = metered(&server).await;
    let whole = format!("/v1/sandboxes/{sandbox}");
    for verb in ["pause", "resume"] {
        assert_eq!(server.send("POST", &format!("{whole}/{verb}"), None).await.status, 202);
    }
    let until = server.get(&whole).await.json()["expiresAt"].as_str().expect("an expiry").parse::<DateTime<Utc>>();
    let until = (until.expect("a time") + Duration::from_secs(3600)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let renewed = server.post(&format!("{whole}/renew-expiration"), json!({"expiresAt": until})).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let events = server.get(&format!("{whole}/diagnostics/events?limit=500")).await.text();
    let expected = [
        "Pending: provisioning",
        "Running: started",
        "Pausing: user_pause",
        "Paused: user_pause",
        "Resuming: user_resume",
        "Running: user_resume",
    ];
    let at: Vec<_> =
        expected.iter().map(|event| events.find(event).unwrap_or_else(|| panic!("{event} in {events}"))).collect();
    assert!(at.is_sorted(), "{events}");
    assert!(events.contains(&format!("Running: user_renew: its time is up at {until}")), "{events}");
    let last = server.get(&format!("{whole}/diagnostics/events?limit=1")).await.text();
    assert!(!last.contains("Running: started"), "{last}");
    let inspect = server.get(&format!("{whole}/diagnostics/inspect")).await.text();
    for line in [
        "Image:          python:3.11",
        "Env:            API_TOKEN=***",
        "Env:            LANG=\"C\"",
        "Processes:      7, limit 64",
        "User ids:       from 65536",
    ] {
        assert!(inspect.lines().any(|found| found == line), "{line} in {inspect}");
    }
    assert!(!inspect.contains("hidden"));
    let summary = server.get(&format!("{whole}/diagnostics/summary?tail=5&event_limit=2")).await.text();
    for part in ["== Inspect ==", "== Events ==", "== Logs (last 5 lines) ==\n(no logs)", "Processes:      7"] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    assert_eq!(server.get(&format!("{whole}/diagnostics/summary?tail=0")).await.status, 400);
}
