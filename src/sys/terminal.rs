//! Pseudo-terminals (`pty(7)`, `ioctl_tty(2)`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::error::{Result, checked, told};

/// Where the multiplexer of this mount namespace's own terminals is.
const MULTIPLEXER: &str = "/dev/pts/ptmx";

/// The two ends of a terminal. What is written to `master` is typed.
#[derive(Debug)]
pub struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Makes a terminal, which belongs to the user of this process. The slave is opened through the master
/// (`TIOCGPTPEER`, Linux 4.13), never by a name that another could have put there.
pub fn open_terminal() -> Result<Terminal> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = told(open(MULTIPLEXER, flags, Mode::empty()), || format!("open({MULTIPLEXER:?})"))?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an integer, which lives across the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    checked(libc::c_long::from(result), || "ioctl(TIOCSPTLCK, 0)".to_owned())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes the flags by value.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    checked(libc::c_long::from(result), || "ioctl(TIOCGPTPEER)".to_owned())?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    let slave = unsafe { OwnedFd::from_raw_fd(result) };
    Ok(Terminal { master, slave })
}

/// Sets the size in characters; the foreground process group is told with `SIGWINCH`.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize, which lives across the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    checked(libc::c_long::from(result), || format!("ioctl(TIOCSWINSZ, {columns}x{rows})"))?;
    Ok(())
}

/// Columns and rows.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize, which lives across the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    checked(libc::c_long::from(result), || "ioctl(TIOCGWINSZ)".to_owned())?;
    Ok((size.ws_col, size.ws_row))
}

/// Sends SIGINT, SIGQUIT or SIGTSTP to the foreground process group, as the keys do.
pub fn signal_foreground(master: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: TIOCSIG takes the signal by value.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSIG, signal) };
    checked(libc::c_long::from(result), || format!("ioctl(TIOCSIG, {signal})"))?;
    Ok(())
}

/// Makes `slave` the controlling terminal of this session, which must have none and be led by this process.
pub fn take_terminal(slave: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer by value.
    let result = unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) };
    checked(libc::c_long::from(result), || "ioctl(TIOCSCTTY)".to_owned())?;
    Ok(())
}
