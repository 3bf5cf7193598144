//! Where a request comes from: the peer, or what trusted proxies say of it.
//!
//! `X-Forwarded-For` grows to the right, so it is read from there: the first hop that is not a trusted proxy is the
//! client. Whatever stands further left was written by that client and is worth nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;
use ipnet::IpNet;

use super::Shared;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<Shared> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Self::Rejection> {
        // Without a peer, which only a test leaves out, everybody is the same client.
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Ok(Self(client(peer, &parts.headers, &state.trusted_proxies)))
    }
}

/// The client behind `peer`.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .collect();
    let mut address = peer.to_canonical();
    for hop in hops.into_iter().rev() {
        if !is_trusted(&address) {
            break;
        }
        let Some(next) = parse(hop) else { break };
        address = next;
    }
    address
}

/// An address, with or without a port; some proxies write one.
fn parse(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&'static str]) -> String {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let headers =
            forwarded.iter().map(|value| (http::HeaderName::from_static(FORWARDED_FOR), value.parse().unwrap()));
        client(peer.parse().unwrap(), &headers.collect(), &trusted).to_string()
    }

    #[test]
    fn strangers_are_not_believed() {
        assert_eq!(from("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        assert_eq!(from("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(from("10.0.0.1", &["198.51.100.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(from("10.0.0.1", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(from("::ffff:10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(from("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    #[test]
    fn nonsense_ends_the_search() {
        assert_eq!(from("10.0.0.1", &["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["203.0.113.9, <script>, 10.0.0.2"]), "10.0.0.2");
    }
}
