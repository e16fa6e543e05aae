//! Which disks are kept ready, decided without making any.
//!
//! Who asked for a size will ask for it again: a few of it are kept, until nobody has asked for a while. The default size is
//! kept always.

use std::time::{Duration, Instant};

use super::DiskSize;

/// Sizes of which some are kept beside the default.
const MOST_SIZES: usize = 4;
/// How long a size is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// A sandbox is busiest in its first moments.
const AFTER_A_CREATE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Shelf<T> {
    sizes: Vec<Size<T>>,
    /// How many are kept of each size.
    target: usize,
    last_taken: Option<Instant>,
    /// What nobody will take any more.
    unwanted: Vec<T>,
}

#[derive(Debug)]
struct Size<T> {
    size: DiskSize,
    ready: Vec<T>,
    /// When somebody asked last; `None` is the default, which is kept always.
    asked: Option<Instant>,
    /// The last try failed. The next one waits for somebody who asks, and who hears of it.
    failed: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Make(DiskSize),
    /// Nothing for so long, or until somebody asks.
    Wait(Option<Duration>),
}

impl<T> Shelf<T> {
    pub fn new(target: usize, default: Option<DiskSize>) -> Self {
        let sizes = default.map(|size| Size { size, ready: Vec::new(), asked: None, failed: false });
        Self { sizes: sizes.into_iter().collect(), target, last_taken: None, unwanted: Vec::new() }
    }

    /// One of this size, if one is ready; some will be kept from now on.
    pub fn take(&mut self, size: DiskSize, now: Instant) -> Option<T> {
        self.last_taken = Some(now);
        if let Some(known) = self.sizes.iter_mut().find(|known| known.size == size) {
            known.asked = known.asked.map(|_| now);
            known.failed = false;
            return known.ready.pop();
        }
        self.sizes.push(Size { size, ready: Vec::new(), asked: Some(now), failed: false });
        let others = self.sizes.iter().filter_map(|known| known.asked);
        if others.clone().count() > MOST_SIZES {
            let oldest = others.min();
            self.let_go(|asked| Some(asked) == oldest);
        }
        None
    }

    /// Puts one there that was made; one too many, or of a size that nobody asks for any more, is unwanted.
    pub fn put(&mut self, size: DiskSize, disk: T) {
        let target = self.target;
        match self.sizes.iter_mut().find(|known| known.size == size && known.ready.len() < target) {
            Some(known) => known.ready.push(disk),
            None => self.unwanted.push(disk),
        }
    }

    pub fn failed(&mut self, size: DiskSize) {
        self.sizes.iter_mut().filter(|known| known.size == size).for_each(|known| known.failed = true);
    }

    /// What is to be taken apart.
    pub fn take_unwanted(&mut self, now: Instant) -> Vec<T> {
        self.let_go(|asked| now.saturating_duration_since(asked) >= KEPT);
        std::mem::take(&mut self.unwanted)
    }

    /// Everything, at the end.
    pub fn take_all(&mut self) -> Vec<T> {
        let ready = self.sizes.drain(..).flat_map(|known| known.ready);
        self.unwanted.drain(..).chain(ready).collect()
    }

    pub fn next(&self, now: Instant) -> Next {
        let lacking = self.sizes.iter().filter(|known| known.ready.len() < self.target && !known.failed);
        let Some(lacking) = lacking.min_by_key(|known| known.ready.len()) else {
            let first = self.sizes.iter().filter_map(|known| known.asked).min();
            return Next::Wait(first.map(|first| KEPT.saturating_sub(now.saturating_duration_since(first))));
        };
        // Nobody waits for one: who finds none makes it himself.
        let since = self.last_taken.map_or(AFTER_A_CREATE, |taken| now.saturating_duration_since(taken));
        match AFTER_A_CREATE.saturating_sub(since) {
            Duration::ZERO => Next::Make(lacking.size),
            rest => Next::Wait(Some(rest)),
        }
    }

    fn let_go(&mut self, old: impl Fn(Instant) -> bool) {
        let gone = self.sizes.extract_if(.., |known| known.asked.is_some_and(&old));
        self.unwanted.extend(gone.flat_map(|known| known.ready));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(bytes: u64) -> DiskSize {
        DiskSize { bytes, inodes: None }
    }

    /// Makes what is wanted from `now` on; returns the sizes.
    fn filled(shelf: &mut Shelf<u64>, now: Instant) -> Vec<u64> {
        let mut made = Vec::new();
        while let Next::Make(size) = shelf.next(now) {
            shelf.put(size, size.bytes);
            made.push(size.bytes);
        }
        made
    }

    #[test]
    fn what_was_asked_for_is_kept_and_the_default_always() {
        let start = Instant::now();
        let mut shelf = Shelf::new(2, Some(size(1)));
        assert_eq!(filled(&mut shelf, start), [1, 1]);
        assert_eq!(shelf.next(start), Next::Wait(None));
        assert_eq!(shelf.take(size(2), start), None, "nobody knew");
        assert_eq!(shelf.next(start), Next::Wait(Some(AFTER_A_CREATE)));
        assert_eq!(filled(&mut shelf, start + AFTER_A_CREATE), [2, 2]);
        assert_eq!((shelf.take(size(2), start), shelf.take(size(1), start)), (Some(2), Some(1)));
        let late = start + KEPT;
        assert_eq!(shelf.take_unwanted(late), [2], "nobody asked any more");
        assert_eq!(filled(&mut shelf, late), [1]);
        shelf.put(size(2), 2);
        shelf.put(size(1), 1);
        assert_eq!(shelf.take_unwanted(late), [2, 1], "too late and too many");
        assert_eq!(shelf.take_all(), [1, 1]);
    }

    #[test]
    fn sizes_make_room_for_each_other() {
        let start = Instant::now();
        let mut shelf = Shelf::new(1, Some(size(1)));
        let now = |at: u64| start + AFTER_A_CREATE * u32::try_from(at).unwrap_or_default();
        for at in 2..8 {
            assert_eq!(shelf.take(size(at), now(at)), None);
            filled(&mut shelf, now(at + 1));
        }
        assert_eq!(shelf.take_unwanted(now(9)), [2, 3]);
        assert_eq!((shelf.take(size(1), now(9)), shelf.take(size(7), now(9))), (Some(1), Some(7)));
    }

    #[test]
    fn a_failure_is_tried_again_when_somebody_asks() {
        let start = Instant::now();
        let mut shelf: Shelf<u64> = Shelf::new(1, None);
        assert_eq!(shelf.take(size(1), start), None);
        shelf.failed(size(1));
        assert_eq!(shelf.next(start + AFTER_A_CREATE), Next::Wait(Some(KEPT - AFTER_A_CREATE)));
        assert_eq!(shelf.take(size(1), start), None);
        assert_eq!(shelf.next(start + AFTER_A_CREATE), Next::Make(size(1)));
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let start = Instant::now();
        let mut shelf: Shelf<u64> = Shelf::new(0, Some(size(1)));
        assert_eq!(shelf.take(size(1), start), None);
        assert_eq!(shelf.next(start + AFTER_A_CREATE), Next::Wait(None));
    }
}
