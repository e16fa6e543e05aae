//! Looks at a sandbox from inside, for the tests of isolation: `probe posture` prints what this process has and sees,
//! `probe attempts` tries what a sandbox must not be able to do and prints what the kernel said. JSON on standard output.

mod attempts;
mod posture;
mod raw;

use std::io::Write;

fn main() {
    let found = match std::env::args().nth(1).as_deref() {
        Some("posture") => posture::look(),
        Some("attempts") => attempts::make(),
        // By itself, because a kernel without these calls ends a process that makes one.
        Some("i386") => serde_json::json!(raw::by_interrupt()),
        _ => serde_json::json!("probe posture|attempts|i386"),
    };
    drop(writeln!(std::io::stdout(), "{found}"));
}
