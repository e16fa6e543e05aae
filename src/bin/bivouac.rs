//! The daemon and its command line.

use std::env;
use std::process::ExitCode;

use bivouac::cli::{Cli, Command, Configured, perform};
use bivouac::daemon;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Serve(serve) => daemon::main(serve.config.as_deref(), &serve.settings(&cli.remote)),
        _ => ExitCode::from(perform(&cli, |file| {
            let variable = |name: &str| env::var(name).ok();
            Configured { state_dir: daemon::state_dir(file, variable), network: daemon::network(file, variable) }
        })),
    }
}
