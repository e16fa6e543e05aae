//! One request over one connection: TLS, time limits, and the wall around this host's own networks.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::USER_AGENT;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use super::config::RegistryConfig;
use super::document::LARGE_DOCUMENTS;
use super::error::{RegistryFailure, failure};
use super::network::is_public;
use super::origin::Origin;
use super::resolver::{Names, private_address};
use crate::image::ImageError;

type Http = Client<HttpsConnector<HttpConnector<Names>>, Empty<Bytes>>;

/// What hyper may keep of a connection in memory.
const BUFFER: usize = 256 << 10;
const AGENT: &str = concat!("bivouac/", env!("CARGO_PKG_VERSION"));

/// The connections to all registries.
#[derive(Debug)]
pub struct Transport {
    pub config: RegistryConfig,
    /// Taken by documents that are larger than usual.
    pub large_documents: Arc<Semaphore>,
    /// To whatever is on the Internet.
    public: Http,
    /// To what the operator allows; no connection of one is ever used for the other.
    private: Http,
}

impl Transport {
    /// Reads the certificates of the system and of the configuration. Blocks.
    ///
    /// # Errors
    /// When a file of the configuration cannot be read.
    pub fn new(config: RegistryConfig) -> Result<Self, ImageError> {
        let tls = tls(&config)?;
        let answer = config.patience.answer;
        let public = client(tls.clone(), Names { private: false }, answer);
        let private = client(tls, Names { private: true }, answer);
        let large_documents = Arc::new(Semaphore::new(LARGE_DOCUMENTS));
        Ok(Self { config, large_documents, public, private })
    }

    /// Whether the operator lets this origin have an address of a private network. A registry on this host is meant by
    /// whoever names it; `registry` is the one that was named.
    fn is_private_allowed(&self, origin: &Origin, registry: &Origin) -> bool {
        let config = &self.config;
        let listed = origin.is_listed(&config.private) || origin.is_listed(&config.insecure);
        let is_mirror = origin == registry && config.mirrors.iter().any(|(_, place)| mirror(place, config) == *origin);
        listed || is_mirror || (origin == registry && origin.is_this_host())
    }

    /// Sends the request; returns when the head of the answer is here. `registry` is the origin that was asked first.
    pub async fn send(
        &self,
        mut request: Request<Empty<Bytes>>,
        registry: &Origin,
    ) -> Result<Response<Incoming>, ImageError> {
        let origin = Origin::of(request.uri());
        let origin = origin.map_err(|problem| failure(&registry.host, RegistryFailure::Refused, problem))?;
        request.headers_mut().insert(USER_AGENT, hyper::header::HeaderValue::from_static(AGENT));
        let allowed = self.is_private_allowed(&origin, registry);
        if let Some(address) = origin.ip().filter(|address| !allowed && !is_public(*address)) {
            let problem = private_address(&origin.host, address);
            return Err(failure(&origin.to_string(), RegistryFailure::Refused, problem));
        }
        let client = if allowed { &self.private } else { &self.public };
        let limit = self.config.patience.answer;
        match tokio::time::timeout(limit, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failure(&origin.to_string(), kind(&error), causes(&error))),
            Err(_) => {
                let problem = format!("it did not answer within {} s", limit.as_secs_f32());
                Err(failure(&origin.to_string(), RegistryFailure::Unreachable, problem))
            }
        }
    }
}

/// Where a mirror is. Without a scheme it is spoken to by TLS, unless it is listed as insecure or on this host.
pub fn mirror(place: &str, config: &RegistryConfig) -> Origin {
    match (place.strip_prefix("http://"), place.strip_prefix("https://")) {
        (Some(host), _) => Origin::of_host(host.trim_end_matches('/'), false),
        (_, Some(host)) => Origin::of_host(host.trim_end_matches('/'), true),
        _ => {
            let plain = Origin::of_host(place, false);
            let is_plain = plain.is_listed(&config.insecure) || plain.is_this_host();
            Origin::of_host(place.trim_end_matches('/'), !is_plain)
        }
    }
}

/// What our resolver refused is no trouble of the network, and not worth another try.
fn kind(error: &(dyn Error + 'static)) -> RegistryFailure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            return RegistryFailure::Refused;
        }
        next = error.source();
    }
    RegistryFailure::Unreachable
}

fn causes(error: &dyn Error) -> String {
    let mut text = crate::model::with_causes(error);
    text.truncate(text.char_indices().nth(500).map_or(text.len(), |(at, _)| at));
    text
}

fn client(tls: ClientConfig, names: Names, connect: Duration) -> Http {
    let mut http = HttpConnector::new_with_resolver(names);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect));
    http.set_keepalive(Some(Duration::from_secs(60)));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(4)
        .http1_max_buf_size(BUFFER)
        .build(https)
}

fn tls(config: &RegistryConfig) -> Result<ClientConfig, ImageError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a certificate of the system cannot be used");
    }
    roots.add_parsable_certificates(system.certs);
    for path in &config.ca_files {
        add(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ImageError::io("set up TLS", std::io::Error::other(error)))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), ImageError> {
    let action = || format!("read the certificates in {}", path.display());
    let pem = fs::read(path).map_err(|error| ImageError::io(action(), error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|error| ImageError::io(action(), std::io::Error::other(error.to_string())))?;
    if certificates.is_empty() {
        return Err(ImageError::io(action(), std::io::Error::other("there is none in it")));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| ImageError::io(action(), std::io::Error::other(error)))?;
    }
    Ok(())
}
