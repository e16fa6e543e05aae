//! Names to addresses, without the host's plug-ins, and without those that a stranger must not send us to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hickory_resolver::Resolver;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::network::is_public;

/// Looks at `/etc/hosts` and asks the servers of `/etc/resolv.conf`. Both are read for each name: they may change, and a
/// pull asks for two or three.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Whether addresses of this host and its networks are given as well.
    pub private: bool,
}

type Addresses = std::vec::IntoIter<SocketAddr>;

impl Service<Name> for Names {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private = self.private;
        Box::pin(async move { look_up(name.as_str(), private).await })
    }
}

async fn look_up(name: &str, private: bool) -> io::Result<Addresses> {
    let found: Vec<IpAddr> = if name == "localhost" {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let resolver = Resolver::builder_tokio().and_then(|builder| builder.build()).map_err(io::Error::other)?;
        // A trailing dot keeps the search domains of the host out of it.
        resolver.lookup_ip(format!("{}.", name.trim_end_matches('.'))).await.map_err(io::Error::other)?.iter().collect()
    };
    // One that is not public spoils the name: who has both plays with whoever looks at the first only.
    match found.iter().find(|address| !private && !is_public(**address)) {
        Some(address) => Err(io::Error::new(io::ErrorKind::PermissionDenied, private_address(name, *address))),
        None => Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter()),
    }
}

/// What to do about a registry in a private network.
pub fn private_address(name: &str, address: IpAddr) -> String {
    format!(
        "{name} has the address {address}, which is not the Internet's; if that is meant, list {name} in `private` of \
         [registries]"
    )
}
