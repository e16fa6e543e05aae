//! What the tests of other modules ask before they ask something of the kernel.

use std::io::{self, Write};

/// Whether a test that takes root can go on. Where it cannot, it says so in a line that `scripts/test` counts, past the capture of
/// libtest, which would swallow the output of a test that passes.
pub fn has_root() -> bool {
    let has = nix::unistd::geteuid().is_root();
    if !has {
        let thread = std::thread::current();
        drop(writeln!(io::stderr(), "SKIPPED {}: missing root", thread.name().unwrap_or("a test")));
    }
    has
}
