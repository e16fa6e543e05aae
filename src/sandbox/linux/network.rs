//! What a sandbox gets of a network: what it asks for, of what the operator has.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::{LinuxError, failed};
use crate::model::{
    NetworkMode, NetworkOffer, NetworkPolicy, NetworkUsage, Reason, SandboxId, SandboxSpec, with_causes,
};
use crate::network::{self, Addresses, Bridge, NetworkConfig, Resolver, Wanted, files};
use crate::runtime::about::Files;
use crate::runtime::slots::{Slot, Wire};
use crate::sandbox::host::HostError;

/// The network of this host's sandboxes.
#[derive(Debug)]
pub struct Network {
    /// Also where new sandboxes have no network, and some of an earlier daemon have one.
    bridge: Option<Bridge>,
    /// Held while sandboxes may ask.
    _resolver: Option<Resolver>,
    offer: NetworkOffer,
}

impl Network {
    /// Blocks; called within the runtime.
    ///
    /// # Errors
    /// When the operator wants a network and this host cannot have it.
    pub fn open(wanted: Wanted, allows_host: bool) -> Result<Self, LinuxError> {
        let mut network = match wanted {
            Wanted::Loopback(config) => Self::loopback(config, NetworkOffer::default().why),
            Wanted::Bridge(config) => {
                Self::bridge(config, "network.mode of its configuration is \"bridge\"".to_owned())?
            }
            Wanted::Auto(config) => Self::as_it_is(config),
        };
        network.offer.allows_host = allows_host;
        let NetworkOffer { mode, why, .. } = &network.offer;
        tracing::info!(
            mode = mode.as_str(),
            why,
            allows_host,
            "the network of sandboxes, until the daemon is started again"
        );
        Ok(network)
    }

    fn loopback(config: NetworkConfig, why: String) -> Self {
        Self { bridge: network::keep(config), _resolver: None, offer: NetworkOffer { why, ..NetworkOffer::default() } }
    }

    fn bridge(config: NetworkConfig, why: String) -> Result<Self, LinuxError> {
        let resolvers = config.resolvers.clone();
        let bridge = Bridge::open(config)?;
        let gateway: Vec<IpAddr> = bridge.gateway().each().collect();
        let resolver = Resolver::start(&gateway, &resolvers, Some(bridge.egress()))?;
        let offer = NetworkOffer { mode: NetworkMode::Bridge, why, allows_host: false };
        Ok(Self { bridge: Some(bridge), _resolver: Some(resolver), offer })
    }

    /// A network where the host can have it as it is.
    fn as_it_is(config: NetworkConfig) -> Self {
        const AUTO: &str = "network.mode of its configuration is \"auto\"";
        let told = |config, why: String| Self::loopback(config, format!("{AUTO}, and {why}"));
        let (config, without) = match network::decide(config.clone()) {
            Ok(decided) => decided,
            Err(why) => return told(config, why),
        };
        let without = without.map_or_else(String::new, |without| format!(", {without}"));
        let why = format!("{AUTO}, and this host has what it takes{without}");
        Self::bridge(config.clone(), why).unwrap_or_else(|error| {
            network::withdraw(&config);
            told(config, format!("this host failed to {}", with_causes(&error)))
        })
    }

    pub fn offer(&self) -> &NetworkOffer {
        &self.offer
    }

    /// What the sandbox is to find in its `/etc` by these names.
    pub fn files_for(&self, id: &SandboxId, mode: NetworkMode) -> Files {
        if mode == NetworkMode::Host {
            return vec![
                ("hosts", files::hosts(&id.short(), &[])),
                ("resolv.conf", files::host_resolv_conf()),
                ("hostname", format!("{}\n", id.short())),
            ];
        }
        self.files(id)
    }

    fn files(&self, id: &SandboxId) -> Files {
        let (name, addresses) = (id.short(), self.addresses(id));
        let own: Vec<IpAddr> = addresses.into_iter().flat_map(Addresses::each).collect();
        // One is enough, and every resolver library speaks IPv4.
        let gateway = addresses.and_then(|_| Some(IpAddr::V4(self.bridge.as_ref()?.gateway().v4)));
        vec![
            ("hosts", files::hosts(&name, &own)),
            ("resolv.conf", files::resolv_conf(gateway.as_slice())),
            ("hostname", format!("{name}\n")),
        ]
    }

    /// Gives the sandbox what it asks for, where that differs from what its place has.
    pub fn settle(&self, slot: &Slot, spec: &SandboxSpec) -> Result<(), HostError> {
        let mode = self.mode_of(spec);
        self.settle_mode(slot, mode)?;
        match &self.bridge {
            Some(bridge) if mode == NetworkMode::Bridge => {
                let agreed = bridge.agree(&slot.id, &spec.network_terms, slot.network.as_fd());
                agreed.map_err(|error| failed(Reason::StartFailed, &error))
            }
            _ if !spec.network_terms.is_empty() => Err(HostError {
                reason: Reason::StartFailed,
                message: "bound the network of a sandbox that has none".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// What the sandbox has.
    pub fn mode_of(&self, spec: &SandboxSpec) -> NetworkMode {
        spec.network.unwrap_or(self.offer.mode)
    }

    fn settle_mode(&self, slot: &Slot, mode: NetworkMode) -> Result<(), HostError> {
        match (mode, &self.bridge) {
            (NetworkMode::Host, _) if !self.offer.allows_host => Err(HostError {
                reason: Reason::StartFailed,
                message: "give the sandbox the host's network: this daemon does not (network.allow_host = false)"
                    .to_owned(),
            }),
            (NetworkMode::Bridge, _) if !self.offer.has_bridge() => Err(HostError {
                reason: Reason::StartFailed,
                message: format!("give the sandbox a network: this daemon has none ({})", self.offer.why),
            }),
            (NetworkMode::None, Some(bridge)) => {
                bridge.cut(&slot.id);
                Ok(())
            }
            (NetworkMode::Bridge, Some(bridge)) if bridge.addresses(&slot.id).is_none() => {
                let attached = bridge.attach(&slot.id, slot.network.as_fd());
                attached.map(drop).map_err(|error| failed(Reason::StartFailed, &error))
            }
            _ => Ok(()),
        }
    }

    /// Puts the sandbox's policy in force, or takes it away.
    pub fn govern(&self, id: &SandboxId, policy: Option<&NetworkPolicy>) -> Result<(), HostError> {
        match &self.bridge {
            Some(bridge) => bridge.govern(id, policy).map_err(|error| failed(Reason::StartFailed, &error)),
            None if policy.is_some() => Err(HostError {
                reason: Reason::StartFailed,
                message: format!(
                    "put the policy of the sandbox in force: this daemon has no network ({}); what an earlier daemon let it \
                     reach stays as it was",
                    self.offer.why
                ),
            }),
            None => Ok(()),
        }
    }

    pub fn addresses(&self, id: &SandboxId) -> Option<Addresses> {
        self.bridge.as_ref()?.addresses(id)
    }

    /// What went over its interface. Blocks for the tenth of a millisecond that the kernel needs.
    pub fn traffic(&self, id: &SandboxId) -> Option<NetworkUsage> {
        self.bridge.as_ref()?.traffic(id)
    }

    pub fn list(&self) -> Vec<SandboxId> {
        self.bridge.as_ref().map(Bridge::list).unwrap_or_default()
    }
}

impl Wire for Network {
    fn attach(&self, id: &SandboxId, namespace: BorrowedFd<'_>) -> Result<(), String> {
        let bridge = self.bridge.as_ref().filter(|_| self.offer.has_bridge());
        let attached = bridge.map_or(Ok(()), |bridge| bridge.attach(id, namespace).map(drop));
        attached.map_err(|error| with_causes(&error))
    }

    fn files(&self, id: &SandboxId) -> Files {
        Network::files(self, id)
    }

    fn detach(&self, id: &SandboxId) {
        if let Some(bridge) = &self.bridge {
            bridge.detach(id);
        }
    }
}
