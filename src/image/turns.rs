//! Who may go on: a bound on what all do together, shared such that nobody can take all of it.
//!
//! Whoever asks belongs to somebody (a registry), who gets at most half of what the others have left: one alone half of all, the
//! next a quarter, and so on. A few registries that never come to an end leave room for the next.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The turns there are; a clone gives out the same ones.
#[derive(Debug, Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    total: u64,
    taken: u64,
    by: HashMap<String, u64>,
    /// In the order of coming.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    key: String,
    weight: u64,
    tell: oneshot::Sender<Turn>,
}

/// Taken until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    turns: Turns,
    key: String,
    weight: u64,
}

impl Turns {
    pub fn new(total: u64) -> Self {
        let (by, waiting) = (HashMap::new(), VecDeque::new());
        Self { state: Arc::new(Mutex::new(State { total, taken: 0, by, waiting })) }
    }

    /// Asks for a turn of this weight in the name of `key`; who has nothing yet gets one of any weight when there is room. Dropping
    /// what is returned gives up.
    pub fn ask(&self, key: &str, weight: u64) -> oneshot::Receiver<Turn> {
        let (tell, told) = oneshot::channel();
        self.state().waiting.push_back(Waiter { key: key.to_owned(), weight, tell });
        self.grant();
        told
    }

    fn grant(&self) {
        let granted = self.state().take_ready();
        for Waiter { key, weight, tell } in granted {
            // Who has given up drops the turn, and with it gives it to the next.
            drop(tell.send(Turn { turns: self.clone(), key, weight }));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_ready(&mut self) -> Vec<Waiter> {
        let mut ready = Vec::new();
        while let Some(at) = self.next() {
            let Some(waiter) = self.waiting.remove(at) else { break };
            self.taken += waiter.weight;
            *self.by.entry(waiter.key.clone()).or_default() += waiter.weight;
            ready.push(waiter);
        }
        ready
    }

    /// Of those whose share allows it, the first of whoever has least. If there is no room for that one, nobody overtakes it.
    fn next(&self) -> Option<usize> {
        let own = |waiter: &Waiter| self.by.get(&waiter.key).copied().unwrap_or_default();
        let allowed = self.waiting.iter().enumerate().filter(|(_, waiter)| self.is_share(own(waiter), waiter.weight));
        let (at, waiter) = allowed.min_by_key(|(at, waiter)| (own(waiter), *at))?;
        (self.taken == 0 || self.taken.saturating_add(waiter.weight) <= self.total).then_some(at)
    }

    fn is_share(&self, own: u64, weight: u64) -> bool {
        let others = self.taken.saturating_sub(own);
        own == 0 || own.saturating_add(weight) <= self.total.saturating_sub(others) / 2
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.taken = state.taken.saturating_sub(self.weight);
            let left = state.by.get_mut(&self.key).map(|own| {
                *own = own.saturating_sub(self.weight);
                *own
            });
            if left == Some(0) {
                state.by.remove(&self.key);
            }
        }
        self.turns.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(asked: &mut oneshot::Receiver<Turn>) -> Option<Turn> {
        asked.try_recv().ok()
    }

    #[test]
    fn nobody_takes_all_and_the_next_always_finds_room() {
        let turns = Turns::new(16);
        let mut held = Vec::new();
        let mut most = Vec::new();
        for key in ["a", "b", "c", "d"] {
            let mut asked: Vec<_> = (0..20).map(|_| turns.ask(key, 1)).collect();
            let granted: Vec<_> = asked.iter_mut().filter_map(got).collect();
            most.push(granted.len());
            held.push((asked, granted));
        }
        assert_eq!(most, [8, 4, 2, 1]);
        assert!(got(&mut turns.ask("e", 1)).is_some());
    }

    #[test]
    fn who_has_least_is_next_and_who_came_first_among_equals() {
        let turns = Turns::new(4);
        let mut first = [turns.ask("a", 1), turns.ask("a", 1)].map(|mut asked| got(&mut asked));
        let mut others = [turns.ask("b", 1), turns.ask("c", 1)].map(|mut asked| got(&mut asked));
        assert!(first.iter().chain(&others).all(Option::is_some));
        let (mut a, mut d, mut e) = (turns.ask("a", 1), turns.ask("d", 1), turns.ask("e", 1));
        assert!(got(&mut d).is_none(), "there is no room");
        others[0] = None;
        let d = got(&mut d);
        assert!(d.is_some() && got(&mut e).is_none());
        first[0] = None;
        let e = got(&mut e);
        assert!(e.is_some() && got(&mut a).is_none());
        drop((first, others, d, e));
        assert!(got(&mut a).is_some());
    }

    #[test]
    fn a_heavy_one_goes_alone_and_is_not_overtaken() {
        let turns = Turns::new(8);
        let mut light = turns.ask("a", 3);
        let light = got(&mut light);
        let (mut heavy, mut after) = (turns.ask("b", 20), turns.ask("c", 1));
        assert!(light.is_some() && got(&mut heavy).is_none() && got(&mut after).is_none());
        drop(light);
        let heavy = got(&mut heavy);
        assert!(heavy.is_some() && got(&mut after).is_none());
        drop(heavy);
        assert!(got(&mut after).is_some());
    }

    #[test]
    fn who_gives_up_leaves_its_turn_to_the_next() {
        let turns = Turns::new(1);
        let mut first = turns.ask("a", 1);
        let held = got(&mut first);
        let gone = turns.ask("b", 1);
        let mut last = turns.ask("c", 1);
        drop(gone);
        drop(held);
        assert!(got(&mut last).is_some());
    }
}
