//! What workloads on the host's own stack do with sockets: conversations with each other, the host and the world, and calls.

use std::net::IpAddr;

use crate::bytes::{Body, Packet, Part};
use crate::generate::PORTS;
use crate::oracle::{Ask, AtSocket, Scene, Sockets};
use crate::rng::Rng;
use crate::traffic::{self, Talk};

/// Whose socket an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// That of a workload, by its position.
    Workload(usize),
    Host,
    Away,
}

/// A talk of at least one workload on the host's stack.
#[derive(Debug, Clone)]
pub struct Spoken {
    talk: Talk,
    ends: [End; 2],
    ports: u16,
}

/// Addresses of the host, loopback among them.
const HERE: [&str; 8] = [
    "127.0.0.1",
    "127.0.0.2",
    "192.0.2.10",
    "10.0.9.9",
    "::1",
    "2001:db8::10",
    "fd00:0:0:9::9",
    "127.8.0.1",
];
/// And of others.
const THERE: [&str; 12] = [
    "203.0.113.1",
    "203.0.113.129",
    "203.0.113.200",
    "198.51.100.4",
    "10.0.1.77",
    "10.100.7.7",
    "169.254.70.1",
    "2001:db8:1::7",
    "2001:db8:2::1",
    "2a00::1",
    "fd64::77",
    "fd00:0:0:1::77",
];
/// Groups, and what stays on a link.
const NEAR: [&str; 3] = ["224.0.0.251", "ff02::fb", "fe80::9"];

fn address(rng: &mut Rng, of: &[&str]) -> Option<IpAddr> {
    rng.pick(of).parse().ok()
}

/// Begins a talk.
pub fn begin(rng: &mut Rng, scene: &Scene) -> Option<Spoken> {
    let own = rng.below(scene.hosted.len());
    let other = match rng.below(10) {
        0..=4 => End::Workload(rng.below(scene.hosted.len())),
        5 | 6 => End::Host,
        _ => End::Away,
    };
    let here = address(rng, &HERE)?;
    let far: &[&str] = match other {
        End::Away if rng.chance(5) => &NEAR,
        End::Away => &THERE,
        End::Workload(_) | End::Host => &HERE,
    };
    let fits = |there: &IpAddr| there.is_ipv4() == here.is_ipv4() && *there != here;
    let there = (0..8).find_map(|_| address(rng, far).filter(fits))?;
    let ends = [(End::Workload(own), here), (other, there)];
    let [one, two] = if rng.chance(60) { ends } else { [ends[1], ends[0]] };
    let talk = traffic::between(rng, scene.hosted[own].network, [one.1, two.1]);
    Some(Spoken { talk, ends: [one.0, two.0], ports: rng.word() })
}

impl Spoken {
    /// The next packet, and the sockets that it meets: its sender's, if that is a workload's, and its receiver's.
    pub fn packet(
        &mut self,
        rng: &mut Rng,
        scene: &Scene,
    ) -> Option<(Packet, [Option<AtSocket>; 2])> {
        let packet = self.talk.packet(rng, scene, false);
        // Errors are the business of the stack, and what a socket sends is in one piece here.
        if matches!(packet.body, Body::Error(..)) {
            return None;
        }
        let packet = Packet { part: Part::Whole, ..packet };
        let from = usize::from(packet.source != self.talk.ends[0]);
        let (source, target) = (self.ends[from], self.ends[1 - from]);
        let closed = rng.chance(6);
        let seen = |end: End| match end {
            End::Away => Sockets::Away,
            End::Workload(_) | End::Host if closed => Sockets::Nobody,
            End::Host if self.ports.is_multiple_of(2) => Sockets::Nobody,
            End::Host => Sockets::Host,
            End::Workload(seat) => Sockets::Workload(seat),
        };
        let at = |own: End, far: End, sent: bool| match own {
            End::Workload(seat) => Some(AtSocket { seat, sent, far: seen(far) }),
            End::Host | End::Away => None,
        };
        Some((packet, [at(source, target, true), at(target, source, false)]))
    }
}

/// A call of a workload: its position, what it asks for, and the address, port and protocol.
pub fn call(rng: &mut Rng, scene: &Scene) -> Option<(usize, Ask, (IpAddr, u16, u8))> {
    let seat = rng.below(scene.hosted.len());
    let protocol = *rng.pick(&[6, 6, 17]);
    let port = if rng.chance(85) { *rng.pick(&PORTS) } else { rng.word() };
    if rng.chance(40) {
        return Some((seat, Ask::Bind, (address(rng, &HERE)?, port, protocol)));
    }
    let to = match rng.below(20) {
        0 => address(rng, &NEAR)?,
        1 => address(rng, &["0.0.0.0", "::"])?,
        2..=6 => address(rng, &HERE)?,
        _ => address(rng, &THERE)?,
    };
    let bound = if rng.chance(70) { 0 } else { *rng.pick(&[1024, 5000, 40_000]) };
    Some((seat, Ask::Connect(bound), (to, port, protocol)))
}
