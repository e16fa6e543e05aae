//! The daemon and its command line.

use std::env;
use std::process::ExitCode;

use bivouac::cli::{Cli, Command, perform};
use bivouac::daemon;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Serve(serve) => daemon::main(serve.config.as_deref(), &serve.settings(&cli.remote)),
        _ => ExitCode::from(perform(&cli, |file| daemon::state_dir(file, |name| env::var(name).ok()))),
    }
}
