//! Who is known to resolve names over HTTPS, at addresses that serve little else.

/// Single addresses and ranges. A list like this is never whole; what it misses is reached only where a policy lets everything
/// through, or allows it by name or address.
pub const ADDRESSES: &[&str] = &[
    // Cloudflare
    "1.0.0.1/32",
    "1.0.0.2/31",
    "1.1.1.1/32",
    "1.1.1.2/31",
    "104.16.248.249/32",
    "104.16.249.249/32",
    "2606:4700:4700::/48",
    "2606:4700::6810:f8f9/128",
    "2606:4700::6810:f9f9/128",
    // Google
    "8.8.4.4/32",
    "8.8.8.8/32",
    "2001:4860:4860::/48",
    // Quad9
    "9.9.9.9/32",
    "9.9.9.10/31",
    "9.9.9.12/31",
    "149.112.112.0/24",
    "2620:fe::/48",
    // OpenDNS
    "146.112.41.0/24",
    "208.67.220.0/24",
    "208.67.222.0/24",
    "2620:119:35::/48",
    "2620:119:53::/48",
    "2620:119:fc::/48",
    // AdGuard
    "94.140.14.0/24",
    "94.140.15.0/24",
    "2a10:50c0::/48",
    // CleanBrowsing
    "185.228.168.0/24",
    "185.228.169.0/24",
    "2a0d:2a00:1::/48",
    "2a0d:2a00:2::/48",
    // NextDNS
    "45.90.28.0/24",
    "45.90.30.0/24",
    "2a07:a8c0::/32",
    "2a07:a8c1::/32",
    // ControlD
    "76.76.2.0/24",
    "76.76.10.0/24",
    "2606:1a40::/48",
    "2606:1a40:1::/48",
    // Mullvad
    "194.242.2.0/24",
    "2a07:e340::/32",
    // DNS.SB
    "45.11.45.0/24",
    "185.222.222.0/24",
    "2a09::/128",
    "2a11::/128",
    // AliDNS, DNSPod, 360
    "1.12.12.12/32",
    "1.12.12.21/32",
    "101.226.4.6/32",
    "120.53.53.53/32",
    "223.5.5.5/32",
    "223.6.6.6/32",
    "2400:3200::/48",
    "2400:3200:baba::/48",
    // Yandex, TWNIC, Wikimedia
    "77.88.8.0/24",
    "101.101.101.101/32",
    "101.102.103.104/32",
    "185.71.138.138/32",
    "2001:67c:930::1/128",
    "2a02:6b8::feed:0/112",
];

/// Names that answer a browser's or a system's question whether names may be resolved over HTTPS: nobody has them here.
pub const CANARIES: &[&str] = &["use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com", "resolver.arpa"];
