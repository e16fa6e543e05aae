//! What hostile archives cost before they are refused: each is cheap, leaves nothing and changes no canary. One test, so that
//! the memory that is counted is its own.

mod image_support;

use std::fs;
use std::io::{self, Cursor, Read, Write as _};
use std::time::{Duration, Instant};

use bivouac::image::{NoProgress, Source};
use image_support::tar::{Entry, Tar, gzip};
use image_support::{Fixture, corpus};

const SLOWEST: Duration = Duration::from_secs(10);
const MOST: u64 = 64 << 20;

/// What the process has in memory, or has had at most (`proc_pid_status(5)`).
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Imports what must be refused; the archive itself is not in memory.
fn refuse(fixture: &Fixture, name: &str, archive: impl Read + Send, why: &str) -> (Duration, u64) {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, begun) = (memory("VmRSS:"), Instant::now());
    let refused = fixture.store.import(Source::Reader(Box::new(archive)), Some("hostile"), &NoProgress);
    let (took, peak) = (begun.elapsed(), memory("VmHWM:").saturating_sub(before));
    let error = bivouac::model::with_causes(&refused.expect_err(name));
    assert!(error.contains(why), "{name}: {error}");
    fixture.assert_empty();
    assert!(took <= SLOWEST && peak <= MOST, "{name}: it took {took:?} and {} MiB", peak >> 20);
    (took, peak)
}

/// The same piece again and again.
struct Repeated {
    piece: Vec<u8>,
    left: u64,
    at: usize,
}

impl Repeated {
    fn new(piece: Vec<u8>, times: u64) -> Self {
        Self { left: piece.len() as u64 * times, piece, at: 0 }
    }
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.piece[self.at..];
        let count = into.len().min(rest.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        into[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.piece.len();
        self.left -= count as u64;
        Ok(count)
    }
}

/// A zstd frame of blocks that repeat one byte, behind a raw block with a tar header.
fn zstd_bomb() -> impl Read {
    let block = |kind: u32, size: u32| (size << 3 | kind << 1).to_le_bytes()[..3].to_vec();
    let header = Tar::new().raw(Entry { size: Some(10 << 30), ..Entry::new(b'0', "zeros") }.header(), b"").0;
    let start = [b"\x28\xb5\x2f\xfd\x00\x68".to_vec(), block(0, 512), header].concat();
    let zeros = [block(1, 128 << 10), vec![0]].concat();
    Cursor::new(start).chain(Repeated::new(zeros, (10 << 30) / (128 << 10)))
}

fn gzip_bomb() -> impl Read {
    let header = Tar::new().raw(Entry { size: Some(10 << 30), ..Entry::new(b'0', "zeros") }.header(), b"").0;
    Cursor::new(gzip(&header)).chain(Repeated::new(gzip(&vec![0; 16 << 20]), 640))
}

/// The headers of one entry, again and again, and in the end a name that is refused.
fn again_and_again(piece: Vec<u8>, times: u64) -> impl Read {
    Repeated::new(piece, times).chain(Cursor::new(Tar::new().file("../up", "").end()))
}

#[test]
fn every_refusal_is_cheap_and_leaves_nothing() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let corpus = corpus::all(canary.to_str().unwrap());
    assert!(corpus.len() >= 60, "{} are no corpus", corpus.len());
    let (mut slowest, mut most, mut count) = (Duration::ZERO, 0, 0);
    let mut told = |(took, peak): (Duration, u64)| {
        (slowest, most, count) = (slowest.max(took), most.max(peak), count + 1);
    };
    for (name, tar, why) in corpus {
        let innocent = Tar::new().file("innocent/file", "x").0;
        told(refuse(&fixture, name, Cursor::new([innocent, tar.end()].concat()), why));
    }
    let long = vec![b'x'; 900_000];
    let comment = Tar::new().pax(&[("comment", &long)]).file("f", "").0;
    let many = UNIQUE.iter().fold(Tar::new(), |tar, name| tar.hard_link(name, "f")).0;
    told(refuse(&fixture, "gzip bomb", gzip_bomb(), "each compressed one"));
    told(refuse(&fixture, "zstd bomb", zstd_bomb(), "each compressed one"));
    told(refuse(&fixture, "long headers", again_and_again(comment, 200), "\"..\""));
    told(refuse(
        &fixture,
        "the same links",
        again_and_again([Tar::new().file("f", "").0, many].concat(), 300),
        "\"..\"",
    ));
    let deep = Tar::new().file("d/".repeat(45) + "f", "").0;
    told(refuse(&fixture, "the same deep file", again_and_again(deep, 3000), "\"..\""));
    let text = format!("{count} archives were refused; the slowest took {slowest:?}, the largest {} MiB", most >> 20);
    writeln!(io::stderr(), "{text}").unwrap();
}

const UNIQUE: [&str; 4] = ["a", "b", "c", "d"];
