//! Which images stay when nobody says so by hand: the operator's policy, applied by the daemon again and again.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::statvfs::statvfs;

use super::ImageStore;
use crate::image::{Image, ImageError};

/// Where the times of the last uses outlive the daemon.
const USES: &str = "uses.json";

/// Whoever has just looked for an image is about to use it.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// What is removed without being asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepPolicy {
    /// Images that nobody has used for so long go.
    pub unused_for: Option<Duration>,
    /// While less than this is free on the disk, the image that nobody has used for longest goes.
    pub min_free: Option<MinFree>,
}

/// How much of the disk is to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    Bytes(u64),
    Percent(u8),
}

/// How full a disk is, in bytes. `free` is what may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub total: u64,
}

impl MinFree {
    /// Bytes that are missing.
    fn missing(self, room: Room) -> u64 {
        let wanted = match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => room.total / 100 * u64::from(percent),
        };
        wanted.saturating_sub(room.free)
    }
}

/// `15%`
impl FromStr for MinFree {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        percent.filter(|percent| *percent < 100).map(Self::Percent).ok_or("a share of the disk is 0% to 99%")
    }
}

impl ImageStore {
    /// Applies the policy, and returns what is gone. Nothing that somebody holds is; nor is what is built in.
    pub fn keep(&self, policy: &KeepPolicy, now: DateTime<Utc>) -> Vec<Image> {
        self.keep_on(policy, now, &|| {
            let found = statvfs(&self.layers)?;
            let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
            Ok(Room { free: bytes(found.blocks_available()), total: bytes(found.blocks()) })
        })
    }

    /// As [`keep`](Self::keep), on a disk that has this room.
    pub fn keep_on(&self, policy: &KeepPolicy, now: DateTime<Utc>, room: &dyn Fn() -> io::Result<Room>) -> Vec<Image> {
        let mut removed = Vec::new();
        if let Some(unused_for) = policy.unused_for {
            let before = TimeDelta::from_std(unused_for).ok().and_then(|time| now.checked_sub_signed(time));
            removed.extend(before.map(|before| self.prune_unused(before)).unwrap_or_default());
        }
        match policy.min_free.map(|mark| Ok::<_, io::Error>(mark.missing(room()?))) {
            Some(Ok(missing)) if missing > 0 => removed.extend(self.make_room(missing, now - GRACE)),
            Some(Err(error)) => tracing::warn!(%error, "cannot ask how full the disk of the images is"),
            _ => {}
        }
        self.save_uses();
        removed
    }

    /// Removes the images that have been out of use for longest, until so many bytes should have come free. What has really come
    /// free shows the next time: some file systems take theirs.
    fn make_room(&self, missing: u64, before: DateTime<Utc>) -> Vec<Image> {
        let (mut removed, mut tried, mut freed) = (Vec::new(), HashSet::new(), 0);
        while freed < missing {
            let Some(image) = self.least_recent(before, &tried) else { break };
            let own = image.size.saturating_sub(self.shared_size(&image));
            tried.insert(image.name.clone());
            match self.remove_if(&image.name, |index| self.last_use(index, &image) < before) {
                Ok(()) => {
                    freed += own;
                    removed.push(Image::clone(&image));
                }
                Err(ImageError::InUse { .. } | ImageError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(
                        image = image.name,
                        error = crate::model::with_causes(&error),
                        "cannot remove an image"
                    );
                }
            }
        }
        if removed.is_empty() {
            tracing::warn!(missing, "the disk of the images is fuller than it may be, and every image is in use");
        }
        removed
    }

    fn least_recent(&self, before: DateTime<Utc>, tried: &HashSet<String>) -> Option<Arc<Image>> {
        let index = self.read();
        let may_go = index.all().filter(|image| super::usage::may_go(image) && !tried.contains(&image.name));
        let unheld = may_go.filter(|image| index.holders(image).next().is_none());
        let dated = unheld.map(|image| (self.last_use(&index, image), image));
        dated.filter(|(used, _)| *used < before).min_by_key(|(used, _)| *used).map(|(_, image)| Arc::clone(image))
    }

    /// Somebody is about to use the image of this name.
    pub fn touch(&self, image: &Image) {
        self.write().used.insert(image.name.clone(), Utc::now());
    }

    /// Notes when each image was used last, where the next daemon finds it. Losing it is no harm: then images count as used when
    /// the store is opened.
    pub fn save_uses(&self) {
        let uses: BTreeMap<_, _> = self.read().used.iter().map(|(name, time)| (name.clone(), *time)).collect();
        let mut saved = self.saved_uses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *saved == uses {
            return;
        }
        let scratch = self.scratch_path();
        let written = serde_json::to_vec(&uses).map_err(io::Error::from).and_then(|text| fs::write(&scratch, text));
        match written.and_then(|()| fs::rename(&scratch, self.dir.join(USES))) {
            Ok(()) => *saved = uses,
            Err(error) => tracing::warn!(%error, "cannot note when images were used last"),
        }
    }
}

/// What an earlier daemon noted. Times to come (a clock that was set back) count as now. Makes the file where there is none.
pub(super) fn load_uses(dir: &Path) -> BTreeMap<String, DateTime<Utc>> {
    let path = dir.join(USES);
    if let Err(error) = OpenOptions::new().append(true).create(true).mode(0o600).open(&path) {
        tracing::warn!(%error, "cannot note when images were used last");
    }
    let text = fs::read(path).unwrap_or_default();
    let uses: BTreeMap<String, DateTime<Utc>> = serde_json::from_slice(&text).unwrap_or_default();
    let now = Utc::now();
    uses.into_iter().map(|(name, time)| (name, time.min(now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_bytes_or_a_share() {
        let room = |free| Room { free, total: 1000 };
        assert_eq!(MinFree::Percent(10).missing(room(70)), 30);
        assert_eq!(MinFree::Percent(10).missing(room(100)), 0);
        assert_eq!(MinFree::Bytes(500).missing(room(100)), 400);
        assert_eq!("15%".parse(), Ok(MinFree::Percent(15)));
        for bad in ["%", "100%", "-1%", "15", "1.5%"] {
            assert!(bad.parse::<MinFree>().is_err(), "{bad}");
        }
    }
}
