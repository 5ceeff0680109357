//! One SCTP INIT (RFC 9260 §3.3.2) over a raw socket, and what comes back: INIT ACK, ABORT, an ICMP error, or silence.
//!
//! A raw socket, not one of the kernel's SCTP: most servers do not have that module loaded, and one handshake packet is all
//! that has to be known. An association that was offered is aborted at once; until then its server keeps nothing but a cookie.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use api::Observed;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Seen, observed, raw};

/// The protocol's number.
const SCTP: i32 = 132;
/// Chunk types.
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
/// The first ephemeral port, and how many there are.
const EPHEMERAL: u16 = 49_152;
const PORTS: u16 = 16_384;

/// One side's ports and tag of an association that is asked for.
#[derive(Debug, Clone, Copy)]
struct Offer {
    from: u16,
    to: u16,
    /// Every answer carries it.
    tag: u32,
}

/// What a packet of the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It would take the association, and wants this tag in return.
    Taken(u32),
    /// It does not.
    Aborted,
}

/// Sends an INIT from an address and port, or any, and waits for what comes of it.
pub(super) fn init(
    target: SocketAddr,
    (own, port): (Option<IpAddr>, Option<u16>),
    wait: Duration,
) -> io::Result<Seen> {
    let domain = Domain::for_address(target);
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))?;
    let offer = Offer { from: port.unwrap_or_else(source_port), to: target.port(), tag: tag() };
    if let Some(own) = own {
        socket.bind(&SocketAddr::new(own, 0).into())?;
    }
    let began = Instant::now();
    let peer = SocketAddr::new(target.ip(), 0);
    let sent = socket.connect(&peer.into()).and_then(|()| socket.send(&offer.init()));
    let observed = if let Err(error) = sent {
        met(&error)?
    } else {
        let answer = |socket: &Socket, packet: &[u8]| answered(socket, packet, offer);
        raw::wait_for(&socket, target.ip(), began + wait, met, answer)?
    };
    let took = super::answered(observed).then(|| began.elapsed());
    Ok(Seen { observed, took, source_port: Some(offer.from) })
}

/// Distinct for probes of one agent that are under way at one time.
fn source_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    EPHEMERAL + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS
}

/// A tag that nobody guesses; never 0, which means none (RFC 9260 §3.3.2).
fn tag() -> u32 {
    let number = RandomState::new().build_hasher().finish();
    u32::try_from(number >> 32).unwrap_or_default().max(1)
}

impl Offer {
    /// An INIT: tag, receive window, one stream each way, first sequence number.
    fn init(self) -> Vec<u8> {
        let mut chunk = vec![INIT, 0, 0, 20];
        chunk.extend(self.tag.to_be_bytes());
        chunk.extend([0, 1, 0, 0, 0, 1, 0, 1]);
        chunk.extend(self.tag.to_be_bytes());
        self.packet(0, &chunk)
    }

    /// An ABORT for a peer that took the offer.
    fn abort(self, tag: u32) -> Vec<u8> {
        self.packet(tag, &[ABORT, 0, 0, 4])
    }

    /// The common header (RFC 9260 §3.1) and one chunk.
    fn packet(self, tag: u32, chunk: &[u8]) -> Vec<u8> {
        let mut packet = [self.from.to_be_bytes(), self.to.to_be_bytes()].concat();
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(chunk);
        // The one field of little end: RFC 9260, appendix A.
        let checksum = crc32c(&packet).to_le_bytes();
        packet.splice(8..12, checksum);
        packet
    }

    /// What a packet of the peer says; `None` for one that is no answer to this offer.
    fn answer(self, packet: &[u8]) -> Option<Answer> {
        let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
        let ports = u32::from(self.to) << 16 | u32::from(self.from);
        if word(0)? != ports || word(4)? != self.tag {
            return None;
        }
        match *packet.get(12)? {
            INIT_ACK => Some(Answer::Taken(word(16)?)),
            ABORT => Some(Answer::Aborted),
            _ => None,
        }
    }
}

/// `CRC32c` (Castagnoli), bit by bit: two packets of some thirty bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// What a packet of the peer comes to.
fn answered(socket: &Socket, packet: &[u8], offer: Offer) -> Option<Observed> {
    match offer.answer(packet)? {
        Answer::Taken(tag) => {
            // Its server keeps only what the answer says; the abort is for whoever watches the flow.
            let _unsent = socket.send(&offer.abort(tag));
            Some(Observed::Answered)
        }
        Answer::Aborted => Some(Observed::Refused),
    }
}

/// As [`observed`], and: a host without SCTP says "no such protocol" (ICMP 3/2: `ENOPROTOOPT`; ICMPv6 4/1: `EPROTO`,
/// net/ipv4/icmp.c and net/ipv6/icmp.c). The packet was there.
fn met(error: &io::Error) -> io::Result<Observed> {
    const ENOPROTOOPT: i32 = 92;
    const EPROTO: i32 = 71;
    match error.raw_os_error() {
        Some(ENOPROTOOPT | EPROTO) => Ok(Observed::Refused),
        _ => observed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer { from: 50_000, to: 3868, tag: 0x0102_0304 };

    #[test]
    fn an_init_is_as_the_standard_has_it() {
        // The check value of CRC-32C, RFC 3720 appendix B.4: 32 bytes of zeroes.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let packet = OFFER.init();
        assert_eq!(packet.len(), 32);
        assert_eq!(packet[..8], [0xc3, 0x50, 0x0f, 0x1c, 0, 0, 0, 0], "ports, and no tag yet");
        assert_eq!(packet[12..20], [1, 0, 0, 20, 1, 2, 3, 4]);
        let mut blank = packet.clone();
        blank[8..12].fill(0);
        assert_eq!(packet[8..12], crc32c(&blank).to_le_bytes());
    }

    #[test]
    fn answers_are_known_by_ports_and_tag() {
        let back = Offer { from: OFFER.to, to: OFFER.from, tag: 9 };
        let ack = back.packet(OFFER.tag, &[INIT_ACK, 0, 0, 20, 0, 0, 0, 7]);
        assert_eq!(OFFER.answer(&ack), Some(Answer::Taken(7)));
        assert_eq!(OFFER.answer(&back.abort(OFFER.tag)), Some(Answer::Aborted));
        assert_eq!(OFFER.answer(&back.abort(8)), None, "somebody else's tag");
        assert_eq!(OFFER.answer(&OFFER.init()), None, "our own packet");
        assert_eq!(OFFER.answer(&ack[..18]), None, "cut short");
        let v4 = [vec![0x45; 20], ack.clone()].concat();
        let target = "10.0.0.1".parse().expect("an address");
        assert_eq!(raw::transport(&v4, target), Some(ack.as_slice()));
        assert_eq!(raw::transport(&[0x4f; 8], target), None);
    }

    #[test]
    fn a_host_without_sctp_was_reached() {
        let met = |number| met(&io::Error::from_raw_os_error(number)).ok();
        assert_eq!(
            (met(92), met(71), met(113)),
            (Some(Observed::Refused), Some(Observed::Refused), Some(Observed::Unreachable))
        );
    }
}
