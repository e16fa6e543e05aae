//! The form of a file: what it opens with, how long it is, and what must not stand in it.

use super::source::{File, Problem, Tree};

/// No file of ours is longer.
const LONGEST: usize = 550;

/// Who may write to standard output and error by hand; the daemon has its log.
const MAY_PRINT: [&str; 4] = ["src/console/", "src/cli.rs", "src/cli/", "src/bin/"];

/// The one place of the tests that waits; everyone else names the state that is waited for.
const WAITS: &str = "tests/e2e/harness/wait.rs";

pub fn check(tree: &Tree) -> Vec<Problem> {
    tree.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    let length = file.text.lines().count();
    if file.is_rust() && length > LONGEST {
        problems
            .push(file.problem(0, format!("{length} lines; a file has at most {LONGEST}, and 100 to 250 are better")));
    }
    // The name of a unit test's file says what it is for.
    if file.is_rust() && !file.path.ends_with("/tests.rs") && !file.text.starts_with("//!") {
        problems.push(file.problem(1, "the file does not open with what it is for (`//!`)"));
    }
    // Written in two pieces, so that this file does not find itself.
    for (at, _) in file.text.match_indices(concat!("/wo", "rk/")) {
        problems.push(file.problem(file.line_of(at), "a path of somebody's machine"));
    }
    for (token, what) in forbidden(&file.path) {
        let found = file.words(token);
        problems.extend(found.map(|at| file.problem(file.line_of(at), format!("{token}: {what}"))));
    }
    for at in file.words("allow") {
        let before = file.code[..at].trim_end();
        if before.ends_with("#[") || before.ends_with("#![") || before.ends_with(", allow") {
            problems.push(file.problem(file.line_of(at), "allow: write #[expect(lint, reason = \"...\")]"));
        }
    }
    problems
}

/// The words that must not stand in a file's code, and why.
fn forbidden(path: &str) -> Vec<(&'static str, &'static str)> {
    let mut words = vec![("ignore", "a test that does not run is forgotten; print what is missing and count it")];
    if !path.starts_with("tests/") {
        words.clear();
    }
    if path.starts_with("src/") && !MAY_PRINT.iter().any(|may| path.starts_with(may)) {
        let why = "only the command line prints; use tracing";
        words.extend(["println", "eprintln", "print", "eprint"].map(|word| (word, why)));
    }
    if path.starts_with("tests/") && path != WAITS {
        let why = "a test waits for a state, by a deadline and with its last status (see tests/e2e/harness/wait.rs)";
        words.extend(["thread::sleep", "time::sleep", "sleep_until"].map(|word| (word, why)));
    }
    words
}

#[cfg(test)]
fn lines(path: &str, text: &str) -> Vec<usize> {
    check(&Tree::with(&[(path, text)])).into_iter().map(|problem| problem.line).collect()
}

#[test]
fn good_files_pass() {
    assert_eq!(lines("src/x.rs", "//! X.\n#[expect(dead_code, reason = \"y\")]\nfn f() { allow(); }"), [0; 0]);
    assert_eq!(lines("src/console/x.rs", "//! X.\nfn f() { println!(\"#[allow(x)]\"); }"), [0; 0]);
    assert_eq!(lines(WAITS, "//! X.\nfn f() { thread::sleep(STEP); }"), [0; 0]);
}

#[test]
fn bad_files_do_not() {
    assert_eq!(lines("src/x.rs", "fn f() {}"), [1]);
    assert_eq!(lines("src/x.rs", "//! X.\n#[allow(dead_code)]\nfn f() {}"), [2]);
    assert_eq!(lines("src/x.rs", "//! X.\n#![allow(dead_code)]"), [2]);
    assert_eq!(lines("src/api/x.rs", "//! X.\nfn f() { eprintln!(\"x\"); }"), [2]);
    assert_eq!(lines("tests/x.rs", "//! X.\nfn f() { std::thread::sleep(SECOND); }"), [2]);
    assert_eq!(lines("tests/x.rs", "//! X.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}"), [3]);
    assert_eq!(lines("README.md", concat!("see /wo", "rk/x")), [1]);
    assert_eq!(lines("src/x.rs", &format!("//! X.\n{}", "\n".repeat(LONGEST))), [0]);
}
