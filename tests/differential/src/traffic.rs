//! Random conversations: openings, answers, data, ends, and everything that does not belong there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use verdict::abi::Mac;

use crate::accounts::Sender;
use crate::bytes::{Body, Packet, Part, Sctp, Tcp};
use crate::generate::{HOST, PORTS};
use crate::oracle::{Scene, Seat, UPLINK};
use crate::rng::Rng;

/// Two sides that talk.
#[derive(Debug, Clone)]
pub struct Talk {
    /// Position of the network.
    pub network: usize,
    /// Who begins, and the other one.
    pub ends: [IpAddr; 2],
    kind: Kind,
    ports: [u16; 2],
    /// How many packets belonged so far.
    step: usize,
    /// TCP: next sequence numbers; SCTP: the tags that packets to each side carry.
    next: [u32; 2],
    /// The last packet of the talk.
    last: Option<Packet>,
    /// Whose socket the host's end of it is, at an uplink.
    sender: Sender,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Other,
}

/// A packet and which of the talk's ends sends it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// With MAC addresses that the sender would use.
    pub packet: Packet,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
/// Far outside of every window.
const FAR: u32 = 1 << 30;

/// Begins a talk in which at least one endpoint takes part.
pub fn begin(rng: &mut Rng, scene: &Scene) -> Option<Talk> {
    if scene.seats.is_empty() {
        return None;
    }
    let seat = rng.pick(&scene.seats);
    let own = [seat.v4, seat.v6].into_iter().flatten().collect::<Vec<_>>();
    let here = *rng.pick(&own);
    let there =
        (0..8).find_map(|_| other(rng, scene, seat, here)).filter(|there| *there != here)?;
    let ends = if rng.chance(60) { [here, there] } else { [there, here] };
    Some(talk(rng, seat.network, ends))
}

/// Begins a talk at an uplink: mostly of the host with somebody else, now and then of two others.
pub fn begin_outside(rng: &mut Rng, scene: &Scene) -> Option<Talk> {
    let here =
        if rng.chance(90) { *rng.pick(&scene.host) } else { rng.pick(&NEAR).parse().ok()? };
    let there = (0..8).find_map(|_| {
        let text = if rng.chance(8) { *rng.pick(&HOST) } else { *rng.pick(&OUTSIDE) };
        let there: IpAddr = text.parse().ok()?;
        (there.is_ipv4() == here.is_ipv4() && there != here).then_some(there)
    })?;
    let ends = if rng.chance(50) { [here, there] } else { [there, here] };
    let talk = talk(rng, UPLINK, ends);
    Some(Talk { sender: Sender::random(rng), ..talk })
}

/// On the link of an uplink, or nobody's yet, or everybody's there.
const NEAR: [&str; 6] = ["0.0.0.0", "::", "fe80::9", "224.0.0.251", "ff02::fb", "255.255.255.255"];
/// Whom the host may talk with.
const OUTSIDE: [&str; 14] = [
    "203.0.113.1",
    "203.0.113.129",
    "203.0.113.200",
    "198.51.100.4",
    "10.0.1.77",
    "10.100.7.7",
    "10.104.7.7",
    "169.254.70.1",
    "2001:db8:1::7",
    "2001:db8:2::1",
    "2a00::1",
    "fd64::77",
    "fd00:0:0:1::77",
    "fe80::1",
];

/// Whether an address is one of those that stand for the host on a link.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    NEAR.iter().any(|text| text.parse() == Ok(address))
}

/// What uplinks alone see: frames to everybody, and hop limits of a link's own protocols.
pub fn outside(rng: &mut Rng, packet: &mut Packet) {
    if rng.chance(4) {
        packet.target_mac = [0xff; 6];
    }
    match packet.body {
        Body::Icmp(kind, ..) if rng.chance(20) && packet.source.is_ipv6() => {
            packet.hops = *rng.pick(&[255, 1, 64]);
            let kinds = [kind, 133, 134, 135, 136, 137, 130, 131, 143, 2];
            packet.body = Body::Icmp(*rng.pick(&kinds), 0, 7);
        }
        Body::Error(_, _, ref cause) if rng.chance(30) => {
            let (kind, code) = if packet.source.is_ipv4() { (3, 4) } else { (2, 0) };
            packet.body = Body::Error(kind, code, cause.clone());
        }
        Body::Other(2) if rng.chance(50) => packet.hops = 1,
        Body::Udp(..) if rng.chance(4) => {
            let (server, client) = if packet.source.is_ipv4() { (67, 68) } else { (547, 546) };
            let ports = *rng.pick(&[(server, client), (client, server)]);
            packet.body = Body::Udp(ports.0, ports.1);
        }
        _ => {}
    }
}

/// Begins a talk between two addresses.
pub(crate) fn between(rng: &mut Rng, network: usize, ends: [IpAddr; 2]) -> Talk {
    talk(rng, network, ends)
}

fn talk(rng: &mut Rng, network: usize, ends: [IpAddr; 2]) -> Talk {
    let kinds = [
        Kind::Tcp,
        Kind::Tcp,
        Kind::Tcp,
        Kind::Udp,
        Kind::Udp,
        Kind::Sctp,
        Kind::Icmp,
        Kind::Other,
    ];
    let target = if rng.chance(85) { *rng.pick(&PORTS) } else { rng.word() };
    let source = if rng.chance(60) {
        *rng.pick(&[1024, 5000, 40_000, 65_535, 0, 67, 1023, 5001])
    } else {
        rng.word()
    };
    let mut half = || u32::from(rng.word()) << 16 | u32::from(rng.word());
    let next = [half(), half()];
    let kind = *rng.pick(&kinds);
    let ports = [source, target];
    let sender = Sender::default();
    Talk { network, ends, kind, ports, step: 0, next, last: None, sender }
}

/// An address of the same family as `here` that `seat` might talk with.
fn other(rng: &mut Rng, scene: &Scene, seat: &Seat, here: IpAddr) -> Option<IpAddr> {
    const ELSEWHERE: [&str; 16] = [
        "10.0.1.77",
        "10.0.1.21",
        "10.0.200.3",
        "10.1.3.3",
        "10.100.7.7",
        "203.0.113.1",
        "203.0.113.129",
        "203.0.113.200",
        "198.51.100.4",
        "169.254.70.1",
        "fd00:0:0:1::77",
        "fd00:0:0:7::1",
        "2001:db8:1::7",
        "2001:db8:2::1",
        "2a00::1",
        "fd64::77",
    ];
    let text: Option<&str> = match rng.below(10) {
        0..=4 => None,
        5 => Some(*rng.pick(&HOST)),
        _ => Some(*rng.pick(&ELSEWHERE)),
    };
    let address = if let Some(text) = text {
        text.parse().ok()?
    } else if rng.chance(12) {
        let gateways = scene.transit.get(seat.network)?;
        let near = match here {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff | 1)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !0xffff | 1)),
        };
        if rng.chance(50) { near } else { *gateways.get(rng.below(2))? }
    } else {
        let all: Vec<&Seat> = scene
            .seats
            .iter()
            .filter(|each| each.network == seat.network || rng.chance(30))
            .collect();
        let there = rng.pick(&all);
        if here.is_ipv4() { there.v4? } else { there.v6? }
    };
    (address.is_ipv4() == here.is_ipv4()).then_some(address)
}

impl Talk {
    /// Whether a socket of the host sends what leaves by an uplink; else it is forwarded for somebody.
    #[must_use]
    pub fn is_of_socket(&self) -> bool {
        !self.ports[0].is_multiple_of(4)
    }

    /// Whose socket of the host sends the next packet: now and then another process has taken the port.
    pub fn sender(&mut self, rng: &mut Rng) -> Sender {
        if rng.chance(12) {
            self.sender = Sender::random(rng);
        }
        self.sender
    }

    /// The next packet: usually the one that comes next, sometimes one that should not; after a change of the policy it
    /// is an error about what was sent before more often.
    pub fn packet(&mut self, rng: &mut Rng, scene: &Scene, changed: bool) -> Packet {
        let errors = if changed { 40 } else { 16 };
        let (from, body) = match rng.below(100) {
            0..12 => self.wrong(rng),
            at if at < errors && self.last.is_some() => return self.error(rng, scene),
            _ => self.right(rng),
        };
        let packet = self.wrap(rng, scene, from, body);
        let quotes = !matches!(packet.part, Part::Later(_));
        if quotes {
            self.last = Some(Packet { part: Part::Whole, ..packet.clone() });
        }
        packet
    }

    fn wrap(&self, rng: &mut Rng, scene: &Scene, from: usize, body: Body) -> Packet {
        let (source, target) = (self.ends[from], self.ends[1 - from]);
        let part = match (&body, rng.below(100)) {
            (Body::Udp(..), 0..=5) => Part::First(u16::try_from(rng.below(4)).unwrap_or(0)),
            (Body::Udp(..), 6..=13) => Part::Later(u16::try_from(rng.below(4)).unwrap_or(0)),
            _ => Part::Whole,
        };
        let hops = if rng.chance(4) { 1 } else { 64 };
        let source_mac = mac_of(scene, self.network, source).unwrap_or(GATEWAY);
        let neighbour = mac_of(scene, self.network, target);
        let target_mac = neighbour.filter(|_| rng.chance(70)).unwrap_or(GATEWAY);
        Packet { source_mac, target_mac, source, target, hops, body, part }
    }

    fn right(&mut self, rng: &mut Rng) -> (usize, Body) {
        let step = self.step;
        self.step += 1;
        match self.kind {
            Kind::Tcp => self.right_segment(rng, step),
            Kind::Udp => self.udp(usize::from(step > 0 && rng.chance(50))),
            Kind::Sctp => {
                let chunks =
                    [(0, 1), (1, 2), (0, 10), (1, 11), (0, 0), (1, 3), (0, 7), (1, 8), (0, 14)];
                let (from, chunk) = chunks[step.min(chunks.len() - 1)];
                self.sctp(from, chunk)
            }
            Kind::Icmp => self.icmp(usize::from(step > 0 && rng.chance(60))),
            Kind::Other => (usize::from(step > 0 && rng.chance(50)), Body::Other(47)),
        }
    }

    fn right_segment(&mut self, rng: &mut Rng, step: usize) -> (usize, Body) {
        let (from, flags, len) = match step {
            0 => (0, SYN, 0),
            1 => (1, SYN | ACK, 0),
            2 => (0, ACK, 0),
            3..=6 => (rng.below(2), ACK | PSH, 1 + rng.below(100)),
            7 => (rng.below(2), ACK | if rng.chance(20) { RST } else { FIN }, 0),
            8 => (0, ACK | FIN, 0),
            9 => (1, ACK | FIN, 0),
            _ => {
                self.step = 1;
                (0, SYN, 0)
            }
        };
        let len = u16::try_from(len).unwrap_or(1);
        let body = self.tcp(from, flags, len, 0, 0);
        let moves = u32::from(len) + u32::from(flags & (SYN | FIN) != 0);
        self.next[from] = self.next[from].wrapping_add(moves);
        (from, body)
    }

    fn tcp(&self, from: usize, flags: u8, len: u16, seq_off: u32, ack_off: u32) -> Body {
        let seq = self.next[from].wrapping_add(seq_off);
        let ack = if flags & ACK != 0 { self.next[1 - from].wrapping_add(ack_off) } else { 0 };
        Body::Tcp(Tcp {
            source: self.ports[from],
            target: self.ports[1 - from],
            flags,
            seq,
            ack,
            len,
        })
    }

    fn udp(&self, from: usize) -> (usize, Body) {
        (from, Body::Udp(self.ports[from], self.ports[1 - from]))
    }

    fn sctp(&self, from: usize, chunk: u8) -> (usize, Body) {
        let tag = if chunk == 1 { 0 } else { self.next[1 - from] };
        let (source, target) = (self.ports[from], self.ports[1 - from]);
        let own = self.next[from];
        (from, Body::Sctp(Sctp { source, target, chunk, tag, own, reflected: false }))
    }

    /// Any chunk, with the right tag, none, the sender's own or a guess; sometimes after a restart.
    fn wrong_sctp(&self, rng: &mut Rng, from: usize) -> (usize, Body) {
        let (source, target) = (self.ports[from], self.ports[1 - from]);
        let chunk = *rng.pick(&[0, 1, 2, 3, 6, 7, 10, 11, 14]);
        let right = if chunk == 1 { 0 } else { self.next[1 - from] };
        let tag = *rng.pick(&[right, right, right, 0, self.next[from], right ^ FAR]);
        let own = if rng.chance(50) { self.next[from] } else { self.next[from] ^ FAR };
        (from, Body::Sctp(Sctp { source, target, chunk, tag, own, reflected: rng.chance(30) }))
    }

    /// A query or its reply. Some talks use another query, some a code that is not 0.
    fn icmp(&self, from: usize) -> (usize, Body) {
        let id = self.ports[0] % 1000;
        let code = if self.ports[1].is_multiple_of(5) { 3 } else { 0 };
        let v4 = self.ends[0].is_ipv4();
        let timestamp = v4 && self.ports[1].is_multiple_of(3);
        let (query, reply) = match (v4, timestamp) {
            (true, false) => (8, 0),
            (true, true) => (13, 14),
            (false, _) => (128, 129),
        };
        let body = if from == 0 { Body::Icmp(query, code, id) } else { Body::Icmp(reply, 0, id) };
        (from, body)
    }

    fn wrong(&self, rng: &mut Rng) -> (usize, Body) {
        let from = rng.below(2);
        match self.kind {
            Kind::Tcp => {
                let flags = *rng.pick(&[
                    SYN,
                    SYN | ACK,
                    SYN | FIN,
                    ACK,
                    ACK | FIN,
                    ACK | RST,
                    RST,
                    FIN,
                    0,
                    ACK | PSH,
                ]);
                let (seq_off, ack_off) =
                    *rng.pick(&[(0, 0), (0, 0), (FAR, 0), (0, FAR), (0_u32.wrapping_sub(FAR), 0)]);
                (from, self.tcp(from, flags, 0, seq_off, ack_off))
            }
            Kind::Udp => self.udp(from),
            Kind::Sctp => self.wrong_sctp(rng, from),
            Kind::Icmp => {
                let kinds: &[u8] = if self.ends[0].is_ipv4() {
                    &[0, 8, 13, 14, 17, 5, 40]
                } else {
                    &[128, 129, 100, 200]
                };
                (from, Body::Icmp(*rng.pick(kinds), 0, (self.ports[0] % 1000) ^ 1))
            }
            Kind::Other => (from, Body::Other(*rng.pick(&[47, 50, 2]))),
        }
    }

    /// An error about the last packet, from its target, from somewhere on the way or from somebody else.
    fn error(&self, rng: &mut Rng, scene: &Scene) -> Packet {
        let Some(mut cause) = self.last.clone() else {
            return self.wrap(rng, scene, 0, Body::Other(2));
        };
        if rng.chance(15) {
            cause.body = Body::Udp(rng.word(), 53);
        }
        let target = cause.source;
        let near = scene.seats.iter().find(|seat| seat.has(target)).filter(|_| rng.chance(30));
        let third = near.and_then(|seat| other(rng, scene, seat, target));
        let source = third.filter(|third| *third != target).unwrap_or(cause.target);
        if rng.chance(10) {
            std::mem::swap(&mut cause.source, &mut cause.target);
        }
        let kinds: &[u8] = if target.is_ipv4() { &[3, 11, 12] } else { &[1, 2, 3, 4] };
        let body = Body::Error(*rng.pick(kinds), 1, Box::new(cause));
        let source_mac = mac_of(scene, self.network, source).unwrap_or(GATEWAY);
        let target_mac = mac_of(scene, self.network, target).unwrap_or(GATEWAY);
        Packet { source_mac, target_mac, source, target, hops: 64, body, part: Part::Whole }
    }
}

/// Stands for the bridge; no test looks at its number.
pub const GATEWAY: Mac = [0x02, 0x62, 0x68, 0xff, 0, 1];

/// The MAC address of the endpoint that has an address in a network.
#[must_use]
pub fn mac_of(scene: &Scene, network: usize, address: IpAddr) -> Option<Mac> {
    let seat = scene.seats.iter().find(|seat| seat.network == network && seat.has(address))?;
    Some(seat.mac)
}

/// Makes a packet a lie about who sends it, or an ARP request that is honest or not.
pub fn forge(rng: &mut Rng, scene: &Scene, packet: &mut Packet) {
    match rng.below(4) {
        0 => packet.source_mac[5] ^= 1,
        1 if packet.source.is_ipv4() => packet.source = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 250)),
        1 => packet.source = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0xbad)),
        _ if packet.source.is_ipv4() => {
            let honest = rng.chance(50);
            let sender = if honest { packet.source_mac } else { GATEWAY };
            packet.body = Body::Arp(sender);
            packet.part = Part::Whole;
            if rng.chance(30)
                && let Some(other) = rng.pick(&scene.seats).v4
            {
                packet.source = other;
            }
        }
        _ => packet.source_mac = GATEWAY,
    }
}
