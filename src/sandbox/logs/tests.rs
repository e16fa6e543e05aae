//! Logs as PID 1 writes them, and as it might write them to hurt.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use tokio::sync::oneshot;

use super::*;

/// A log as PID 1 writes it.
struct Log {
    state: tempfile::TempDir,
    id: SandboxId,
    current: usize,
    number: u64,
}

impl Log {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let id: SandboxId = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11".parse().expect("an id");
        fs::create_dir(state.path().join(id.as_str())).expect("a directory");
        let log = Self { state, id, current: 0, number: 1 };
        log.begin(0);
        log
    }

    fn logs(&self) -> Logs {
        Logs::new(self.state.path().to_owned())
    }

    fn segment(&self) -> PathBuf {
        self.state.path().join(self.id.as_str()).join(format!("log.{}", self.current))
    }

    fn begin(&self, dropped: u64) {
        let header = [&b"BVKLOG1\n"[..], &self.number.to_le_bytes(), &dropped.to_le_bytes()].concat();
        fs::write(self.segment(), header).expect("written");
    }

    fn turn(&mut self, dropped: u64) {
        self.current = 1 - self.current;
        self.number += 1;
        self.begin(dropped);
    }

    fn raw(&self, bytes: &[u8]) {
        let mut file = File::options().append(true).open(self.segment()).expect("open");
        file.write_all(bytes).expect("written");
    }

    fn line(&self, stream: u8, at: u64, payload: &str) {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        self.raw(&[&[stream, 0, 0, 0][..], &length, &at.to_le_bytes(), payload.as_bytes()].concat());
    }

    fn last(&self, lines: usize) -> String {
        text(&self.logs().last_lines(&self.id, lines, None).expect("readable").frames)
    }
}

fn text(frames: &[Frame]) -> String {
    frames.iter().map(|frame| String::from_utf8_lossy(&frame.payload)).collect()
}

/// Everything that a stream gives until its end.
async fn collect(mut batches: Batches) -> String {
    let mut all = String::new();
    while let Some(batch) = batches.recv().await {
        all += &text(&batch.expect("readable"));
    }
    all
}

async fn streamed(log: &Log, options: Options) -> String {
    collect(log.logs().stream(&log.id, options, std::future::ready(())).await.expect("a stream")).await
}

#[tokio::test]
async fn both_segments_are_read_in_their_order() {
    let mut log = Log::new();
    log.line(1, 10, "one\n");
    log.turn(0);
    log.line(2, 20, "two\n");
    log.turn(4);
    log.line(1, 30, "three\n");
    assert_eq!(streamed(&log, Options::default()).await, "two\nthree\n");
    let tail = log.logs().last_lines(&log.id, 100, None).expect("readable");
    assert_eq!((tail.truncated, tail.dropped), (true, 4));
    let tail = log.logs().last_lines(&log.id, 100, Some(30)).expect("readable");
    assert_eq!(text(&tail.frames), "three\n");
}

#[tokio::test]
async fn streams_and_times_are_kept() {
    let log = Log::new();
    log.line(1, 10, "out");
    log.line(2, 20, "err");
    let frames = log.logs().last_lines(&log.id, 9, None).expect("readable").frames;
    let seen: Vec<_> = frames.iter().map(|frame| (frame.stream, frame.unix_nanos)).collect();
    assert_eq!(seen, [(Stream::Stdout, 10), (Stream::Stderr, 20)]);
    assert_eq!(streamed(&log, Options { since: Some(20), ..Options::default() }).await, "err");
    assert_eq!(streamed(&log, Options { since: Some(21), ..Options::default() }).await, "");
}

#[test]
fn the_last_lines_begin_inside_a_frame() {
    let mut log = Log::new();
    log.line(1, 1, "a\nb\nc");
    log.turn(0);
    log.line(1, 2, "c\nd\n");
    log.line(1, 3, "unfinished");
    assert_eq!(log.last(1), "unfinished");
    assert_eq!(log.last(2), "d\nunfinished");
    assert_eq!(log.last(3), "cc\nd\nunfinished");
    assert_eq!(log.last(4), "b\ncc\nd\nunfinished");
    assert_eq!(log.last(5), "a\nb\ncc\nd\nunfinished");
    assert_eq!(log.last(50), "a\nb\ncc\nd\nunfinished");
    assert_eq!(log.last(0), "");
}

#[test]
fn nothing_there_is_an_empty_log() {
    let log = Log::new();
    assert_eq!(log.last(10), "");
    fs::remove_file(log.segment()).expect("removed");
    assert_eq!(log.last(10), "");
    fs::remove_dir(log.segment().parent().expect("a parent")).expect("removed");
    assert_eq!(log.last(10), "");
}

#[test]
fn cut_and_corrupt_segments_give_what_is_sound() {
    let mut log = Log::new();
    log.line(1, 1, "sound\n");
    log.raw(&[1, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x']);
    assert_eq!(log.last(10), "sound\n", "a cut last frame is not shown");
    log.turn(0);
    log.line(1, 2, "second\n");
    assert_eq!(log.last(10), "sound\nsecond\n", "the next segment is");
    log.raw(&[0xff; 64]);
    log.line(1, 3, "hidden\n");
    assert_eq!(log.last(10), "sound\nsecond\n", "nothing behind garbage is");
    log.raw(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(log.last(10), "sound\nsecond\n");
}

#[test]
fn a_lying_file_costs_nothing() {
    let log = Log::new();
    log.line(1, 1, "sound\n");
    // A sparse file of 8 EiB is what a hostile writer makes most cheaply.
    File::options().write(true).open(log.segment()).expect("open").set_len(i64::MAX as u64 / 2).ok();
    assert_eq!(log.last(10), "sound\n");
}

#[test]
fn what_is_no_file_is_refused() {
    let log = Log::new();
    fs::remove_file(log.segment()).expect("removed");
    nix::unistd::mkfifo(&log.segment(), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    assert!(log.logs().last_lines(&log.id, 1, None).is_err());
    fs::remove_file(log.segment()).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", log.segment()).expect("a link");
    assert!(log.logs().last_lines(&log.id, 1, None).is_err());
}

#[tokio::test]
async fn a_follower_sees_what_is_written_and_ends_with_the_sandbox() {
    let mut log = Log::new();
    log.line(1, 1, "before\n");
    let (end, ended) = oneshot::channel::<()>();
    let ended = async { drop(ended.await) };
    let options = Options { follow: true, ..Options::default() };
    let mut batches = log.logs().stream(&log.id, options, ended).await.expect("a stream");
    let next = async |batches: &mut Batches| text(&batches.recv().await.expect("a batch").expect("readable"));
    assert_eq!(next(&mut batches).await, "before\n");
    log.line(2, 2, "while\n");
    assert_eq!(next(&mut batches).await, "while\n");
    log.turn(0);
    log.line(1, 3, "after the turn\n");
    assert_eq!(next(&mut batches).await, "after the turn\n");
    log.line(1, 4, "last\n");
    end.send(()).expect("a follower");
    assert_eq!(collect(batches).await, "last\n");
}

#[tokio::test]
async fn a_follower_of_the_tail_goes_on_behind_it() {
    let log = Log::new();
    log.line(1, 1, "a\nb\n");
    let (end, ended) = oneshot::channel::<()>();
    let options = Options { follow: true, tail: Some(0), since: None };
    let batches = log.logs().stream(&log.id, options, async { drop(ended.await) }).await.expect("a stream");
    log.line(1, 2, "c\n");
    end.send(()).expect("a follower");
    assert_eq!(collect(batches).await, "c\n");
}

#[tokio::test]
async fn a_follower_that_was_overtaken_goes_on_with_what_is_left() {
    let mut log = Log::new();
    log.line(1, 1, "one\n");
    let mut reader = log.logs().reader(&log.id);
    assert_eq!(text(&reader.read().expect("readable")), "one\n");
    for number in 2..5 {
        log.turn(0);
        log.line(1, number, &format!("{number}\n"));
    }
    let mut all = String::new();
    loop {
        let batch = reader.read().expect("readable");
        if batch.is_empty() {
            break;
        }
        all += &text(&batch);
    }
    assert_eq!(all, "3\n4\n");
}

#[tokio::test]
async fn a_reader_knows_where_it_is_in_all_that_was_written() {
    let mut log = Log::new();
    log.line(1, 1, "one\n");
    let mut reader = log.logs().reader(&log.id);
    let mut next = || (text(&reader.read().expect("readable")), reader.position);
    assert_eq!(next(), ("one\n".to_owned(), 4));
    log.turn(0);
    log.line(1, 2, "two\n");
    log.turn(4);
    log.line(1, 3, "3\n");
    assert_eq!((next(), next()), (("two\n".to_owned(), 8), ("3\n".to_owned(), 10)));
    // Overtaken: what was between is counted, as the headers say.
    for (number, dropped) in [(4, 8), (5, 110), (6, 112)] {
        log.turn(dropped);
        log.line(1, number, &format!("{number}\n"));
    }
    assert_eq!((next(), next()), (("5\n".to_owned(), 114), ("6\n".to_owned(), 116)));
}

#[tokio::test]
async fn frames_larger_than_a_chunk_are_whole() {
    let log = Log::new();
    let large = "x".repeat(300_000);
    log.line(1, 1, &large);
    log.line(1, 2, "end\n");
    assert_eq!(streamed(&log, Options::default()).await.len(), 300_004);
}

#[tokio::test]
async fn followers_leave_no_watch_behind() {
    let log = Log::new();
    let watcher = Watcher::start().expect("inotify");
    let dir = log.state.path().join(log.id.as_str());
    let (first, second) = (watcher.watch(&dir).expect("watched"), watcher.watch(&dir).expect("watched"));
    drop(first);
    assert_eq!(watcher.watched(), 1);
    drop(second);
    assert_eq!(watcher.watched(), 0);
}

proptest::proptest! {
    /// Whatever stands in the segments, reading ends, and gives no more than is there.
    #[test]
    fn any_bytes_are_survived(
        first: Vec<u8>,
        second: Vec<u8>,
        numbers: (u64, u64),
        lines in 0usize..5,
        headed: (bool, bool),
    ) {
        let mut log = Log::new();
        for (number, headed, bytes) in [(numbers.0, headed.0, &first), (numbers.1, headed.1, &second)] {
            log.number = number;
            log.begin(number);
            if !headed {
                fs::write(log.segment(), b"").expect("written");
            }
            log.line(1, 1, "sound\n");
            log.raw(bytes);
            log.current = 1 - log.current;
        }
        let seen = log.logs().last_lines(&log.id, lines, None).expect("readable").frames;
        let bytes: usize = seen.iter().map(|frame| frame.payload.len()).sum();
        proptest::prop_assert!(bytes <= first.len() + second.len() + 12);
    }
}
