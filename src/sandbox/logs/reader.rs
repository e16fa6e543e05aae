//! Reads the two segments of one log in their order, while they may be written and emptied.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use super::frame::{self, Frame, HEADER_BYTES, Header, MOST_FRAME, Parsed};

/// As much is read at once, unless a frame is larger.
const CHUNK: usize = 64 << 10;
/// Chunks that are looked at for one that is wanted: a writer that turns or writes without end keeps nobody busy for ever.
const MOST_STEPS: usize = 1024;
/// No configured log comes near this; what stands beyond it is not read.
const MOST_SEGMENT: u64 = 1 << 30;

/// A place in a log: a segment by the number of its turn, and the beginning of a frame in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub file: usize,
    pub number: u64,
    pub offset: u64,
    /// Bytes of the first payload that are not wanted.
    pub skip: usize,
}

#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    files: [Option<File>; 2],
    /// Where the next frame begins; `None` before a segment was found.
    at: Option<Place>,
    /// The rest of this segment cannot be read.
    lost: bool,
    /// Bytes that may still be read; a follower has no bound.
    budget: Option<u64>,
    /// Only frames since then.
    pub since: Option<u64>,
    /// What the headers said, at the beginning, of output that is no more.
    pub dropped: u64,
    /// The offset of the next byte in all that was written.
    pub position: u64,
}

impl Reader {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, files: [None, None], at: None, lost: false, budget: None, since: None, dropped: 0, position: 0 }
    }

    /// Reads no more than what is there now, however fast the program writes on.
    pub fn stop_at_present_end(&mut self) -> io::Result<()> {
        let mut present = 0;
        for file in 0..2 {
            present +=
                self.file(file)?.map_or(Ok(0), |file| file.metadata().map(|facts| facts.len()))?.min(MOST_SEGMENT);
        }
        self.budget = Some(present);
        Ok(())
    }

    /// Reads whatever is written from now on.
    pub fn follow(&mut self) {
        self.budget = None;
    }

    /// The next frames; none when there is nothing more for now.
    pub fn read(&mut self) -> io::Result<Vec<Frame>> {
        self.read_placed().map(|placed| placed.into_iter().map(|(_, frame)| frame).collect())
    }

    /// As [`read`](Self::read), each with its place.
    pub fn read_placed(&mut self) -> io::Result<Vec<(Place, Frame)>> {
        for _ in 0..MOST_STEPS {
            let Some(at) = self.begin()? else { return Ok(Vec::new()) };
            // Before the bytes are read: after the turn nothing is added to this segment, so what follows is its end.
            let turned = self.header(1 - at.file)?.is_some_and(|other| other.number > at.number);
            let found = self.frames(at)?;
            if self.header(at.file)?.map(|header| header.number) != Some(at.number) {
                // Emptied while it was read: what was read may be of either turn.
                if !self.go_on_after(at.number)? {
                    return Ok(Vec::new());
                }
                self.position = self.position_of_oldest()?;
            } else if let Some(found) = found {
                let wanted: Vec<_> = found.into_iter().filter(|(_, frame)| self.is_wanted(frame)).collect();
                if !wanted.is_empty() {
                    return Ok(wanted);
                }
            } else if !(turned && self.go_on_after(at.number)?) {
                return Ok(Vec::new());
            }
        }
        Ok(Vec::new())
    }

    /// Goes to a place that [`read_placed`](Self::read_placed) gave.
    pub fn go_to(&mut self, place: Place) {
        (self.at, self.lost) = (Some(place), false);
    }

    fn is_wanted(&self, frame: &Frame) -> bool {
        !frame.payload.is_empty() && self.since.is_none_or(|since| frame.unix_nanos >= since)
    }

    /// The present place, or the beginning of the older segment.
    pub fn begin(&mut self) -> io::Result<Option<Place>> {
        if self.at.is_none() && self.go_on_after(0)? {
            self.dropped = self.position_of_oldest()?;
            self.position = self.dropped;
        }
        Ok(self.at)
    }

    /// The newer header counts everything before the older segment.
    fn position_of_oldest(&mut self) -> io::Result<u64> {
        let mut position = 0;
        for file in 0..2 {
            position = position.max(self.header(file)?.map_or(0, |header| header.dropped));
        }
        Ok(position)
    }

    /// Goes to the beginning of the oldest segment after the turn `number`, if there is one.
    fn go_on_after(&mut self, number: u64) -> io::Result<bool> {
        let mut best: Option<Place> = None;
        for file in 0..2 {
            let header = self.header(file)?.filter(|header| header.number > number);
            let older = |header: &Header| best.is_none_or(|best| header.number < best.number);
            if let Some(header) = header.filter(older) {
                best = Some(Place { file, number: header.number, offset: HEADER_BYTES as u64, skip: 0 });
            }
        }
        if let Some(place) = best {
            self.go_to(place);
            if number > 0 && place.number > number.saturating_add(1) {
                self.position = self.position_of_oldest()?;
            }
        }
        Ok(best.is_some())
    }

    /// The frames at a place, which is moved behind them; `None` when none is complete there.
    fn frames(&mut self, at: Place) -> io::Result<Option<Vec<(Place, Frame)>>> {
        if self.lost || self.budget == Some(0) || at.offset > MOST_SEGMENT {
            return Ok(None);
        }
        let bytes = self.bytes_at(at)?;
        let mut found = Vec::new();
        let mut place = at;
        let mut rest = bytes.as_slice();
        loop {
            match frame::parse(rest) {
                Parsed::Frame(frame, used) => {
                    self.position = self.position.saturating_add(frame.payload.len() as u64);
                    found.push((place, cut(frame, place.skip)));
                    place = Place { offset: place.offset + used as u64, skip: 0, ..place };
                    rest = rest.get(used..).unwrap_or_default();
                }
                Parsed::Incomplete(_) => break,
                Parsed::Corrupt => {
                    self.lost = true;
                    break;
                }
            }
        }
        self.budget = self.budget.map(|left| left.saturating_sub(place.offset - at.offset));
        self.at = Some(place);
        Ok((!found.is_empty()).then_some(found))
    }

    /// Bytes at a place: a chunk, or more when the first frame is larger.
    fn bytes_at(&mut self, at: Place) -> io::Result<Vec<u8>> {
        let Some(file) = self.file(at.file)? else { return Ok(Vec::new()) };
        let chunk = read_at(file, at.offset, CHUNK)?;
        match frame::parse(&chunk) {
            Parsed::Incomplete(needed) if needed > CHUNK => read_at(file, at.offset, needed.min(MOST_FRAME)),
            _ => Ok(chunk),
        }
    }

    fn header(&mut self, file: usize) -> io::Result<Option<Header>> {
        let Some(file) = self.file(file)? else { return Ok(None) };
        Ok(frame::header(&read_at(file, 0, HEADER_BYTES)?))
    }

    /// A segment, opened when it is first there. Nothing but a regular file is read: a FIFO would block for ever.
    fn file(&mut self, index: usize) -> io::Result<Option<&File>> {
        let Some(slot) = self.files.get_mut(index) else { return Ok(None) };
        if slot.is_none() {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let path = self.dir.join(format!("log.{index}"));
            match File::options().read(true).custom_flags(flags).open(path) {
                Ok(file) if file.metadata()?.is_file() => *slot = Some(file),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "a log segment is no regular file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(slot.as_ref())
    }
}

fn cut(mut frame: Frame, skip: usize) -> Frame {
    frame.payload.drain(..skip.min(frame.payload.len()));
    frame
}

/// Up to `most` bytes from `offset`; fewer at the end of the file.
fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut filled = 0;
    while let Some(free) = bytes.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read_at(free, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
