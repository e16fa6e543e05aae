//! How files are compressed, and the decoders for it.

use std::io::{self, BufRead, Read};

use crate::image::UnpackLimits;

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Known by the first bytes; `Err` names a format that is known and not supported.
    pub fn detect(start: &[u8]) -> Result<Self, &'static str> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a frame to be skipped (0x50 to 0x5f), which seekable archives begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Err("it is compressed with xz; gzip and zstd are supported"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("it is compressed with bzip2; gzip and zstd are supported"),
            _ => Ok(Self::None),
        }
    }
}

/// The first bytes of the tar stream, as far as the first bytes of the compressed one give them.
pub fn inflate_start(start: &[u8], compression: Compression, limit: usize, limits: &UnpackLimits) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut read = |decoder: &mut dyn Read| {
        // It ends in the middle, so the error at the end says nothing; what came before it is there.
        drop(decoder.take(limit as u64).read_to_end(&mut inflated));
    };
    match compression {
        Compression::None => return start.to_vec(),
        Compression::Gzip => read(&mut flate2::bufread::MultiGzDecoder::new(start)),
        Compression::Zstd => {
            if let Ok(mut decoder) = zstd_decoder(start, limits.zstd_window_log) {
                read(&mut decoder);
            }
        }
    }
    inflated
}

pub(super) fn zstd_decoder<R: BufRead>(raw: R, window_log: u32) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(window_log)?;
    Ok(decoder)
}
