//! A command whose output goes to disk.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;

use super::command::Command;
use super::output_file::OutputFile;
use crate::sandbox::Inside;

/// Moves the command's output to its file for as long as anybody writes, and kills the command when its time is up.
pub fn attend(command: Command, inside: Inside, pipe: Receiver, output: Arc<OutputFile>, timeout: Option<Duration>) {
    if let Some(timeout) = timeout {
        let command = command.clone();
        tokio::spawn(async move {
            if tokio::time::timeout(timeout, command.execution().ended()).await.is_err() {
                command.timed_out(timeout);
                drop(command.execution().signal(libc::SIGKILL));
            }
        });
    }
    tokio::spawn(async move {
        tokio::select! {
            () = keep(&pipe, &output) => {}
            _ = inside.left() => {}
        }
        command.pipe_ended();
    });
}

async fn keep(pipe: &Receiver, output: &Arc<OutputFile>) {
    while pipe.readable().await.is_ok() {
        let Ok(fd) = pipe.as_fd().try_clone_to_owned() else { return };
        let to = Arc::clone(output);
        let Ok(drained) = tokio::task::spawn_blocking(move || drain(&fd, &to)).await else { return };
        // It was empty: this attempt says so to the runtime, and moves what has come meanwhile.
        match drained.and_then(|()| pipe.try_io(|| output.take_from(pipe.as_fd()))) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) => {
                tracing::warn!(%error, "the output of a command cannot be kept");
                return;
            }
        }
    }
}

/// Until the pipe is empty, or at its end (`UnexpectedEof`).
fn drain(pipe: &OwnedFd, output: &OutputFile) -> io::Result<()> {
    loop {
        match output.take_from(pipe.as_fd()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
