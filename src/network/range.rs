//! Sets of addresses as ranges: what is closed by default, less what the operator opens.

use std::net::IpAddr;

use ipnet::IpNet;

/// A range of addresses of one family, as numbers; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub first: u128,
    pub last: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Length of an address in bytes.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn highest(self) -> u128 {
        u128::MAX >> (128 - self.length() * 8)
    }
}

/// What is not the public Internet, by the registries of special-purpose addresses (RFC 6890 and its updates), and what clouds
/// keep their metadata behind. Those that carry an IPv4 address within (NAT64, 6to4, Teredo) could lead anywhere.
const CLOSED_V4: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Global unicast is 2000::/3; the first three are all the rest.
const CLOSED_V6: [&str; 9] = [
    "::/3",
    "4000::/2",
    "8000::/1",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3ffe::/16",
    "3fff::/20",
];

/// The ranges that a sandbox does not reach, in order and apart from each other.
#[must_use]
pub fn closed(family: Family, open: &[IpNet]) -> Vec<Range> {
    let texts: &[&str] = if family == Family::V4 { &CLOSED_V4 } else { &CLOSED_V6 };
    let closed: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    without(family, &closed, open)
}

/// The addresses of a family that are in one of `networks` and in none of `open`, in order and apart from each other.
#[must_use]
pub fn without(family: Family, networks: &[IpNet], open: &[IpNet]) -> Vec<Range> {
    let of_family = |nets: &[IpNet]| {
        let ranges = nets.iter().filter(|net| Family::of(net.addr()) == family).map(of_net);
        joined(ranges.collect())
    };
    subtract(&of_family(networks), &of_family(open))
}

#[must_use]
pub fn of_net(net: &IpNet) -> Range {
    Range { first: number(net.network()), last: number(net.broadcast()) }
}

#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The number in network order, as long as an address of the family.
#[must_use]
pub fn bytes(family: Family, number: u128) -> Vec<u8> {
    number.to_be_bytes()[16 - family.length()..].to_vec()
}

/// Joins what overlaps or touches.
#[must_use]
pub fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut all: Vec<Range> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => all.push(range),
        }
    }
    all
}

/// What is in `from` and not in `what`; both in order and apart.
#[must_use]
pub fn subtract(from: &[Range], what: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    for range in from {
        let mut first = Some(range.first);
        for hole in what.iter().filter(|hole| hole.first <= range.last && hole.last >= range.first) {
            let Some(start) = first else { break };
            if hole.first > start {
                left.push(Range { first: start, last: hole.first - 1 });
            }
            first = hole.last.checked_add(1).filter(|next| *next <= range.last);
        }
        left.extend(first.map(|first| Range { first, last: range.last }));
    }
    left
}

/// The border values of ranges, as interval sets of the kernel have them: the first address of each, and, marked as an end, the
/// first after it, unless the range goes to the end.
#[must_use]
pub fn borders(family: Family, ranges: &[Range]) -> Vec<(Vec<u8>, bool)> {
    let borders = ranges.iter().flat_map(|range| {
        let end = (range.last < family.highest()).then(|| (bytes(family, range.last + 1), true));
        [Some((bytes(family, range.first), false)), end]
    });
    borders.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a net")).collect()
    }

    fn is_closed(address: IpAddr, open: &[IpNet]) -> bool {
        let number = number(address);
        closed(Family::of(address), open).iter().any(|range| range.first <= number && number <= range.last)
    }

    #[test]
    fn the_public_is_open_and_the_rest_is_not() {
        for text in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "11.0.0.1", "2606:4700::1111", "2a00::1", "2001:4860::8888"]
        {
            assert!(!is_closed(text.parse().expect("an address"), &[]), "{text}");
        }
        for text in [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.168.1.1",
            "172.31.255.255",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2002:a00:1::1",
            "2001:db8::1",
        ] {
            assert!(is_closed(text.parse().expect("an address"), &[]), "{text}");
        }
    }

    #[test]
    fn what_the_operator_opens_is_open_and_nothing_beside_it() {
        let open = nets(&["10.1.0.0/16", "192.168.7.9/32", "fd12::/16", "8.8.8.0/24"]);
        for (text, expected) in [
            ("10.0.255.255", true),
            ("10.1.0.0", false),
            ("10.1.255.255", false),
            ("10.2.0.0", true),
            ("192.168.7.8", true),
            ("192.168.7.9", false),
            ("192.168.7.10", true),
            ("fd12::1", false),
            ("fd13::1", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_closed(text.parse().expect("an address"), &open), expected, "{text}");
        }
        assert!(closed(Family::V4, &nets(&["0.0.0.0/0"])).is_empty());
    }

    #[test]
    fn the_last_range_has_no_end() {
        let borders = borders(Family::V4, &closed(Family::V4, &[]));
        assert_eq!(borders.first(), Some(&(vec![0, 0, 0, 0], false)));
        assert_eq!(borders.last(), Some(&(vec![224, 0, 0, 0], false)), "224/4 and 240/4 are one");
        assert_eq!(borders.len() % 2, 1);
    }
}
