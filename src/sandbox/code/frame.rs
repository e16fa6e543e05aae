//! What a runner says: a JSON document a line. It stands among the user's code, so anything may come.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest line that is read; runners leave out what is larger.
pub const LONGEST: usize = 8 << 20;

#[derive(Debug, PartialEq, Deserialize)]
pub struct Said {
    pub run: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    Begun {
        count: u64,
    },
    /// A value by its mime types.
    Result {
        data: Map<String, Value>,
    },
    Error {
        ename: String,
        evalue: String,
        traceback: Vec<String>,
    },
    /// The run has come to its end; with the exit status of the last command in a shell.
    Done {
        #[serde(default)]
        status: i32,
    },
    /// The runner cannot work in this image.
    Failed {
        message: String,
    },
}

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
    /// The line was too long and is passed over.
    skipping: bool,
}

impl Frames {
    /// What is whole with these bytes. Lines that are none of a runner's are passed over.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            if !self.skipping {
                self.partial.extend_from_slice(piece);
            }
            if self.partial.len() > LONGEST {
                self.skipping = true;
                self.partial = Vec::new();
            }
            if whole {
                if !self.skipping {
                    said.extend(serde_json::from_slice::<Said>(&self.partial).ok());
                }
                self.skipping = false;
                self.partial = Vec::new();
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_in_any_pieces() {
        let text = b"{\"run\":1,\"kind\":\"begun\",\"count\":2}\n{\"run\":1,\"kind\":\"done\"}\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let said: Vec<Said> = text.chunks(size).flat_map(|piece| frames.push(piece)).collect();
            let begun = Said { run: 1, what: What::Begun { count: 2 } };
            assert_eq!(said, [begun, Said { run: 1, what: What::Done { status: 0 } }]);
        }
    }

    #[test]
    fn what_is_none_of_a_runners_is_passed_over() {
        let mut frames = Frames::default();
        let deep = format!("{{\"run\":1,\"kind\":\"result\",\"data\":{{\"a\":{}\n", "[".repeat(100_000));
        for bad in ["\n", "{}\n", "x\n", "{\"run\":-1,\"kind\":\"done\"}\n", "{\"run\":1,\"kind\":\"no\"}\n", &deep] {
            assert_eq!(frames.push(bad.as_bytes()), [], "{}", &bad[..bad.len().min(50)]);
        }
        let done = Said { run: 3, what: What::Done { status: 7 } };
        assert_eq!(frames.push(b"{\"run\":3,\"kind\":\"done\",\"status\":7}\n"), [done]);
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_ends_nothing() {
        let mut frames = Frames::default();
        let piece = vec![b'a'; 1 << 20];
        for _ in 0..20 {
            assert_eq!(frames.push(&piece), []);
            assert!(frames.partial.len() <= LONGEST);
        }
        assert_eq!(frames.push(b"\n{\"run\":3,\"kind\":\"done\"}\n").len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            Frames::default().push(&bytes);
        }
    }
}
