//! Where an archive is read from.

use std::io::{self, BufRead};

/// A buffered reader that may know a shorter way past data than reading it.
pub trait Input: BufRead {
    /// Passes over `count` bytes, which must be there.
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let have = self.fill_buf()?.len();
            if have == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = have.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// Compressed bytes that were read for what came so far, where that is known.
    fn compressed(&self) -> Option<u64> {
        None
    }
}

impl Input for &[u8] {}

impl<T: Input> Input for &mut T {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        T::skip(self, count)
    }

    fn compressed(&self) -> Option<u64> {
        T::compressed(self)
    }
}
