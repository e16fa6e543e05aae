//! What has happened to a sandbox, bounded: it stands in every record that is written.

use serde::{Deserialize, Serialize};

use super::{Phase, Reason};

/// A sandbox that is paused and resumed all day keeps its beginning and its latest past.
const MOST_EVENTS: usize = 50;
const KEPT_FROM_BEGINNING: usize = 4;
/// In characters. The status has the whole message for as long as it is the latest.
const LONGEST_MESSAGE: usize = 300;

/// What happened once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub unix_micros: i64,
    /// The state from then on.
    pub phase: Phase,
    pub reason: Reason,
    pub message: String,
}

/// All that is remembered, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    events: Vec<Event>,
    /// How many were left out after the first few.
    left_out: u64,
}

impl History {
    /// Adds what happened, and leaves out the oldest where there are too many.
    pub fn add(&mut self, mut event: Event) {
        if let Some((end, _)) = event.message.char_indices().nth(LONGEST_MESSAGE) {
            event.message.truncate(end);
        }
        if self.events.len() >= MOST_EVENTS {
            self.events.remove(KEPT_FROM_BEGINNING);
            self.left_out = self.left_out.saturating_add(1);
        }
        self.events.push(event);
    }

    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many events are missing, and before which of the [`events`](Self::events) they stood.
    #[must_use]
    pub fn left_out(&self) -> Option<(usize, u64)> {
        (self.left_out > 0).then_some((KEPT_FROM_BEGINNING, self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut history = History::default();
        for number in 0..200 {
            let message = format!("{number} {}", "\u{e9}".repeat(400));
            history.add(Event { unix_micros: number, phase: Phase::Running, reason: Reason::Started, message });
        }
        let kept: Vec<i64> = history.events().iter().map(|event| event.unix_micros).collect();
        let expected: Vec<i64> = (0..4).chain(154..200).collect();
        assert_eq!(kept, expected);
        assert_eq!(history.left_out(), Some((4, 150)));
        assert!(history.events().iter().all(|event| event.message.chars().count() == 300));
        assert_eq!(History::default().left_out(), None);
    }
}
