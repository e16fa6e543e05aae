//! What rules are made of: each expression looks at a packet or a register, and may end the rule (`linux/netfilter/nf_tables.h`).

use crate::network::netlink::Attributes;
use crate::network::range::Family;

const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;

/// Registers of four bytes; a longer value goes on in the next ones.
pub const FIRST: u32 = 8;
pub const SECOND: u32 = 9;
const VERDICT_REGISTER: u32 = 0;

/// One expression in its form on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    name: &'static str,
    data: Attributes,
}

impl Expression {
    #[must_use]
    pub fn encode(&self) -> Attributes {
        Attributes::new().text(NAME, self.name).nest(DATA, &self.data)
    }
}

pub(super) fn expression(name: &'static str, data: Attributes) -> Expression {
    Expression { name, data }
}

/// Facts about a packet that are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    Mark = 3,
    InInterface = 4,
    OutInterface = 5,
    SocketUser = 10,
    Family = 15,
    Protocol = 16,
    InGroup = 21,
    OutGroup = 22,
}

pub fn meta(key: Meta, to: u32) -> Expression {
    expression("meta", Attributes::new().number(1, to).number(2, key as u32))
}

/// Marks the packet with what is in the register.
pub fn set_mark(register: u32) -> Expression {
    expression("meta", Attributes::new().number(2, Meta::Mark as u32).number(3, register))
}

pub fn equals(register: u32, value: &[u8]) -> Expression {
    compare(register, 0, value)
}

pub fn differs(register: u32, value: &[u8]) -> Expression {
    compare(register, 1, value)
}

fn compare(register: u32, operator: u32, value: &[u8]) -> Expression {
    let data = Attributes::new().number(1, register).number(2, operator);
    expression("cmp", data.nest(3, &Attributes::new().bytes(VALUE, value)))
}

/// The bits that differ from zero under the mask.
pub fn mask(register: u32, mask: &[u8]) -> Expression {
    let value = |bytes: &[u8]| Attributes::new().bytes(VALUE, bytes);
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let data = Attributes::new().number(1, register).number(2, register).number(3, length);
    expression("bitwise", data.nest(4, &value(mask)).nest(5, &value(&vec![0; mask.len()])))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// An address of the packet. The family must have been looked at before.
pub fn address(family: Family, side: Side, to: u32) -> Expression {
    let offset = match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    };
    payload(1, offset, family.length() as u32, to)
}

fn payload(base: u32, offset: u32, length: u32, to: u32) -> Expression {
    expression("payload", Attributes::new().number(1, to).number(2, base).number(3, offset).number(4, length))
}

/// The destination port of TCP or UDP.
pub fn port(to: u32) -> Expression {
    payload(2, 2, 2, to)
}

/// Goes on when the set has what begins in the register; what is attached to the element is done.
pub fn in_set(set: &str, register: u32) -> Expression {
    expression("lookup", Attributes::new().text(1, set).number(2, register))
}

/// Goes on when the map has what begins in a register, and puts what it has for that into another.
pub fn from_map(map: &str, register: u32, to: u32) -> Expression {
    expression("lookup", Attributes::new().text(1, map).number(2, register).number(3, to))
}

/// Goes on when the state of the packet's connection is one of these.
pub fn connection_state(states: u32) -> [Expression; 3] {
    let state = expression("ct", Attributes::new().number(1, FIRST).number(2, 0));
    [state, mask(FIRST, &states.to_ne_bytes()), differs(FIRST, &[0; 4])]
}

/// Goes on when the packet's connection has none of these bits in its status.
pub fn connection_is_not(bits: u32) -> [Expression; 3] {
    let status = expression("ct", Attributes::new().number(1, FIRST).number(2, 2));
    [status, mask(FIRST, &bits.to_ne_bytes()), equals(FIRST, &[0; 4])]
}

pub const INVALID: u32 = 1;
pub const ESTABLISHED: u32 = 2;
pub const RELATED: u32 = 4;

pub fn counter() -> Expression {
    expression("counter", Attributes::new())
}

pub fn masquerade() -> Expression {
    expression("masq", Attributes::new())
}

/// Answers that an administrator prohibits this, in the family's own words.
pub fn reject() -> Expression {
    const ANY_FAMILY: u32 = 2;
    const PROHIBITED: u8 = 3;
    expression("reject", Attributes::new().number(1, ANY_FAMILY).bytes(2, &[PROHIBITED]))
}

/// Puts a value into a register.
pub fn load(value: &[u8], to: u32) -> Expression {
    let data = Attributes::new().bytes(VALUE, value);
    expression("immediate", Attributes::new().number(1, to).nest(2, &data))
}

pub fn accept() -> Expression {
    verdict(1, None)
}

pub fn drop_it() -> Expression {
    verdict(0, None)
}

pub fn go_to(chain: &str) -> Expression {
    verdict(-4, Some(chain))
}

fn verdict(code: i32, chain: Option<&str>) -> Expression {
    let mut verdict = Attributes::new().number(1, code.cast_unsigned());
    if let Some(chain) = chain {
        verdict = verdict.text(2, chain);
    }
    let data = Attributes::new().nest(VERDICT, &verdict);
    expression("immediate", Attributes::new().number(1, VERDICT_REGISTER).nest(2, &data))
}
