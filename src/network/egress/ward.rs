//! What is known of one sandbox's way out.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::model::NetworkPolicy;
use crate::network::nft::{Entry, Member};

/// Addresses that are remembered for a sandbox, and names for each of them.
pub const MOST_LEARNED: usize = 2048;
const MOST_NAMES: usize = 8;
/// The clocks of the kernel and of this program need not agree to the moment.
const ABOUT_TO_GO: Duration = Duration::from_secs(5);
/// What has less left is not put in again: it could be gone before it is read back.
const WORTH_KEEPING: Duration = Duration::from_secs(1);

/// What a sandbox may ask for and reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A daemon before this one made it, and nobody has said yet what holds for it: names are not resolved, and packets pass as
    /// the rules say that stand.
    Unknown,
    Open,
    Policed(Arc<NetworkPolicy>),
}

impl Standing {
    #[must_use]
    pub fn of(policy: Option<&NetworkPolicy>) -> Self {
        policy.map_or(Self::Open, |policy| Self::Policed(Arc::new(policy.clone())))
    }

    #[must_use]
    pub fn policy(&self) -> Option<&NetworkPolicy> {
        match self {
            Self::Policed(policy) => Some(policy),
            Self::Unknown | Self::Open => None,
        }
    }
}

#[derive(Debug)]
pub struct Ward {
    pub member: Member,
    standing: RwLock<Standing>,
    /// Held for every change of what the kernel has of it.
    kernel: Mutex<Kernel>,
}

/// What the kernel has, as far as it is known here.
#[derive(Debug, Default)]
pub struct Kernel {
    pub entries: BTreeSet<Entry>,
    /// Its packets are let through; not so after something went wrong.
    pub is_present: bool,
    /// A change failed, and nobody knows how far it came.
    pub is_unsure: bool,
    pub learned: HashMap<IpAddr, Learned>,
    /// It is gone, and nothing may be put in any more.
    pub is_over: bool,
}

/// An address that was the answer for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The latest first.
    pub names: Vec<String>,
    /// After this the kernel does not have it any more; it is remembered longer, for connections that last.
    pub until: Instant,
    /// Until when the kernel surely has it; that is earlier after a change that failed.
    pub surely_until: Instant,
}

impl Ward {
    #[must_use]
    pub fn new(member: Member, standing: Standing, kernel: Kernel) -> Self {
        Self { member, standing: RwLock::new(standing), kernel: Mutex::new(kernel) }
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_standing(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    pub fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    /// Remembers an address; false when there is no room for it.
    pub fn learn(&mut self, address: IpAddr, name: &str, until: Instant, now: Instant) -> bool {
        if !self.learned.contains_key(&address) && self.learned.len() >= MOST_LEARNED {
            self.learned.retain(|_, learned| learned.until > now);
            if self.learned.len() >= MOST_LEARNED {
                return false;
            }
        }
        let new = || Learned { names: Vec::new(), until, surely_until: until };
        let learned = self.learned.entry(address).or_insert_with(new);
        learned.names.retain(|known| known != name);
        learned.names.insert(0, name.to_owned());
        learned.names.truncate(MOST_NAMES);
        learned.until = learned.until.max(until);
        learned.surely_until = learned.until;
        true
    }

    /// It is not known whether the kernel has the address.
    pub fn doubt(&mut self, address: IpAddr, now: Instant) {
        if let Some(learned) = self.learned.get_mut(&address) {
            learned.surely_until = now;
        }
    }

    /// Whether the kernel has the address long enough, and this name is among those that it is kept for.
    #[must_use]
    pub fn knows(&self, address: IpAddr, name: &str, until: Instant) -> bool {
        self.learned
            .get(&address)
            .is_some_and(|learned| learned.surely_until >= until && learned.names.iter().any(|known| known == name))
    }

    /// Whether packets pass to the address under the policy, by what is remembered.
    #[must_use]
    pub fn passes(&self, policy: &NetworkPolicy, address: IpAddr) -> bool {
        let names = self.learned.get(&address).into_iter().flat_map(|learned| &learned.names);
        policy.passes(address, names.map(String::as_str))
    }

    /// Whether the kernel has all that it should have, but for what is about to go.
    #[must_use]
    pub fn has_learned<T>(&self, found: &HashMap<IpAddr, T>, now: Instant) -> bool {
        let lives = |learned: &Learned| learned.surely_until.saturating_duration_since(now) > ABOUT_TO_GO;
        self.learned.iter().all(|(address, learned)| !lives(learned) || found.contains_key(address))
    }

    /// The elements for what is remembered and lives for a moment at least.
    #[must_use]
    pub fn learned_entries(&self, link: u32, now: Instant) -> Vec<Entry> {
        let entry = |(address, learned): (&IpAddr, &Learned)| {
            let left = learned.until.saturating_duration_since(now);
            let name = learned.names.first().map_or("", String::as_str);
            (left >= WORTH_KEEPING).then(|| Entry::learned(link, *address, left, name))
        };
        self.learned.iter().filter_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn what_is_too_old_makes_room_and_nothing_else_does() {
        let (start, mut kernel) = (Instant::now(), Kernel::default());
        let later = start + Duration::from_secs(60);
        let most = MOST_LEARNED as u32;
        assert!((0..most).all(|number| kernel.learn(address(number), "a.com", later, start)));
        assert!(!kernel.learn(address(most), "a.com", later, start));
        assert!(kernel.learn(address(0), "b.com", later, start), "a known one");
        assert!(kernel.learn(address(most), "a.com", later + Duration::from_secs(1), later));
        assert_eq!(kernel.learned.len(), 1);
    }

    #[test]
    fn an_address_is_kept_for_several_names_and_for_the_longest_time() {
        let (start, mut kernel) = (Instant::now(), Kernel::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        kernel.learn(address(1), "a.com", at(60), start);
        kernel.learn(address(1), "b.com", at(30), start);
        assert!(kernel.knows(address(1), "a.com", at(60)) && kernel.knows(address(1), "b.com", at(60)));
        assert!(!kernel.knows(address(1), "a.com", at(61)) && !kernel.knows(address(1), "c.com", start));
        assert!((0..20).all(|number| kernel.learn(address(1), &format!("n{number}.com"), at(60), start)));
        assert_eq!(kernel.learned[&address(1)].names.len(), MOST_NAMES);
        assert_eq!(kernel.learned_entries(7, at(59)).len(), 1);
        assert_eq!(kernel.learned_entries(7, at(60)), []);
    }
}
