//! What the files of a layer hold, noted while they are written, so that nothing has to be read again for the layer's checksum.

use std::io;

use crate::image::pack::{ContentHash, Entry, Files};

/// By inode; about 24 bytes for each file.
#[derive(Debug, Default)]
pub struct Contents {
    written: Vec<(u64, ContentHash)>,
    sorted: bool,
    pub attributes: bool,
}

impl Contents {
    pub fn note(&mut self, inode: u64, hash: ContentHash) {
        self.written.push((inode, hash));
    }
}

impl Files for Contents {
    fn content(&mut self, entry: &Entry<'_>) -> io::Result<ContentHash> {
        if !self.sorted {
            // Stable: where an inode was freed and used again, the last file is the last in its row.
            self.written.sort_by_key(|(inode, _)| *inode);
            self.sorted = true;
        }
        let inode = entry.stat.st_ino;
        let after = self.written.partition_point(|(other, _)| *other <= inode);
        let found = after.checked_sub(1).and_then(|at| self.written.get(at)).filter(|(other, _)| *other == inode);
        found.map(|(_, hash)| *hash).ok_or_else(|| io::Error::other("a file is there that nobody wrote"))
    }

    fn may_have_attributes(&self) -> bool {
        self.attributes
    }
}
