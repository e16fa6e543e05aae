//! `GET /sandboxes/{id}/stats` and `GET /stats`, routes of our own: what sandboxes use now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::types::{StatsBody, StatsList};
use crate::model::{Phase, SandboxId};
use crate::sandbox::{Filter, Metered, Sandboxes};

/// Sandboxes that are read at the same time: a reading is a dozen small files.
const AT_ONCE: usize = 16;
/// No more than these are read for one request.
const MOST_SANDBOXES: u32 = 1000;

pub async fn stats(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<Json<StatsBody>, ApiError> {
    let metered = sandboxes.usage(&id).await;
    let metered = metered.map_err(|denial| ApiError::denied(denial, "SANDBOX::STATS_FAILED"))?;
    Ok(Json(StatsBody::new(&id, &metered)))
}

/// All that have processes, youngest first.
pub async fn all_stats(State(sandboxes): State<Sandboxes>) -> Json<StatsList> {
    let metered = metered(&sandboxes).await;
    Json(StatsList { items: metered.iter().map(|(id, metered)| StatsBody::new(id, metered)).collect() })
}

/// What those sandboxes use that have processes; one that ends meanwhile is not among them.
pub async fn metered(sandboxes: &Sandboxes) -> Vec<(SandboxId, Metered)> {
    let phases = vec![Phase::Running, Phase::Pausing, Phase::Paused, Phase::Resuming];
    let listed = sandboxes.list(&Filter { phases, ..Filter::default() }, 1, MOST_SANDBOXES).items;
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut readings = JoinSet::new();
    for (place, sandbox) in listed.into_iter().enumerate() {
        let (sandboxes, turns) = (sandboxes.clone(), Arc::clone(&turns));
        readings.spawn(async move {
            let _turn = turns.acquire().await;
            sandboxes.usage(&sandbox.id).await.ok().map(|metered| (place, sandbox.id, metered))
        });
    }
    let mut read: Vec<_> = readings.join_all().await.into_iter().flatten().collect();
    read.sort_unstable_by_key(|(place, ..)| *place);
    read.into_iter().map(|(_, id, metered)| (id, metered)).collect()
}
