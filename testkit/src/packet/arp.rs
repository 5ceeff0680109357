//! ARP frames (RFC 826), honest and forged.

use std::net::Ipv4Addr;

use super::{BROADCAST, Frame, Mac};

const ETHERTYPE_ARP: u16 = 0x0806;

/// Who an ARP packet says somebody is.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// Hardware address.
    pub mac: Mac,
    /// Protocol address.
    pub ip: Ipv4Addr,
}

/// Who has `target`? Broadcast by `sender`.
#[must_use]
pub fn request(sender: Party, target: Ipv4Addr) -> Vec<u8> {
    let target = Party { mac: [0; 6], ip: target };
    packet(sender.mac, BROADCAST, 1, sender, target)
}

/// `sender.ip` is at `sender.mac`, told to `target`.
#[must_use]
pub fn reply(sender: Party, target: Party) -> Vec<u8> {
    packet(sender.mac, target.mac, 2, sender, target)
}

/// An announcement of `sender` to everybody.
#[must_use]
pub fn gratuitous(sender: Party) -> Vec<u8> {
    packet(sender.mac, BROADCAST, 2, sender, Party { mac: BROADCAST, ip: sender.ip })
}

/// Every field free: the Ethernet addresses need not be those in the body.
#[must_use]
pub fn packet(
    ethernet_source: Mac,
    ethernet_destination: Mac,
    operation: u16,
    sender: Party,
    target: Party,
) -> Vec<u8> {
    let mut body = vec![0, 1, 0x08, 0x00, 6, 4];
    body.extend_from_slice(&operation.to_be_bytes());
    for party in [sender, target] {
        body.extend_from_slice(&party.mac);
        body.extend_from_slice(&party.ip.octets());
    }
    Frame::new(ethernet_source, ethernet_destination).ethertype(ETHERTYPE_ARP, &body).bytes()
}
