//! Finds where the last lines begin, in memory that depends on their number and not on the log.

use std::collections::VecDeque;
use std::io;

use super::reader::{Place, Reader};

/// Sets the reader to the beginning of the last `lines` lines of what is there now (both streams as one text), and the end
/// of what is there now as its end. Says whether anything stands before them.
pub fn seek(reader: &mut Reader, lines: usize, since: Option<u64>) -> io::Result<bool> {
    reader.since = since;
    reader.stop_at_present_end()?;
    let mut starts = Starts { most: lines, kept: VecDeque::new(), dropped: false, at_line_start: true, end: None };
    loop {
        let batch = reader.read_placed()?;
        if batch.is_empty() {
            break;
        }
        for (place, frame) in &batch {
            starts.note(*place, &frame.payload);
        }
    }
    let truncated = starts.dropped || reader.dropped > 0;
    if let Some(first) = starts.first() {
        reader.go_to(first);
        reader.stop_at_present_end()?;
    }
    Ok(truncated)
}

/// Where the last lines begin.
struct Starts {
    most: usize,
    kept: VecDeque<Place>,
    dropped: bool,
    at_line_start: bool,
    /// Behind the last byte that was seen.
    end: Option<Place>,
}

impl Starts {
    fn note(&mut self, frame: Place, payload: &[u8]) {
        for (at, byte) in payload.iter().enumerate() {
            if self.at_line_start {
                self.push(Place { skip: frame.skip + at, ..frame });
            }
            self.at_line_start = *byte == b'\n';
        }
        self.end = Some(Place { skip: frame.skip + payload.len(), ..frame });
    }

    fn push(&mut self, start: Place) {
        self.kept.push_back(start);
        if self.kept.len() > self.most {
            self.kept.pop_front();
            self.dropped = true;
        }
    }

    /// Where the wanted lines begin; the end when none are wanted, `None` when there is nothing.
    fn first(&self) -> Option<Place> {
        self.kept.front().copied().or(self.end)
    }
}
