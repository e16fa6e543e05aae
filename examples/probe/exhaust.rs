//! Takes as much as there is of what the kernel counts for each user, and keeps it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use super::raw::call;

/// More than any host allows one user.
const MANY: usize = 900;

pub fn take_all() -> (Value, Vec<File>) {
    let terminal = || OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/ptmx");
    let terminals: Vec<File> = std::iter::from_fn(|| terminal().ok()).take(MANY).collect();
    let watchers = (0..MANY).take_while(|_| call(libc::SYS_inotify_init1, [0; 6]) == "ok").count();
    let queues = (0..MANY).take_while(|number| queue(*number) == "ok").count();
    (json!({ "terminals": terminals.len(), "watchers": watchers, "queues": queues }), terminals)
}

/// A message queue of ten messages of 8 KiB (`mq_open(2)`, whose raw call takes names without the slash).
fn queue(number: usize) -> String {
    let name = std::ffi::CString::new(format!("queue-{number}")).unwrap_or_default();
    let attributes: [i64; 8] = [0, 10, 8192, 0, 0, 0, 0, 0];
    let flags = (libc::O_CREAT | libc::O_RDWR).cast_unsigned().into();
    call(libc::SYS_mq_open, [name.as_ptr() as u64, flags, 0o600, attributes.as_ptr() as u64, 0, 0])
}
