//! The user's own terminal.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::sys;

/// How the terminal was before it was made raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Every key goes to the program, as long as this is there; then the terminal is as it was.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // A release build does not unwind, so that no guard is dropped by a panic.
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            next(panic);
        }));
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

#[must_use]
pub fn stdin_is_one() -> bool {
    io::stdin().is_terminal()
}

/// Columns and rows of the terminal that output or input is; none when neither is one.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let size = sys::window_size(io::stdout().as_fd()).or_else(|_| sys::window_size(io::stdin().as_fd())).ok()?;
    Some(size).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}
