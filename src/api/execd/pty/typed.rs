//! What was typed and not yet taken by the process, so that what is said beside it need not wait.

use std::collections::VecDeque;
use std::io;

use crate::sandbox::commands::RunningInteractive;

/// Held for a process that does not read; with more than that its client is not listened to.
const MOST: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct Typed {
    bytes: VecDeque<u8>,
    /// The end of the input comes after what is here.
    ends: bool,
}

impl Typed {
    pub fn has_room(&self) -> bool {
        self.bytes.len() < MOST
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if !self.ends {
            self.bytes.extend(bytes);
        }
    }

    pub fn end(&mut self) {
        self.ends = true;
    }

    pub fn is_waiting(&self) -> bool {
        self.ends || !self.bytes.is_empty()
    }

    /// Passes some of it on. Whoever gives up waiting has passed on nothing.
    ///
    /// # Errors
    /// When nobody reads it any more; then all of it is gone.
    pub async fn pass_on(&mut self, running: &RunningInteractive) -> io::Result<()> {
        if self.bytes.is_empty() {
            self.ends = false;
            running.end_input();
            return Ok(());
        }
        let written = running.write(self.bytes.as_slices().0).await;
        match written {
            Ok(written) => drop(self.bytes.drain(..written.min(self.bytes.len()))),
            Err(_) => {
                running.discard(self.bytes.len());
                // Whoever writes on hears it once.
                running.end_input();
                *self = Self::default();
            }
        }
        if self.bytes.is_empty() {
            // What much was once typed into takes no memory while nothing is.
            self.bytes = VecDeque::new();
        }
        written.map(drop)
    }
}
