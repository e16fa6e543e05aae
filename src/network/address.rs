//! Which sandbox has which addresses.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use ipnet::{Ipv4Net, Ipv6Net};

/// The place of an address in the pool: 0 is the network, 1 the gateway.
pub type Place = u32;

const GATEWAY: Place = 1;

/// The addresses of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    pub fn each(self) -> impl Iterator<Item = IpAddr> {
        [Some(IpAddr::V4(self.v4)), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

/// Hands out places; the same one comes again only after all others.
#[derive(Debug)]
pub struct AddressPool {
    v4: Ipv4Net,
    v6: Option<Ipv6Net>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    used: HashSet<Place>,
    next: Place,
}

impl AddressPool {
    #[must_use]
    pub fn new(v4: Ipv4Net, v6: Option<Ipv6Net>) -> Self {
        Self { v4, v6, state: Mutex::new(State { used: HashSet::new(), next: GATEWAY + 1 }) }
    }

    /// The last place but one; the last address of an IPv4 network is for all of it.
    fn end(&self) -> Place {
        Place::MAX.checked_shr(self.v4.prefix_len().into()).unwrap_or_default()
    }

    /// A free place, or `None` when the pool is used up.
    pub fn take(&self) -> Option<Place> {
        let mut state = self.lock();
        for _ in GATEWAY + 1..self.end() {
            let place = state.next;
            state.next = if place + 1 >= self.end() { GATEWAY + 1 } else { place + 1 };
            if state.used.insert(place) {
                return Some(place);
            }
        }
        None
    }

    /// Marks the place of an address that a sandbox has; false when it is none of the pool's.
    pub fn claim(&self, address: Ipv4Addr) -> bool {
        let Some(place) = self.place(address) else { return false };
        let mut state = self.lock();
        state.used.insert(place);
        // What was used last comes last.
        state.next = state.next.max(place + 1);
        if state.next >= self.end() {
            state.next = GATEWAY + 1;
        }
        true
    }

    pub fn release(&self, place: Place) {
        self.lock().used.remove(&place);
    }

    #[must_use]
    pub fn place(&self, address: Ipv4Addr) -> Option<Place> {
        let place = address.to_bits().checked_sub(self.v4.network().to_bits())?;
        (place > GATEWAY && place < self.end()).then_some(place)
    }

    #[must_use]
    pub fn addresses(&self, place: Place) -> Addresses {
        let v4 = Ipv4Addr::from_bits(self.v4.network().to_bits().saturating_add(place));
        let v6 = self.v6.map(|net| Ipv6Addr::from_bits(net.network().to_bits().saturating_add(place.into())));
        Addresses { v4, v6 }
    }

    /// What sandboxes send everything to.
    #[must_use]
    pub fn gateway(&self) -> Addresses {
        self.addresses(GATEWAY)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(v4: &str) -> AddressPool {
        AddressPool::new(v4.parse().expect("a net"), Some("fd00::/64".parse().expect("a net")))
    }

    #[test]
    fn addresses_are_of_the_pool_and_come_back_last() {
        let pool = pool("10.9.0.0/29");
        assert_eq!(pool.gateway().v4.to_string(), "10.9.0.1");
        let places: Vec<Place> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(places, [2, 3, 4, 5, 6]);
        assert_eq!(pool.addresses(6).each().map(|a| a.to_string()).collect::<Vec<_>>(), ["10.9.0.6", "fd00::6"]);
        pool.release(5);
        pool.release(2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(2), Some(5), None));
    }

    #[test]
    fn only_what_a_sandbox_may_have_is_claimed() {
        let pool = pool("10.9.0.0/29");
        let claim = |text: &str| pool.claim(text.parse().expect("an address"));
        assert!(
            !claim("10.9.0.0") && !claim("10.9.0.1") && !claim("10.9.0.7") && !claim("10.9.0.8") && !claim("1.1.1.1")
        );
        assert!(claim("10.9.0.3"));
        assert_eq!(pool.take(), Some(4), "the one after it");
    }
}
