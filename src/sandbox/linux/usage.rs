//! What a sandbox uses and what it is on this host, for people and their tools.

use std::sync::Arc;
use std::time::Duration;

use super::layer;
use super::proof::Proof;
use super::{Inner, LinuxHost};
use crate::model::{DiskUsage, NetworkMode, NetworkPolicy, NetworkUsage, SandboxId, SandboxSpec, Traffic, Usage};
use crate::sandbox::host::{HostError, IdBase};

/// The first who asks waits this long for the disk to be counted; what takes longer is told the next time.
const FIRST_COUNT: Duration = Duration::from_millis(100);

impl LinuxHost {
    pub(super) async fn usage_of(&self, id: &SandboxId) -> Result<Usage, HostError> {
        let own_id = id.clone();
        let read =
            move |inner: &Inner| Usage { network: inner.network.traffic(&own_id), ..inner.cgroups.usage(&own_id) };
        let mut usage = self.blocking(move |inner| Ok(read(inner))).await?;
        usage.disk = match layer::usage(&self.inner, id) {
            Some(bounded) => Some(bounded),
            None => self.disk_of(id).await,
        };
        Ok(usage)
    }

    /// The last count; when it is old, another one begins.
    async fn disk_of(&self, id: &SandboxId) -> Option<DiskUsage> {
        if self.inner.disks.is_fresh(id) {
            return self.inner.disks.last(id);
        }
        if self.inner.disks.begin(id) {
            let counting = tokio::spawn(count_disk(Arc::clone(&self.inner), id.clone()));
            if self.inner.disks.last(id).is_none() {
                // Out of time, it goes on by itself.
                drop(tokio::time::timeout(FIRST_COUNT, counting).await);
            }
        }
        self.inner.disks.last(id)
    }

    /// What the sandbox should have and this host cannot give.
    fn not_enforced(&self, id: &SandboxId, spec: &SandboxSpec) -> Vec<String> {
        let limits = self.inner.config.limits(&spec.limits);
        let mut missing = self.inner.cgroups.missing(id, &limits);
        missing.extend(layer::missing(&self.inner.bounded_disks, &limits));
        missing
    }

    pub(super) fn description(
        &self,
        id: &SandboxId,
        base: Option<IdBase>,
        spec: &SandboxSpec,
        proof: Option<&str>,
    ) -> Vec<(String, String)> {
        let proof = proof.and_then(|proof| Proof::from_text(proof).ok());
        let (layer, bound) = layer::place(&self.inner, id);
        let mut lines = vec![
            ("Image digest", proof.as_ref().map(|proof| proof.image.clone()).unwrap_or_default()),
            ("PID 1", proof.map(|proof| format!("{} on the host", proof.pid)).unwrap_or_default()),
            (
                "User ids",
                base.map(|base| format!("0-65535 are {base}-{} on the host", base + 65_535)).unwrap_or_default(),
            ),
            ("Limits", self.inner.config.limits(&spec.limits).to_string()),
            ("Not enforced", self.not_enforced(id, spec).join("; ")),
            ("Namespaces", namespaces_line(spec).to_owned()),
            ("Network", self.network_line(id, spec)),
            (
                "Network shared",
                spec.network_terms.name.as_ref().map_or_else(String::new, |name| name.as_str().to_owned()),
            ),
            ("Network policy", policy_line(spec)),
            ("Network use", self.traffic_line(id)),
            ("Root", format!("read-only image layers under {layer}")),
            ("Disk bounded by", bound),
        ];
        lines.retain(|(_, value)| !value.is_empty());
        let mut lines: Vec<_> = lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let cgroups = self.inner.cgroups.places(id).into_iter();
        lines.extend(cgroups.map(|(what, path)| (format!("Cgroup {what}"), path.display().to_string())));
        lines
    }
}

impl LinuxHost {
    fn network_line(&self, id: &SandboxId, spec: &SandboxSpec) -> String {
        if spec.network == Some(NetworkMode::Host) {
            return "that of the host".to_owned();
        }
        let Some(addresses) = self.inner.network.addresses(id) else { return "loopback only".to_owned() };
        addresses.each().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
    }

    fn traffic_line(&self, id: &SandboxId) -> String {
        let Some(usage) = self.inner.network.traffic(id) else { return String::new() };
        let words =
            |what: &str, traffic: Traffic| format!("{what} {} bytes in {} packets", traffic.bytes, traffic.packets);
        let reasons = usage.refusals().filter(|(_, packets)| *packets > 0);
        let reasons: Vec<String> = reasons.map(|(reason, packets)| format!("{} {packets}", reason.as_str())).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let NetworkUsage { sent, received, refused, .. } = usage;
        format!("{}, {}, {}{reasons}", words("sent", sent), words("received", received), words("refused", refused))
    }
}

fn namespaces_line(spec: &SandboxSpec) -> &'static str {
    match spec.network {
        Some(NetworkMode::Host) => "user, mount, pid, ipc, uts, cgroup: all of its own; network: the host's",
        _ => "user, mount, pid, network, ipc, uts, cgroup: all of its own",
    }
}

fn policy_line(spec: &SandboxSpec) -> String {
    let told = |policy: &NetworkPolicy| format!("{} by default, {} rules", policy.default.as_str(), policy.rules.len());
    spec.policy.as_ref().map(told).unwrap_or_default()
}

async fn count_disk(inner: Arc<Inner>, id: SandboxId) {
    let turn = inner.disks.turn().await;
    let (counter, own_id) = (Arc::clone(&inner), id.clone());
    let upper = inner.dirs.of(&id).join("upper");
    // A panic in there is told by the runtime, and counts nothing.
    drop(tokio::task::spawn_blocking(move || counter.disks.count(&own_id, &upper)).await);
    drop(turn);
    inner.disks.done(&id);
    // Removed meanwhile: nobody would take the count off the list any more.
    if !inner.living().contains_key(&id) {
        inner.disks.forget(&id);
    }
}
