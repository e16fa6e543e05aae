//! `POST /pty`.

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::execd::command::{surroundings, words};
use crate::api::execd::{Entered, failure};
use crate::api::fields::Fields;
use crate::api::json;
use crate::sandbox::Program;
use crate::sandbox::commands::Blueprint;

/// 201: it begins with the first WebSocket.
pub async fn open(entered: Entered, body: Bytes) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = if body.is_empty() { json!({}) } else { json::parse(&body)? };
    let blueprint = read(&Fields::body(&body)?, entered.program().await?)?;
    let process = entered.shelf().await?.open_interactive(blueprint).map_err(failure::of)?;
    Ok((StatusCode::CREATED, Json(json!({ "session_id": process.id().as_str() }))))
}

/// A shell, unless a program is given.
fn read(fields: &Fields<'_>, mut program: Program) -> Result<Blueprint, ApiError> {
    let command = fields.text("command")?.filter(|command| !command.trim().is_empty());
    match (command, fields.texts("argv")?.filter(|argv| !argv.is_empty())) {
        (Some(_), Some(_)) => {
            return Err(failure::invalid(
                "Give at most one of command (a line for the shell) and argv (a program and its arguments).",
            ));
        }
        (None, Some(argv)) => program.process.argv = argv,
        (line, None) => {
            let shell = |words: &[&str]| {
                let line = line.iter().flat_map(|line| ["-c", line]);
                words.iter().copied().chain(line).map(str::to_owned).collect::<Vec<_>>()
            };
            program.process.argv = shell(&["bash", "--norc", "--noprofile"]);
            program.otherwise = Some(shell(&["sh"]));
        }
    }
    words(&program.process.argv)?;
    surroundings(fields, &mut program)?;
    let stdin = !fields.has("stdin") || fields.boolean("stdin")?;
    Ok(Blueprint { program, stdin, patient: fields.boolean("wait_for_reader")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Process;

    fn read_body(body: &Value) -> Result<Blueprint, ApiError> {
        let process = Process { argv: Vec::new(), env: Vec::new(), user: "app".to_owned(), cwd: "/work".to_owned() };
        read(&Fields::body(body)?, Program::from(process))
    }

    #[test]
    fn a_shell_a_line_of_it_or_a_program() {
        let shell = read_body(&json!({})).expect("accepted");
        assert_eq!(shell.program.process.argv, ["bash", "--norc", "--noprofile"]);
        assert_eq!(shell.program.otherwise.as_deref(), Some(["sh".to_owned()].as_slice()));
        assert!(shell.stdin && !shell.patient);
        let line = read_body(&json!({"command": "a b", "cwd": "/x"})).expect("accepted");
        assert_eq!(line.program.process.argv, ["bash", "--norc", "--noprofile", "-c", "a b"]);
        assert_eq!(line.program.process.cwd, "/x");
        let body =
            json!({"argv": ["a", " b"], "stdin": false, "wait_for_reader": true, "user": "www:5", "envs": {"A": "b"}});
        let program = read_body(&body).expect("accepted");
        assert_eq!(program.program.process.argv, ["a", " b"]);
        assert!(program.program.otherwise.is_none() && !program.stdin && program.patient);
        assert_eq!(
            (program.program.process.user.as_str(), program.program.overrides.as_slice()),
            ("www:5", ["A=b".to_owned()].as_slice())
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for body in [
            json!({"command": "a", "argv": ["b"]}),
            json!({"argv": [""]}),
            json!({"argv": ["a\u{0}"]}),
            json!({"command": "a\u{0}"}),
            json!({"user": "a", "uid": 1}),
            json!({"user": "a\u{0}"}),
            json!({"stdin": "yes"}),
            json!({"cwd": 1}),
        ] {
            assert_eq!(read_body(&body).expect_err("refused").status(), 400, "{body}");
        }
    }
}
