//! Numbers as tar headers write them.

/// An unsigned number: octal digits, or base 256 when the first bit is set. `None` if it is neither, negative, or over 64 bits.
pub fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

/// As [`unsigned`], where a negative number makes sense (a time).
pub fn signed(field: &[u8]) -> Option<i64> {
    match field.first()? {
        0x80 => base256(field, 0),
        0xff => base256(field, -1),
        _ => octal(field),
    }
}

/// The first byte is the marker and the sign; the rest is big-endian two's complement.
fn base256(field: &[u8], sign: i128) -> Option<i64> {
    let value =
        field.get(1..)?.iter().try_fold(sign, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)))?;
    i64::try_from(value).ok()
}

/// Spaces may come before the digits, spaces or NULs after them; an empty field is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Digits only, as PAX records write them.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds and nanoseconds of a PAX time such as `-1.5`.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (seconds, fraction) = text.split_at(dot);
    let seconds = i64::try_from(decimal(seconds)?).ok()?;
    let nanos = match fraction.get(1..) {
        None | Some([]) => 0,
        Some(digits) => nanos(digits)?,
    };
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn nanos(digits: &[u8]) -> Option<u32> {
    let nine = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    let value = nine.try_fold_digits()?;
    digits.iter().all(u8::is_ascii_digit).then_some(value)
}

trait Digits {
    fn try_fold_digits(self) -> Option<u32>;
}

impl<'a, I: Iterator<Item = &'a u8>> Digits for I {
    fn try_fold_digits(mut self) -> Option<u32> {
        self.try_fold(0_u32, |value, digit| {
            digit.is_ascii_digit().then(|| value.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_base_256() {
        assert_eq!(unsigned(b"0000644\0"), Some(0o644));
        assert_eq!(unsigned(b"   644 \0"), Some(0o644));
        assert_eq!(unsigned(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(unsigned(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(0x2_0000_0000));
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        for bad in [
            b"\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(),
            b"8",
            b"6 4",
            b"-1",
            b"0x1f",
            &[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(unsigned(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        for bad in [b"".as_slice(), b".", b"1e5", b"1.x", b"99999999999999999999", b"--1"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }
}
