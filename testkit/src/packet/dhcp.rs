//! DHCP for IPv4 (RFC 2131) and DHCPv6 (RFC 8415), as far as a rogue server or a client needs it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{BROADCAST, Frame, Mac};

/// Option 53 of a client that looks for servers.
const DISCOVER: u8 = 1;
/// Option 53 of a server's answer.
const OFFER: u8 = 2;

/// A client's DISCOVER, broadcast from 0.0.0.0:68 to port 67.
#[must_use]
pub fn discover(mac: Mac, transaction: u32) -> Vec<u8> {
    let body = bootp(1, mac, transaction, Ipv4Addr::UNSPECIFIED, DISCOVER, &[]);
    frame(mac, BROADCAST, (Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &body)
}

/// A server's OFFER to `client`, naming `server` as router and name server.
#[must_use]
pub fn offer(
    mac: Mac,
    server: Ipv4Addr,
    client: Mac,
    offered: Ipv4Addr,
    transaction: u32,
) -> Vec<u8> {
    let [a, b, c, d] = server.octets();
    let options = [54, 4, a, b, c, d, 3, 4, a, b, c, d, 6, 4, a, b, c, d, 51, 4, 0, 0, 0x0e, 0x10];
    let body = bootp(2, client, transaction, offered, OFFER, &options);
    frame(mac, client, (server, 67), (offered, 68), &body)
}

/// A DHCPv6 ADVERTISE (message type 2) from server port 547 to a client's port 546.
#[must_use]
pub fn advertise_v6(mac: Mac, to: (Mac, Ipv6Addr), server: Ipv6Addr, transaction: u32) -> Vec<u8> {
    let [_, t0, t1, t2] = transaction.to_be_bytes();
    Frame::new(mac, to.0)
        .ip(IpAddr::V6(server), IpAddr::V6(to.1))
        .udp(547, 546)
        .payload(&[2, t0, t1, t2, 0, 2, 0, 4, 0, 3, 0, 1])
        .bytes()
}

fn bootp(
    operation: u8,
    client: Mac,
    transaction: u32,
    offered: Ipv4Addr,
    kind: u8,
    options: &[u8],
) -> Vec<u8> {
    let mut body = vec![operation, 1, 6, 0];
    body.extend_from_slice(&transaction.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0x80, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&offered.octets());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&client);
    body.resize(236, 0);
    body.extend_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    body.extend_from_slice(options);
    body.push(255);
    body
}

fn frame(
    mac: Mac,
    to: Mac,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    body: &[u8],
) -> Vec<u8> {
    Frame::new(mac, to)
        .ip(IpAddr::V4(source.0), IpAddr::V4(destination.0))
        .udp(source.1, destination.1)
        .payload(body)
        .bytes()
}
