//! The resolver of sandboxes, on the gateway's addresses.
//!
//! It understands what it is asked, asks those whom the operator names (or whom the host itself asks, a stub on loopback among
//! them, because it asks from the host), and passes the answer on. A sandbox reaches no other resolver of the host's network.
//!
//! Who asks is known by the address, which nobody else can send from. A sandbox with a policy is answered by it (`policed`).

mod gate;
mod message;
mod neighbours;
mod policed;
mod port;
mod rate;
mod server;
mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

pub(super) use self::port::is_taken;

use self::gate::Gate;
use self::rate::Rates;
use self::upstream::Upstreams;
use super::egress::Egress;

#[derive(Debug, Error)]
#[error("answer for names on {address}: {source}; another resolver of this host may listen on all addresses")]
pub struct ResolverError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Resolver {
    _tasks: JoinSet<()>,
}

/// What all questions share.
#[derive(Debug)]
struct Shared {
    upstreams: Upstreams,
    rates: Rates,
    /// Questions over UDP and connections over TCP, of one sandbox.
    questions: Gate,
    connections: Gate,
    /// The policies; without them everybody is told everything.
    egress: Option<Arc<Egress>>,
}

/// Of all the resolver's questions and connections one sandbox may have so many, over all of its addresses.
const QUESTIONS: u32 = 64;
const CONNECTIONS: u32 = 16;

impl Resolver {
    /// Listens on port 53 of each address. Called within the runtime.
    ///
    /// # Errors
    /// When an address is taken.
    pub fn start(
        addresses: &[IpAddr],
        resolvers: &[IpAddr],
        egress: Option<Arc<Egress>>,
    ) -> Result<Self, ResolverError> {
        let at: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, 53)).collect();
        Self::start_at(&at, Upstreams::new(resolvers), egress)
    }

    fn start_at(
        addresses: &[SocketAddr],
        upstreams: Upstreams,
        egress: Option<Arc<Egress>>,
    ) -> Result<Self, ResolverError> {
        let (questions, connections) = (Gate::new(QUESTIONS), Gate::new(CONNECTIONS));
        let shared = Arc::new(Shared { upstreams, rates: Rates::default(), questions, connections, egress });
        let mut tasks = JoinSet::new();
        for address in addresses.iter().copied() {
            let told = |source| ResolverError { address, source };
            let (udp, tcp) = open(address).map_err(told)?;
            tasks.spawn(server::serve_udp(udp, Arc::clone(&shared)));
            tasks.spawn(server::serve_tcp(tcp, Arc::clone(&shared)));
        }
        Ok(Self { _tasks: tasks })
    }
}

fn open(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let (udp, tcp) = (std::net::UdpSocket::bind(address)?, std::net::TcpListener::bind(address)?);
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
}

#[cfg(test)]
mod tests;
