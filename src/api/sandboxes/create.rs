//! `POST /sandboxes`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;

use super::spec::{self, Rules};
use crate::api::error::ApiError;
use crate::api::fields::shown;
use crate::api::json::JsonBody;
use crate::api::state::ApiState;
use crate::api::types::SandboxBody;
use crate::image::Image;
use crate::model::Phase;
use crate::sandbox::{Denial, LifecycleConfig};

/// Images that a refusal names.
const MOST_NAMES: usize = 10;

/// 202 once the sandbox runs, or once it is known why it does not: its status says so, and it can be read and deleted. One whose
/// image must be fetched first is answered at once, as Pending.
pub async fn create(State(state): State<ApiState>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let spec = spec::read(&body, &rules(state.sandboxes.config()))?;
    let fetch = spec::read_fetch(&body)?;
    let created = state.sandboxes.create_fetching(spec, fetch).await;
    state.counters.created(created.as_ref().map_or(true, |sandbox| sandbox.status.phase == Phase::Failed));
    let sandbox = created.map_err(|denial| refusal(&state, denial))?;
    let location = format!("/v1/sandboxes/{}", sandbox.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(SandboxBody::created(sandbox))).into_response())
}

fn rules(config: &LifecycleConfig) -> Rules<'_> {
    Rules {
        min_timeout: config.min_timeout.as_secs(),
        max_timeout: config.max_timeout.map(|most| most.as_secs()),
        max_limits: config.max_limits,
        network: &config.network,
        network_bounds: config.network_bounds,
        arch: architecture(),
        now: Utc::now(),
    }
}

/// This host's, in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn refusal(state: &ApiState, denial: Denial) -> ApiError {
    match denial {
        Denial::ImageNotFound { image, message } => image_not_found(&image, &message, &state.images.list()),
        other => ApiError::denied(other, "DOCKER::SANDBOX_START_FAILED"),
    }
}

/// Says what to do about it, and what could have been meant.
fn image_not_found(image: &str, problem: &str, here: &[Arc<Image>]) -> ApiError {
    let names: Vec<&str> = here.iter().map(|image| image.name.as_str()).filter(|name| !name.is_empty()).collect();
    let listed = match names.as_slice() {
        [] => "There are no images here yet".to_owned(),
        few if few.len() <= MOST_NAMES => format!("Here are: {}", few.join(", ")),
        many => format!(
            "Here are {}, among them: {}",
            many.len(),
            many.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ")
        ),
    };
    let (image, problem) = (shown(image), problem.chars().take(500).collect::<String>());
    let message = format!(
        "Image {image} is not on this host and is not pulled: failed to {problem}. `bivouac image pull NAME` or `bivouac image \
         import PATH --name NAME` bring it in. {listed}."
    );
    ApiError::refused("SANDBOX::IMAGE_NOT_FOUND", message)
}
