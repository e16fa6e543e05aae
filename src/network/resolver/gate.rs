//! Who asks, and how much each may have asked for at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Whose share a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A sandbox, by its interface: all of its addresses have one share.
    Sandbox(u32),
    /// The host itself.
    Other(IpAddr),
}

/// Counts what each asker has under way.
#[derive(Debug, Clone)]
pub struct Gate {
    most: u32,
    under_way: Arc<Mutex<HashMap<Asker, u32>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Pass {
    gate: Gate,
    asker: Asker,
}

impl Gate {
    pub fn new(most: u32) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// `None` when this asker has as much under way as it may have.
    pub fn enter(&self, asker: Asker) -> Option<Pass> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(asker).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Pass { gate: self.clone(), asker })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut under_way = self.gate.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.asker) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_has_much_under_way_waits_and_nobody_else_does() {
        let gate = Gate::new(2);
        let (busy, calm) = (Asker::Sandbox(2), Asker::Sandbox(3));
        let first = gate.enter(busy);
        let second = gate.enter(busy);
        assert!(first.is_some() && second.is_some() && gate.enter(busy).is_none() && gate.enter(calm).is_some());
        drop(first);
        assert!(gate.enter(busy).is_some());
        drop(second);
        assert!(gate.under_way.lock().expect("whole").is_empty());
    }
}
