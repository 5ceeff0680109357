//! IPv6 neighbour discovery (RFC 4861): solicitations, advertisements and rogue routers.

use std::net::{IpAddr, Ipv6Addr};

use super::{Frame, Mac};

/// Hop limit that RFC 4861 demands of every such message.
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// Who is at `target`? Sent to its solicited-node group.
#[must_use]
pub fn solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., x, y, z] = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));
    let body = [&target.octets()[..], &[1, 1], &mac].concat();
    message(mac, [0x33, 0x33, 0xff, x, y, z], source, group, 135, [0; 4]).payload(&body).bytes()
}

/// `target` is at `mac`: solicited, with the override flag.
#[must_use]
pub fn advertisement(
    mac: Mac,
    to_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
) -> Vec<u8> {
    let body = [&target.octets()[..], &[2, 1], &mac].concat();
    message(mac, to_mac, source, destination, 136, [0x60, 0, 0, 0]).payload(&body).bytes()
}

/// "I am a router, and this /64 is on link": what a rogue one says to all nodes.
#[must_use]
pub fn router_advertisement(mac: Mac, source: Ipv6Addr, prefix: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    body.extend_from_slice(&prefix.octets());
    body.extend_from_slice(&[1, 1]);
    body.extend_from_slice(&mac);
    message(mac, ALL_NODES_MAC, source, ALL_NODES, 134, [64, 0, 0x07, 0x08]).payload(&body).bytes()
}

/// A redirect: `target` is a better way to `destination` (RFC 4861 section 4.5).
#[must_use]
pub fn redirect(
    mac: Mac,
    to: (Mac, Ipv6Addr),
    source: Ipv6Addr,
    target: Ipv6Addr,
    destination: Ipv6Addr,
) -> Vec<u8> {
    let body = [target.octets(), destination.octets()].concat();
    message(mac, to.0, source, to.1, 137, [0; 4]).payload(&body).bytes()
}

fn message(
    mac: Mac,
    to_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    rest: [u8; 4],
) -> Frame {
    Frame::new(mac, to_mac)
        .ip(IpAddr::V6(source), IpAddr::V6(destination))
        .ttl(HOP_LIMIT)
        .icmp(kind, 0, rest)
}
