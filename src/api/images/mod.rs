//! The routes of images, all our own: a file for each verb.

pub(super) mod body;
mod export;
mod import;
mod inspect;
mod list;
mod prune;
mod pull;
mod remove;
mod verify;

pub use export::export;
pub use import::import;
pub use inspect::inspect;
pub use list::list;
pub use prune::prune;
pub use pull::pull;
pub use remove::remove;
pub use verify::verify;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;
use super::extract::path_param;
use crate::image::ImageError;

/// The image that the rest of the path names, slashes and all.
#[derive(Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_param(parts, state, "name").await.map(Self)
    }
}

/// Store calls that touch the disk stay off the threads that serve everybody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(ApiError::image),
        Err(_) => Err(ApiError::internal("IMAGE::FAILED", "The work on the image was interrupted; try again.")),
    }
}
