//! The argument vector, and whether `execve(2)` can take it.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};

/// `MAX_ARG_STRLEN`: the kernel refuses a longer string, its final NUL included (execve(2)).
const MOST_STRING_BYTES: usize = 128 << 10;
/// Arguments and environment together. The kernel's own bound is a quarter of the stack limit, 2 MiB by default; the image's
/// environment needs room beside this.
const MOST_TOTAL_BYTES: usize = 1 << 20;

pub fn read(body: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let entrypoint = body.texts("entrypoint")?.ok_or_else(|| {
        ApiError::invalid("entrypoint is required when image is provided: the program to run and its arguments.")
    })?;
    match entrypoint.first() {
        None => return Err(ApiError::invalid("entrypoint must contain at least one command.")),
        Some(program) if program.trim().is_empty() => {
            return Err(ApiError::invalid("entrypoint[0] must name a program; it is blank."));
        }
        Some(_) => {}
    }
    match entrypoint.iter().position(|argument| argument.contains('\0')) {
        Some(at) => Err(ApiError::invalid(format!("entrypoint[{at}] must not contain a NUL character."))),
        None => Ok(entrypoint),
    }
}

/// Refuses what no kernel would execute, before anything is made for it.
pub fn check_size(entrypoint: &[String], env: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let mut total = 0;
    for (at, argument) in entrypoint.iter().enumerate() {
        total += sized(argument.len() + 1, || format!("entrypoint[{at}]"))?;
    }
    for (name, value) in env {
        total += sized(name.len() + value.len() + 2, || format!("env[{}]", shown(name)))?;
    }
    if total > MOST_TOTAL_BYTES {
        return Err(ApiError::invalid(format!(
            "entrypoint and env together take {total} bytes; a program can be started with {MOST_TOTAL_BYTES}."
        )));
    }
    Ok(())
}

fn sized(bytes: usize, name: impl Fn() -> String) -> Result<usize, ApiError> {
    if bytes <= MOST_STRING_BYTES {
        return Ok(bytes);
    }
    let name = name();
    Err(ApiError::invalid(format!(
        "{name} takes {bytes} bytes; the kernel passes at most {MOST_STRING_BYTES} in one string. Put it into a file."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_and_all_together_are_bounded() {
        let fits = vec!["x".repeat(MOST_STRING_BYTES - 1)];
        assert!(check_size(&fits, &BTreeMap::new()).is_ok());
        let refusal = |entrypoint: &[String], env: &BTreeMap<String, String>| {
            check_size(entrypoint, env).expect_err("refused").message().to_owned()
        };
        let long = vec!["a".to_owned(), "x".repeat(MOST_STRING_BYTES)];
        assert!(refusal(&long, &BTreeMap::new()).starts_with("entrypoint[1] takes 131073 bytes"));
        let env = BTreeMap::from([("BIG".to_owned(), "x".repeat(MOST_STRING_BYTES))]);
        assert!(refusal(&fits, &env).starts_with("env[\"BIG\"] takes"));
        let many: Vec<String> = (0..9).map(|_| "x".repeat(120_000)).collect();
        assert!(refusal(&many, &BTreeMap::new()).contains("together take 1080009 bytes"));
    }
}
