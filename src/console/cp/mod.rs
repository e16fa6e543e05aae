//! `bivouac cp`: files between the host, or a tar stream, and a sandbox.

mod download;
mod gather;
mod inside;
mod multipart;
mod operand;
mod pack;
mod tree;
mod unpack;
mod upload;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::signals::Signals;
use super::{Client, Failure, find, screen};

use inside::Inside;
use operand::Operand;

#[derive(Debug, Args)]
pub struct Copy {
    /// What to copy: a path of the host, ID:PATH in a sandbox, or - for a tar archive from standard input
    #[arg(value_name = "SRC", value_parser = OsStringValueParser::new().try_map(Operand::of))]
    from: Operand,

    /// Where to: the other side, or - for a tar archive to standard output; a relative PATH in a sandbox begins at its root
    #[arg(value_name = "DST", value_parser = OsStringValueParser::new().try_map(Operand::of))]
    to: Operand,
}

/// Copies and returns the exit code: 1 when something was passed over.
///
/// # Errors
/// When nothing could be copied, or the rest cannot be.
pub async fn copy(client: &Client, args: &Copy) -> Result<u8, Failure> {
    let mut signals = Signals::catch()?;
    let skipped = Skipped::default();
    tokio::select! {
        done = either_way(client, args, &skipped) => done?,
        // Not by the signal itself: what is half written is removed.
        name = signals.next() => return Err(refuse(format!("{name} ended it"))),
    }
    Ok(u8::from(skipped.count() > 0))
}

async fn either_way(client: &Client, args: &Copy, skipped: &Skipped) -> Result<(), Failure> {
    let inside = async |text: &str| Ok::<_, Failure>(Inside { client, id: find::id(client, text).await? });
    match (&args.from, &args.to) {
        (Operand::Inside(sandbox, from), Operand::Host(to)) => {
            download::download(&inside(sandbox).await?, from, to, skipped).await
        }
        (Operand::Host(from), Operand::Inside(sandbox, to)) => {
            upload::upload(&inside(sandbox).await?, from, to, skipped).await
        }
        (Operand::Inside(sandbox, from), Operand::Stream) => {
            if std::io::stdout().is_terminal() {
                return Err(refuse("standard output is a terminal, which shows no archive; write > FILE".to_owned()));
            }
            pack::pack(&inside(sandbox).await?, from, skipped).await
        }
        (Operand::Stream, Operand::Inside(sandbox, to)) => unpack::unpack(&inside(sandbox).await?, to, skipped).await,
        (Operand::Host(_) | Operand::Stream, Operand::Host(_) | Operand::Stream) => {
            Err(refuse("neither path is in a sandbox; write one of them as ID:PATH".to_owned()))
        }
        (Operand::Inside(..), Operand::Inside(..)) => {
            Err(refuse("both paths are in sandboxes; copy to the host first, and from there".to_owned()))
        }
    }
}

/// Counts what was passed over, and says it.
#[derive(Debug, Default, Clone)]
struct Skipped(Arc<AtomicU64>);

impl Skipped {
    fn tell(&self, problem: &str) {
        screen::note(&format!("bivouac: not copied: {problem}"));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, failure: &Failure) {
        screen::note(&failure.line());
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn refuse(problem: String) -> Failure {
    Failure::Unusable { action: "copy".to_owned(), problem }
}

fn missing(path: &str) -> Failure {
    Failure::Unusable { action: format!("copy {path}"), problem: "there is no such file or directory".to_owned() }
}

fn onto_file(path: &str) -> Failure {
    refuse(format!("a directory cannot take the place of {path}, which is none"))
}
