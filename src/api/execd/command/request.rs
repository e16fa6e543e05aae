//! What `POST /command` asks for.

use std::time::Duration;

use crate::api::error::ApiError;
use crate::api::execd::failure::invalid;
use crate::api::fields::Fields;
use crate::sandbox::Program;
use crate::sandbox::commands::Request;

/// Runs in the background, and otherwise what [`Request`] says.
#[derive(Debug)]
pub struct CommandRequest {
    pub background: bool,
    pub request: Request,
}

/// Fills in a program that has what the sandbox gives to all.
pub fn parse(fields: &Fields<'_>, mut program: Program) -> Result<CommandRequest, ApiError> {
    let (argv, otherwise, content) = argv(fields)?;
    program.process.argv = argv;
    program.otherwise = otherwise;
    surroundings(fields, &mut program)?;
    let request = Request { content, program, timeout: timeout(fields)? };
    Ok(CommandRequest { background: fields.boolean("background")?, request })
}

/// Directory, user and variables, where they are given.
pub fn surroundings(fields: &Fields<'_>, program: &mut Program) -> Result<(), ApiError> {
    if let Some(cwd) = fields.text("cwd")?.filter(|cwd| !cwd.is_empty()) {
        cwd.clone_into(&mut program.process.cwd);
    }
    if let Some(user) = user(fields)? {
        program.process.user = user;
    }
    for (name, value) in fields.text_map("envs")?.unwrap_or_default() {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid(format!("envs[{name:?}] cannot be a variable: no name, or an = or a NUL byte in it.")));
        }
        program.overrides.push(format!("{name}={value}"));
    }
    Ok(())
}

type Argv = (Vec<String>, Option<Vec<String>>, String);

/// The argument vectors of a line for the shell: the first of these shells that is there runs it.
pub fn shell(line: &str) -> (Vec<String>, Vec<String>) {
    let argv = |name: &str| vec![name.to_owned(), "-c".to_owned(), line.to_owned()];
    (argv("bash"), argv("sh"))
}

/// A line for the shell, or a program and its arguments.
fn argv(fields: &Fields<'_>) -> Result<Argv, ApiError> {
    let command = fields.text("command")?.filter(|command| !command.trim().is_empty());
    let argv = fields.texts("argv")?.filter(|argv| !argv.is_empty());
    let (argv, otherwise, content) = match (command, argv) {
        (Some(command), None) => {
            let (argv, otherwise) = shell(command);
            (argv, Some(otherwise), command.to_owned())
        }
        (None, Some(argv)) => {
            let content = argv.join(" ");
            (argv, None, content)
        }
        _ => {
            return Err(invalid(
                "Give exactly one of command (a line for the shell) and argv (a program and its arguments).",
            ));
        }
    };
    words(&argv)?;
    Ok((argv, otherwise, content))
}

/// Refuses what cannot be executed whatever is there.
pub fn words(argv: &[String]) -> Result<(), ApiError> {
    if argv.iter().any(|word| word.contains('\0')) || argv.first().is_some_and(String::is_empty) {
        return Err(invalid("The command has a NUL byte in it, or an empty program name."));
    }
    Ok(())
}

fn user(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let id = |name: &str| match fields.integer(name)? {
        Some(id) if !(0..=65_535).contains(&id) => {
            Err(invalid(format!("{name} must be between 0 and 65535; a sandbox has no other ids.")))
        }
        id => Ok(id),
    };
    let ids = (id("uid")?, id("gid")?);
    if let Some(user) = fields.text("user")?.filter(|user| !user.is_empty()) {
        if ids != (None, None) || user.contains('\0') {
            return Err(invalid("user is a name or a number, with :group behind it if need be, and stands alone."));
        }
        return Ok(Some(user.to_owned()));
    }
    match ids {
        (None, Some(_)) => Err(invalid("gid needs a uid beside it.")),
        (uid, None) => Ok(uid.map(|uid| uid.to_string())),
        (Some(uid), Some(gid)) => Ok(Some(format!("{uid}:{gid}"))),
    }
}

/// In milliseconds; 0 and none mean no limit.
pub fn timeout(fields: &Fields<'_>) -> Result<Option<Duration>, ApiError> {
    match fields.integer("timeout")? {
        None | Some(0) => Ok(None),
        Some(millis) => match u64::try_from(millis) {
            Ok(millis) => Ok(Some(Duration::from_millis(millis))),
            Err(_) => Err(invalid("timeout must be a positive number of milliseconds.")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sandbox::Process;

    fn parsed(body: &Value) -> Result<CommandRequest, ApiError> {
        let process = Process { argv: Vec::new(), env: Vec::new(), user: "app".to_owned(), cwd: "/work".to_owned() };
        parse(&Fields::body(body)?, Program::from(process))
    }

    #[test]
    fn a_line_is_for_the_shell_and_the_rest_is_the_sandboxs() {
        let asked = parsed(&json!({"command": "echo hi", "timeout": 1500, "uid": null})).expect("accepted").request;
        assert_eq!(asked.program.process.argv, ["bash", "-c", "echo hi"]);
        assert_eq!(asked.program.otherwise.as_deref().map(<[_]>::concat), Some("sh-cecho hi".to_owned()));
        assert_eq!((asked.program.process.user.as_str(), asked.program.process.cwd.as_str()), ("app", "/work"));
        assert_eq!(asked.timeout, Some(Duration::from_millis(1500)));
        let body = json!({"argv": ["a", "b"], "uid": 5, "gid": 6, "cwd": "~", "envs": {"A": "b"}, "background": true});
        let asked = parsed(&body).expect("accepted");
        assert!(asked.background && asked.request.program.otherwise.is_none());
        assert_eq!(asked.request.program.process.user, "5:6");
        assert_eq!(asked.request.program.overrides, ["A=b"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for body in [
            json!({}),
            json!({"command": " "}),
            json!({"command": "a", "argv": ["b"]}),
            json!({"argv": [""]}),
            json!({"argv": ["a\u{0}"]}),
            json!({"command": "a", "gid": 1}),
            json!({"command": "a", "uid": -1}),
            json!({"command": "a", "uid": 4294967296_i64}),
            json!({"command": "a", "timeout": -1}),
            json!({"command": "a", "envs": {"A=": "b"}}),
            json!({"command": "a", "envs": {"A": 1}}),
            json!({"command": 1}),
        ] {
            let refused = parsed(&body).expect_err("refused");
            assert_eq!(refused.status(), 400, "{body}");
        }
    }
}
