//! What the host's own rules do with packets that are passed on. They come on top of ours and are only looked at.

use super::table::SUBSYSTEM;
use crate::network::netlink::{Attributes, Message, NetlinkError, Protocol, attributes, dump};
use crate::network::range::Family;

const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;

const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// Those of tables that packets of the Internet Protocol come into, by the names that `nft` has for them.
const FAMILIES: [(u8, &str); 3] = [(INET, "inet"), (IPV4, "ip"), (IPV6, "ip6")];
/// `NF_INET_FORWARD`
const FORWARD: u32 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// A chain that ends packets that nothing before has let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// `chain FORWARD of table ip filter`
    pub name: String,
    family: u8,
}

impl Closed {
    #[must_use]
    pub fn concerns(&self, family: Family) -> bool {
        self.family == INET || self.family == if family == Family::V4 { IPV4 } else { IPV6 }
    }
}

#[cfg(test)]
impl Closed {
    pub fn in_table(family: &str, table: &str, chain: &str) -> Self {
        let number = FAMILIES.into_iter().find(|(_, name)| *name == family).map_or(0, |(number, _)| number);
        Self { name: format!("chain {chain} of table {family} {table}"), family: number }
    }
}

/// A chain that packets come into by themselves on their way through this host.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    drops: bool,
}

/// What becomes of a packet in a rule that looks at nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passes,
    Dropped,
}

/// The chains of this host, ours among them, that close the way through it. Those of an old `iptables` are not seen here.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn closed() -> Result<Vec<Closed>, NetlinkError> {
    let all = list("NFT_MSG_GETCHAIN", GETCHAIN, 0, &Attributes::new())?;
    let mut closed = Vec::new();
    for chain in all.iter().filter_map(|body| read_chain(body)) {
        if ends(&chain)? {
            let name = format!("chain {} of table {} {}", chain.name, family_name(chain.family), chain.table);
            closed.push(Closed { name, family: chain.family });
        }
    }
    Ok(closed)
}

fn family_name(number: u8) -> &'static str {
    FAMILIES.into_iter().find(|(known, _)| *known == number).map_or("", |(_, name)| name)
}

fn ends(chain: &Chain) -> Result<bool, NetlinkError> {
    let which = Attributes::new().text(1, &chain.table).text(2, &chain.name);
    let rules = list("NFT_MSG_GETRULE", GETRULE, chain.family, &which)?;
    let own = rules.iter().filter(|body| named(body, 1, &chain.table) && named(body, 2, &chain.name));
    let end = own.filter_map(|body| end(part(body.get(4..)?, 4)?)).next();
    Ok(end.map_or(chain.drops, |end| end == End::Dropped))
}

fn list(what: &str, kind: u16, family: u8, which: &Attributes) -> Result<Vec<Vec<u8>>, NetlinkError> {
    let message = Message::new(what, SUBSYSTEM << 8 | kind, 0, &[family, 0, 0, 0], which);
    dump(Protocol::Netfilter, &message)
}

fn part(list: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(list).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn number(list: &[u8], kind: u16) -> Option<u32> {
    part(list, kind)?.first_chunk().map(|value| u32::from_be_bytes(*value))
}

fn text(list: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(part(list, kind)?.strip_suffix(&[0])?).ok()
}

fn named(body: &[u8], kind: u16, name: &str) -> bool {
    body.get(4..).and_then(|list| text(list, kind)) == Some(name)
}

fn read_chain(body: &[u8]) -> Option<Chain> {
    let (family, list) = (*body.first()?, body.get(4..)?);
    let through = number(part(list, 4)?, 1)? == FORWARD && FAMILIES.iter().any(|(known, _)| *known == family);
    through.then_some(())?;
    let drops = number(list, 5) == Some(DROP);
    Some(Chain { family, table: text(list, 1)?.to_owned(), name: text(list, 3)?.to_owned(), drops })
}

/// What a rule does with every packet; `None` when it looks at it first, or lets it go on to the next rule.
fn end(expressions: &[u8]) -> Option<End> {
    let all = attributes(expressions).filter_map(|(_, one)| Some((text(one, 1)?, part(one, 2).unwrap_or_default())));
    for (name, data) in all {
        match name {
            "counter" | "log" => {}
            "reject" => return Some(End::Dropped),
            // Of the `iptables` that speaks nf_tables.
            "target" if matches!(text(data, 1), Some("REJECT" | "DROP")) => return Some(End::Dropped),
            "immediate" => {
                let verdict = part(part(data, 2)?, 2)?;
                return match number(verdict, 1)? {
                    DROP => Some(End::Dropped),
                    ACCEPT => Some(End::Passes),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::expression::{self as ex, Expression, FIRST, Meta};
    use super::super::on_trial;
    use super::*;
    use crate::sys::trial;

    fn rule(expressions: &[Expression]) -> Attributes {
        expressions.iter().fold(Attributes::new(), |list, one| list.nest(1, &one.encode()))
    }

    #[test]
    fn a_rule_ends_every_packet_only_when_it_looks_at_none() {
        let of = |expressions: &[Expression]| end(rule(expressions).as_bytes());
        assert_eq!(of(&[ex::counter(), ex::drop_it()]), Some(End::Dropped));
        assert_eq!(of(&[ex::reject()]), Some(End::Dropped));
        assert_eq!(of(&[ex::accept()]), Some(End::Passes));
        assert_eq!(of(&[ex::go_to("elsewhere")]), None);
        assert_eq!(of(&[ex::counter()]), None);
        assert_eq!(of(&[ex::meta(Meta::InInterface, FIRST), ex::drop_it()]), None);
        assert_eq!(end(&[]), None);
        assert_eq!(end(&[7, 0, 1]), None);
    }

    /// The rules of a host as `nft` writes them, and the chains that are found.
    fn found(rules: &str) -> Vec<Closed> {
        on_trial::elsewhere(|| {
            for line in rules.lines() {
                let done = Command::new("nft").arg(line.trim()).output().expect("nft starts");
                assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            }
            closed().expect("asked")
        })
    }

    #[test]
    fn chains_that_close_the_way_through_are_found() {
        if !trial::has_root() {
            return;
        }
        assert_eq!(found("add table ip filter"), []);
        let policy = found(
            "add table ip filter
             add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
             add rule ip filter FORWARD ip saddr 10.0.0.0/8 accept",
        );
        assert_eq!(policy, [Closed { name: "chain FORWARD of table ip filter".into(), family: IPV4 }]);
        assert!(policy[0].concerns(Family::V4) && !policy[0].concerns(Family::V6));
        let last = found(
            "add table inet firewall
             add chain inet firewall through { type filter hook forward priority 10; }
             add rule inet firewall through ct state established accept
             add rule inet firewall through counter reject with icmpx admin-prohibited
             add table ip6 other
             add chain ip6 other through { type filter hook forward priority 0; policy drop; }
             add rule ip6 other through accept
             add chain ip6 other incoming { type filter hook input priority 0; policy drop; }",
        );
        assert_eq!(last, [Closed { name: "chain through of table inet firewall".into(), family: INET }]);
        assert!(Family::BOTH.iter().all(|family| last[0].concerns(*family)));
    }

    #[test]
    fn our_own_rules_close_it_to_nobody_else() {
        on_trial::with_table(|_, _| assert_eq!(closed().expect("asked"), []));
    }
}
