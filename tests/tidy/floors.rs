//! Which module may import which.

use super::source::{File, Problem, Tree, enclosing, is_name};

/// The floors from the top. A module imports from rows below its own, never from its own row: so there is no cycle.
const FLOORS: &[&[&str]] = &[
    &["cli", "daemon"],
    &["api", "console"],
    &["sandbox"],
    &["snapshot"],
    &["image", "network", "volume", "store", "guest", "runtime"],
    // The first process of a sandbox speaks the protocol, so it stands on it.
    &["agent"],
    &["proto", "telemetry"],
    &["sys", "model"],
];

/// What a module must not import although it stands below: the order of things on the host is known to `sandbox` alone.
const CLOSED: &[(&str, &[&str])] = &[("api", &["runtime", "network", "store", "sys"])];

pub fn check(tree: &Tree) -> Vec<Problem> {
    tree.rust_below("src/").flat_map(check_file).collect()
}

/// The library's root and the programs put everything together and import what they need.
fn check_file(file: &File) -> Vec<Problem> {
    let Some(module) = top_module(&file.path) else { return Vec::new() };
    let Some(own) = floor(module) else {
        let what = format!("{module} stands on no floor; put it into the table of tests/tidy/floors.rs");
        return vec![file.problem(0, what)];
    };
    let refused = |(at, name): (usize, String)| {
        let what = judge(module, own, &name)?;
        Some(file.problem(file.line_of(at), what))
    };
    imports(file).into_iter().filter_map(refused).collect()
}

/// What is wrong with `module` importing `name`.
fn judge(module: &str, own: usize, name: &str) -> Option<String> {
    let Some(other) = floor(name) else {
        return Some(format!("imports {name}, which stands on no floor"));
    };
    let closed = CLOSED.iter().any(|(who, what)| *who == module && what.contains(&name));
    if name == module {
        None
    } else if closed {
        Some(format!("{module} must not reach {name}; `sandbox` and `image` are what it may use"))
    } else if other <= own {
        Some(format!("{module} imports {name}, which does not stand below it"))
    } else {
        None
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|row| row.contains(&module))
}

/// `src/api/error.rs` belongs to `api`; `src/lib.rs` and the programs to nobody.
fn top_module(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    (rest != "lib.rs" && first != "bin").then(|| first.trim_end_matches(".rs"))
}

/// The top modules that a file names, and where: by `crate::`, or by enough `super::`.
fn imports(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in file.words("crate") {
        if let Some(rest) = file.code[at..].strip_prefix("crate::") {
            found.extend(heads(rest).into_iter().map(|name| (at, name)));
        }
    }
    for at in file.words("super") {
        let (first, steps) = (!file.code[..at].ends_with("super::"), count_supers(&file.code[at..]));
        if first && steps >= depth(file, at) {
            let rest = &file.code[at + steps * "super::".len()..];
            found.extend(heads(rest).into_iter().map(|name| (at, name)));
        }
    }
    found
}

fn count_supers(mut rest: &str) -> usize {
    let mut count = 0;
    while let Some(next) = rest.strip_prefix("super::") {
        (rest, count) = (next, count + 1);
    }
    count
}

/// How many modules enclose a place: those of the path, and those that are opened in the file before it.
fn depth(file: &File, at: usize) -> usize {
    let path = file.path.trim_start_matches("src/").trim_end_matches(".rs");
    let of_path = path.split('/').filter(|part| *part != "mod").count();
    of_path + enclosing(&file.code[..at]).len()
}

/// The first names of a path or of a group of paths: `a::b` gives a; `{a, b::{c, d}}` gives a and b.
fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        let name: String = rest.chars().take_while(|c| c.is_ascii() && is_name(*c as u8)).collect();
        return if name.is_empty() { Vec::new() } else { vec![name] };
    };
    let (mut depth, mut names, mut item) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(heads(std::mem::take(&mut item).trim())),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.extend(heads(item.trim()));
    names
}

#[cfg(test)]
fn problems(path: &str, text: &str) -> Vec<String> {
    check(&Tree::with(&[(path, text)])).into_iter().map(|problem| problem.what).collect()
}

#[test]
fn down_is_allowed() {
    assert_eq!(problems("src/api/error.rs", "use crate::sandbox::Denial; use crate::model::{Phase, Exit};"), [""; 0]);
    assert_eq!(problems("src/agent/mod.rs", "use crate::proto; use super::agent::step;"), [""; 0]);
    assert_eq!(problems("src/model/limits.rs", "mod tests { use super::super::spec::X; }"), [""; 0]);
}

#[test]
fn up_and_sideways_are_not() {
    for (path, text) in [
        ("src/model/id.rs", "use crate::sys::X;"),
        ("src/store/mod.rs", "fn f() { crate::sandbox::Sandbox::new() }"),
        ("src/image/mod.rs", "use crate::{model::Exit, store::{Store, Record}};"),
        ("src/image/unpack/tar.rs", "use super::super::super::store::Store;"),
        ("src/image/mod.rs", "mod tests { use super::super::guest::Guest; }"),
        ("src/proto/mod.rs", "use crate::agent::Step;"),
        ("src/api/mod.rs", "use crate::runtime::Runtime;"),
        ("src/cli.rs", "use crate::daemon::Config;"),
    ] {
        assert_eq!(problems(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn an_unknown_module_is_an_error() {
    assert_eq!(problems("src/utils/mod.rs", "").len(), 1);
    assert_eq!(problems("src/api/mod.rs", "use crate::helpers::x;").len(), 1);
}
