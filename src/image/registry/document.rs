//! Manifests, indexes and configs: small, bounded, and verified against the digest by which they were asked for.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::RegistryFailure;
use super::session::Session;
use super::transport::Transport;
use crate::image::{Digest, ImageError};

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Only so many larger ones are in memory at a time.
const USUAL: usize = 256 << 10;
pub const LARGE_DOCUMENTS: usize = 2;

/// Which document.
#[derive(Debug, Clone)]
pub enum Wanted {
    Tagged(String),
    Manifest(Digest),
    Blob(Digest),
}

#[derive(Debug)]
pub struct Document {
    pub digest: Digest,
    pub bytes: Vec<u8>,
    /// What the registry says that it is, without parameters.
    pub media_type: Option<String>,
    _large: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Fetches a document of at most `limit` bytes.
    pub async fn document(&self, wanted: &Wanted, limit: u64) -> Result<Document, ImageError> {
        let (path, what, expected) = match wanted {
            Wanted::Tagged(tag) => {
                (format!("manifests/{tag}"), format!("the manifest of {}:{tag}", self.repository), None)
            }
            Wanted::Manifest(digest) => {
                (format!("manifests/{digest}"), format!("the manifest {digest}"), Some(*digest))
            }
            Wanted::Blob(digest) => (format!("blobs/{digest}"), format!("the config {digest}"), Some(*digest)),
        };
        let accept = if matches!(wanted, Wanted::Blob(_)) { "*/*" } else { MANIFESTS };
        let response = self.get(&path, accept, 0, &what).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim().to_owned());
        let (bytes, large) = collect(response.into_body(), limit, &what, &self.transport).await?;
        let digest = Digest::of(&bytes);
        match expected {
            Some(expected) if expected != digest => {
                Err(self.refused(&format!("what it sent as {what} has another digest: {digest}")))
            }
            _ => Ok(Document { digest, bytes, media_type, _large: large }),
        }
    }
}

/// The whole body, if it is not larger than `limit` and comes in time; and the right to have it in memory, if it is large.
pub async fn collect(
    body: Incoming,
    limit: u64,
    what: &str,
    transport: &Transport,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ImageError> {
    let (mut body, mut bytes, mut large) = (body, Vec::new(), None);
    let mut deadline = Instant::now() + transport.config.patience.window;
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| broken(what, "it comes too slowly"))?;
        let Some(frame) = frame else { return Ok((bytes, large)) };
        let frame = frame.map_err(|error| broken(what, &error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > limit {
            return Err(ImageError::TooLarge { at: what.to_owned(), what: "bytes of the document", limit });
        }
        if large.is_none() && bytes.len() + data.len() > USUAL {
            let since = Instant::now();
            // It is never closed; without it, it would only be more at once.
            large = Arc::clone(&transport.large_documents).acquire_owned().await.ok();
            // That others are slow is no fault of this registry.
            deadline += since.elapsed();
        }
        bytes.extend_from_slice(&data);
    }
}

fn broken(what: &str, problem: &str) -> ImageError {
    ImageError::Registry {
        host: what.to_owned(),
        kind: RegistryFailure::Unreachable,
        problem: format!("it broke off: {problem}; try again"),
    }
}
