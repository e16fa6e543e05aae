//! Networks that sandboxes share, by name. The packet filter knows them by numbers, and a number is not given to another network
//! while anything of a sandbox is left that was in the one before.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::Addresses;
use crate::model::{NetworkName, SandboxId};

/// Networks at once.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub struct Networks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<NetworkName, Network>,
    last: u32,
}

#[derive(Debug)]
struct Network {
    number: u32,
    /// By their host names.
    members: HashMap<String, Addresses>,
}

impl Networks {
    /// The number of this network, with one more sandbox in it; `None` when there are too many networks.
    pub fn join(&self, name: &NetworkName, id: &SandboxId, addresses: Addresses) -> Option<u32> {
        let mut state = self.state();
        if !state.known.contains_key(name) {
            if state.known.len() >= MOST {
                return None;
            }
            let number = state.free_number();
            state.known.insert(name.clone(), Network { number, members: HashMap::new() });
        }
        let network = state.known.get_mut(name)?;
        network.members.insert(id.short(), addresses);
        Some(network.number)
    }

    /// Takes a sandbox up that an earlier daemon has put into the network with this number; `None` when that cannot be.
    pub fn find_again(&self, name: &NetworkName, number: u32, id: &SandboxId, addresses: Addresses) -> Option<u32> {
        let mut state = self.state();
        if state.known.iter().any(|(known, network)| (known == name) != (network.number == number)) {
            return None;
        }
        let network = state.known.entry(name.clone()).or_insert_with(|| Network { number, members: HashMap::new() });
        network.members.insert(id.short(), addresses);
        state.last = state.last.max(number);
        Some(number)
    }

    /// The addresses of the sandbox with this host name in a network.
    pub fn find(&self, number: u32, host: &str) -> Option<Addresses> {
        let state = self.state();
        let network = state.known.values().find(|network| network.number == number)?;
        network.members.get(host).copied()
    }

    /// Nothing of the sandbox is left.
    pub fn leave(&self, id: &SandboxId) {
        let host = id.short();
        self.state().known.retain(|_, network| {
            network.members.remove(&host);
            !network.members.is_empty()
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free_number(&mut self) -> u32 {
        let used: HashSet<u32> = self.known.values().map(|network| network.number).collect();
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !used.contains(&self.last) {
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NetworkName {
        text.parse().expect("a name")
    }

    fn at(number: u8) -> Addresses {
        Addresses { v4: [10, 9, 0, number].into(), v6: None }
    }

    #[test]
    fn who_is_in_a_network_is_found_there_by_name() {
        let networks = Networks::default();
        let [one, two] = [(); 2].map(|()| SandboxId::random());
        let number = networks.join(&name("a"), &one, at(2)).expect("room");
        let other = networks.join(&name("b"), &two, at(3)).expect("room");
        assert_eq!(networks.find(number, &one.short()), Some(at(2)));
        assert_eq!(networks.find(other, &two.short()), Some(at(3)));
        for (number, host) in [(number, two.short()), (other, one.short()), (0, one.short()), (number, String::new())] {
            assert_eq!(networks.find(number, &host), None);
        }
        networks.leave(&one);
        assert_eq!(networks.find(number, &one.short()), None);
    }

    #[test]
    fn a_network_lasts_as_long_as_a_sandbox_in_it() {
        let networks = Networks::default();
        let [one, two, three] = [(); 3].map(|()| SandboxId::random());
        assert_eq!(networks.join(&name("a"), &one, at(2)), Some(1));
        assert_eq!(networks.join(&name("b"), &two, at(2)), Some(2));
        assert_eq!(networks.join(&name("a"), &three, at(2)), Some(1));
        networks.leave(&one);
        assert_eq!(networks.join(&name("a"), &one, at(2)), Some(1), "one was in it still");
        networks.leave(&one);
        networks.leave(&three);
        networks.leave(&three);
        assert_eq!(networks.join(&name("a"), &one, at(2)), Some(3), "nobody was in it");
    }

    #[test]
    fn numbers_are_found_again_and_not_given_to_others() {
        let networks = Networks::default();
        let ids = [(); 5].map(|()| SandboxId::random());
        assert_eq!(networks.find_again(&name("a"), 7, &ids[0], at(2)), Some(7));
        assert_eq!(networks.find_again(&name("a"), 7, &ids[1], at(2)), Some(7));
        assert_eq!(networks.find_again(&name("a"), 8, &ids[2], at(2)), None);
        assert_eq!(networks.find_again(&name("b"), 7, &ids[2], at(2)), None);
        assert_eq!(networks.join(&name("b"), &ids[3], at(2)), Some(8));
        networks.state().last = u32::MAX;
        assert_eq!(networks.join(&name("c"), &ids[4], at(2)), Some(1), "0 is no number");
    }

    #[test]
    fn there_are_only_so_many() {
        let networks = Networks::default();
        let id = SandboxId::random();
        assert!((0..MOST).all(|number| networks.join(&name(&format!("n{number}")), &id, at(2)).is_some()));
        assert_eq!(networks.join(&name("more"), &id, at(2)), None);
        assert!(networks.join(&name("n0"), &SandboxId::random(), at(2)).is_some());
        networks.leave(&id);
        assert!(networks.join(&name("more"), &id, at(2)).is_some());
    }
}
