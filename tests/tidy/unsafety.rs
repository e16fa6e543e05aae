//! Where `unsafe` may stand, and that each use says why it is sound.

use super::source::{File, Problem, Tree};

/// The only module of the product with `unsafe`. Outside `src` measuring and probing programs may use it.
const FENCE: &str = "src/sys/";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let all = tree.files.iter().filter(|file| file.is_rust());
    all.flat_map(|file| file.words("unsafe").filter_map(|at| judge(file, at))).collect()
}

fn judge(file: &File, at: usize) -> Option<Problem> {
    let line = file.line_of(at);
    if file.path.starts_with("src/") && !file.path.starts_with(FENCE) {
        return Some(file.problem(line, "unsafe stands outside of src/sys; make a safe wrapper there"));
    }
    // The type of a function has no name, and promises nothing.
    let is_type = file.code[at..].starts_with("unsafe fn(");
    (!is_type && !argued(file, line)).then(|| file.problem(line, "unsafe without a SAFETY comment directly above"))
}

/// Whether a comment that says SAFETY ends right above the statement that the line belongs to.
fn argued(file: &File, line: usize) -> bool {
    let (text, code): (Vec<&str>, Vec<&str>) = (file.text.lines().collect(), file.code.lines().collect());
    let mut above = line - 1;
    // Up to the start of the statement: a line of code that does not end one goes on below.
    while above > 0 && goes_on(code[above - 1]) {
        above -= 1;
    }
    let block = text[..above].iter().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    });
    block.into_iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

fn goes_on(code: &str) -> bool {
    let code = code.trim();
    !code.is_empty() && !code.ends_with([';', '{', '}', ',', ']'])
}

#[cfg(test)]
fn lines(path: &str, text: &str) -> Vec<usize> {
    check(&Tree::with(&[(path, text)])).into_iter().map(|problem| problem.line).collect()
}

#[test]
fn argued_blocks_pass() {
    let text = "// SAFETY: takes integers.\nlet x =\n    unsafe { call(1) };\n\n\
                /// Does.\n///\n/// # Safety\n/// Never.\n#[must_use]\nunsafe fn f() {}\n\
                // SAFETY: a reason\n// on two lines.\nunsafe impl Send for X {}\n// a comment on unsafe\nlet s = \"unsafe\";\ntype F = unsafe fn(u8);";
    assert_eq!(lines("src/sys/x.rs", text), [0; 0]);
}

#[test]
fn the_rest_does_not() {
    assert_eq!(lines("src/sys/x.rs", "let a = 1;\nlet x = unsafe { call(1) };"), [2]);
    assert_eq!(lines("src/sys/x.rs", "// SAFETY: of another.\nlet a = 1;\nlet x = unsafe { call(1) };"), [3]);
    assert_eq!(lines("src/sys/x.rs", "// SAFETY: far away.\n\nunsafe impl Send for X {}"), [3]);
    assert_eq!(lines("src/agent/x.rs", "// SAFETY: no use.\nunsafe { call() }"), [2]);
    assert_eq!(lines("src/sys/x.rs", "let x = f(unsafe { call(1) });"), [1]);
    assert_eq!(lines("benches/x.rs", "unsafe { call() }"), [1]);
}
