//! `/sandboxes/{id}/networkpolicy`.

use axum::Json;
use axum::extract::State;

use super::policy;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::json::{JsonBody, MaybeJsonBody};
use crate::api::types::PolicyStatusBody;
use crate::sandbox::Sandboxes;

type Told = Result<Json<PolicyStatusBody>, ApiError>;

pub async fn get(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Told {
    policy::show(&sandboxes, &id).map(Json)
}

pub async fn replace(State(sandboxes): State<Sandboxes>, Id(id): Id, MaybeJsonBody(body): MaybeJsonBody) -> Told {
    policy::replace(&sandboxes, &id, body.as_ref()).await.map(Json)
}

pub async fn change(State(sandboxes): State<Sandboxes>, Id(id): Id, JsonBody(body): JsonBody) -> Told {
    policy::merge(&sandboxes, &id, &body).await.map(Json)
}

pub async fn delete(State(sandboxes): State<Sandboxes>, Id(id): Id, JsonBody(body): JsonBody) -> Told {
    policy::remove(&sandboxes, &id, &body).await.map(Json)
}
