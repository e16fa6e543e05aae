//! Every sandbox's way out: made, found again by a later daemon, and taken away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use thiserror::Error;

use super::address::{AddressPool, Addresses, Place};
use super::alias::{self, Told};
use super::config::NetworkConfig;
use super::egress::Egress;
use super::forwarding::{self, ForwardingError};
use super::link::{self, Link};
use super::names::{anchor_name, group, link_name, table_name};
use super::netlink::{NetlinkError, Protocol, transact, within};
use super::nft::{CannotFilter, Member, Sandboxes, Table};
use super::overlap::Overlap;
use super::reaper::Reaper;
use super::watch::Watch;
use super::{conntrack, near, overlap, queue};
use crate::model::{NetworkPolicy, NetworkTerms, NetworkUsage, SandboxId};

/// The end inside a sandbox.
pub(super) const INSIDE: &str = "eth0";

#[derive(Debug, Error)]
pub enum BridgeError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Filter(#[from] CannotFilter),
    #[error(transparent)]
    Forwarding(#[from] ForwardingError),
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error("give the sandbox an address: all of {0} are in use; delete sandboxes that are no longer needed")]
    NoAddress(String),
    #[error("limit what the sandbox sends to {wanted} bytes a second: the kernel keeps {found:?}")]
    RateNotKept { wanted: u64, found: Option<u64> },
    #[error(
        "put the sandbox into the network {0}: there are as many as there can be; delete sandboxes that are not needed"
    )]
    TooManyNetworks(String),
    #[error("change the network of sandbox {0}: it has none")]
    NoNetwork(SandboxId),
    #[error("put the policy of the sandbox in force: it has no interface on this host, and reaches nothing")]
    NoLeg,
    #[error("start a thread: {0}")]
    Thread(std::io::Error),
}

/// A sandbox's interface, as the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub link: u32,
    pub addresses: Addresses,
    place: Place,
    pub terms: NetworkTerms,
    /// The number of the network that its terms name.
    network: Option<u32>,
    /// Its rules could not be removed.
    is_left: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Bridge {
    ways: Arc<Ways>,
    reaper: Reaper,
    _watch: Watch,
}

/// What the thread that clears away shares.
#[derive(Debug)]
pub(super) struct Ways {
    config: NetworkConfig,
    filter: Sandboxes,
    table: Table,
    egress: Arc<Egress>,
    pool: AddressPool,
    legs: Mutex<HashMap<SandboxId, Leg>>,
    /// Held by whoever changes what belongs to one sandbox, and alone by whoever puts everything in place again.
    order: RwLock<()>,
}

impl Bridge {
    /// Puts rules, gateway and forwarding in order, and finds the interfaces that an earlier daemon has made. Blocks.
    ///
    /// # Errors
    /// When this host cannot do it, or the pool is in use for something else.
    pub fn open(mut config: NetworkConfig) -> Result<Self, BridgeError> {
        if config.pool_v6.is_some() && !Path::new("/proc/sys/net/ipv6").exists() {
            tracing::warn!("this host has no IPv6; sandboxes have none either");
            config.pool_v6 = None;
        }
        overlap::check(config.pool_v4.into())?;
        config.pool_v6.map_or(Ok(()), |pool| overlap::check(pool.into()))?;
        // The rules stand before anything can be passed on.
        let (ways, is_new) = Ways::open(config)?;
        for path in forwarding::ensure(ways.config.pool_v6.is_some(), ways.config.enable_forwarding)? {
            tracing::info!(path, "switched forwarding on");
        }
        raise_gateway(ways.filter.group, ways.pool.gateway())?;
        Self::watch_over(ways, is_new)
    }

    /// Looks after the sandboxes that have an interface of an earlier daemon, and changes nothing else of the host; `None` where
    /// there are none. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses; then nobody guards the rules of these sandboxes.
    pub fn keep(config: NetworkConfig) -> Result<Option<Self>, BridgeError> {
        if link::of_group(group(&config.name))?.is_empty() {
            return Ok(None);
        }
        let (ways, is_new) = Ways::open(config)?;
        Self::watch_over(ways, is_new).map(Some)
    }

    fn watch_over(ways: Ways, is_new: bool) -> Result<Self, BridgeError> {
        let ways = Arc::new(ways);
        ways.close_near()?;
        ways.find_again(is_new)?;
        let reaper = Reaper::start(Arc::clone(&ways)).map_err(BridgeError::Thread)?;
        let watch = Watch::start(Arc::clone(&ways))?;
        Ok(Self { ways, reaper, _watch: watch })
    }

    /// Takes the interfaces of all sandboxes of the daemon with this name away. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_all(name: &str) -> Result<(), NetlinkError> {
        link::of_group(group(name))?.iter().try_for_each(|link| remove_link(&link.name))
    }

    /// Takes away the rules and the gateway of the daemon with this name, unless there is an interface of a sandbox. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_unused(name: &str) -> Result<(), BridgeError> {
        let group = group(name);
        if !link::of_group(group)?.is_empty() {
            return Ok(());
        }
        Table::remove_whole(&table_name(name))?;
        Ok(remove_link(&anchor_name(group))?)
    }

    /// Gives the namespace its interface. The rules are in force before it can send anything.
    ///
    /// # Errors
    /// When the pool is used up or the kernel refuses a step; nothing stays then.
    pub fn attach(&self, id: &SandboxId, namespace: BorrowedFd<'_>) -> Result<Addresses, BridgeError> {
        let ways = &self.ways;
        let place = ways.pool.take().ok_or_else(|| BridgeError::NoAddress(ways.config.pool_v4.to_string()))?;
        let addresses = ways.pool.addresses(place);
        let _order = ways.order.read().unwrap_or_else(PoisonError::into_inner);
        match ways.connect(id, addresses, namespace) {
            Ok(link) => {
                let terms = NetworkTerms::default();
                ways.legs().insert(id.clone(), Leg { link, addresses, place, terms, network: None, is_left: false });
                Ok(addresses)
            }
            Err(error) => {
                // Without one nothing of it is in the kernel.
                match ways.egress.ward(addresses.v4.into()) {
                    Some(ward) => {
                        let (link, terms) = (ward.member.link, NetworkTerms::default());
                        let leg = Leg { link, addresses, place, terms, network: None, is_left: false };
                        self.finish(id, ways.close(id, leg));
                    }
                    None => {
                        ways.disconnect(id);
                        ways.pool.release(place);
                    }
                }
                Err(error)
            }
        }
    }

    /// Gives a sandbox that is about to start what it asks for beside its way out.
    ///
    /// # Errors
    /// When the kernel refuses a step, or does not keep it.
    pub fn agree(&self, id: &SandboxId, terms: &NetworkTerms, namespace: BorrowedFd<'_>) -> Result<(), BridgeError> {
        if terms.is_empty() {
            return Ok(());
        }
        let ways = &self.ways;
        let _order = ways.order.read().unwrap_or_else(PoisonError::into_inner);
        let leg = ways.legs().get(id).cloned().ok_or_else(|| BridgeError::NoNetwork(id.clone()))?;
        let join = |name| {
            ways.egress
                .networks()
                .join(name, id, leg.addresses)
                .ok_or_else(|| BridgeError::TooManyNetworks(name.as_str().to_owned()))
        };
        let leg = Leg { terms: terms.clone(), network: terms.name.as_ref().map(join).transpose()?, ..leg };
        // A later daemon reads the terms there.
        let alias = alias(id, leg.addresses, terms, leg.network);
        transact(Protocol::Route, &[link::bring_up(&link_name(id), Some(&alias))])?;
        // Whatever fails from here on, what there is of it is found by this.
        ways.legs().insert(id.clone(), leg.clone());
        if terms.connections.is_some() || leg.network.is_some() {
            // Nothing of it runs yet, and its policy comes after this.
            ways.egress.leave(&ways.member(&leg))?;
            ways.egress.enter(ways.member(&leg))?;
        }
        if let Some(rate) = terms.bandwidth {
            slow_down(namespace, rate)?;
        }
        Ok(())
    }

    /// Closes the sandbox's way out at once; what is left of it goes soon after. May be called any number of times.
    pub fn detach(&self, id: &SandboxId) {
        let Some(leg) = self.ways.forget(id) else { return };
        self.reaper.take(id.clone(), leg);
    }

    /// As [`detach`](Self::detach), and returns when nothing is left.
    pub fn cut(&self, id: &SandboxId) {
        let Some(leg) = self.ways.forget(id) else { return };
        self.finish(id, leg);
    }

    /// Clears away, at once where that can be.
    fn finish(&self, id: &SandboxId, leg: Leg) {
        let left = self.ways.clear(vec![(id.clone(), leg)]);
        left.into_iter().for_each(|(id, leg)| self.reaper.take(id, leg));
    }

    /// What went over the sandbox's interface, as it is counted now; `None` when it has none.
    #[must_use]
    pub fn traffic(&self, id: &SandboxId) -> Option<NetworkUsage> {
        let leg = self.ways.legs().get(id).cloned()?;
        let counted = self.ways.table.traffic(&self.ways.member(&leg));
        // The rules may be being made anew; then there is nothing to tell.
        counted.inspect_err(|error| tracing::debug!(%error, sandbox.id = %id, "no counters of its network")).ok()
    }

    /// The addresses of a sandbox.
    #[must_use]
    pub fn addresses(&self, id: &SandboxId) -> Option<Addresses> {
        self.ways.legs().get(id).map(|leg| leg.addresses)
    }

    /// Puts a policy in force for a sandbox, or takes it away. Without an interface, there is nothing to take away.
    ///
    /// # Errors
    /// When the kernel refuses, or there is no interface; the sandbox reaches nothing then.
    pub fn govern(&self, id: &SandboxId, policy: Option<&NetworkPolicy>) -> Result<(), BridgeError> {
        match self.addresses(id).and_then(|addresses| self.ways.egress.ward(addresses.v4.into())) {
            Some(ward) => Ok(self.ways.egress.govern(&ward, policy)?),
            None => {
                if policy.is_some() {
                    Err(BridgeError::NoLeg)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// What the resolver must know of each sandbox.
    #[must_use]
    pub fn egress(&self) -> Arc<Egress> {
        Arc::clone(&self.ways.egress)
    }

    /// Where sandboxes send everything, and where names are resolved.
    #[must_use]
    pub fn gateway(&self) -> Addresses {
        self.ways.pool.gateway()
    }

    /// Every sandbox that has an interface here.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxId> {
        self.ways.legs().keys().cloned().collect()
    }
}

impl Ways {
    /// Puts the rules in place; true if they were not.
    fn open(config: NetworkConfig) -> Result<(Self, bool), CannotFilter> {
        let filter = config.sandboxes(group(&config.name));
        let (table, is_new) = Table::open(&table_name(&config.name), &filter)?;
        let egress = Arc::new(Egress::new(table.clone(), &config.open));
        let pool = AddressPool::new(config.pool_v4, config.pool_v6);
        let (legs, order) = (Mutex::default(), RwLock::default());
        Ok((Self { config, filter, table, egress, pool, legs, order }, is_new))
    }

    fn legs(&self) -> MutexGuard<'_, HashMap<SandboxId, Leg>> {
        self.legs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, leg: &Leg) -> Member {
        let connections = leg.terms.connections.unwrap_or(self.filter.connections);
        Member { link: leg.link, addresses: leg.addresses.each().collect(), connections, network: leg.network }
    }

    /// Takes the sandbox off the list, and its packets with it.
    fn forget(&self, id: &SandboxId) -> Option<Leg> {
        let _order = self.order.read().unwrap_or_else(PoisonError::into_inner);
        let leg = self.legs().remove(id)?;
        Some(self.close(id, leg))
    }

    fn close(&self, id: &SandboxId, leg: Leg) -> Leg {
        let left = self.egress.leave(&self.member(&leg));
        if let Err(error) = &left {
            tracing::error!(%error, sandbox.id = %id, "the rules of a sandbox that is gone could not be removed yet");
        }
        Leg { is_left: left.is_err(), ..leg }
    }

    fn connect(&self, id: &SandboxId, addresses: Addresses, namespace: BorrowedFd<'_>) -> Result<u32, BridgeError> {
        let name = link_name(id);
        let alias = alias(id, addresses, &NetworkTerms::default(), None);
        let pair = [link::make_pair(&name, self.filter.group, INSIDE, namespace), link::bring_up(&name, Some(&alias))];
        transact(Protocol::Route, &pair)?;
        let link = index(&name)?;
        let connections = self.filter.connections;
        self.egress.enter(Member { link, addresses: addresses.each().collect(), connections, network: None })?;
        let routes: Vec<_> = addresses.each().map(|address| link::add_route_to(link, address)).collect();
        transact(Protocol::Route, &routes)?;
        let gateway = self.pool.gateway();
        within(namespace, || {
            let inside = index(INSIDE)?;
            let mut messages = vec![link::bring_up(INSIDE, None)];
            messages.extend(addresses.each().map(|address| link::add_address(inside, address)));
            messages.extend(gateway.each().map(|gateway| link::add_default_route(inside, gateway)));
            transact(Protocol::Route, &messages)
        })?;
        if let Some(rate) = self.config.bandwidth {
            slow_down(namespace, rate)?;
        }
        Ok(link)
    }

    fn disconnect(&self, id: &SandboxId) {
        let name = link_name(id);
        // Mostly it went with its namespace. To look holds up nobody who changes links.
        if index(&name).is_err_and(|error| error.errno == Errno::ENODEV) {
            return;
        }
        if let Err(error) = remove_link(&name) {
            tracing::error!(%error, sandbox.id = %id, "an interface could not be removed");
        }
    }

    /// Removes what outlives the rules: interfaces, routes, connections. Only then may another have the addresses, and not before
    /// the rules have gone too; those whose have not come back, and are to be tried again.
    pub(super) fn clear(&self, gone: Vec<(SandboxId, Leg)>) -> Vec<(SandboxId, Leg)> {
        gone.iter().for_each(|(id, _)| self.disconnect(id));
        let addresses: Vec<IpAddr> = gone.iter().flat_map(|(_, leg)| leg.addresses.each()).collect();
        if let Err(error) = conntrack::forget(&addresses) {
            // Whoever got such an address next would have them.
            tracing::warn!(%error, ?addresses, "connections of sandboxes that are gone could not be forgotten");
            return gone;
        }
        gone.into_iter().filter(|(id, leg)| !self.is_free(id, leg)).collect()
    }

    fn is_free(&self, id: &SandboxId, leg: &Leg) -> bool {
        if leg.is_left && self.remove_left(leg).is_err() {
            return false;
        }
        self.egress.networks().leave(id);
        self.pool.release(leg.place);
        true
    }

    /// Nothing else changes what belongs to an interface that is gone.
    fn remove_left(&self, leg: &Leg) -> Result<(), NetlinkError> {
        let all = self.table.policy_entries()?.into_iter();
        let mut entries: Vec<_> = all.filter(|entry| entry.link() == Some(leg.link)).collect();
        entries.sort_unstable();
        self.table.give_up(&self.member(leg), &entries)
    }

    /// Takes over what an earlier daemon has made, and removes what does not say whose it is. Where the rules had to be made
    /// anew, or a sandbox was shut, nothing passes before it is known what each may reach.
    fn find_again(&self, is_new: bool) -> Result<(), BridgeError> {
        let mut legs = HashMap::new();
        for link in link::of_group(self.filter.group)? {
            match self.read(&link) {
                Some((id, leg)) => drop(legs.insert(id, leg)),
                None => {
                    tracing::warn!(
                        link = link.name,
                        alias = link.alias,
                        "removed an interface that is no sandbox's here"
                    );
                    remove_link(&link.name)?;
                }
            }
        }
        let members: Vec<Member> = legs.values().map(|leg| self.member(leg)).collect();
        self.table.keep_only(&members)?;
        self.egress.find_again(members, is_new)?;
        *self.legs() = legs;
        Ok(())
    }

    /// The networks that this host is connected to may have changed.
    pub(super) fn look_around(&self) {
        match self.close_near() {
            Ok(false) => {}
            Ok(true) => tracing::info!("sandboxes do not reach the networks that this host is connected to now"),
            Err(error) => tracing::error!(%error, "the networks of this host could not be looked at"),
        }
    }

    fn close_near(&self) -> Result<bool, NetlinkError> {
        self.table.set_near(&near::networks(&self.pools())?, &self.filter)
    }

    fn pools(&self) -> Vec<ipnet::IpNet> {
        let pools = [Some(self.config.pool_v4.into()), self.config.pool_v6.map(Into::into)];
        pools.into_iter().flatten().collect()
    }

    pub(super) fn is_ours(&self, net: &ipnet::IpNet) -> bool {
        self.pools().iter().any(|pool| pool.contains(net))
    }

    pub(super) fn table_name(&self) -> &str {
        self.table.name()
    }

    fn read(&self, link: &Link) -> Option<(SandboxId, Leg)> {
        let Told { id, address, has_v6, terms, network: number } = alias::read(&link.alias)?;
        let place = self.pool.place(address).filter(|_| link.name == link_name(&id))?;
        self.pool.claim(address);
        let Addresses { v4, v6 } = self.pool.addresses(place);
        // Another daemon may have had IPv6, or not.
        let addresses = Addresses { v4, v6: v6.filter(|_| has_v6 != Some(false)) };
        let network = terms.name.as_ref().zip(number);
        let network =
            network.and_then(|(name, number)| self.egress.networks().find_again(name, number, &id, addresses));
        if terms.name.is_some() && network.is_none() {
            tracing::error!(sandbox.id = %id, link = link.name, "the network that it shares is not told right; it shares none");
        }
        Some((id, Leg { link: link.index, addresses, place, terms, network, is_left: false }))
    }

    /// Somebody may have removed our rules, or a part of them; without them everything would pass.
    pub(super) fn guard(&self) {
        let _order = self.order.write().unwrap_or_else(PoisonError::into_inner);
        match self.table.restore(&self.filter) {
            Ok(is_new) => {
                if is_new {
                    tracing::error!("the rules for sandboxes were gone or changed; they are in force again");
                }
                self.look_around();
                self.egress.repair(is_new);
            }
            Err(error) => tracing::error!(%error, "the rules for sandboxes could not be looked at"),
        }
    }
}

/// Bounds what the sandbox sends, and reads back that it does.
fn slow_down(namespace: BorrowedFd<'_>, wanted: u64) -> Result<(), BridgeError> {
    let found = within(namespace, || {
        let inside = index(INSIDE)?;
        transact(Protocol::Route, &[queue::limit(inside, wanted)])?;
        queue::rate(inside)
    })?;
    if found == Some(wanted) { Ok(()) } else { Err(BridgeError::RateNotKept { wanted, found }) }
}

fn index(name: &str) -> Result<u32, NetlinkError> {
    if_nametoindex(name).map_err(|errno| NetlinkError { what: format!("if_nametoindex({name})"), errno })
}

fn alias(id: &SandboxId, addresses: Addresses, terms: &NetworkTerms, network: Option<u32>) -> String {
    let has_v6 = Some(addresses.v6.is_some());
    alias::write(&Told { id: id.clone(), address: addresses.v4, has_v6, terms: terms.clone(), network })
}

/// None need be there: a sandbox's goes with its namespace.
fn remove_link(name: &str) -> Result<(), NetlinkError> {
    match transact(Protocol::Route, &[link::delete(name)]) {
        Err(NetlinkError { errno: Errno::ENODEV, .. }) => Ok(()),
        done => done,
    }
}

/// The gateway's addresses are the host's, on a link that leads nowhere.
fn raise_gateway(group: u32, gateway: Addresses) -> Result<(), NetlinkError> {
    let name = anchor_name(group);
    match transact(Protocol::Route, &[link::make_anchor(&name)]) {
        Err(error) if error.errno != Errno::EEXIST => return Err(error),
        _ => {}
    }
    let anchor = index(&name)?;
    let addresses: Vec<_> = gateway.each().map(|address| link::add_address(anchor, address)).collect();
    transact(Protocol::Route, &addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nft::on_trial;
    use crate::sys::trial;

    #[test]
    fn an_address_is_free_when_its_rules_have_gone() {
        if !trial::has_root() {
            return;
        }
        on_trial::elsewhere(|| {
            let (ways, _) = Ways::open(NetworkConfig::usual("trial")).expect("opened");
            let (id, place) = (SandboxId::random(), ways.pool.take().expect("a place"));
            let name = id.short();
            let addresses = ways.pool.addresses(place);
            let number = ways.egress.networks().join(&"team".parse().expect("a name"), &id, addresses);
            let leg =
                Leg { link: 7, addresses, place, terms: NetworkTerms::default(), network: number, is_left: false };
            ways.egress.enter(ways.member(&leg)).expect("entered");
            ways.legs().insert(id.clone(), leg.clone());
            // Whatever fails then.
            Table::remove_whole(ways.table_name()).expect("removed");
            let leg = ways.forget(&id).expect("there");
            assert!(leg.is_left);
            let left = ways.clear(vec![(id.clone(), leg.clone())]);
            assert_eq!(left, [(id, leg.clone())]);
            let is_held = || ways.egress.networks().find(1, &name).is_some();
            assert!(is_held(), "its place went to another");
            ways.guard();
            ways.table.add(&[ways.member(&leg)]).expect("as if it were there still");
            assert!(ways.clear(left).is_empty() && !is_held());
            assert_eq!(ways.table.have(&[ways.member(&leg)]).expect("asked"), [false]);
        });
    }
}
