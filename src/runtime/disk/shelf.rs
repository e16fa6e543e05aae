//! Which disks are kept ready, decided without making any.
//!
//! Who asked for a size twice will ask for it again: some of it are kept, the more the more often, until nobody has asked for
//! a while. The default size is kept always. All other sizes together have as many as the default.

use std::time::{Duration, Instant};

use super::DiskSize;

/// Sizes of which some are kept beside the default.
const MOST_SIZES: usize = 4;
/// Sizes of which it is known that somebody asked once.
const MOST_SEEN: usize = 16;
/// How long a size is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// How long none of a size are made that could not be made, or whose devices or room somebody else needed.
const REST: Duration = Duration::from_secs(60);
/// A sandbox is busiest in its first moments.
const AFTER_A_CREATE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Shelf<T> {
    sizes: Vec<Size<T>>,
    /// How many are kept of the default, and of all others together.
    target: usize,
    last_taken: Option<Instant>,
    /// What nobody will take any more.
    unwanted: Vec<T>,
}

#[derive(Debug)]
struct Size<T> {
    size: DiskSize,
    ready: Vec<T>,
    /// `None` is the default, which is kept always.
    asked: Option<Asked>,
    /// Since when none are made: until somebody asks, and hears of it, when the rest is over.
    resting: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    last: Instant,
    times: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Make(DiskSize),
    /// Nothing for so long, or until somebody asks.
    Wait(Option<Duration>),
}

impl<T> Size<T> {
    fn new(size: DiskSize, asked: Option<Asked>) -> Self {
        Self { size, ready: Vec::new(), asked, resting: None }
    }

    /// How many are kept, of at most `target`: 1 for who asks for the second time, then 2, 4 and so on.
    fn wanted(&self, target: usize) -> usize {
        let Some(Asked { times, .. }) = self.asked else { return target };
        let doubled = times.checked_sub(2).map_or(0, |more| 1_usize.checked_shl(more).unwrap_or(target));
        doubled.min(target)
    }

    fn ask(&mut self, now: Instant) {
        self.asked = self.asked.map(|Asked { times, .. }| Asked { last: now, times: times.saturating_add(1) });
        self.resting = self.resting.filter(|since| now.saturating_duration_since(*since) < REST);
    }
}

impl<T> Shelf<T> {
    pub fn new(target: usize, default: Option<DiskSize>) -> Self {
        let sizes = default.map(|size| Size::new(size, None));
        Self { sizes: sizes.into_iter().collect(), target, last_taken: None, unwanted: Vec::new() }
    }

    /// One of this size, if one is ready; some will be kept if it is asked for again.
    pub fn take(&mut self, size: DiskSize, now: Instant) -> Option<T> {
        self.last_taken = Some(now);
        let taken = match self.sizes.iter_mut().find(|known| known.size == size) {
            Some(known) => {
                known.ask(now);
                known.ready.pop()
            }
            None => {
                self.sizes.push(Size::new(size, Some(Asked { last: now, times: 1 })));
                None
            }
        };
        // Who asks for another size each time drives none of those out that are asked for again.
        self.keep_latest(MOST_SIZES, |times| times > 1);
        self.keep_latest(MOST_SEEN, |times| times == 1);
        taken
    }

    /// Puts one there that was made; one too many, or of a size that nobody asks for any more, is unwanted.
    pub fn put(&mut self, size: DiskSize, disk: T) {
        let target = self.target;
        match self.sizes.iter_mut().find(|known| known.size == size && known.ready.len() < known.wanted(target)) {
            Some(known) => known.ready.push(disk),
            None => self.unwanted.push(disk),
        }
        if self.others().map(|known| known.ready.len()).sum::<usize>() > target {
            let fullest = self.sizes.iter_mut().filter(|known| known.asked.is_some());
            let one = fullest.max_by_key(|known| known.ready.len()).and_then(|known| known.ready.pop());
            self.unwanted.extend(one);
        }
    }

    /// What nobody can take is taken apart.
    pub fn reject(&mut self, disk: T) {
        self.unwanted.push(disk);
    }

    /// One of this size could not be made.
    pub fn failed(&mut self, size: DiskSize, now: Instant) {
        self.sizes.iter_mut().filter(|known| known.size == size).for_each(|known| known.resting = Some(now));
    }

    /// One that goes for the sake of somebody who finds no device or no room. Its size does not take them again soon.
    pub fn evict(&mut self, now: Instant) -> Option<T> {
        if let Some(disk) = self.unwanted.pop() {
            return Some(disk);
        }
        let fullest = self.sizes.iter_mut().max_by_key(|known| known.ready.len())?;
        let disk = fullest.ready.pop()?;
        fullest.resting = Some(now);
        Some(disk)
    }

    /// Keeps none any more.
    pub fn stop(&mut self) {
        self.target = 0;
        self.unwanted.extend(self.sizes.iter_mut().flat_map(|known| known.ready.drain(..)));
    }

    /// What is to be taken apart.
    pub fn take_unwanted(&mut self, now: Instant) -> Vec<T> {
        self.let_go(|asked| now.saturating_duration_since(asked.last) >= KEPT);
        std::mem::take(&mut self.unwanted)
    }

    /// Everything, at the end.
    pub fn take_all(&mut self) -> Vec<T> {
        let ready = self.sizes.drain(..).flat_map(|known| known.ready);
        self.unwanted.drain(..).chain(ready).collect()
    }

    pub fn next(&self, now: Instant) -> Next {
        let lacking = self.sizes.iter().filter(|known| known.resting.is_none() && self.lacks(known));
        let Some(lacking) = lacking.min_by_key(|known| known.ready.len()) else {
            let first = self.others().filter_map(|known| known.asked).map(|asked| asked.last).min();
            return Next::Wait(first.map(|first| KEPT.saturating_sub(now.saturating_duration_since(first))));
        };
        // Nobody waits for one: who finds none makes it himself.
        let since = self.last_taken.map_or(AFTER_A_CREATE, |taken| now.saturating_duration_since(taken));
        match AFTER_A_CREATE.saturating_sub(since) {
            Duration::ZERO => Next::Make(lacking.size),
            rest => Next::Wait(Some(rest)),
        }
    }

    /// Whether one more is wanted, and has a place: a free one, or one of a size that has two more.
    fn lacks(&self, known: &Size<T>) -> bool {
        let has_place = || {
            let (all, fullest) =
                self.others().fold((0, 0), |(all, most), other| (all + other.ready.len(), most.max(other.ready.len())));
            all < self.target || fullest > known.ready.len() + 1
        };
        known.ready.len() < known.wanted(self.target) && (known.asked.is_none() || has_place())
    }

    /// All but the default.
    fn others(&self) -> impl Iterator<Item = &Size<T>> + Clone {
        self.sizes.iter().filter(|known| known.asked.is_some())
    }

    /// Of the sizes that were asked for so many times, the one for which nobody asked for longest goes if they are too many.
    fn keep_latest(&mut self, most: usize, group: impl Fn(u32) -> bool) {
        let those = self.others().filter_map(|known| known.asked).filter(|asked| group(asked.times));
        if those.clone().count() > most {
            let oldest = those.map(|asked| asked.last).min();
            self.let_go(|asked| group(asked.times) && Some(asked.last) == oldest);
        }
    }

    fn let_go(&mut self, old: impl Fn(Asked) -> bool) {
        let gone = self.sizes.extract_if(.., |known| known.asked.is_some_and(&old));
        self.unwanted.extend(gone.flat_map(|known| known.ready));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

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

    /// Asks so many times for a size of which none is ready; some are wanted from `now` on.
    fn asked(shelf: &mut Shelf<u64>, bytes: u64, times: usize, now: Instant) {
        for _ in 0..times {
            assert_eq!(shelf.take(size(bytes), now - AFTER_A_CREATE), None);
        }
    }

    #[test]
    fn what_is_asked_for_again_is_kept_and_the_default_always() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf = Shelf::new(4, Some(size(1)));
        assert_eq!(filled(&mut shelf, start), [1, 1, 1, 1]);
        assert_eq!(shelf.next(start), Next::Wait(None));
        asked(&mut shelf, 2, 1, start);
        assert_eq!(filled(&mut shelf, start), NONE, "once is nothing");
        assert_eq!(shelf.take(size(2), start), None);
        assert_eq!(shelf.next(start), Next::Wait(Some(AFTER_A_CREATE)));
        let later = start + AFTER_A_CREATE;
        assert_eq!(filled(&mut shelf, later), [2]);
        for made in [vec![2; 2], vec![2; 3], vec![2; 1]] {
            assert_eq!(shelf.take(size(2), start), Some(2));
            assert_eq!(filled(&mut shelf, later), made);
        }
        assert_eq!(shelf.take(size(1), start), Some(1));
        let late = start + KEPT;
        assert_eq!(shelf.take_unwanted(late), [2; 4], "nobody asked any more");
        assert_eq!(filled(&mut shelf, late), [1]);
        shelf.put(size(2), 2);
        shelf.put(size(1), 1);
        assert_eq!(shelf.take_unwanted(late), [2, 1], "too late and too many");
        assert_eq!(shelf.take_all(), [1; 4]);
    }

    #[test]
    fn sizes_make_room_for_each_other() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf = Shelf::new(8, Some(size(1)));
        let now = |at: u64| start + AFTER_A_CREATE * u32::try_from(at).unwrap_or_default();
        for at in 2..8 {
            asked(&mut shelf, at, 2, now(at));
            filled(&mut shelf, now(at));
        }
        assert_eq!(shelf.take_unwanted(now(9)), [2, 3]);
        // Sizes that nobody asks for again cost nothing.
        for at in 100..200 {
            asked(&mut shelf, at, 1, now(at));
        }
        assert_eq!(filled(&mut shelf, now(200)), NONE);
        assert_eq!(shelf.sizes.len(), 1 + MOST_SIZES + MOST_SEEN);
        assert_eq!((shelf.take(size(1), now(9)), shelf.take(size(7), now(9))), (Some(1), Some(7)));
    }

    #[test]
    fn all_other_sizes_have_as_many_as_the_default() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf = Shelf::new(4, Some(size(1)));
        asked(&mut shelf, 2, 5, start);
        filled(&mut shelf, start);
        asked(&mut shelf, 3, 5, start);
        assert_eq!(filled(&mut shelf, start), [3, 3], "a half of the places");
        assert_eq!(shelf.take_unwanted(start), [2, 2]);
        asked(&mut shelf, 4, 2, start);
        assert_eq!(filled(&mut shelf, start), [4]);
        let mut all = shelf.take_all();
        all.sort_unstable();
        assert_eq!((all.len(), &all[..4]), (9, [1; 4].as_slice()), "{all:?}");
    }

    #[test]
    fn a_failure_is_tried_again_after_a_rest_when_somebody_asks() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf: Shelf<u64> = Shelf::new(1, None);
        asked(&mut shelf, 1, 2, start);
        assert_eq!(shelf.next(start), Next::Make(size(1)));
        shelf.failed(size(1), start);
        assert!(matches!(shelf.next(start), Next::Wait(Some(_))), "{:?}", shelf.next(start));
        asked(&mut shelf, 1, 1, start + REST);
        assert!(matches!(shelf.next(start + REST), Next::Wait(Some(_))), "it rests");
        asked(&mut shelf, 1, 1, start + REST + AFTER_A_CREATE);
        assert_eq!(shelf.next(start + REST + AFTER_A_CREATE), Next::Make(size(1)));
    }

    #[test]
    fn one_of_the_most_goes_for_who_finds_no_device() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf = Shelf::new(2, Some(size(1)));
        asked(&mut shelf, 2, 2, start);
        filled(&mut shelf, start);
        assert_eq!(shelf.evict(start), Some(1));
        assert_eq!(filled(&mut shelf, start), NONE, "nobody takes its device at once");
        shelf.reject(9);
        assert_eq!(shelf.evict(start), Some(9));
        let mut rest = [shelf.evict(start), shelf.evict(start)];
        rest.sort_unstable();
        assert_eq!((rest, shelf.evict(start)), ([Some(1), Some(2)], None));
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let start = Instant::now() + AFTER_A_CREATE;
        let mut shelf: Shelf<u64> = Shelf::new(0, Some(size(1)));
        asked(&mut shelf, 1, 2, start);
        assert_eq!(filled(&mut shelf, start), NONE);
        let mut shelf = Shelf::new(1, Some(size(1)));
        asked(&mut shelf, 2, 2, start);
        assert_eq!(filled(&mut shelf, start), [1, 2]);
        shelf.stop();
        assert_eq!((filled(&mut shelf, start), shelf.take(size(1), start)), (NONE.to_vec(), None));
        let mut gone = shelf.take_unwanted(start);
        gone.sort_unstable();
        assert_eq!(gone, [1, 2]);
    }
}
