//! That every file is part of something: a module that no `mod` names, or a test that no target has, would never be
//! compiled and never fail.

use std::collections::BTreeSet;

use super::source::{File, Problem, Tree, enclosing};

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut known = BTreeSet::new();
    let mut waiting: Vec<&File> = tree.files.iter().filter(|file| is_root(&file.path)).collect();
    while let Some(file) = waiting.pop() {
        if known.insert(file.path.as_str()) {
            let named = children(file);
            waiting.extend(tree.files.iter().filter(|other| named.contains(&other.path)));
        }
    }
    let forgotten = tree.files.iter().filter(|file| file.is_rust() && !known.contains(file.path.as_str()));
    let mut problems: Vec<Problem> =
        forgotten.map(|file| file.problem(0, "no module or target names this file; it is never compiled")).collect();
    problems.extend(tree.files.iter().filter(|file| file.path == "Cargo.toml").flat_map(check_manifest));
    problems
}

/// What cargo finds by itself: the library, programs, tests, examples, benchmarks, a build script.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["build.rs"] | ["src", "lib.rs"] => true,
        ["src", "bin", file] | ["tests" | "examples" | "benches", file] => file.ends_with(".rs"),
        ["src", "bin", _, "main.rs"] | ["tests" | "examples" | "benches", _, "main.rs"] => true,
        _ => false,
    }
}

fn check_manifest(file: &File) -> Vec<Problem> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.starts_with("autotests"));
    lines.map(|(at, _)| file.problem(at + 1, "with autotests off a test file can be forgotten")).collect()
}

/// The files that a file's `mod` lines may mean.
fn children(file: &File) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let folder = stem.rsplit_once('/').map_or("", |(folder, _)| folder);
    let own = if is_root(&file.path) || stem.ends_with("/mod") { folder } else { stem };
    let mut named = Vec::new();
    for at in file.words("mod") {
        let name: &str = file.code[at + 3..].trim_start();
        let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())];
        let ends = file.code[at..].find([';', '{']).map(|end| file.code.as_bytes()[at + end]);
        if name.is_empty() || ends != Some(b';') {
            continue;
        }
        let inside: String = enclosing(&file.code[..at]).into_iter().map(|name| format!("/{name}")).collect();
        named.push(format!("{own}{inside}/{name}.rs"));
        named.push(format!("{own}{inside}/{name}/mod.rs"));
    }
    named
}

#[cfg(test)]
fn paths(files: &[(&str, &str)]) -> Vec<String> {
    check(&Tree::with(files)).into_iter().map(|problem| problem.path).collect()
}

#[test]
fn named_files_pass() {
    let files = [
        ("src/lib.rs", "pub mod a;"),
        ("src/a/mod.rs", "mod b; mod tests { mod c; }"),
        ("src/a/b.rs", "mod d;"),
        ("src/a/b/d.rs", ""),
        ("src/a/tests/c.rs", ""),
        ("src/bin/x.rs", ""),
        ("tests/t.rs", "mod t { pub mod u; }"),
        ("tests/t/u.rs", ""),
        ("tests/e/main.rs", "mod harness;"),
        ("tests/e/harness/mod.rs", ""),
    ];
    assert_eq!(paths(&files), [""; 0]);
}

#[test]
fn forgotten_ones_do_not() {
    let files = [
        ("src/lib.rs", "// mod a;\nmod b {}"),
        ("src/a.rs", ""),
        ("src/b.rs", ""),
        ("tests/e/main.rs", "mod one;"),
        ("tests/e/one.rs", ""),
        ("tests/e/two.rs", ""),
        ("Cargo.toml", "[package]\nautotests = false"),
    ];
    assert_eq!(paths(&files), ["src/a.rs", "src/b.rs", "tests/e/two.rs", "Cargo.toml"]);
}
