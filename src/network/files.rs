//! The files in `/etc` that tell a sandbox its name and whom to ask for others.

use std::net::IpAddr;

/// `hosts(5)`: the sandbox by its name at its own addresses, or at loopback when it has no others.
#[must_use]
pub fn hosts(name: &str, addresses: &[IpAddr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    for address in if addresses.is_empty() { &loopback } else { addresses } {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// `resolv.conf(5)`.
#[must_use]
pub fn resolv_conf(resolvers: &[IpAddr]) -> String {
    if resolvers.is_empty() {
        return "# This sandbox has no network.\n".to_owned();
    }
    resolvers.iter().map(|resolver| format!("nameserver {resolver}\n")).collect()
}

/// Of the host's file, what a resolver library reads; it is for whoever has the host's network.
#[must_use]
pub fn host_resolv_conf() -> String {
    understood(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn understood(text: &str) -> String {
    const WORDS: [&str; 5] = ["nameserver", "search", "domain", "options", "sortlist"];
    // Libraries read three servers and a handful of domains.
    const LINES: usize = 16;
    const LENGTH: usize = 512;
    let known = |line: &&str| WORDS.contains(&line.split_whitespace().next().unwrap_or_default());
    let lines = text.lines().filter(known).filter(|line| line.len() <= LENGTH).take(LINES);
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_knows_its_own_name() {
        let addresses = ["10.9.0.2".parse().expect("an address"), "fd00::2".parse().expect("an address")];
        let text = hosts("box", &addresses);
        assert!(text.ends_with("10.9.0.2\tbox\nfd00::2\tbox\n"), "{text}");
        assert!(hosts("box", &[]).ends_with("127.0.0.1\tbox\n"));
        assert!(text.lines().all(|line| line.contains('\t')));
    }

    #[test]
    fn without_a_network_nobody_is_asked() {
        assert_eq!(resolv_conf(&["10.9.0.1".parse().expect("an address")]), "nameserver 10.9.0.1\n");
        assert!(!resolv_conf(&[]).contains("nameserver"));
    }

    #[test]
    fn of_the_hosts_file_only_what_is_meant_for_a_library_is_told() {
        let text =
            "# made by a tool for alice\nnameserver 127.0.0.53\noptions edns0 trust-ad\n\nsearch lan\nsecret x\n";
        assert_eq!(understood(text), "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n");
        assert_eq!(understood(&format!("search {}\n", "a".repeat(600))), "");
        assert_eq!(understood(&"nameserver 9.9.9.9\n".repeat(100)).lines().count(), 16);
    }
}
