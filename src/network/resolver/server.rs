//! Taking questions and giving answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::gate::Asker;
use super::message::{Question, Refused};
use super::neighbours;
use super::policed::Policed;
use super::upstream::{read_framed, write_framed};
use super::{Shared, rate};
use crate::network::egress::Standing;

/// Questions of all sandboxes together that wait for an answer; over TCP, connections. Those beyond are dropped, or wait.
const AT_ONCE: usize = 2048;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(5);
/// After an error that a socket may give again at once.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let (socket, room) = (Arc::new(socket), Arc::new(Semaphore::new(AT_ONCE)));
    let mut buffer = vec![0; 4096];
    loop {
        let (length, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a question could not be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(pass) = shared.questions.enter(shared.asker(asker.ip())) else { continue };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (socket, shared, bytes) = (Arc::clone(&socket), Arc::clone(&shared), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(answer) = shared.answer(&bytes, asker.ip(), false).await {
                // One that has gone meanwhile needs none.
                drop(socket.send_to(&answer, asker).await);
            }
            drop((place, pass));
        });
    }
}

pub async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, asker)) => {
                // One that has too many already is closed.
                let Some(pass) = shared.connections.enter(shared.asker(asker.ip())) else { continue };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    converse(stream, asker, &shared).await;
                    drop((place, pass));
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, asker: SocketAddr, shared: &Shared) {
    while let Ok(Ok(bytes)) = timeout(IDLE, read_framed(&mut stream)).await {
        let Some(answer) = shared.answer(&bytes, asker.ip(), true).await else { return };
        if !matches!(timeout(IDLE, write_framed(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

impl Shared {
    fn asker(&self, address: IpAddr) -> Asker {
        let ward = self.egress.as_ref().and_then(|egress| egress.ward(address));
        ward.map_or(Asker::Other(address), |ward| Asker::Sandbox(ward.member.link))
    }

    async fn answer(&self, bytes: &[u8], asker: IpAddr, over_tcp: bool) -> Option<Vec<u8>> {
        let known = self.egress.as_ref().and_then(|egress| Some((egress, egress.ward(asker)?)));
        let standing = known.as_ref().map(|(_, ward)| ward.standing());
        let pace = if matches!(standing, Some(Standing::Policed(_))) { rate::POLICED } else { rate::OPEN };
        if !self.rates.allows(self.asker(asker), pace, Instant::now()) {
            return None;
        }
        let question = match Question::read(bytes) {
            Ok(question) => question,
            Err(Refused(answer)) => return answer,
        };
        let of_neighbour = known.as_ref().and_then(|(egress, ward)| {
            neighbours::answer(egress.networks(), ward.member.network?, &question, over_tcp)
        });
        if of_neighbour.is_some() {
            return of_neighbour;
        }
        match (&known, &standing) {
            (Some((egress, ward)), Some(Standing::Policed(policy))) => {
                Policed { upstreams: &self.upstreams, egress, ward, policy }.answer(&question, over_tcp).await
            }
            (_, Some(Standing::Unknown)) => question.failure(),
            // The host itself may ask here too.
            _ => self.upstreams.ask(&question, over_tcp).await.or_else(|| question.failure()),
        }
    }
}
