//! One frame of a segment, and one header: pure, and distrustful of every byte.

/// Bytes before the first frame of a segment.
pub const HEADER_BYTES: usize = 24;
/// Bytes before the payload of a frame.
const HEAD_BYTES: usize = 16;
/// The writer cuts its frames at what one read of a pipe gives, far below. A larger one is not its work.
pub const MOST_PAYLOAD: usize = 1 << 20;
/// The largest frame, as long as anything has to be read at once.
pub const MOST_FRAME: usize = HEAD_BYTES + MOST_PAYLOAD;

const MAGIC: &[u8; 8] = b"BVKLOG1\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Its number in frames, which is that of the descriptor.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// Something that the program wrote at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub stream: Stream,
    pub unix_nanos: u64,
    pub payload: Vec<u8>,
}

/// The first 24 bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Counts the turns of both segments, from 1.
    pub number: u64,
    /// Bytes of output that no segment holds any more.
    pub dropped: u64,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A frame, and its length with its head.
    Frame(Frame, usize),
    /// The beginning of one that takes this many bytes in all.
    Incomplete(usize),
    /// Nothing that the writer writes.
    Corrupt,
}

/// `None` when there is no such header, as in the moment when a segment is being emptied.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let bytes: &[u8; HEADER_BYTES] = bytes.try_into().ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (number, dropped) = rest.split_first_chunk::<8>()?;
    let header = Header { number: u64::from_le_bytes(*number), dropped: u64::from_le_bytes(dropped.try_into().ok()?) };
    (magic == MAGIC && header.number > 0).then_some(header)
}

pub fn parse(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Parsed::Incomplete(HEAD_BYTES) };
    let [kind, zero_1, zero_2, zero_3, l0, l1, l2, l3, nanos @ ..] = *head;
    let stream = match (kind, [zero_1, zero_2, zero_3]) {
        (1, [0, 0, 0]) => Stream::Stdout,
        (2, [0, 0, 0]) => Stream::Stderr,
        _ => return Parsed::Corrupt,
    };
    let length = match usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])) {
        Ok(length) if length <= MOST_PAYLOAD => length,
        _ => return Parsed::Corrupt,
    };
    match rest.get(..length) {
        None => Parsed::Incomplete(HEAD_BYTES + length),
        Some(payload) => {
            let frame = Frame { stream, unix_nanos: u64::from_le_bytes(nanos), payload: payload.to_vec() };
            Parsed::Frame(frame, HEAD_BYTES + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: u8, length: u32, payload: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0][..], &length.to_le_bytes(), &7u64.to_le_bytes(), payload].concat()
    }

    #[test]
    fn a_frame_and_what_follows() {
        let bytes = [encoded(2, 5, b"hello"), b"rest".to_vec()].concat();
        let frame = Frame { stream: Stream::Stderr, unix_nanos: 7, payload: b"hello".to_vec() };
        assert_eq!(parse(&bytes), Parsed::Frame(frame, 21));
    }

    #[test]
    fn cut_frames_say_what_they_need() {
        let whole = encoded(1, 5, b"hello");
        for cut in 0..16 {
            assert_eq!(parse(&whole[..cut]), Parsed::Incomplete(16));
        }
        for cut in 16..21 {
            assert_eq!(parse(&whole[..cut]), Parsed::Incomplete(21));
        }
    }

    #[test]
    fn lies_are_not_believed() {
        assert_eq!(parse(&encoded(0, 0, b"")), Parsed::Corrupt);
        assert_eq!(parse(&encoded(3, 0, b"")), Parsed::Corrupt);
        assert_eq!(parse(&encoded(1, u32::MAX, b"x")), Parsed::Corrupt);
        assert_eq!(parse(&encoded(1, (1 << 20) + 1, b"x")), Parsed::Corrupt);
        assert_eq!(parse(&[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Parsed::Corrupt);
        assert_eq!(parse(&encoded(1, 1 << 20, b"x")), Parsed::Incomplete(16 + (1 << 20)));
    }

    #[test]
    fn headers() {
        let bytes = [&b"BVKLOG1\n"[..], &3u64.to_le_bytes(), &40u64.to_le_bytes()].concat();
        assert_eq!(header(&bytes), Some(Header { number: 3, dropped: 40 }));
        assert_eq!(header(&bytes[..23]), None);
        assert_eq!(header(b"NOTALOG\nxxxxxxxxxxxxxxxx"), None);
        assert_eq!(header(&[&b"BVKLOG1\n"[..], &[0; 16]].concat()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            match parse(&bytes) {
                Parsed::Frame(frame, used) => {
                    proptest::prop_assert!(used <= bytes.len() && frame.payload.len() + 16 == used);
                }
                Parsed::Incomplete(needed) => proptest::prop_assert!(needed > bytes.len() && needed <= MOST_FRAME),
                Parsed::Corrupt => {}
            }
        }
    }
}
