//! A client's connection that has left HTTP, taken apart to its socket.

use std::any::Any;
use std::fmt;

use axum::body::Bytes;
use hyper::upgrade::Upgraded;

use super::Socket;

/// What a connection consists of.
pub struct Apart {
    pub socket: Socket,
    /// What was read of it already.
    pub first: Bytes,
    /// What must be kept for as long as the connection is used.
    pub rest: Box<dyn Any + Send>,
}

impl fmt::Debug for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart").field("socket", &self.socket).field("first", &self.first.len()).finish_non_exhaustive()
    }
}

/// Comes with each request from whoever has made the connections, and knows what they consist of. Gives one back that it
/// does not know.
#[derive(Clone, Copy)]
pub struct TakeApart(pub fn(Upgraded) -> Result<Apart, Upgraded>);

impl fmt::Debug for TakeApart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeApart").finish_non_exhaustive()
    }
}
