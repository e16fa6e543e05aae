//! Who takes part: one client at a time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a program that waits for its reader waits for one that has gone: a daemon is restarted in that time.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Seat {
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    /// Who has it.
    taken_by: Option<u64>,
    /// How many have had it.
    count: u64,
    /// The offset up to which output was shown.
    shown: u64,
    /// Since when nobody has it.
    empty_since: Instant,
}

/// Somebody else has the seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied;

impl Seat {
    pub fn new(shown: u64) -> Self {
        let state = State { taken_by: None, count: 0, shown, empty_since: Instant::now() };
        Self { state: watch::Sender::new(state) }
    }

    /// Takes the seat, away from another if need be; returns by which number.
    pub fn take(&self, by_force: bool) -> Result<u64, Occupied> {
        let mut taken = Err(Occupied);
        self.state.send_if_modified(|state| {
            let free = state.taken_by.is_none() || by_force;
            if free {
                state.count += 1;
                state.taken_by = Some(state.count);
                taken = Ok(state.count);
            }
            free
        });
        taken
    }

    /// Whether nobody has it.
    pub fn is_free(&self) -> bool {
        self.state.borrow().taken_by.is_none()
    }

    pub fn leave(&self, number: u64) {
        self.state.send_if_modified(|state| {
            let mine = state.taken_by == Some(number);
            if mine {
                (state.taken_by, state.empty_since) = (None, Instant::now());
            }
            mine
        });
    }

    /// Resolves when another has taken the seat.
    pub async fn lost(&self, number: u64) {
        // The sender is our own, so it is there.
        drop(self.state.subscribe().wait_for(|state| state.taken_by != Some(number)).await);
    }

    /// Tells how far output was shown.
    pub fn shown(&self, number: u64, offset: u64) {
        self.state.send_if_modified(|state| {
            let mine = state.taken_by == Some(number);
            if mine {
                state.shown = offset;
            }
            mine
        });
    }

    /// Resolves when whoever has the seat has seen what was written up to `offset`, or has been away for long.
    pub async fn seen(&self, offset: u64) {
        let mut state = self.state.subscribe();
        loop {
            let until = {
                let now = state.borrow_and_update();
                if now.shown >= offset {
                    return;
                }
                now.taken_by.is_none().then_some(now.empty_since + GRACE)
            };
            let patience = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = patience => return,
                changed = state.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_by_force_the_next() {
        let seat = Seat::new(0);
        assert_eq!((seat.take(false), seat.take(false)), (Ok(1), Err(Occupied)));
        assert_eq!(seat.take(true), Ok(2));
        seat.lost(1).await;
        seat.leave(1);
        assert_eq!(seat.take(false), Err(Occupied), "who has lost it cannot leave it");
        seat.leave(2);
        assert_eq!(seat.take(false), Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_waits_for_its_reader_but_not_for_ever() {
        let (seat, begun) = (Seat::new(10), Instant::now());
        seat.seen(10).await;
        let number = seat.take(false).expect("free");
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, seat.seen(11)).await.is_err(), "as long as it is there");
        seat.shown(number, 11);
        seat.seen(11).await;
        assert_eq!(begun.elapsed(), day);
        seat.leave(number);
        seat.seen(12).await;
        assert_eq!(begun.elapsed(), day + GRACE);
    }
}
