//! WebSockets to the daemon, over the Unix socket or TCP.

use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, handshake::client::Response};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Address, Failure};

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub type WebSocket = WebSocketStream<Box<dyn Stream>>;

/// Opens the WebSocket at this path.
///
/// # Errors
/// When the daemon is not there, or says no.
pub async fn open(
    address: &Address,
    key: Option<&HeaderValue>,
    path: &str,
    action: &str,
) -> Result<WebSocket, Failure> {
    let unreachable = |source| Failure::Unreachable { address: address.clone(), source };
    let (host, stream): (String, Box<dyn Stream>) = match address {
        Address::Unix(path) => {
            ("localhost".to_owned(), Box::new(UnixStream::connect(path).await.map_err(unreachable)?))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            (address.to_string(), Box::new(stream))
        }
    };
    let unusable = |error: Error| Failure::Unusable { action: action.to_owned(), problem: error.to_string() };
    let mut request = format!("ws://{host}{path}").into_client_request().map_err(unusable)?;
    if let Some(key) = key {
        request.headers_mut().insert("OPEN-SANDBOX-API-KEY", key.clone());
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(refusal(&answer, action)),
        Err(Error::Io(source)) => Err(unreachable(source)),
        // A daemon that stops hangs up in the midst of its answer.
        Err(error) => Err(unreachable(std::io::Error::other(error))),
    }
}

/// The API's form of every error.
#[derive(Deserialize)]
struct Complaint {
    code: String,
    message: String,
}

fn refusal(answer: &Response, action: &str) -> Failure {
    let status = answer.status().as_u16();
    let complaint = answer.body().as_ref().and_then(|body| serde_json::from_slice(body).ok());
    let Complaint { code, message } = complaint
        .unwrap_or_else(|| Complaint { code: format!("HTTP {status}"), message: "the daemon refused".to_owned() });
    Failure::Refused { action: action.to_owned(), status, code, message }
}
