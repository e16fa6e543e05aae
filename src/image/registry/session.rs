//! Asking one registry about one repository, with one caller's credentials.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use hyper::{Request, Response, StatusCode, Uri};

use super::challenge::{self, Challenge};
use super::error::{RegistryFailure, answered, failure};
use super::origin::Origin;
use super::transport::Transport;
use super::{Credentials, Patience, redirect, retry, token};
use crate::image::ImageError;

/// Where the manifest and all blobs of one image come from.
#[derive(Debug)]
pub struct Session {
    pub(super) transport: Arc<Transport>,
    pub(super) registry: Origin,
    pub(super) repository: String,
    pub(super) credentials: Option<Credentials>,
    /// What the registry accepted last.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    pub fn new(
        transport: Arc<Transport>,
        registry: Origin,
        repository: &str,
        credentials: Option<Credentials>,
    ) -> Self {
        Self { transport, registry, repository: repository.to_owned(), credentials, authorization: Mutex::default() }
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.transport.config.patience
    }

    /// The host, as errors name it.
    pub fn host(&self) -> String {
        self.registry.to_string()
    }

    /// Asks for `path` below `/v2/<repository>/`; returns the head of a 200 or 206. `what` names it in errors.
    pub(super) async fn get(
        &self,
        path: &str,
        accept: &str,
        from: u64,
        what: &str,
    ) -> Result<Response<Incoming>, ImageError> {
        let uri = format!("{}/v2/{}/{path}", self.registry, self.repository);
        let uri: Uri = uri.parse().map_err(|_| self.refused("its name makes no address"))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).map_err(|_| self.refused("a media type is no header"))?);
        if from > 0 {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={from}-")).map_err(|_| self.refused("range"))?);
        }
        let first = self.ask(&uri, &headers, what).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.follow(uri, first, headers, what).await;
        }
        // The first question, or a token that has expired: once more with another, and no more.
        self.authorize(challenge::read(first.headers()), what).await?;
        let second = self.ask(&uri, &headers, what).await?;
        self.follow(uri, second, headers, what).await
    }

    /// Asks the registry itself, which may see the authorization.
    async fn ask(&self, uri: &Uri, headers: &HeaderMap, what: &str) -> Result<Response<Incoming>, ImageError> {
        let mut request = Self::request(uri, headers);
        if let Some(value) = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.send_patiently(request, what).await
    }

    /// Follows redirects. Whoever is asked on the way never sees an authorization, nor may ask for one.
    async fn follow(
        &self,
        mut uri: Uri,
        mut response: Response<Incoming>,
        headers: HeaderMap,
        what: &str,
    ) -> Result<Response<Incoming>, ImageError> {
        for _ in 0..redirect::MOST {
            if !redirect::is_redirect(response.status()) {
                break;
            }
            uri = redirect::target(&uri, response.headers()).map_err(|problem| self.refused(&problem))?;
            response = self.send_patiently(Self::request(&uri, &headers), what).await?;
        }
        let host = Origin::of(&uri).map_or_else(|_| self.host(), |origin| origin.to_string());
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status if redirect::is_redirect(status) => {
                Err(self.refused(&format!("it redirects more than {} times", redirect::MOST)))
            }
            status => Err(answered(&host, status, what)),
        }
    }

    async fn authorize(&self, challenge: Option<Challenge>, what: &str) -> Result<(), ImageError> {
        let value = match (challenge, &self.credentials) {
            (Some(Challenge::Bearer { realm, service }), _) => token::fetch(self, &realm, service.as_deref()).await?,
            (Some(Challenge::Basic), Some(credentials)) => credentials.basic(),
            _ => return Err(answered(&self.host(), StatusCode::UNAUTHORIZED, what)),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    fn request(uri: &Uri, headers: &HeaderMap) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        uri.clone_into(request.uri_mut());
        headers.clone_into(request.headers_mut());
        request
    }

    /// Sends the request again, after a growing pause, while the answer is one that passes.
    pub(super) async fn send_patiently(
        &self,
        request: Request<Empty<Bytes>>,
        what: &str,
    ) -> Result<Response<Incoming>, ImageError> {
        let patience = self.patience();
        for attempt in 0.. {
            let outcome = self.transport.send(request.clone(), &self.registry).await;
            let is_last = attempt + 1 >= patience.tries;
            let pause = match &outcome {
                Ok(response) if !retry::is_passing(response.status()) => return outcome,
                Ok(response) if is_last => return Err(self.failed(request.uri(), response.status(), what)),
                Ok(response) => retry::pause(patience, attempt, Some(response.headers()))
                    .ok_or_else(|| self.failed(request.uri(), response.status(), what))?,
                Err(ImageError::Registry { kind: RegistryFailure::Unreachable, .. }) if !is_last => {
                    retry::pause(patience, attempt, None).unwrap_or(patience.longest_pause)
                }
                Err(_) => return outcome,
            };
            tracing::debug!(what, attempt, ?pause, "the registry is asked again");
            drop(outcome);
            tokio::time::sleep(pause).await;
        }
        Err(failure(&self.host(), RegistryFailure::Unreachable, "it was asked too often"))
    }

    fn failed(&self, uri: &Uri, status: StatusCode, what: &str) -> ImageError {
        let host = Origin::of(uri).map_or_else(|_| self.host(), |origin| origin.to_string());
        answered(&host, status, what)
    }

    pub(super) fn refused(&self, problem: &str) -> ImageError {
        failure(&self.host(), RegistryFailure::Refused, problem)
    }
}
