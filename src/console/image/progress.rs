//! How far an import is: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::console::screen;

/// Counts the bytes that were sent.
#[derive(Debug)]
pub enum Progress {
    Bar(ProgressBar),
    Lines(Lines),
}

/// A line for every tenth of what is known to come, or every so many bytes.
#[derive(Debug)]
pub struct Lines {
    total: Option<u64>,
    step: u64,
    sent: AtomicU64,
}

/// Without a total: as often as to show that it lives.
const BLIND_STEP: u64 = 100 << 20;

impl Progress {
    #[must_use]
    pub fn start(what: &str, total: Option<u64>) -> Self {
        if io::stderr().is_terminal() { Self::Bar(bar(what, total)) } else { Self::Lines(Lines::start(what, total)) }
    }

    /// `count` more bytes were sent.
    pub fn add(&self, count: u64) {
        match self {
            Self::Bar(bar) => bar.inc(count),
            Self::Lines(lines) => lines.add(count),
        }
    }

    /// All was sent; what remains is the daemon's work.
    pub fn sent(&self) {
        match self {
            Self::Bar(bar) => bar.set_message("unpacking"),
            Self::Lines(_) => screen::note("sent; unpacking"),
        }
    }

    /// Takes the bar from the screen.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{spinner} {prefix} [{bar:30}] {bytes}/{total_bytes} {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {prefix} {bytes} {msg}"),
    };
    // The template is constant; should indicatif refuse it, its own default serves.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Lines {
    fn start(what: &str, total: Option<u64>) -> Self {
        let size = total.map(|total| format!(" ({})", screen::bytes(total))).unwrap_or_default();
        screen::note(&format!("importing {what}{size}"));
        let step = total.map_or(BLIND_STEP, |total| (total / 10).max(10 << 20));
        Self { total, step, sent: AtomicU64::new(0) }
    }

    fn add(&self, count: u64) {
        let before = self.sent.fetch_add(count, Ordering::Relaxed);
        let after = before + count;
        if before / self.step != after / self.step {
            let of = self.total.map(|total| format!(" of {}", screen::bytes(total))).unwrap_or_default();
            screen::note(&format!("sent {}{of}", screen::bytes(after)));
        }
    }
}
