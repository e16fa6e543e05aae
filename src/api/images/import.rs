//! `POST /images/import`: an image of any size, unpacked while it arrives.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::blocking;
use super::body::{self, BodyReader};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::api::types::ImageDocument;
use crate::image::{NoProgress, Source};

/// 201 once the image can be used. A client that goes away leaves nothing behind.
pub async fn import(State(state): State<ApiState>, query: Query, body: Body) -> Result<Response, ApiError> {
    let name = query.get("name").filter(|name| !name.is_empty()).map(str::to_owned);
    let Ok(_turn) = state.imports.acquire().await else {
        return Err(ApiError::unavailable("The daemon is shutting down. Try again shortly."));
    };
    let (pieces, reader) = body::channel();
    let images = Arc::clone(&state.images);
    let unpack = blocking(move || images.import(source(reader), name.as_deref(), &NoProgress));
    // Both at once: the body is taken in as fast as it is unpacked, and an image that is refused ends the taking in.
    let (image, ()) = tokio::join!(unpack, body::feed(body, pieces));
    let image = image?;
    let location = format!("/v1/images/{}", if image.name.is_empty() { &image.digest } else { &image.name });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(ImageDocument::of(&image, &state.images)))
        .into_response())
}

fn source(reader: BodyReader) -> Source<'static> {
    Source::Reader(Box::new(reader))
}
