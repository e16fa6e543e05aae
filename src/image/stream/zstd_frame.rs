//! What the header of a zstd frame says of the memory that it takes (RFC 8878, section 3.1.1.1).

use crate::image::ImageError;

/// Magic number, descriptor, window, dictionary and size.
pub const LONGEST_HEADER: u64 = 4 + 1 + 1 + 4 + 8;

/// Frames of common levels take no more; what follows the first one may have that much in any case.
const USUAL_LOG: u32 = 23;

/// The base 2 logarithm of the window that a decoder may use, at most `most`. It depends on the first frame: one of a few megabytes
/// need not wait for the memory of a large one.
pub fn window_log(start: &[u8], most: u32) -> Result<u32, ImageError> {
    // What is no frame is refused by the decoder.
    let Some(window) = window(start) else { return Ok(most) };
    let needed = window.max(1).next_power_of_two().trailing_zeros().max(USUAL_LOG.min(most));
    if window > 1 << most {
        let (has, most) = (window.div_ceil(1 << 20), (1_u64 << most) >> 20);
        let problem = format!(
            "to decompress it takes a window of {has} MiB, and {most} MiB are allowed; compress it without --long, at level 19 or below"
        );
        return Err(ImageError::bad("the compressed data", problem));
    }
    Ok(needed)
}

/// `None` if it does not begin with a frame of data.
fn window(start: &[u8]) -> Option<u64> {
    let frame = start.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, rest) = frame.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let (exponent, mantissa) = (rest.first()? >> 3, rest.first()? & 7);
        let base = 1_u64 << (10 + u32::from(exponent));
        return Some(base + base / 8 * u64::from(mantissa));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary..)?;
    // The window is the whole content.
    Some(match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => u64::from(u16::from_le_bytes(*size.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn frame(log: u32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(log).expect("a window");
        encoder.write_all(b"x").expect("written");
        encoder.flush().expect("flushed");
        encoder.finish().expect("finished")
    }

    #[test]
    fn windows_are_read_as_the_encoder_means_them() {
        for log in [10, 20, 23, 24, 27] {
            assert_eq!(window(&frame(log)), Some(1 << log), "{log}");
        }
        assert_eq!(window_log(&frame(10), 25).expect("allowed"), 23);
        assert_eq!(window_log(&frame(25), 25).expect("allowed"), 25);
        assert!(window_log(&frame(26), 25).expect_err("too large").to_string().contains("64 MiB"));
        let whole = zstd::bulk::compress(&[7; 70_000], 1).expect("compressed");
        assert_eq!(window(&whole), Some(70_000));
        assert_eq!(window(&zstd::bulk::compress(&[7; 300], 1).expect("compressed")), Some(300));
    }

    #[test]
    fn what_is_no_frame_is_left_to_the_decoder() {
        for start in [b"".as_slice(), b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\0\0\0\0", b"\x28\xb5\x2f\xfd\xe0\0"] {
            assert_eq!(window_log(start, 25).expect("left"), 25);
        }
    }
}
