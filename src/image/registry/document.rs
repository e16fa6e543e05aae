//! Manifests, indexes and configs: small, bounded, and verified against the digest by which they were asked for.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;

use super::session::Session;
use super::{Patience, RegistryFailure};
use crate::image::{Digest, ImageError};

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

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
        let bytes = collect(response.into_body(), limit, &what, self.patience()).await?;
        let digest = Digest::of(&bytes);
        match expected {
            Some(expected) if expected != digest => {
                Err(self.refused(&format!("what it sent as {what} has another digest: {digest}")))
            }
            _ => Ok(Document { digest, bytes, media_type }),
        }
    }
}

/// The whole body, if it is not larger than `limit` and comes in time.
pub async fn collect(body: Incoming, limit: u64, what: &str, patience: &Patience) -> Result<Vec<u8>, ImageError> {
    let read = async {
        let (mut body, mut bytes) = (body, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(what, &error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if (bytes.len() + data.len()) as u64 > limit {
                return Err(ImageError::TooLarge { at: what.to_owned(), what: "bytes of the document", limit });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let read = tokio::time::timeout(patience.window, read).await;
    read.unwrap_or_else(|_| Err(broken(what, "it comes too slowly")))
}

fn broken(what: &str, problem: &str) -> ImageError {
    ImageError::Registry {
        host: what.to_owned(),
        kind: RegistryFailure::Unreachable,
        problem: format!("it broke off: {problem}; try again"),
    }
}
