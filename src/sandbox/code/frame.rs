//! What a runner says: a JSON document a line. It stands among the user's code, so anything may come.
//!
//! Nothing of a line becomes a tree of values, which would take many times its size. A result stays the text that it is,
//! and goes on as slices of the line; whatever else a line says is short, or is cut short here.

use std::borrow::Cow;

use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::budget::Budget;
use super::rich::{self, Rich};

/// The longest line that is read; runners leave out what is larger.
pub const LONGEST: usize = 8 << 20;

/// A line that grows beyond this needs a place in the [`Budget`] of its sandbox.
const SMALL: usize = 16 << 10;

/// What is kept of how code has failed.
const NAME: usize = 256;
const VALUE: usize = 32 << 10;
const TRACEBACK: usize = 32 << 10;
const MESSAGE: usize = 4 << 10;

#[derive(Debug, PartialEq)]
pub struct Said {
    pub run: u64,
    pub what: What,
}

#[derive(Debug, PartialEq)]
pub enum What {
    Begun {
        count: u64,
    },
    /// A value by its mime types.
    Result(Rich),
    Error {
        ename: String,
        evalue: String,
        traceback: Vec<String>,
    },
    /// The run has come to its end; with the exit status of the last command in a shell.
    Done {
        status: i32,
    },
    /// The runner cannot work in this image.
    Failed {
        message: String,
    },
}

/// A line with everything that any kind has; what is long in it is not taken apart.
#[derive(Deserialize)]
struct Document<'a> {
    run: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    count: Option<u64>,
    status: Option<i32>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ename: Option<&'a RawValue>,
    #[serde(borrow)]
    evalue: Option<&'a RawValue>,
    #[serde(borrow)]
    traceback: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// A whole line, and its place in the budget until its last slice is gone.
struct Line {
    text: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
    /// The line was too long and is passed over.
    skipping: bool,
}

impl Frames {
    /// The line is longer than what is read for nothing: it must be [placed](Self::place) before the next bytes.
    pub fn needs_place(&self) -> bool {
        self.place.is_none() && self.partial.len() > SMALL
    }

    pub fn place(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// What is whole with these bytes. Lines that are none of a runner's are passed over.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            if !self.skipping {
                self.partial.extend_from_slice(piece);
            }
            if self.partial.len() > LONGEST {
                *self = Self { skipping: true, ..Self::default() };
            }
            if whole {
                let Self { partial, place, skipping } = std::mem::take(self);
                said.extend(if skipping { None } else { understood(partial, place) });
            }
        }
        said
    }
}

fn understood(mut text: Vec<u8>, mut place: Option<OwnedSemaphorePermit>) -> Option<Said> {
    text.shrink_to_fit();
    if let Some(place) = &mut place {
        Budget::shrink(place, text.len());
    }
    let line = Bytes::from_owner(Line { text, _place: place });
    // As white space JSON has it, and the event streams that this becomes a part of end a line with it.
    if memchr::memchr(b'\r', &line).is_some() {
        return None;
    }
    let Document { run, kind, count, status, data, ename, evalue, traceback, message } =
        serde_json::from_slice(&line).ok()?;
    let what = match kind.as_ref() {
        "begun" => What::Begun { count: count? },
        "result" => What::Result(Rich::of(&line, data?)?),
        "error" => What::Error {
            ename: rich::text(ename?, NAME)?,
            evalue: rich::text(evalue?, VALUE)?,
            traceback: rich::texts(traceback?, TRACEBACK)?,
        },
        "done" => What::Done { status: status.unwrap_or_default() },
        "failed" => What::Failed { message: rich::text(message?, MESSAGE)? },
        _ => return None,
    };
    Some(Said { run, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(run: u64, status: i32) -> Said {
        Said { run, what: What::Done { status } }
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let text = b"{\"run\":1,\"kind\":\"begun\",\"count\":2}\n{\"kind\":\"done\",\"new\":{},\"run\":1}\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let said: Vec<Said> = text.chunks(size).flat_map(|piece| frames.push(piece)).collect();
            assert_eq!(said, [Said { run: 1, what: What::Begun { count: 2 } }, done(1, 0)]);
        }
    }

    #[test]
    fn what_is_none_of_a_runners_is_passed_over() {
        let mut frames = Frames::default();
        let deep = format!("{{\"run\":1,\"kind\":\"result\",\"data\":{{\"a\":{}\n", "[".repeat(100_000));
        let whole =
            format!("{{\"run\":1,\"kind\":\"result\",\"data\":{{\"a\":{}{}}}}}\n", "[".repeat(999), "]".repeat(999));
        let many = (0..100).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
        let many = format!("{{\"run\":1,\"kind\":\"result\",\"data\":{{{many}}}}}\n");
        for bad in [
            "\n",
            "{}\n",
            "x\n",
            "{\"run\":-1,\"kind\":\"done\"}\n",
            "{\"run\":1,\"kind\":\"no\"}\n",
            "{\"run\":1,\"kind\":\"begun\"}\n",
            "{\"run\":1,\"kind\":\"result\",\"data\":[]}\n",
            "{\"run\":1,\"kind\":\"result\",\"data\":{\"a\":\r1}}\n",
            "{\"run\":1,\"kind\":\"result\",\"data\":{\"a\":nul}}\n",
            "{\"run\":1,\"kind\":\"error\",\"ename\":1,\"evalue\":\"\",\"traceback\":[]}\n",
            &deep,
            &whole,
            &many,
        ] {
            assert_eq!(frames.push(bad.as_bytes()), [], "{}", &bad[..bad.len().min(50)]);
        }
        assert_eq!(frames.push(b"{\"run\":3,\"kind\":\"done\",\"status\":7}\n"), [done(3, 7)]);
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_ends_nothing() {
        let mut frames = Frames::default();
        let piece = vec![b'a'; 1 << 20];
        for _ in 0..20 {
            assert_eq!(frames.push(&piece), []);
            assert!(frames.partial.len() <= LONGEST);
        }
        assert!(!frames.needs_place(), "what is passed over needs none");
        assert_eq!(frames.push(b"\n{\"run\":3,\"kind\":\"done\"}\n").len(), 1);
    }

    #[test]
    fn a_failure_is_cut_short() {
        let lines = vec!["\\u00e9".repeat(1000); 1000].join("\",\"");
        let text = "\\\"\\u20ac".repeat(100_000);
        let line = format!(
            "{{\"run\":1,\"kind\":\"error\",\"ename\":\"{text}\",\"evalue\":\"{text}\",\"traceback\":[\"{lines}\"]}}\n"
        );
        let said = Frames::default().push(line.as_bytes());
        let [Said { run: 1, what: What::Error { ename, evalue, traceback } }] = &said[..] else { panic!("{said:?}") };
        assert!(ename.len() <= NAME + 3 && ename.starts_with("\"\u{20ac}\"") && ename.ends_with("..."), "{ename}");
        assert_eq!(evalue.len(), VALUE + 3);
        let all: usize = traceback.iter().map(String::len).sum();
        assert!(all <= TRACEBACK + 3 && traceback.last().is_some_and(|last| last == "..."), "{all}");
    }

    #[tokio::test]
    async fn a_long_line_keeps_its_place_until_its_last_slice_is_gone() {
        let budget = Budget::default();
        let mut frames = Frames::default();
        frames.push(b"{\"run\":1,\"kind\":\"result\",\"data\":{\"a\":\"");
        frames.push(&vec![b'a'; 2 << 20]);
        assert!(frames.needs_place());
        let all = budget.free();
        frames.place(budget.place().await.expect("a place"));
        assert!(!frames.needs_place() && all - budget.free() == LONGEST);
        let said = frames.push(b"\",\"b\":1}}\n{\"run\":1,\"kind\":\"done\"}\n");
        assert_eq!(said.len(), 2);
        let held = all - budget.free();
        assert!((2 << 20..3 << 20).contains(&held), "{held}");
        let mut said = said.into_iter();
        let Some(Said { what: What::Result(rich), .. }) = said.next() else { panic!("a result") };
        let mut slices = rich.into_parts();
        slices.remove(0);
        assert_eq!(all - budget.free(), held, "a slice is left");
        drop(slices);
        assert_eq!(budget.free(), all);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            Frames::default().push(&bytes);
        }

        #[test]
        fn no_document_makes_it_panic(data in "[\\[\\]{}\",:0-9a\\\\u -]{0,60}", kind in "result|error|done") {
            let line = format!("{{\"run\":1,\"kind\":\"{kind}\",\"data\":{data},\"ename\":\"\",\"evalue\":\"\",\"traceback\":{data}}}\n");
            Frames::default().push(line.as_bytes());
        }
    }
}
