//! Regular files and fifos.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, futimens};
use nix::unistd::mkfifoat;

use super::contents::Contents;
use super::existing::remove;
use super::metadata;
use super::tree::{OpenDir, Tree};
use crate::image::ImageError;
use crate::image::pack::Content;
use crate::image::tar::{Input, Member, Region, TarReader};
use crate::sys;

/// The disk begins with a file of this size at once, so that little is left for the end of the import, which waits for all of
/// it. Smaller ones are better written together.
const LARGE: u64 = 128 << 10;

/// Makes the file and writes the data that the archive has for it. Returns the number of attributes left out.
pub fn make<R: Input>(
    tree: &mut Tree,
    parent: &[u8],
    name: &[u8],
    member: &Member,
    (tar, contents): (&mut TarReader<'_, R>, &mut Contents),
) -> Result<u64, ImageError> {
    let directory = tree.enter(parent)?;
    let created = replacing(directory, name, |directory, name| create(directory, name, member.mode));
    let mut file = File::from(created.map_err(|errno| failed(tree, member, errno))?);
    let mut content = Content::new();
    let written = match &member.regions {
        None => write_all(&mut file, member.stored, tar, &mut content),
        Some(regions) => write_regions(&mut file, member.size, regions, tar, &mut content),
    };
    contents.attributes |= !member.xattrs.is_empty();
    written.map_err(|error| match error {
        ImageError::Io { source, .. } => ImageError::io(format!("write {}", tree.at(&member.name)), source),
        other => other,
    })?;
    if member.stored >= LARGE {
        // A file system that cannot do it does all at the end.
        drop(sys::begin_writeback(file.as_fd()));
    }
    let finished = fstat(&file).and_then(|stat| {
        contents.note(stat.st_ino, content.finish());
        finish(&file, member, &stat)
    });
    finished.map_err(|errno| failed(tree, member, errno))
}

/// Makes a fifo. It is opened for reading and writing, which does not wait for another side (`fifo(7)`).
pub fn make_fifo(tree: &mut Tree, parent: &[u8], name: &[u8], member: &Member) -> Result<u64, ImageError> {
    let directory = tree.enter(parent)?;
    let made = replacing(directory, name, |directory, name| {
        mkfifoat(directory, name, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(directory, name, flags, Mode::empty())
    });
    let finished = made.and_then(|fifo| fstat(&fifo).and_then(|stat| finish(&fifo, member, &stat)));
    finished.map_err(|errno| failed(tree, member, errno))
}

/// Runs `make`; where something is in its place, once more after removing that.
pub fn replacing<T>(
    directory: &mut OpenDir,
    name: &[u8],
    make: impl Fn(&OpenDir, &[u8]) -> nix::Result<T>,
) -> nix::Result<T> {
    directory.will_change();
    match make(directory, name) {
        Err(Errno::EEXIST) => {
            remove(&*directory, name)?;
            make(directory, name)
        }
        made => made,
    }
}

pub fn failed(tree: &Tree, member: &Member, errno: Errno) -> ImageError {
    match errno {
        Errno::ENOTEMPTY => ImageError::bad(tree.at(&member.name), "it would replace a directory that is not empty"),
        Errno::ENOSPC | Errno::E2BIG | Errno::ERANGE if !member.xattrs.is_empty() => {
            ImageError::bad(tree.at(&member.name), "its extended attributes do not fit, or the disk is full")
        }
        errno => tree.failed("make", &member.name, errno),
    }
}

/// With its mode, as far as this process's mask lets it: mostly that spares to change it.
fn create(directory: &OpenDir, name: &[u8], mode: u32) -> nix::Result<OwnedFd> {
    // O_EXCL never follows a link in the last component, and there is only one.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::from_bits_truncate(mode & 0o777))
}

fn finish(fd: &impl AsFd, member: &Member, stat: &FileStat) -> nix::Result<u64> {
    let dropped = metadata::apply(fd.as_fd(), member, stat)?;
    let time = metadata::time(member);
    futimens(fd, &time, &time)?;
    Ok(dropped)
}

/// Writes `count` bytes of the entry straight from the reader's buffer.
fn write_all<R: Input>(
    file: &mut File,
    mut count: u64,
    tar: &mut TarReader<'_, R>,
    content: &mut Content,
) -> Result<(), ImageError> {
    while count > 0 {
        let data = tar.data()?;
        let step = data.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        if step == 0 {
            return Err(ImageError::bad("a sparse file", "its data is shorter than its map"));
        }
        // `step` is at most the length of the data.
        file.write_all(&data[..step]).map_err(|error| ImageError::io("write", error))?;
        content.write(&data[..step]);
        tar.consume(step);
        count -= step as u64;
    }
    Ok(())
}

fn write_regions<R: Input>(
    file: &mut File,
    size: u64,
    regions: &[Region],
    tar: &mut TarReader<'_, R>,
    content: &mut Content,
) -> Result<(), ImageError> {
    let mut at = 0;
    for region in regions {
        content.zeros(region.offset.saturating_sub(at));
        at = region.offset.saturating_add(region.length);
        file.seek(SeekFrom::Start(region.offset)).map_err(|error| ImageError::io("seek", error))?;
        write_all(file, region.length, tar, content)?;
    }
    content.zeros(size.saturating_sub(at));
    file.set_len(size).map_err(|error| ImageError::io("set the size", error))
}
