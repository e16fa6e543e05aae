//! Which origin an image's name means, and who may see which credentials there.

use std::sync::Arc;

use http_body_util::Empty;
use hyper::{Request, Uri};

use super::origin::Origin;
use super::session::Session;
use super::transport::{Transport, mirror};
use super::{Credentials, auth_file};
use crate::image::Reference;

impl Session {
    /// With the registry that the name says; `credentials` are for it alone, and go before those of the files.
    pub async fn of(transport: &Arc<Transport>, name: &Reference, credentials: Option<Credentials>) -> Self {
        let host = if name.host() == "docker.io" { "registry-1.docker.io" } else { name.host() };
        let credentials = match credentials {
            Some(given) => Some(given),
            None => from_files(transport, name.host(), name.repository()).await,
        };
        let origin = reachable(transport, host).await;
        Self::new(Arc::clone(transport), origin, name.repository(), credentials)
    }

    /// With the mirrors of that registry, in the order of the configuration. They have credentials of their own.
    pub async fn mirrors(transport: &Arc<Transport>, name: &Reference) -> Vec<Self> {
        let mut sessions = Vec::new();
        for (_, place) in transport.config.mirrors.iter().filter(|(host, _)| host == name.host()) {
            let origin = mirror(place, &transport.config);
            let host = place.rsplit("//").next().unwrap_or(place).trim_end_matches('/');
            let credentials = from_files(transport, host, name.repository()).await;
            sessions.push(Self::new(Arc::clone(transport), origin, name.repository(), credentials));
        }
        sessions
    }
}

async fn from_files(transport: &Arc<Transport>, host: &str, repository: &str) -> Option<Credentials> {
    let files = transport.config.auth_files.clone();
    let (host, repository) = (host.to_owned(), repository.to_owned());
    tokio::task::spawn_blocking(move || auth_file::find(&files, &host, &repository)).await.ok().flatten()
}

/// By TLS. A host that may do without is asked for it first, as Docker does, and without it if it does not speak it.
async fn reachable(transport: &Arc<Transport>, host: &str) -> Origin {
    let https = Origin::of_host(host, true);
    let plain = Origin::of_host(host, false);
    let may_be_plain = plain.is_listed(&transport.config.insecure) || plain.is_this_host();
    if !may_be_plain {
        return https;
    }
    let Ok(uri) = format!("{https}/v2/").parse::<Uri>() else { return plain };
    let mut question = Request::new(Empty::new());
    *question.uri_mut() = uri;
    match transport.send(question, &https).await {
        Ok(_) => https,
        Err(_) => plain,
    }
}
