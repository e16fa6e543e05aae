//! How far an import has come.

/// Told about an import as it goes; called from several threads.
pub trait Progress: Send + Sync {
    /// A new phase has begun: a few words for a person ("unpacking layer 2 of 3").
    fn phase(&self, text: &str);

    /// `done` of `total` bytes of the source have been taken in. `total` is 0 while it is unknown (a stream).
    fn advance(&self, done: u64, total: u64);

    /// `done` of the image's `total` layers are here.
    fn layers(&self, done: usize, total: usize) {
        // Whoever shows only bytes need not know.
        let _ = (done, total);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn phase(&self, _text: &str) {}

    fn advance(&self, _done: u64, _total: u64) {}
}
