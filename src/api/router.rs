//! Every route of the API on one page.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, patch, post};

use super::error::ApiError;
use super::state::ApiState;
use super::{absent, auth, diagnostics, egress, endpoints, execd, images, proxy, request_id, sandboxes, system};

/// The whole API of one listener.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/health", get(system::health))
        .route("/version", get(system::version))
        .route("/openapi.json", get(system::openapi))
        .route("/metrics", get(system::metrics))
        // The reference serves everything under both; its SDKs use /v1.
        .merge(protocol())
        .nest("/v1", protocol().route("/metrics/events", post(system::client_event)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::check))
        .layer(from_fn(request_id::attach))
        .with_state(state)
}

fn protocol() -> Router<ApiState> {
    Router::new()
        .route("/sandboxes", get(sandboxes::list).post(sandboxes::create))
        .route("/sandboxes/{id}", get(sandboxes::get).delete(sandboxes::delete))
        .route("/sandboxes/{id}/pause", post(sandboxes::pause))
        .route("/sandboxes/{id}/resume", post(sandboxes::resume))
        .route("/sandboxes/{id}/renew-expiration", post(sandboxes::renew))
        .route("/sandboxes/{id}/metadata", patch(sandboxes::patch_metadata))
        .route("/sandboxes/{id}/diagnostics/logs", get(diagnostics::logs))
        .route("/sandboxes/{id}/diagnostics/events", get(diagnostics::events))
        .route("/sandboxes/{id}/diagnostics/inspect", get(diagnostics::inspect))
        .route("/sandboxes/{id}/diagnostics/summary", get(diagnostics::summary))
        .route("/sandboxes/{id}/endpoints/{port}", get(endpoints::get))
        // The same under two kinds of address; the second says itself who may use it.
        .nest("/sandboxes/{id}/proxy/44772", execd::router())
        .nest("/sandboxes/{id}/signed/{address}/44772", execd::router())
        .nest("/sandboxes/{id}/proxy/18080", egress::router())
        .nest("/sandboxes/{id}/signed/{address}/18080", egress::router())
        .route("/sandboxes/{id}/proxy/{port}", any(proxy::pass))
        .route("/sandboxes/{id}/proxy/{port}/", any(proxy::pass))
        .route("/sandboxes/{id}/proxy/{port}/{*path}", any(proxy::pass))
        .route("/sandboxes/{id}/signed/{address}/{port}", any(proxy::pass))
        .route("/sandboxes/{id}/signed/{address}/{port}/", any(proxy::pass))
        .route("/sandboxes/{id}/signed/{address}/{port}/{*path}", any(proxy::pass))
        .route(
            "/sandboxes/{id}/networkpolicy",
            get(egress::get_policy).put(egress::replace).patch(egress::change).delete(egress::delete),
        )
        // Our own.
        .route("/sandboxes/{id}/logs", get(sandboxes::logs))
        .route("/sandboxes/{id}/stats", get(sandboxes::stats))
        .route("/stats", get(sandboxes::all_stats))
        .route("/sandboxes/{id}/signal", post(sandboxes::signal))
        .route("/sandboxes/{id}/wait", get(sandboxes::wait))
        .route("/sandboxes/{id}/attach", get(sandboxes::attach))
        .route("/images", get(images::list))
        .route("/images/export", get(images::export))
        .route("/images/import", post(images::import))
        .route("/images/prune", post(images::prune))
        .route("/images/pull", post(images::pull))
        .route("/images/verify", post(images::verify))
        .route("/images/{*name}", get(images::inspect).delete(images::remove))
        // Known, and not in this version.
        .route("/sandboxes/{id}/snapshots", post(absent::snapshot_of_sandbox))
        .route("/snapshots", get(absent::snapshots))
        .route("/snapshots/{id}", get(absent::snapshots).delete(absent::snapshots))
        .route("/pools", get(absent::pools).post(absent::pools))
        .route("/pools/{name}", get(absent::pools).put(absent::pools).delete(absent::pools))
        .route("/templates", get(absent::templates).post(absent::templates))
        .route("/templates/{id}", get(absent::templates).delete(absent::templates))
}

pub async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    let message = format!("There is no {method} {path}. GET /openapi.json lists what there is.");
    ApiError::new(StatusCode::NOT_FOUND, "SANDBOX::ROUTE_NOT_FOUND", message)
}

/// axum adds the `Allow` header.
pub async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    let message = format!("{path} does not take {method}; the Allow header says what it takes.");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "SANDBOX::METHOD_NOT_ALLOWED", message)
}
