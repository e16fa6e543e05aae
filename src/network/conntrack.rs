//! Forgetting the connections of a sandbox that is gone.

use std::net::IpAddr;

use super::netlink::{Attributes, Message, NetlinkError, Protocol, transact};

const CTNETLINK: u16 = 1;
const DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_F_CTA_IP_SRC`
const BY_SOURCE: u32 = 1;

/// Forgets every connection that the address began, and every one that was made to it (Linux 5.8).
pub fn forget(address: IpAddr) -> Result<(), NetlinkError> {
    // Whoever answered as this address is the source of the replies.
    for (tuple, flags) in [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)] {
        transact(Protocol::Netfilter, &[request(address, tuple, flags)])?;
    }
    Ok(())
}

fn request(address: IpAddr, tuple: u16, flags: u16) -> Message {
    let (family, source) = match address {
        IpAddr::V4(address) => (libc::AF_INET, Attributes::new().bytes(1, &address.octets())),
        IpAddr::V6(address) => (libc::AF_INET6, Attributes::new().bytes(3, &address.octets())),
    };
    let filter = Attributes::new().native(flags, BY_SOURCE);
    let which = Attributes::new().nest(tuple, &Attributes::new().nest(CTA_TUPLE_IP, &source)).nest(CTA_FILTER, &filter);
    let what = format!("IPCTNL_MSG_CT_DELETE({address})");
    Message::new(what, CTNETLINK << 8 | DELETE, 0, &[family as u8, 0, 0, 0], &which)
}
