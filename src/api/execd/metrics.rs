//! `GET /metrics` and `GET /metrics/watch`: what a sandbox sees of its CPUs and memory.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::stream::ChannelBody;
use crate::api::types::percent;
use crate::model::SandboxId;
use crate::sandbox::{Metered, Sandboxes};

const FAILED: &str = "RUNTIME_ERROR";
const MIB: f64 = 1_048_576.0;

#[derive(Debug, Serialize)]
struct MetricsBody {
    /// A fraction when the quota is one.
    cpu_count: f64,
    /// Of `cpu_count`, 0 to 100.
    cpu_used_pct: f64,
    mem_total_mib: f64,
    mem_used_mib: f64,
    /// Milliseconds of the Unix epoch.
    timestamp: i64,
}

pub async fn metrics(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<Response, ApiError> {
    Ok(Json(read(&sandboxes, &id).await?).into_response())
}

/// A line each second, until the sandbox or the client leaves. While it is paused, the lines go on.
pub async fn watch(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<Response, ApiError> {
    let inside = sandboxes.inside(&id).map_err(|denial| ApiError::denied(denial, FAILED))?;
    let first = read(&sandboxes, &id).await?;
    // A line waits for the client; the next is made when it was taken.
    let (lines, received) = mpsc::channel(1);
    tokio::spawn(async move {
        let gone = lines.clone();
        tokio::select! {
            () = tell(&sandboxes, &id, first, lines) => {}
            _ = inside.left() => {}
            () = gone.closed() => {}
        }
    });
    let body = Body::new(ChannelBody::new(received, std::convert::identity));
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

async fn tell(sandboxes: &Sandboxes, id: &SandboxId, first: MetricsBody, lines: mpsc::Sender<io::Result<Bytes>>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Some(first);
    loop {
        seconds.tick().await;
        let body = match next.take() {
            Some(first) => first,
            None => match sandboxes.usage(id).await {
                Ok(metered) => MetricsBody::new(&metered),
                Err(_it_ended) => return,
            },
        };
        let line = serde_json::to_string(&body).map(|line| Bytes::from(line + "\n")).map_err(io::Error::from);
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

async fn read(sandboxes: &Sandboxes, id: &SandboxId) -> Result<MetricsBody, ApiError> {
    let metered = match sandboxes.inside(id) {
        Ok(_runs) => sandboxes.usage(id).await,
        Err(denial) => Err(denial),
    };
    metered.map(|metered| MetricsBody::new(&metered)).map_err(|denial| ApiError::denied(denial, FAILED))
}

impl MetricsBody {
    fn new(Metered { usage, cpu_share }: &Metered) -> Self {
        Self {
            cpu_count: usage.cpu_millis() as f64 / 1000.0,
            cpu_used_pct: percent(*cpu_share),
            mem_total_mib: usage.memory_total() as f64 / MIB,
            mem_used_mib: usage.memory_used() as f64 / MIB,
            timestamp: chrono::Utc::now().timestamp_millis(),
        }
    }
}
