//! What each sandbox may reach: its policy, the answers that its names had, and both in the packet filter.
//!
//! Changes of one sandbox come one after the other, under a lock of its own. What is written into the kernel is written before
//! anybody is told: the elements of a policy before a process of the sandbox runs, an address before it is the answer. What
//! fails leaves the way out closed, and the next look at the rules tries again.

mod compile;
mod ward;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::conntrack;
use super::netlink::NetlinkError;
use super::nft::{CannotFilter, Entry, Member, Table};
use super::range::{self, Family, Range};
use super::together::Networks;
use crate::model::{Action, NetworkPolicy};
use ipnet::IpNet;
use ward::{Kernel, Learned};

pub use ward::{Standing, Ward};

/// An answer is good for at least this long, whatever it says: whoever asked needs a moment to make a connection.
const SHORTEST: Duration = Duration::from_secs(60);
/// And for no longer than this, and [`SHORTEST`]: who goes on using a name asks again.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// An address that answered for a name, and for how long the answer is good.
pub type Answer = (IpAddr, Duration);

/// Of one interface: the elements that stay, and the addresses that were answers, each with what is left of its time and its name.
type Found = (BTreeSet<Entry>, HashMap<IpAddr, (Duration, String)>);

/// All sandboxes with a way out.
#[derive(Debug)]
pub struct Egress {
    table: Table,
    /// What nobody reaches, and what is not of the public Internet, opened by the operator or not.
    closed: [Vec<Range>; 2],
    special: [Vec<Range>; 2],
    wards: RwLock<HashMap<IpAddr, Arc<Ward>>>,
    networks: Networks,
    /// Ends the connections of addresses that are not to go on; another one in tests.
    forget_unless: ForgetUnless,
}

type ForgetUnless = fn(&[IpAddr], &dyn Fn(IpAddr, IpAddr) -> bool) -> Result<(), NetlinkError>;

/// What became of answers that were to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// The packet filter lets them through.
    Learned,
    /// The policy is another one by now, and forbids the name.
    Forbidden,
    /// Too many addresses are let through already.
    Full,
}

impl Egress {
    #[must_use]
    pub fn new(table: Table, open: &[IpNet]) -> Self {
        let closed = Family::BOTH.map(|family| range::closed(family, open));
        let special = Family::BOTH.map(|family| range::closed(family, &[]));
        let (wards, networks) = (RwLock::default(), Networks::default());
        Self { table, closed, special, wards, networks, forget_unless: conntrack::forget_unless }
    }

    /// Lets the packets of a new sandbox through, which has no policy yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self, member: Member) -> Result<(), CannotFilter> {
        let ward = self.keep(Ward::new(member, Standing::Open, Kernel::default()));
        self.write(&ward, None, &mut ward.kernel())
    }

    /// Takes up those that an earlier daemon has made, with what the kernel has of them; what it has of others is removed. Whoever
    /// that daemon had shut stays so until it is known what holds for it. Of the names of an address, the kernel has the latest.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn find_again(&self, members: Vec<Member>, is_new: bool) -> Result<(), CannotFilter> {
        let (mut found, now) = (self.found()?, Instant::now());
        let present = self.table.have(&members)?;
        for (member, is_present) in members.into_iter().zip(present) {
            let (entries, learned) = found.remove(&member.link).unwrap_or_default();
            let remembered = |(left, name)| Learned { names: vec![name], until: now + left, surely_until: now + left };
            let learned = learned.into_iter().map(|(address, found)| (address, remembered(found))).collect();
            // What was shut has connections that nobody has ended.
            let is_unsure = !is_present && !is_new;
            let kernel = Kernel { entries, learned, is_present, is_unsure, ..Kernel::default() };
            drop(self.keep(Ward::new(member, Standing::Unknown, kernel)));
        }
        let mut stale: Vec<Entry> = Vec::new();
        for (link, (entries, learned)) in found {
            stale.extend(entries);
            stale.extend(learned.into_keys().map(|address| Entry::learned(link, address, Duration::ZERO, "")));
        }
        stale.sort_unstable();
        self.table.exchange(&stale, &[], &[])
    }

    fn keep(&self, ward: Ward) -> Arc<Ward> {
        let ward = Arc::new(ward);
        let mut wards = self.wards.write().unwrap_or_else(PoisonError::into_inner);
        for address in &ward.member.addresses {
            wards.insert(*address, Arc::clone(&ward));
        }
        drop(wards);
        ward
    }

    /// The networks that sandboxes share.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The sandbox with this address. Nobody else can send from it.
    #[must_use]
    pub fn ward(&self, address: IpAddr) -> Option<Arc<Ward>> {
        self.wards.read().unwrap_or_else(PoisonError::into_inner).get(&address.to_canonical()).cloned()
    }

    /// Puts a policy in force, or takes it away. Connections that it forbids are forgotten.
    ///
    /// # Errors
    /// When the kernel refuses; the sandbox reaches nothing then, until a later try succeeds.
    pub fn govern(&self, ward: &Ward, policy: Option<&NetworkPolicy>) -> Result<(), CannotFilter> {
        let mut kernel = ward.kernel();
        // The resolver answers by it from now on; what it would let through waits for the lock.
        ward.set_standing(Standing::of(policy));
        self.write(ward, policy, &mut kernel)
    }

    fn write(&self, ward: &Ward, policy: Option<&NetworkPolicy>, kernel: &mut Kernel) -> Result<(), CannotFilter> {
        let written = self.try_to_write(ward, policy, kernel);
        if written.is_err() {
            kernel.is_unsure = true;
            self.shut(ward, kernel);
        }
        written
    }

    fn try_to_write(
        &self,
        ward: &Ward,
        policy: Option<&NetworkPolicy>,
        kernel: &mut Kernel,
    ) -> Result<(), CannotFilter> {
        if kernel.is_over {
            return Ok(());
        }
        let link = ward.member.link;
        if kernel.is_unsure {
            let entries = self.table.policy_entries()?.into_iter();
            kernel.entries = entries.filter(|entry| entry.link() == Some(link) && entry.life.is_none()).collect();
        }
        let wanted: BTreeSet<Entry> = compile::entries(policy, link).into_iter().collect();
        let is_other = kernel.is_unsure || wanted != kernel.entries;
        if !is_other && kernel.is_present {
            return Ok(());
        }
        let passes = |to: &IpAddr| policy.is_some_and(|policy| kernel.passes(policy, *to));
        let gone: Vec<IpAddr> = kernel.learned.keys().filter(|to| !passes(to)).copied().collect();
        let gone_entries = gone.iter().map(|to| Entry::learned(link, *to, Duration::ZERO, ""));
        let mut remove: Vec<Entry> = kernel.entries.difference(&wanted).cloned().chain(gone_entries).collect();
        let mut add: Vec<Entry> = wanted.difference(&kernel.entries).cloned().collect();
        if !kernel.is_present {
            let kept = kernel.learned_entries(link, Instant::now()).into_iter();
            let kept: Vec<Entry> = kept.filter(|entry| entry.address().is_some_and(|to| passes(&to))).collect();
            remove.extend(kept.iter().cloned());
            add.extend(kept);
        }
        remove.sort_unstable();
        add.sort_unstable();
        let member = std::slice::from_ref(&ward.member);
        let cutting = policy.filter(|_| is_other);
        // Whoever is shut stays so until no connection is left that the policy forbids.
        self.table.exchange(&remove, &add, if cutting.is_some() { &[] } else { member })?;
        if let Some(policy) = cutting {
            (self.forget_unless)(&ward.member.addresses, &|_, to| kernel.passes(policy, to))?;
            self.table.add(member)?;
        }
        gone.iter().for_each(|to| drop(kernel.learned.remove(to)));
        (kernel.entries, kernel.is_present, kernel.is_unsure) = (wanted, true, false);
        Ok(())
    }

    /// Nothing passes any more.
    fn shut(&self, ward: &Ward, kernel: &mut Kernel) {
        kernel.is_present = false;
        if let Err(error) = self.table.remove(std::slice::from_ref(&ward.member)) {
            tracing::error!(%error, link = ward.member.link, "the way out of a sandbox could not be closed");
        }
    }

    /// Lets packets through to the answers for a name, before whoever asked has them. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing was let through.
    pub fn learn(&self, ward: &Ward, name: &str, answers: &[Answer]) -> Result<Lesson, CannotFilter> {
        let mut kernel = ward.kernel();
        let standing = ward.standing();
        let Some(policy) = standing.policy() else { return Ok(Lesson::Learned) };
        if policy.judge_name(name) != Action::Allow || kernel.is_over {
            return Ok(Lesson::Forbidden);
        }
        if policy.default == Action::Allow {
            return Ok(Lesson::Learned);
        }
        let (now, mut lesson) = (Instant::now(), Lesson::Learned);
        let mut fresh: Vec<Entry> = Vec::new();
        for (address, life) in answers {
            let life = (*life).clamp(SHORTEST, LONGEST);
            // A rule speaks of it, and decides.
            if policy.judge_address(*address).is_some() || kernel.knows(*address, name, now + life) {
                continue;
            }
            // A little longer, so that not every question for a name of a short life is a change of the rules.
            if !kernel.learn(*address, name, now + life + SHORTEST, now) {
                lesson = Lesson::Full;
                break;
            }
            let left = kernel.learned.get(address).map_or(life, |learned| learned.until.saturating_duration_since(now));
            fresh.push(Entry::learned(ward.member.link, *address, left, name));
        }
        if fresh.is_empty() {
            return Ok(lesson);
        }
        fresh.sort_unstable();
        let written = self.table.exchange(&fresh, &fresh, &[]);
        if written.is_err() {
            fresh.iter().filter_map(Entry::address).for_each(|address| kernel.doubt(address, now));
        }
        written.map(|()| lesson)
    }

    /// Whether an address is closed to everybody.
    #[must_use]
    pub fn is_closed(&self, address: IpAddr) -> bool {
        within(&self.closed, address)
    }

    /// Whether an address is not of the public Internet: no name makes it one that is let through.
    #[must_use]
    pub fn is_special(&self, address: IpAddr) -> bool {
        within(&self.special, address)
    }

    /// Takes everything away that the kernel has of a sandbox. Its packets are dropped from then on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave(&self, member: &Member) -> Result<(), NetlinkError> {
        let ward = member.addresses.iter().find_map(|address| self.ward(*address));
        let Some(ward) = ward.filter(|ward| ward.member.link == member.link) else {
            return self.table.remove(std::slice::from_ref(member));
        };
        let mut kernel = ward.kernel();
        (kernel.is_over, kernel.is_present) = (true, false);
        let learned = kernel.learned.keys().map(|to| Entry::learned(member.link, *to, Duration::ZERO, ""));
        let mut entries: Vec<Entry> = kernel.entries.iter().cloned().chain(learned).collect();
        entries.sort_unstable();
        let removed = self.table.give_up(member, &entries);
        let mut wards = self.wards.write().unwrap_or_else(PoisonError::into_inner);
        member.addresses.iter().for_each(|address| drop(wards.remove(address)));
        removed
    }

    /// Brings the kernel to what it should have of everybody: after the table was made anew, after something failed, and where
    /// somebody took elements away.
    pub fn repair(&self, is_new: bool) {
        let wards: Vec<Arc<Ward>> = {
            let wards = self.wards.read().unwrap_or_else(PoisonError::into_inner);
            wards.iter().filter(|(address, _)| address.is_ipv4()).map(|(_, ward)| Arc::clone(ward)).collect()
        };
        let members: Vec<Member> = wards.iter().map(|ward| ward.member.clone()).collect();
        let (mut found, present) = match self.found().and_then(|found| Ok((found, self.table.have(&members)?))) {
            Ok(looked) => looked,
            Err(error) => return tracing::error!(%error, "what sandboxes may reach could not be looked at"),
        };
        for (ward, mut is_there) in wards.into_iter().zip(present) {
            let mut kernel = ward.kernel();
            let standing = ward.standing();
            if standing == Standing::Unknown || kernel.is_over {
                continue;
            }
            let (mut entries, mut learned) = found.remove(&ward.member.link).unwrap_or_default();
            let is_whole = is_there && entries == kernel.entries && kernel.has_learned(&learned, Instant::now());
            if !is_new && kernel.is_present && !is_whole {
                // What we changed since the look is no damage; from here on nothing of it changes.
                let member = std::slice::from_ref(&ward.member);
                match self.found().and_then(|found| Ok((found, self.table.have(member)?))) {
                    Ok((mut found, there)) => {
                        (entries, learned) = found.remove(&ward.member.link).unwrap_or_default();
                        is_there = there == [true];
                    }
                    Err(error) => {
                        tracing::error!(%error, "what a sandbox may reach could not be looked at");
                        continue;
                    }
                }
            }
            if entries != kernel.entries || !kernel.has_learned(&learned, Instant::now()) {
                kernel.is_present = false;
                kernel.is_unsure = !(is_new && entries.is_empty());
            }
            if is_new && entries.is_empty() {
                kernel.entries.clear();
            }
            kernel.is_present &= is_there;
            if kernel.is_present {
                continue;
            }
            if let Err(error) = self.write(&ward, standing.policy(), &mut kernel) {
                tracing::error!(%error, link = ward.member.link, "a sandbox has no network until the next try");
            }
        }
    }

    /// What the kernel has, by interface.
    fn found(&self) -> Result<HashMap<u32, Found>, NetlinkError> {
        let mut found: HashMap<u32, Found> = HashMap::new();
        for entry in self.table.policy_entries()? {
            let (entries, learned) = found.entry(entry.link().unwrap_or_default()).or_default();
            match (entry.life, entry.address()) {
                (Some(left), Some(address)) => drop(learned.insert(address, (left, entry.comment.unwrap_or_default()))),
                _ => drop(entries.insert(entry)),
            }
        }
        Ok(found)
    }
}

fn within([v4, v6]: &[Vec<Range>; 2], address: IpAddr) -> bool {
    let address = address.to_canonical();
    let number = range::number(address);
    let ranges = if address.is_ipv4() { v4 } else { v6 };
    ranges.iter().any(|range| range.first <= number && number <= range.last)
}

#[cfg(test)]
mod tests;
