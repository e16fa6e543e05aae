//! Packets, counted where they arrive: the proof that none did.

use super::world::Namespace;

/// What nobody else's rules are called.
const TABLE: &str = "counted";

/// Before anybody may refuse a packet.
pub const FIRST: (&str, i32) = ("prerouting", -400);
/// What is for this host, after everybody else has let it pass.
pub const LAST: (&str, i32) = ("input", 400);

/// Counters in one namespace.
pub struct Counters(Namespace);

impl Counters {
    /// Counts packets by name: each pair is a name, and what a packet is like (`nft(8)`). A name may come again.
    pub fn start(place: &Namespace, at: (&str, i32), matches: &[(&str, String)]) -> Self {
        let (hook, priority) = at;
        let chain = format!("add chain inet {TABLE} here {{ type filter hook {hook} priority {priority}; }}");
        let mut commands = vec![format!("add table inet {TABLE}"), chain];
        for (name, like) in matches {
            commands.push(format!("add counter inet {TABLE} {name}"));
            commands.push(format!("add rule inet {TABLE} here {like} counter name {name}"));
        }
        place.command("nft", &[&commands.join("; ")]);
        Self(place.clone())
    }

    /// How many there were of this name.
    #[track_caller]
    pub fn packets(&self, name: &str) -> u64 {
        let text = self.0.command("nft", &["list", "counter", "inet", TABLE, name]);
        let count = text.split_once("packets ").and_then(|(_, rest)| rest.split_once(' ')?.0.parse().ok());
        count.unwrap_or_else(|| panic!("{text}"))
    }
}

/// Packets to these addresses, as pairs for [`Counters::start`]; without those by which neighbours find each other.
pub fn towards<'a>(name: &'a str, addresses: &[&str]) -> Vec<(&'a str, String)> {
    let (v6, v4): (Vec<&str>, Vec<&str>) = addresses.iter().partition(|address| address.contains(':'));
    let mut all = Vec::new();
    if !v4.is_empty() {
        all.push((name, format!("ip daddr {{ {} }}", v4.join(", "))));
    }
    for kind in ["meta l4proto != ipv6-icmp", "icmpv6 type echo-request"].iter().filter(|_| !v6.is_empty()) {
        all.push((name, format!("ip6 daddr {{ {} }} {kind}", v6.join(", "))));
    }
    all
}
