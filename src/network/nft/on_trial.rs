//! A table of the real packet filter for tests, in a network namespace that nobody else is in.

use super::{Sandboxes, Table};
use crate::network::netlink::apart;
use crate::sys::trial;

/// On a thread in a network namespace of its own.
pub fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    apart(|| Ok(work())).expect("done in a network namespace")
}

/// On a table of its own in such a namespace. It takes root.
pub fn with_table(work: impl FnOnce(&Table, &Sandboxes) + Send) {
    if !trial::has_root() {
        return;
    }
    elsewhere(|| {
        let filter = Sandboxes {
            group: 7,
            pool_v4: "10.9.0.0/16".parse().expect("a net"),
            pool_v6: Some("fd00::/64".parse().expect("a net")),
            open: vec![],
            connections: 100,
        };
        let (table, is_new) = Table::open("test", &filter).expect("a table");
        assert!(is_new);
        work(&table, &filter);
    });
}
