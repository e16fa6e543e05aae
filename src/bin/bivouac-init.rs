//! The launcher, the namespace maker, and (as forks of the launcher) PID 1 of every sandbox.
#![expect(clippy::print_stderr, reason = "a program speaks on standard error")]

use std::path::Path;
use std::process::ExitCode;

use bivouac::runtime::{launch, namespaces};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["launch", run_dir] => launch::become_copy(Path::new(run_dir)),
        [launch::SEALED_VERB] => launch::run(),
        ["namespaces"] => namespaces::run(),
        _ => {
            eprintln!("bivouac-init: this program is started by `bivouac serve`; see `bivouac --help`");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bivouac-init: {failure}");
            ExitCode::FAILURE
        }
    }
}
