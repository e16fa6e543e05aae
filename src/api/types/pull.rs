//! The lines that tell how far a pull is.

use axum::body::Bytes;
use serde::Serialize;

use super::ImageDocument;
use crate::api::error::ApiError;
use crate::image::{ImageStore, PullState};

/// One line. `status` says which of the other fields are there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PullLine {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Part {
    done: u64,
    total: u64,
}

impl PullLine {
    pub fn of(state: &PullState, store: &ImageStore) -> Self {
        let message = state.to_string();
        let line = Self { status: "waiting", message, layers: None, bytes: None, image: None, code: None };
        match state {
            PullState::Waiting => line,
            PullState::Resolving => Self { status: "resolving", ..line },
            PullState::Writing => Self { status: "writing", ..line },
            PullState::Fetching(fetched) => Self {
                status: "pulling",
                layers: Some(Part { done: fetched.layers as u64, total: fetched.layers_total as u64 }),
                bytes: Some(Part { done: fetched.bytes, total: fetched.bytes_total }),
                ..line
            },
            PullState::Done(image) => Self { status: "done", image: Some(ImageDocument::of(image, store)), ..line },
            PullState::Failed(error) => {
                let error = ApiError::of_image(error);
                Self { status: "failed", message: error.message().to_owned(), code: Some(error.code()), ..line }
            }
        }
    }

    /// As a line of JSON.
    pub fn to_bytes(&self) -> Bytes {
        // Numbers and strings only: it cannot fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}
