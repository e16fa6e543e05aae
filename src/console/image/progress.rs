//! How far an import or a pull is: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::pull::Line;
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

/// What the daemon tells of a pull.
#[derive(Debug)]
pub enum Pulled {
    Bar(ProgressBar),
    /// What was told last.
    Lines(Mutex<String>),
}

impl Pulled {
    #[must_use]
    pub fn start(name: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines(Mutex::default());
        }
        let bar = bar(name, Some(0));
        bar.set_message("asking the registry");
        Self::Bar(bar)
    }

    pub fn show(&self, line: &Line) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(line.bytes.total.max(bar.length().unwrap_or_default()));
                bar.set_position(line.bytes.done.max(bar.position()));
                bar.set_message(line.message.clone());
            }
            Self::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let tenth = (line.bytes.done * 10).checked_div(line.bytes.total).unwrap_or_default();
                // A line for every tenth, and for every change of what is done.
                let told = format!("{} {tenth}", line.status);
                if *last != told && !matches!(line.status.as_str(), "done" | "failed") {
                    screen::note(&line.message);
                    *last = told;
                }
            }
        }
    }

    /// Takes the bar from the screen.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
