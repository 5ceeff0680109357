//! One ICMP echo request (RFC 792, RFC 4443 §4.1) and its reply, over a raw socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use api::Observed;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Seen, observed, raw};

/// What is sent after the header, for whoever looks at the wire.
const PAYLOAD: &[u8; 16] = b"bulkhead probe.\n";

/// Sends an echo request, from an address or any, and waits for its reply.
pub(super) fn echo(target: IpAddr, own: Option<IpAddr>, wait: Duration) -> io::Result<Seen> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    let id = identifier();
    if let Some(own) = own {
        socket.bind(&SocketAddr::new(own, 0).into())?;
    }
    let began = Instant::now();
    let sent = socket
        .connect(&SocketAddr::new(target, 0).into())
        .and_then(|()| socket.send(&request(target, id)));
    let observed = if let Err(error) = sent {
        observed(&error)?
    } else {
        let is_ours = |message: &[u8]| is_reply(message, target, id);
        let answer = |_: &Socket, message: &[u8]| is_ours(message).then_some(Observed::Answered);
        raw::wait_for(&socket, target, began + wait, observed, answer)?
    };
    let took = (observed == Observed::Answered).then(|| began.elapsed());
    Ok(Seen { observed, took, source_port: None })
}

/// Distinct for probes of one agent that are under way at one time.
fn identifier() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0x6268);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn request(target: IpAddr, id: u16) -> Vec<u8> {
    let kind = if target.is_ipv6() { 128 } else { 8 };
    let [high, low] = id.to_be_bytes();
    let mut packet = vec![kind, 0, 0, 0, high, low, 0, 1];
    packet.extend_from_slice(PAYLOAD);
    if target.is_ipv4() {
        // The kernel fills the checksum in for IPv6 only (RFC 3542 §3.1).
        let [high, low] = checksum(&packet).to_be_bytes();
        packet.splice(2..4, [high, low]);
    }
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks_exact(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Whether a received message is the reply with our identifier.
fn is_reply(message: &[u8], target: IpAddr, id: u16) -> bool {
    let kind = if target.is_ipv6() { 129 } else { 0 };
    let [high, low] = id.to_be_bytes();
    matches!(message, [found, 0, _, _, a, b, ..] if *found == kind && (*a, *b) == (high, low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_good_checksum_and_replies_are_known_by_their_identifier() {
        let target = "10.0.0.1".parse().expect("address");
        let packet = request(target, 0x1234);
        assert_eq!(checksum(&packet), 0, "sums to nothing with its checksum");
        let mut reply = packet;
        assert!(!is_reply(&reply, target, 0x1234), "our own request is no reply");
        reply[0] = 0;
        assert!(is_reply(&reply, target, 0x1234));
        assert!(!is_reply(&reply, target, 0x1235));
        assert!(!is_reply(&reply[..2], target, 0x1234));
    }
}
