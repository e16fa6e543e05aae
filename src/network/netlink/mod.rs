//! Talking to the kernel's network configuration (`netlink(7)`).

mod message;
mod socket;
mod subscription;
mod within;

pub use message::{Attributes, Message, attributes};
pub use socket::{NetlinkError, Protocol, ask, dump, transact};
pub use subscription::{Change, Groups, Subscription};
pub use within::{apart, within};

/// Flags of a request (`netlink(7)`).
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
pub const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
