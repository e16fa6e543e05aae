use std::net::Ipv6Addr;

use super::*;
use crate::network::netlink::{CREATE, EXCLUSIVE};
use crate::network::nft::on_trial;
use crate::sys::trial;

#[test]
fn a_connection_is_read_and_named_again() {
    let ends = |first: u16, source: &[u8], destination: &[u8]| {
        let ends = Attributes::new().bytes(first, source).bytes(first + 1, destination);
        Attributes::new().nest(CTA_TUPLE_IP, &ends).nest(2, &Attributes::new().bytes(1, &[17]))
    };
    for (first, source, destination, answerer) in
        [(V4_SOURCE, [1_u8; 16], [2; 16], [3; 16]), (V6_SOURCE, [4; 16], [5; 16], [6; 16])]
    {
        let length = if first == V4_SOURCE { 4 } else { 16 };
        let forth = ends(first, &source[..length], &destination[..length]);
        let back = ends(first, &answerer[..length], &source[..length]);
        let all = Attributes::new().nest(CTA_TUPLE_ORIG, &forth).nest(CTA_TUPLE_REPLY, &back).bytes(CTA_ZONE, &[0, 9]);
        let body = [&[0; 4][..], all.as_bytes()].concat();
        let address = |bytes: [u8; 16]| match first {
            V4_SOURCE => IpAddr::from([bytes[0]; 4]),
            _ => IpAddr::from(bytes),
        };
        let read = Connection::read(&body).expect("a connection");
        assert_eq!((read.source, read.destination), (address(source), address(destination)));
        assert_eq!(read.answerer, address(answerer));
        let named = Attributes::new().nest(CTA_TUPLE_ORIG, &forth).bytes(CTA_ZONE, &[0, 9]);
        let what = format!("IPCTNL_MSG_CT_DELETE({}, {})", read.source, read.destination);
        assert_eq!(read.deletion(), message(what, DELETE, family(read.source), &named));
    }
    assert_eq!(Connection::read(&[0; 3]), None);
    assert_eq!(Connection::read(&[0, 0, 0, 0, 9, 0, 1, 0]), None);
}

fn address(family: libc::c_int, number: u8) -> IpAddr {
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into());
    if family == libc::AF_INET { [10, 9, 0, number].into() } else { v6.into() }
}

/// Has the kernel track a connection over UDP that nobody has made.
fn begin(source: IpAddr, destination: IpAddr) {
    let ends = |source: IpAddr, destination: IpAddr| {
        let first = if source.is_ipv4() { V4_SOURCE } else { V6_SOURCE };
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let ends = Attributes::new().bytes(first, &octets(source)).bytes(first + 1, &octets(destination));
        let udp = Attributes::new().bytes(1, &[17]).bytes(2, &[0, 53]).bytes(3, &[0, 53]);
        Attributes::new().nest(CTA_TUPLE_IP, &ends).nest(2, &udp)
    };
    const CTA_TIMEOUT: u16 = 7;
    let connection = Attributes::new()
        .nest(CTA_TUPLE_ORIG, &ends(source, destination))
        .nest(CTA_TUPLE_REPLY, &ends(destination, source))
        .number(CTA_TIMEOUT, 1000);
    let header = [family(source) as u8, 0, 0, 0];
    let made = Message::new("IPCTNL_MSG_CT_NEW", CTNETLINK << 8, CREATE | EXCLUSIVE, &header, &connection);
    transact(Protocol::Netfilter, &[made]).expect("tracked");
}

/// Of both families, those from 2 to 9 and back; the numbers of source and destination of what `change` leaves.
fn left(change: impl FnOnce(&dyn Fn(u8) -> [IpAddr; 2]) + Send) -> Vec<(IpAddr, IpAddr)> {
    const FAMILIES: [libc::c_int; 2] = [libc::AF_INET, libc::AF_INET6];
    on_trial::elsewhere(|| {
        let known = |body: &Vec<u8>| Connection::read(body).map(|one| (one.source, one.destination));
        for (family, number) in FAMILIES.iter().flat_map(|family| (2..10).map(move |number| (*family, number))) {
            begin(address(family, number), address(family, 100));
            begin(address(family, 200), address(family, number));
        }
        assert_eq!(count(), Ok(32));
        change(&|number| FAMILIES.map(|family| address(family, number)));
        let told = FAMILIES.map(|family| dump(Protocol::Netfilter, &question(family, &Attributes::new())));
        let mut left: Vec<_> = told.iter().flat_map(|told| told.iter().flatten().filter_map(known)).collect();
        left.sort_unstable();
        left
    })
}

#[test]
fn connections_are_forgotten_and_those_of_others_are_not() {
    if !trial::has_root() {
        return;
    }
    for count in [1, 2, 6] {
        let gone = 2..2 + count;
        let left = left(|each| {
            let addresses: Vec<IpAddr> = gone.clone().flat_map(each).collect();
            forget(&addresses).expect("forgotten");
        });
        let is_gone = |one: IpAddr| {
            gone.clone()
                .any(|number| [libc::AF_INET, libc::AF_INET6].map(|family| address(family, number)).contains(&one))
        };
        assert_eq!(left.len(), 32 - 4 * usize::from(count), "{left:?}");
        assert!(!left.iter().any(|(source, destination)| is_gone(*source) || is_gone(*destination)), "{left:?}");
    }
}

#[test]
fn what_passes_goes_on() {
    if !trial::has_root() {
        return;
    }
    for count in [1, 3] {
        let left = left(|each| {
            let sources: Vec<IpAddr> = (2..2 + count).flat_map(each).collect();
            // Of 3, all that it has begun passes.
            let passes = |from, to| each(3).contains(&from) || !each(100).contains(&to);
            forget_unless(&sources, &passes).expect("forgotten");
        });
        let cut = if count == 1 { 1 } else { 2 };
        assert_eq!(left.len(), 32 - 2 * cut, "{left:?}");
        let began = |number| left.iter().filter(|(source, _)| *source == address(libc::AF_INET, number)).count();
        assert_eq!([2, 3, 4, 9].map(began), [0, 1, 2 - cut, 1]);
    }
}

#[test]
fn where_there_are_none_nobody_is_asked_for() {
    if trial::has_root() {
        on_trial::elsewhere(|| assert_eq!((count(), forget(&[address(libc::AF_INET, 2)])), (Ok(0), Ok(()))));
    }
}
