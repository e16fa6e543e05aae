//! Becoming a program: `execve(2)` with the search of `execvp(3)`.

use std::ffi::CString;

use nix::errno::Errno;

use super::step::{Named, Step};
use super::user::Identity;
use crate::proto::{FailureKind, Process, StepFailure};

/// Where `PATH` of the environment is missing, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program with everything that needs memory done, so that only `execve` is left after the filter.
pub struct Executable {
    name: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Executable {
    pub fn new(process: &Process, who: &Identity) -> Step<Self> {
        let name = process.argv.first().cloned().unwrap_or_default();
        let c_strings = |texts: &mut dyn Iterator<Item = String>| {
            texts
                .map(CString::new)
                .collect::<Result<Vec<_>, _>>()
                .step_of(FailureKind::NotExecutable, "make the argument vector")
        };
        let mut env = process.env.clone();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", who.home));
        }
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH).to_owned();
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            path.split(':').map(|dir| format!("{}/{name}", if dir.is_empty() { "." } else { dir })).collect()
        };
        Ok(Self {
            name,
            candidates: c_strings(&mut candidates.into_iter())?,
            argv: c_strings(&mut process.argv.iter().cloned())?,
            env: c_strings(&mut env.into_iter())?,
        })
    }

    /// Tries each candidate as `execvp(3)` does; returns what to report.
    pub fn execute(&self) -> StepFailure {
        let mut worst = Errno::ENOENT;
        for candidate in &self.candidates {
            match nix::unistd::execve(candidate, &self.argv, &self.env) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => {
                    worst = errno;
                    if errno != Errno::EACCES {
                        break;
                    }
                }
            }
        }
        self.failure(worst)
    }

    fn failure(&self, errno: Errno) -> StepFailure {
        let name = &self.name;
        let (kind, error) = match errno {
            Errno::ENOENT => {
                let place = if name.contains('/') {
                    "there is no such file in the image, or its interpreter is missing"
                } else {
                    "no directory of PATH in the image has it"
                };
                (FailureKind::NotFound, format!("execve({name:?}): ENOENT: {place}"))
            }
            errno => (FailureKind::NotExecutable, format!("execve({name:?}): {errno:?} ({})", errno.desc())),
        };
        StepFailure { step: "execute the program".to_owned(), error, kind }
    }
}

impl std::fmt::Debug for Executable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executable").field("name", &self.name).finish_non_exhaustive()
    }
}
