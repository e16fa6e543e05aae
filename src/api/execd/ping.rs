//! `GET /ping`: whether commands can be run.

use axum::http::StatusCode;

use super::Entered;

pub async fn ping(_: Entered) -> StatusCode {
    StatusCode::OK
}
