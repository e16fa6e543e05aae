//! The environment and the directory of a process that was asked for, as only the inside can tell them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use crate::proto::Program;

/// An environment file is a few lines; more than this is not read.
const MAX_BYTES: u64 = 256 << 10;

type Variables = BTreeMap<String, String>;

/// The variables of a process.
#[derive(Debug)]
pub struct Environment(Variables);

impl Environment {
    /// The variables of the process, those of the file over them, and the request's over both.
    pub fn assemble(program: &Program, home: &str, has_terminal: bool) -> Self {
        let mut env = Variables::from([("HOME".to_owned(), home.to_owned())]);
        if has_terminal {
            env.insert("TERM".to_owned(), "xterm-256color".to_owned());
        }
        env.extend(program.process.env.iter().filter_map(|entry| pair(entry)));
        if let Some(path) = &program.env_file {
            overlay(&mut env, &read(path));
        }
        env.extend(program.overrides.iter().filter_map(|entry| pair(entry)));
        Self(env)
    }

    /// The path that a request names: `~` at its start and variables are replaced; `${$}` is a plain `$`.
    ///
    /// # Errors
    /// A sentence that names the variable which is not set.
    pub fn path(&self, path: &str) -> Result<String, String> {
        let home = self.0.get("HOME").map_or("/", String::as_str);
        let path = match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ => path.to_owned(),
        };
        expand(&path, &self.0, &|name| match name {
            "$" => Ok("$".to_owned()),
            name => Err(format!("variable ${name} in path {path:?} is not set")),
        })
    }

    /// `NAME=value` of each.
    pub fn entries(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

fn pair(entry: &str) -> Option<(String, String)> {
    entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// What is there is anything that somebody inside has put there.
fn read(path: &str) -> String {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let Ok(file) = file else { return String::new() };
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut bytes = Vec::new();
    if regular && file.take(MAX_BYTES).read_to_end(&mut bytes).is_ok() {
        String::from_utf8_lossy(&bytes).into_owned()
    } else {
        String::new()
    }
}

/// `NAME=value` lines; `#` begins a comment line. A value in single quotes stands for itself; otherwise variables are
/// replaced, and a pair of double quotes around it is taken off.
fn overlay(env: &mut Variables, text: &str) {
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some((name, value)) = line.split_once('=')
            && !name.starts_with('#')
            && !name.trim().is_empty()
        {
            let value = unquote(value.trim(), env);
            env.insert(name.trim().to_owned(), value);
        }
    }
}

fn unquote(value: &str, env: &Variables) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        // How a shell writes a single quote within single quotes.
        return inner.replace(r"'\''", "'");
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    expand(inner, env, &|_| Ok(String::new())).unwrap_or_default()
}

fn expand(text: &str, env: &Variables, missing: &dyn Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded += before;
        let (name, tail) = variable(after);
        match name {
            None => expanded.push('$'),
            Some(name) => match env.get(name) {
                Some(value) => expanded += value,
                None => expanded += &missing(name)?,
            },
        }
        rest = tail;
    }
    Ok(expanded + rest)
}

/// The name at the start of what follows a `$`, as `NAME` or `{NAME}`, and what comes after it.
fn variable(text: &str) -> (Option<&str>, &str) {
    if let Some(inner) = text.strip_prefix('{')
        && let Some((name, tail)) = inner.split_once('}')
        && !name.is_empty()
    {
        return (Some(name), tail);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, tail) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) { (None, text) } else { (Some(name), tail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Process;

    fn program(env: &[&str], overrides: &[&str]) -> Program {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let process = Process { argv: texts(&["sh"]), env: texts(env), user: String::new(), cwd: "/".to_owned() };
        Program { overrides: texts(overrides), ..Program::from(process) }
    }

    #[test]
    fn the_file_lies_over_the_process_and_the_request_over_both() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("env");
        std::fs::write(&path, "# no\n B = file \nexport C='it'\\''s $A'\nD=\"$A ${B}$missing\"\nnot a pair\n")
            .expect("written");
        let program =
            Program { env_file: Some(path.display().to_string()), ..program(&["A=1", "B=1", "E=x"], &["E=y"]) };
        let env = Environment::assemble(&program, "/home", true).entries();
        let expected = ["A=1", "B=file", "C=it's $A", "D=1 file", "E=y", "HOME=/home", "TERM=xterm-256color"];
        assert_eq!(env, expected);
    }

    #[test]
    fn a_file_that_is_none_says_nothing() {
        let fifo = tempfile::tempdir().expect("a directory");
        let path = fifo.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        for path in [path.display().to_string(), "/nowhere".to_owned(), "/dev/zero".to_owned()] {
            assert_eq!(read(&path), "");
        }
    }

    #[test]
    fn a_path_is_expanded_and_an_unset_variable_named() {
        let env = Environment::assemble(&program(&["W=/w"], &[]), "/root", false);
        assert_eq!(env.path("~").as_deref(), Ok("/root"));
        assert_eq!(env.path("~/a").as_deref(), Ok("/root/a"));
        assert_eq!(env.path("$W/${W}$").as_deref(), Ok("/w//w$"));
        assert_eq!(env.path("/${$}W${$}").as_deref(), Ok("/$W$"));
        assert_eq!(env.path("/~x").as_deref(), Ok("/~x"));
        assert!(env.path("/a/$GONE").is_err_and(|error| error.contains("$GONE")));
    }
}
