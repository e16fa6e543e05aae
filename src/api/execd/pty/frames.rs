//! What is said over the WebSocket: bytes behind one that says what they are, and JSON.

use axum::body::Bytes;
use axum::extract::ws::Message;
use serde_json::{Value, json};

use crate::sandbox::commands::{Piece, Stream};

/// The first byte of a binary message: what a client types, what the process wrote, and what it wrote before.
pub const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const REPLAY: u8 = 3;

/// Turns output into messages, and tells the client where it is whenever it cannot know.
#[derive(Debug)]
pub struct Telling {
    /// The offset of the next byte.
    pub next: u64,
    /// What is before this was written before the client came.
    replay_until: u64,
    /// Also what was written before is told by streams.
    streams: bool,
}

impl Telling {
    /// Begins at `since`, or else with what comes from now on.
    pub fn new(since: Option<u64>, end: u64, streams: bool) -> Self {
        let next = since.map_or(end, |since| since.min(end));
        Self { next, replay_until: end, streams }
    }

    /// What is said first of all.
    pub fn opening(&self) -> Option<Message> {
        self.streams.then(|| self.place(&[]))
    }

    /// How much may be in the next piece, so that old and new are not in one.
    pub fn most(&self, largest: usize) -> usize {
        match self.replay_until.checked_sub(self.next) {
            Some(old @ 1..) => usize::try_from(old).unwrap_or(largest).min(largest),
            _ => largest,
        }
    }

    pub fn tell(&mut self, piece: &Piece) -> Vec<Message> {
        let behind = piece.from != self.next;
        let old = piece.from < self.replay_until;
        self.next = piece.from;
        let mut messages = Vec::new();
        if self.streams {
            if behind {
                messages.push(self.place(&[]));
            }
            messages.push(tagged(tag(piece.stream), &piece.bytes));
        } else if old || behind {
            messages.push(self.place(&piece.bytes));
        } else {
            messages.push(tagged(tag(piece.stream), &piece.bytes));
        }
        self.next += piece.bytes.len() as u64;
        messages
    }

    fn place(&self, bytes: &[u8]) -> Message {
        tagged(REPLAY, &[self.next.to_be_bytes().as_slice(), bytes].concat())
    }
}

fn tag(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    }
}

pub fn tagged(tag: u8, bytes: &[u8]) -> Message {
    let mut whole = Vec::with_capacity(1 + bytes.len());
    whole.push(tag);
    whole.extend_from_slice(bytes);
    Message::Binary(Bytes::from(whole))
}

pub fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

pub fn error(code: &str, problem: &str) -> Message {
    text(&json!({ "type": "error", "code": code, "error": problem }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(from: u64, stream: Stream, bytes: &[u8]) -> Piece {
        Piece { from, stream, bytes: bytes.to_vec() }
    }

    fn told(telling: &mut Telling, piece: &Piece) -> Vec<Vec<u8>> {
        telling.tell(piece).into_iter().map(|message| message.into_data().to_vec()).collect()
    }

    #[test]
    fn what_was_before_and_what_was_missed_comes_with_its_offset() {
        let mut telling = Telling::new(Some(2), 5, false);
        assert_eq!((telling.opening(), telling.most(64)), (None, 3));
        assert_eq!(told(&mut telling, &piece(2, Stream::Stderr, b"abc")), [b"\x03\0\0\0\0\0\0\0\x02abc"]);
        assert_eq!(telling.most(64), 64);
        assert_eq!(told(&mut telling, &piece(5, Stream::Stderr, b"d")), [b"\x02d"]);
        assert_eq!(told(&mut telling, &piece(256, Stream::Stdout, b"e")), [b"\x03\0\0\0\0\0\0\x01\0e"]);
        assert_eq!(told(&mut telling, &piece(257, Stream::Stdout, b"\0")), [b"\x01\0"]);
        assert_eq!(
            (telling.next, Telling::new(None, 9, false).next, Telling::new(Some(99), 9, false).next),
            (258, 9, 9)
        );
    }

    #[test]
    fn by_streams_the_offset_comes_alone() {
        let mut telling = Telling::new(Some(1), 4, true);
        assert_eq!(
            telling.opening().map(|message| message.into_data().to_vec()),
            Some(b"\x03\0\0\0\0\0\0\0\x01".to_vec())
        );
        assert_eq!(told(&mut telling, &piece(1, Stream::Stderr, b"a")), [b"\x02a"]);
        let missed = told(&mut telling, &piece(3, Stream::Stdout, b"b"));
        assert_eq!(missed, [b"\x03\0\0\0\0\0\0\0\x03".to_vec(), b"\x01b".to_vec()]);
    }
}
