//! Looks at a sandbox from inside, for the tests of isolation: `probe posture` prints what this process has and sees,
//! `probe attempts` tries what a sandbox must not be able to do and prints what the kernel said. `probe exhaust`
//! takes what a user can use up, and keeps it until it is killed. `probe swap A B` has two names change places for ever. `probe
//! reach` tells who answers, `probe dash` sends before it does anything else, `probe ask` tells what a resolver says, `probe flood`
//! how often it says it, `probe talk` whether one connection goes on. JSON on standard output.

mod ask;
mod attempts;
mod dash;
mod exhaust;
mod flood;
mod posture;
mod raw;
mod reach;
mod swap;
mod talk;

use std::io::Write;

fn main() {
    let mut kept = Vec::new();
    let found = match std::env::args().nth(1).as_deref() {
        Some("posture") => posture::look(),
        Some("attempts") => attempts::make(),
        Some("exhaust") => {
            let (found, terminals) = exhaust::take_all();
            kept = terminals;
            found
        }
        Some("swap") => {
            let mut names = std::env::args().skip(2);
            swap::forever(&names.next().unwrap_or_default(), &names.next().unwrap_or_default())
        }
        Some("reach") => reach::all(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("dash") => dash::all(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("flood") => flood::all(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("ask") => ask::all(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("talk") => talk::forever(&std::env::args().skip(2).collect::<Vec<_>>()),
        // By itself, because a kernel without these calls ends a process that makes one.
        Some("i386") => serde_json::json!(raw::by_interrupt()),
        _ => serde_json::json!("probe posture|attempts|exhaust|reach|dash|ask|flood|talk|swap|i386"),
    };
    drop(writeln!(std::io::stdout(), "{found}"));
    while !kept.is_empty() {
        std::thread::park();
    }
}
