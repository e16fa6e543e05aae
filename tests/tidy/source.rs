//! The files of the package, with their comments and texts blanked out where only code counts.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One thing to put right.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    /// Counted from 1; 0 is the whole file.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file; `path` is relative to the package.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub text: String,
    /// `text` without what stands in comments, strings and character literals; same length and lines. Empty unless Rust.
    pub code: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { code_of(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn problem(&self, line: usize, what: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, what: what.into() }
    }

    /// The line of a byte of `text` or `code`.
    pub fn line_of(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The places in the code where `word` stands by itself.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        let alone = move |at: usize| {
            let before = at.checked_sub(1).is_none_or(|i| !is_name(bytes[i]));
            before && bytes.get(at + word.len()).is_none_or(|byte| !is_name(*byte))
        };
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| alone(*at))
    }
}

pub fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Everything of ours in the package, build results left out.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<File>,
}

impl Tree {
    pub fn of_package() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut tree = Self::default();
        tree.walk(root, root);
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        tree
    }

    #[cfg(test)]
    pub fn with(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    pub fn rust_below(&self, folder: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.is_rust() && file.path.starts_with(folder))
    }

    fn walk(&mut self, root: &Path, dir: &Path) {
        let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("read_dir({}): {error}", dir.display()));
        let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let skipped = ["target", ".git", "Cargo.lock", "__pycache__"].contains(&name.as_str());
            if skipped || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                self.walk(root, &path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root).expect("a path below the package");
                self.files.push(File::new(&relative.to_string_lossy(), &text));
            }
        }
    }
}

/// Blanks comments, strings and characters; keeps newlines, so that offsets and lines stay.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + noncode(&bytes[at..], at.checked_sub(1).map(|i| bytes[i]));
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Whole pieces between ASCII marks were blanked, so what is left is still UTF-8.
    String::from_utf8(code).expect("code stays UTF-8")
}

/// How many of the first bytes are a comment, a string or a character; 0 for code.
fn noncode(rest: &[u8], before: Option<u8>) -> usize {
    let starts_word = before.is_none_or(|byte| !is_name(byte));
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'b' | b'c', b'"', ..] if starts_word => 2 + quoted(&rest[2..], b'"'),
        [b'r', b'"' | b'#', ..] if starts_word => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if starts_word => raw(rest, 2),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length up to and with the closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`; a raw name such as `r#type` is code.
fn raw(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let from = prefix + hashes + 1;
    let found = rest[from..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |at| from + at + close.len())
}

/// `'x'` is a character, `'x` a lifetime.
fn character(rest: &[u8]) -> usize {
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = text.or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()])).unwrap_or_default();
    let length = valid.chars().next().map_or(0, char::len_utf8);
    if rest.get(1 + length) == Some(&b'\'') { length + 2 } else { 0 }
}

/// The names of the modules that are open at the end of a piece of code, outermost first.
pub fn enclosing(code: &str) -> Vec<String> {
    let mut blocks: Vec<Option<String>> = Vec::new();
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => {
                let words: Vec<&str> = code[..at].split_whitespace().rev().take(2).collect();
                blocks.push(matches!(words.as_slice(), [_, "mod"]).then(|| words[0].to_owned()));
            }
            b'}' => drop(blocks.pop()),
            _ => {}
        }
    }
    blocks.into_iter().flatten().collect()
}

#[test]
fn only_code_is_left() {
    let text =
        "a /* x /* y */ z */ b // c\n\"s\\\"t\" d r#\"u\"v\"# e 'f' '\\'' g<'h> b\"i\" '\u{e4}' br\"j\" k r#type";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "d", "e", "g<'h>", "k", "r#type"]);
}

#[test]
fn words_stand_alone() {
    let file = File::new("x.rs", "unsafe fn not_unsafe() { unsafe_too(); }\nunsafe {}");
    let lines: Vec<usize> = file.words("unsafe").map(|at| file.line_of(at)).collect();
    assert_eq!(lines, [1, 2]);
}
