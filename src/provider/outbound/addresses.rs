//! Which IP addresses may be connected to.
//!
//! Takes an address and the networks that are opened or closed by configuration, gives the reason for refusing it, or
//! nothing. No I/O. Sources: the IANA special-purpose registries (RFC 6890, RFC 8190), RFC 6052 and RFC 8215 (NAT64),
//! RFC 3056 (6to4), RFC 4291 (mapped, compatible).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4 networks never connected to unless a provider opens them.
const CLOSED_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's host agent, which hands out certificates and secrets.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Link-local, with 169.254.169.254: the metadata service of every large cloud.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// IPv4 networks that no provider can open: this host, its link, and what lives there.
const SEALED_V4: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// IPv6 networks inside global unicast (`2000::/3`) that are not the Internet.
const CLOSED_V6: [(Ipv6Addr, u8); 3] = [
    // Protocol assignments, Teredo among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address may be connected to.
///
/// `opened` are a provider's own private networks, `closed` those of the cluster. What `opened` holds is allowed,
/// except this host and its link.
pub(super) fn permitted(address: IpAddr, opened: &[IpNet], closed: &[IpNet]) -> bool {
    // An address inside an address is judged by what it leads to, and by itself.
    let leads_to = embedded(address).map_or(address, IpAddr::V4);
    if [address, leads_to].into_iter().any(is_sealed) {
        return false;
    }
    if holds(opened, leads_to) || holds(opened, address) {
        return true;
    }
    !holds(closed, address) && !holds(closed, leads_to) && is_global(leads_to)
}

/// Whether one of these networks holds the address.
fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Whether the address is this host, its link, or no destination at all.
fn is_sealed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => SEALED_V4.iter().any(|&(network, length)| in_v4(v4, network, length)),
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || is_metadata_v6(v6)
        }
    }
}

/// The metadata services of AWS, Google and Oracle over IPv6, which lie in unique-local space.
fn is_metadata_v6(address: Ipv6Addr) -> bool {
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    const ORACLE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
    [AWS, GOOGLE, ORACLE].contains(&address)
}

/// Whether the address is on the public Internet.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !CLOSED_V4.iter().any(|&(network, length)| in_v4(v4, network, length)),
        IpAddr::V6(v6) => {
            v6.segments()[0] & 0xe000 == 0x2000
                && !CLOSED_V6.iter().any(|&(network, length)| in_v6(v6, network, length))
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, in any of the ways there are.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let pair = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        // This host and nowhere, which are no compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible and mapped, translated (RFC 2765), and NAT64 by the well-known prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4.
        | [0x2002, high, low, ..]
        // ISATAP (RFC 5214).
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => pair(high, low),
        _ => None,
    }
}

/// Whether the network of this length, at most 32 bits, holds the address.
fn in_v4(address: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    let mask = u32::MAX << (32 - u32::from(length));
    address.to_bits() & mask == network.to_bits() & mask
}

/// Whether the network of this length, 1 to 128 bits, holds the address.
fn in_v6(address: Ipv6Addr, network: Ipv6Addr, length: u8) -> bool {
    let mask = u128::MAX << (128 - u32::from(length));
    address.to_bits() & mask == network.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn networks(text: &[&str]) -> Vec<IpNet> {
        text.iter().filter_map(|network| network.parse().ok()).collect()
    }

    #[test]
    fn public_addresses_are_permitted() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "168.63.129.17",
            "192.167.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(permitted(address(text), &[], &[]), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "64:ff9b:1::101:101",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "5f00::1",
            "2a00:1450::5efe:10.0.0.1",
        ] {
            assert!(!permitted(address(text), &[], &[]), "{text}");
        }
    }

    #[test]
    fn a_provider_opens_exactly_its_networks() {
        let opened = networks(&["10.1.0.0/16", "fd12::/16"]);
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd12::1"] {
            assert!(permitted(address(text), &opened, &[]), "{text}");
        }
        for text in ["10.2.0.1", "192.168.0.1", "fd13::1"] {
            assert!(!permitted(address(text), &opened, &[]), "{text}");
        }
    }

    #[test]
    fn nobody_opens_this_host_or_its_link() {
        let opened = networks(&["0.0.0.0/0", "::/0"]);
        for text in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "ff02::1",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            assert!(!permitted(address(text), &opened, &[]), "{text}");
        }
        assert!(permitted(address("192.168.1.1"), &opened, &[]));
    }

    #[test]
    fn cluster_networks_are_closed_even_where_public() {
        let closed = networks(&["34.118.224.0/20", "2600:1900::/28"]);
        for text in ["34.118.224.1", "::ffff:34.118.224.1", "64:ff9b::2276:e001", "2600:1900::1"] {
            assert!(!permitted(address(text), &[], &closed), "{text}");
        }
        assert!(permitted(address("34.118.240.1"), &[], &closed));
        assert!(permitted(address("34.118.224.1"), &networks(&["34.118.224.1/32"]), &closed));
    }
}
