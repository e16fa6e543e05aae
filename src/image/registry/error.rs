//! What goes wrong with a registry, in words that say what to do.

use hyper::StatusCode;

use crate::image::ImageError;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryFailure {
    /// The registry does not have it.
    NotFound,
    /// The registry wants to know who asks, or does not let them.
    Denied,
    /// The registry was asked too often.
    RateLimited,
    /// The registry could not be reached, or did not answer as one.
    Unreachable,
    /// What the registry answered breaks a rule that keeps this host or its credentials safe.
    Refused,
}

pub fn failure(host: &str, kind: RegistryFailure, problem: impl Into<String>) -> ImageError {
    ImageError::Registry { host: host.to_owned(), kind, problem: problem.into() }
}

/// An answer that is no success, to the request for `what`.
pub fn answered(host: &str, status: StatusCode, what: &str) -> ImageError {
    let (kind, advice) = match status {
        StatusCode::NOT_FOUND => (RegistryFailure::NotFound, "check the name and the tag"),
        StatusCode::UNAUTHORIZED => (
            RegistryFailure::Denied,
            "check that the image exists and give credentials: `docker login` or `skopeo login` into /etc/bivouac/auth.json or \
             ~/.docker/config.json, or image.auth of the request",
        ),
        StatusCode::FORBIDDEN => (RegistryFailure::Denied, "these credentials may not pull it"),
        StatusCode::TOO_MANY_REQUESTS => {
            (RegistryFailure::RateLimited, "wait, pull with credentials, or set a mirror in [registries]")
        }
        _ => (RegistryFailure::Unreachable, "try again later, or look at the registry"),
    };
    failure(host, kind, format!("it answered {status} when asked for {what}; {advice}"))
}
