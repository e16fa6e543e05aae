//! Unpacking the layers of an image, some at a time.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

use crate::image::store::{Pins, Scratch};
use crate::image::stream::{self, Compression, Feed, Outcome, Passed};
use crate::image::unpack::{self, Unpacked};
use crate::image::{Digest, ImageError, ImageStore, Layer, Progress};

/// Each takes a thread that inflates, one that hashes and one that writes, and about 3 MiB (plus the window of a zstd frame). More than two, so
/// that one that waits for a registry does not keep the others waiting.
const AT_ONCE: usize = 3;

/// Gives the bytes of a layer when its time has come; may block until then.
pub type Open<'a> = Box<dyn FnOnce() -> Box<dyn Read + Send + 'a> + Send + 'a>;

/// A layer to be unpacked.
pub struct Job<'a> {
    /// Names it in errors.
    pub at: String,
    /// What the config says that the tar stream is; a plain root has nobody who says so.
    pub diff_id: Option<Digest>,
    /// What the manifest says that the blob is.
    pub descriptor: Option<(Digest, u64)>,
    pub open: Open<'a>,
    pub compression: Compression,
    /// Compressed bytes, for the progress.
    pub size: u64,
}

/// All layers of an image, in its order, and those that were not in the store yet.
pub struct Done {
    pub layers: Vec<Layer>,
    pub fresh: Vec<(Scratch, Layer)>,
}

/// What the layers of one import share.
struct Shared<'s> {
    store: &'s ImageStore,
    /// Whom the layers come from, for the sharing of memory.
    from: &'s str,
    progress: &'s dyn Progress,
    count: usize,
    begun: AtomicUsize,
    /// Of all layers of the image, those that are here.
    here: AtomicUsize,
    of: usize,
    read: AtomicU64,
    total: u64,
    image_bytes: AtomicU64,
    failed: AtomicBool,
}

/// `from` says whom the layers come from, so that nobody takes all the memory that there is for layers.
pub fn unpack_all(
    (store, from): (&ImageStore, &str),
    pins: &mut Pins<'_>,
    jobs: Vec<Job<'_>>,
    progress: &dyn Progress,
) -> Result<Done, ImageError> {
    let order: Vec<_> = jobs.iter().map(|job| job.diff_id).collect();
    let mut known = HashMap::new();
    let mut queue = VecDeque::new();
    for job in jobs {
        let already = job.diff_id.and_then(|diff_id| pins.pin(&diff_id.hex()));
        let is_queued = job.diff_id.is_some() && queue.iter().any(|other: &Job<'_>| other.diff_id == job.diff_id);
        match already {
            Some(layer) => drop(known.insert(layer.dir.clone(), layer)),
            None if is_queued => {}
            None => queue.push_back(job),
        }
    }
    let fresh = unpack_queue((store, from), queue, order.len(), progress)?;
    for (_, layer) in &fresh {
        pins.pin(&layer.dir);
        known.insert(layer.dir.clone(), layer.clone());
    }
    let layers = order.iter().map(|diff_id| match diff_id {
        Some(diff_id) => known.get(&diff_id.hex()).cloned(),
        None => fresh.first().map(|(_, layer)| layer.clone()),
    });
    let layers: Option<Vec<_>> = layers.collect();
    let layers = layers.ok_or_else(|| ImageError::bad("the image", "a layer of it was not unpacked"))?;
    Ok(Done { layers, fresh })
}

fn unpack_queue(
    (store, from): (&ImageStore, &str),
    queue: VecDeque<Job<'_>>,
    of: usize,
    progress: &dyn Progress,
) -> Result<Vec<(Scratch, Layer)>, ImageError> {
    let shared = Shared {
        store,
        from,
        progress,
        count: queue.len(),
        begun: AtomicUsize::new(0),
        here: AtomicUsize::new(of - queue.len()),
        of,
        read: AtomicU64::new(0),
        total: queue.iter().map(|job| job.size).sum(),
        image_bytes: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    progress.layers(of - queue.len(), of);
    let workers = queue.len().min(AT_ONCE);
    let queue = Mutex::new(queue);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| shared.work(&queue))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    });
    let mut fresh = Vec::new();
    let mut cancelled = None;
    for outcome in outcomes {
        match outcome {
            Ok(layers) => fresh.extend(layers),
            // The other worker was only told to stop; what made it stop is what to report.
            Err(error) if is_cancellation(&error) => cancelled = Some(error),
            Err(error) => return Err(error),
        }
    }
    cancelled.map_or(Ok(fresh), Err)
}

fn is_cancellation(error: &ImageError) -> bool {
    matches!(error, ImageError::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionAborted)
}

impl Shared<'_> {
    fn work(&self, queue: &Mutex<VecDeque<Job<'_>>>) -> Result<Vec<(Scratch, Layer)>, ImageError> {
        own_mask();
        let mut fresh = Vec::new();
        while !self.failed.load(Ordering::Relaxed) {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = job else { break };
            let layer = self.unpack(job).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            fresh.push(layer);
        }
        Ok(fresh)
    }

    fn unpack(&self, job: Job<'_>) -> Result<(Scratch, Layer), ImageError> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.progress.phase(&format!("unpacking layer {number} of {}", self.count));
        let scratch = self.store.scratch_dir()?;
        let opened = File::open(scratch.path());
        let root = OwnedFd::from(opened.map_err(|error| ImageError::io("open a directory of the store", error))?);
        let on_read = |count| self.on_read(count);
        let reserve = |window| self.store.reserve(self.from, window);
        let feed = Feed {
            raw: (job.open)(),
            compression: job.compression,
            limits: self.store.limits(),
            image_bytes: &self.image_bytes,
            on_read: &on_read,
            reserve: &reserve,
        };
        let unpacked = stream::run(feed, |tar| unpack::unpack(tar, root, &job.at, self.store.limits()))?;
        let Outcome { made: unpacked, tar, blob } = unpacked;
        verify(&job.at, job.descriptor, job.diff_id, blob, tar, &unpacked)?;
        self.progress.layers(self.here.fetch_add(1, Ordering::Relaxed) + 1, self.of);
        Ok((scratch, layer(tar.digest, &unpacked)))
    }

    fn on_read(&self, count: u64) -> io::Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let read = self.read.fetch_add(count, Ordering::Relaxed) + count;
        self.progress.advance(read, self.total);
        Ok(())
    }
}

/// Gives this thread a file mode mask of its own, of nothing: files of an image are made with the modes that they shall have. Below
/// the store nobody sees them. Where it cannot be had, modes are set afterwards.
fn own_mask() {
    if unshare(CloneFlags::CLONE_FS).is_ok() {
        umask(Mode::empty());
    }
}

/// Nothing that fails here has left its scratch directory.
fn verify(
    at: &str,
    descriptor: Option<(Digest, u64)>,
    diff_id: Option<Digest>,
    blob: Passed,
    tar: Passed,
    unpacked: &Unpacked,
) -> Result<(), ImageError> {
    if let Some((digest, size)) = descriptor {
        if blob.size != size {
            return Err(ImageError::bad(at, format!("it has {} bytes, its manifest says {size}", blob.size)));
        }
        if blob.digest != digest {
            return Err(ImageError::bad(at, format!("its content is {}, its manifest says {digest}", blob.digest)));
        }
    }
    match diff_id {
        Some(diff_id) if diff_id != tar.digest => {
            Err(ImageError::bad(at, format!("its tar stream is {}, the config says {diff_id}", tar.digest)))
        }
        // Without a digest the end marker is all that tells a whole archive from one that was cut off.
        None if !unpacked.ended => Err(ImageError::bad(at, "the tar archive is cut off: its end marker is missing")),
        _ => Ok(()),
    }
}

fn layer(diff_id: Digest, unpacked: &Unpacked) -> Layer {
    Layer {
        size: unpacked.bytes,
        entries: unpacked.entries,
        skipped_devices: unpacked.skipped_devices,
        dropped_xattrs: unpacked.dropped_xattrs,
        opaque: unpacked.opaque,
        checksum: Some(unpacked.checksum.clone()),
        ..Layer::named(diff_id)
    }
}
