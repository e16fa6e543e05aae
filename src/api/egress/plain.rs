//! The egress API, which says in plain text what is wrong.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::policy;
use crate::api::absent;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::json::{JsonBody, MaybeJsonBody};
use crate::api::types::PolicyStatusBody;
use crate::sandbox::Sandboxes;

/// A refusal as text.
pub struct Plain(ApiError);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        let text = format!("{}\n", self.0.message());
        let status = self.0.into_response().status();
        (status, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
    }
}

type Told = Result<Json<PolicyStatusBody>, Plain>;

pub async fn get(State(sandboxes): State<Sandboxes>, id: Result<Id, ApiError>) -> Told {
    let told = async { policy::show(&sandboxes, &id?.0) };
    told.await.map(Json).map_err(Plain)
}

pub async fn replace(
    State(sandboxes): State<Sandboxes>,
    id: Result<Id, ApiError>,
    body: Result<MaybeJsonBody, ApiError>,
) -> Told {
    let told = async { policy::replace(&sandboxes, &id?.0, body?.0.as_ref()).await };
    told.await.map(Json).map_err(Plain)
}

pub async fn change(
    State(sandboxes): State<Sandboxes>,
    id: Result<Id, ApiError>,
    body: Result<JsonBody, ApiError>,
) -> Told {
    let told = async { policy::merge(&sandboxes, &id?.0, &body?.0).await };
    told.await.map(Json).map_err(Plain)
}

pub async fn delete(
    State(sandboxes): State<Sandboxes>,
    id: Result<Id, ApiError>,
    body: Result<JsonBody, ApiError>,
) -> Told {
    let told = async { policy::remove(&sandboxes, &id?.0, &body?.0).await };
    told.await.map(Json).map_err(Plain)
}

/// The resolver and the packet filter are the daemon's own, and there as long as it answers.
pub async fn health(State(sandboxes): State<Sandboxes>, id: Result<Id, ApiError>) -> Result<&'static str, Plain> {
    let there = id.and_then(|Id(id)| sandboxes.get(&id).map(drop).ok_or_else(|| ApiError::no_sandbox(id.as_str())));
    there.map(|()| "ok").map_err(Plain)
}

pub async fn vault(State(sandboxes): State<Sandboxes>, id: Result<Id, ApiError>) -> Plain {
    let there = id.and_then(|Id(id)| sandboxes.get(&id).map(drop).ok_or_else(|| ApiError::no_sandbox(id.as_str())));
    Plain(there.err().unwrap_or_else(absent::not_in_this_version))
}
