//! The languages of contexts: which program runs them, and how it is spoken to.

use crate::sandbox::Program;

const PYTHON: &str = include_str!("runners/python.py");
const NODE: &str = include_str!("runners/node.js");
const BASH: &str = include_str!("runners/bash.sh");

/// Compiles the runner that stands on descriptor 62, so that nothing is written into the image.
const PYTHON_START: &str =
    "import io;exec(compile(io.open(62,encoding='utf-8').read(),'<bivouac>','exec'),{'__name__':'bivouac'})";

/// The same; `import()` works only in the text of the command line.
const NODE_START: &str = "const fs=require('fs'),text=fs.readFileSync(62,'utf8');fs.closeSync(62);\
    new(require('vm').Script)(text,{filename:'bivouac:runner'})\
    .runInThisContext()('LANGUAGE',require,name=>import(name))";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    TypeScript,
    Bash,
}

impl Language {
    pub const ALL: [Self; 4] = [Self::Python, Self::JavaScript, Self::TypeScript, Self::Bash];

    /// By its name in the API.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name().eq_ignore_ascii_case(name))
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Bash => "bash",
        }
    }

    /// What an image lacks that cannot run it, and which images have it.
    pub(super) fn missing(self) -> String {
        let (programs, images) = match self {
            Self::Python => ("python3 and no python", "python:3.12 or one with the package python3"),
            Self::JavaScript | Self::TypeScript => ("node and no nodejs", "node:22 or one with the package nodejs"),
            Self::Bash => ("bash", "debian:12 or one with the package bash"),
        };
        let name = self.name();
        format!(
            "the image has no {programs} in its PATH, so it cannot run {name}; use an image that has it, as {images}"
        )
    }

    /// The image's own interpreter.
    pub(super) fn program(self, defaults: Program) -> Program {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut program = defaults;
        let (argv, otherwise) = match self {
            Self::Python => (words(&["python3", "-c", PYTHON_START]), Some(words(&["python", "-c", PYTHON_START]))),
            Self::JavaScript | Self::TypeScript => {
                let start = NODE_START.replace("LANGUAGE", self.name());
                (words(&["node", "-e", &start]), Some(words(&["nodejs", "-e", &start])))
            }
            Self::Bash => (words(&["bash", "--noprofile", "--norc", "--noediting", "-i"]), None),
        };
        program.process.argv = argv;
        program.otherwise = otherwise;
        program
    }

    /// The descriptor on which the interpreter takes requests.
    pub(super) fn input(self) -> i32 {
        if self == Self::Bash { 0 } else { 60 }
    }

    /// The runner, for an interpreter that reads it from a descriptor.
    pub(super) fn source(self) -> Option<&'static str> {
        match self {
            Self::Python => Some(PYTHON),
            Self::JavaScript | Self::TypeScript => Some(NODE),
            Self::Bash => None,
        }
    }

    /// What the interpreter is told before everything else.
    pub(super) fn opening(self) -> Vec<u8> {
        if self == Self::Bash { BASH.as_bytes().to_vec() } else { Vec::new() }
    }

    /// A run, or with no code the question whether it has come to an end.
    pub(super) fn request(self, run: u64, code: &str) -> Vec<u8> {
        match self {
            Self::Bash if code.is_empty() => format!("__bivouac_done {run}\n").into_bytes(),
            Self::Bash => {
                let code = code.replace('\'', r"'\''");
                format!("eval -- '{code}' </dev/null 61>&-\n__bivouac_done {run}\n").into_bytes()
            }
            _ => format!("{run}\0{code}\0{run}\0").into_bytes(),
        }
    }

    /// Ends a request of which a daemon that is gone has written only the beginning: it is not run then.
    pub(super) fn cut(self) -> Vec<u8> {
        if self == Self::Bash { b"\n".to_vec() } else { b"\0\0\0\0".to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_api() {
        assert!(Language::ALL.into_iter().all(|language| Language::named(language.name()) == Some(language)));
        assert_eq!(Language::named("Python"), Some(Language::Python));
        assert_eq!((Language::named("java"), Language::named("")), (None, None));
    }

    #[test]
    fn code_is_one_word_for_bash_and_one_field_for_the_others() {
        let request = Language::Bash.request(7, "echo 'a b'");
        assert_eq!(request, b"eval -- 'echo '\\''a b'\\''' </dev/null 61>&-\n__bivouac_done 7\n");
        assert_eq!(Language::Python.request(7, "a\nb"), b"7\0a\nb\x007\0");
    }
}
