//! The frames in which the daemon streams what a sandbox's program wrote, in the form of Docker's: the stream (1 standard
//! output, 2 standard error), three zero bytes, the length of the payload (u32, big endian), and the payload.

use hyper::body::Bytes;

const HEADER: usize = 8;

/// No frame is larger: the writer cuts at its read buffer, far below.
const LARGEST: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub stream: Stream,
    pub payload: Vec<u8>,
}

/// Puts frames together from pieces that are cut anywhere.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

impl Frames {
    /// Takes the next piece; returns the frames that it completes.
    ///
    /// # Errors
    /// When the bytes are no frames.
    pub fn push(&mut self, piece: &Bytes) -> Result<Vec<Frame>, &'static str> {
        self.pending.extend_from_slice(piece);
        let mut frames = Vec::new();
        let mut used = 0;
        while let Some((frame, length)) = first(self.pending.get(used..).unwrap_or_default())? {
            frames.push(frame);
            used += length;
        }
        self.pending.drain(..used);
        Ok(frames)
    }
}

/// The first frame of `bytes` and its length on the wire, if all of it is there.
fn first(bytes: &[u8]) -> Result<Option<(Frame, usize)>, &'static str> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [kind, _, _, _, l0, l1, l2, l3] = *header;
    let stream = match kind {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Err("a frame of an unknown stream"),
    };
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > LARGEST {
        return Err("a frame larger than 16 MiB");
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let frame = Frame { stream, payload: payload.to_vec() };
    Ok(Some((frame, HEADER + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let stream = if frame.stream == Stream::Stdout { 1 } else { 2 };
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(u32::try_from(frame.payload.len()).expect("short").to_be_bytes());
        bytes.extend(&frame.payload);
        bytes
    }

    proptest::proptest! {
        #[test]
        fn frames_survive_any_cut(payloads: Vec<Vec<u8>>, cut in 1usize..40) {
            let sent: Vec<Frame> = payloads
                .into_iter()
                .enumerate()
                .map(|(at, payload)| Frame {
                    stream: if at % 2 == 0 { Stream::Stdout } else { Stream::Stderr },
                    payload,
                })
                .collect();
            let wire: Vec<u8> = sent.iter().flat_map(encoded).collect();
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                got.extend(frames.push(&Bytes::copy_from_slice(piece)).expect("valid frames"));
            }
            proptest::prop_assert_eq!(got, sent);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(Frames::default().push(&Bytes::from_static(b"{\"code\": \"X\", \"message\": 1}")).is_err());
        let mut huge = vec![1, 0, 0, 0];
        huge.extend(u32::MAX.to_be_bytes());
        assert!(Frames::default().push(&Bytes::from(huge)).is_err());
    }
}
