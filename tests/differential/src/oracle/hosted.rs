//! Workloads on the host's own stack, from the guide of `mode: host`: sockets tell who is at an end, what a workload says to itself is
//! nobody's business, two of one network are judged where it is sent, and calls are refused when it is clear that policy drops what they begin.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use model::{Peer, Posture};
use verdict::Reason;

use super::flows::{Phase, State, advance, opens, ports, stray};
use super::{Answer, Expected, Flow, Opinion, Oracle, Scene, Who, has};
use crate::bytes::{Body, Packet};

/// A packet at the socket of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtSocket {
    /// Position of the workload among the hosted ones.
    pub seat: usize,
    /// It sends the packet; otherwise it is to receive it.
    pub sent: bool,
    /// Whose the socket at the other end is.
    pub far: Sockets,
}

/// Whose the socket at the other end of a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// The other end is not on this host.
    Away,
    /// There is none, or none any more.
    Nobody,
    /// The host's.
    Host,
    /// That of a workload, by its position among the hosted ones.
    Workload(usize),
}

/// What a program asks of its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To be connected, or to send a datagram that names its target: from the port that it is bound to, 0 when to none.
    Connect(u16),
    /// To be bound.
    Bind,
}

/// A port that the kernel chooses for who asks for none.
const EPHEMERAL: u16 = 49_152;

type Socket = (IpAddr, u16);
type Side = (Option<usize>, IpAddr, u16);
type Key = (usize, u8, [Side; 2]);

/// What is known of the flows of such workloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    /// With the ends as they were when the flow was opened, its opener first.
    known: HashMap<Key, (State, [Side; 2])>,
    /// Whose the sockets of a TCP connection were when it began.
    sockets: HashMap<(u8, [Socket; 2]), BTreeMap<Socket, Option<usize>>>,
}

impl Oracle {
    /// Judges a packet at a socket.
    pub fn at_socket(&mut self, scene: &Scene, at: AtSocket, packet: &Packet) -> Expected {
        let protocol = packet.body.protocol(packet.source.is_ipv4());
        if [packet.source, packet.target].into_iter().any(is_near) {
            return Expected::Drop(Reason::LocalScope);
        }
        let ports = ports(&packet.body, packet.source.is_ipv4());
        let far = self.far(scene, at, packet, (protocol, ports));
        if far == Some(at.seat) {
            return Expected::Pass(None);
        }
        let own = Some(at.seat);
        let (from, to) = if at.sent { (own, far) } else { (far, own) };
        let ends = [(from, packet.source, ports.0), (to, packet.target, ports.1)];
        let mut sorted = ends;
        sorted.sort_unstable();
        let key = (scene.hosted[at.seat].network, protocol, sorted);
        match self.known_at_socket(scene, at, (key, ends), packet) {
            Some(expected) => expected,
            None => self.opened_at_socket(scene, at, (key, ends), packet),
        }
    }

    /// The workload of the same network at the other end, which a socket tells, or has told.
    fn far(
        &mut self,
        scene: &Scene,
        at: AtSocket,
        packet: &Packet,
        (protocol, ports): (u8, (u16, u16)),
    ) -> Option<usize> {
        let is_tcp = matches!(packet.body, Body::Tcp(_));
        if at.far == Sockets::Away || !is_tcp && !matches!(packet.body, Body::Udp(..)) {
            return None;
        }
        let told = match at.far {
            Sockets::Workload(seat) => Some(Some(seat)),
            Sockets::Host => Some(None),
            Sockets::Nobody | Sockets::Away => None,
        };
        let (source, target) = ((packet.source, ports.0), (packet.target, ports.1));
        let (near, far) = if at.sent { (source, target) } else { (target, source) };
        let mut both = [near, far];
        both.sort_unstable();
        let begins = is_tcp && at.sent && opens(&packet.body);
        let found = match told {
            Some(found) if begins => {
                let ends = BTreeMap::from([(near, Some(at.seat)), (far, found)]);
                self.of_sockets.sockets.insert((protocol, both), ends);
                found
            }
            None if is_tcp => {
                let ends = self.of_sockets.sockets.get(&(protocol, both));
                ends.and_then(|ends| ends.get(&far).copied().flatten())
            }
            told => told.flatten(),
        };
        let here = scene.hosted[at.seat].network;
        found.filter(|seat| scene.hosted[*seat].network == here)
    }

    fn known_at_socket(
        &mut self,
        scene: &Scene,
        at: AtSocket,
        (key, ends): (Key, [Side; 2]),
        packet: &Packet,
    ) -> Option<Expected> {
        let (mut state, opener) = self.of_sockets.known.get(&key)?.clone();
        // The port of a connection that one side has closed is taken again by who had it; of SCTP that is the association's restart.
        let is_over = match state.phase {
            Phase::Closed => true,
            Phase::Closing => matches!(packet.body, Body::Tcp(_)),
            _ => false,
        };
        if is_over && opens(&packet.body) {
            self.of_sockets.known.remove(&key);
            return None;
        }
        if state.epoch != self.epoch {
            match scene.judge_sockets(&state.flow, opener) {
                Some(opinion) if matches!(opinion.answer, Answer::Drop(_)) => {
                    self.of_sockets.known.remove(&key);
                    return Some(Expected::Refused(opinion));
                }
                _ => state.epoch = self.epoch,
            }
        }
        // What a workload of the network sends was followed where it was sent.
        let is_followed = !at.sent && ends[0].0.is_some();
        let forward = opener[0] == ends[0];
        let result = if is_followed { Ok(()) } else { advance(&mut state, packet, forward) };
        self.of_sockets.known.insert(key, (state, opener));
        Some(result.map_or_else(Expected::Drop, |()| Expected::Pass(None)))
    }

    fn opened_at_socket(
        &mut self,
        scene: &Scene,
        at: AtSocket,
        (key, ends): (Key, [Side; 2]),
        packet: &Packet,
    ) -> Expected {
        if let Some(reason) = stray(&packet.body, packet.source.is_ipv4()) {
            return Expected::Drop(reason);
        }
        // It would have been judged where it was sent.
        if !at.sent && ends[0].0.is_some() {
            return Expected::Drop(Reason::SpoofedAddress);
        }
        let (network, protocol, _) = key;
        let (source, target) = (packet.source, packet.target);
        let flow = Flow { network, source, target, protocol, ports: (ends[0].2, ends[1].2) };
        let Some(opinion) = scene.judge_sockets(&flow, ends) else {
            return Expected::Drop(Reason::UnknownPeer);
        };
        if matches!(opinion.answer, Answer::Drop(_)) {
            return Expected::Refused(opinion);
        }
        let state = State::new(flow, self.epoch, &packet.body);
        self.of_sockets.known.insert(key, (state, ends));
        Expected::Open(None, opinion)
    }
}

impl Scene {
    /// What becomes of a flow between two ends whose sockets are known.
    fn judge_sockets(&self, flow: &Flow, ends: [Side; 2]) -> Option<Opinion> {
        let [source, target] = ends.map(|(seat, address, _)| match seat {
            Some(seat) => Who::Endpoint(self.seats.len() + seat),
            None => self.who(flow.network, address),
        });
        self.judge_between(flow, source, target)
    }

    /// What becomes of a call of a workload.
    #[must_use]
    pub fn call(
        &self,
        seat: usize,
        ask: Ask,
        (address, port, protocol): (IpAddr, u16, u8),
    ) -> Expected {
        let network = self.hosted[seat].network;
        let bound = match ask {
            Ask::Bind => return self.bind(seat, (address, port, protocol)),
            Ask::Connect(bound) => bound,
        };
        // Whether a datagram of a bound socket answers somebody, and who listens on this host, is not known yet.
        let answers = bound != 0 && protocol == 17;
        let is_host = self.who(network, address) == Who::Host;
        if answers || is_near(address) || address.is_unspecified() || is_host {
            return Expected::Pass(None);
        }
        let source =
            if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
        let from = |own: u16| {
            let flow = Flow { network, source, target: address, protocol, ports: (own, port) };
            self.judge_sockets(&flow, [(Some(seat), source, own), (None, address, port)])
        };
        let refused =
            |own: u16| from(own).filter(|opinion| matches!(opinion.answer, Answer::Drop(_)));
        let last = if bound == 0 { EPHEMERAL } else { bound };
        match (refused(bound), refused(last)) {
            (Some(_), Some(opinion)) => Expected::Refused(opinion),
            _ => Expected::Pass(None),
        }
    }

    /// A port that the kernel chooses, one that a rule opens to anybody, and every one where posture or audit let in.
    fn bind(&self, seat: usize, (address, port, protocol): (IpAddr, u16, u8)) -> Expected {
        let at = self.seats.len() + seat;
        let workload = self.workload(at);
        let (posture, _) = self.posture(workload, true);
        if port == 0 || posture != Posture::Deny || self.is_audited(workload, true) {
            return Expected::Pass(None);
        }
        let network = self.hosted[seat].network;
        let flow = Flow { network, source: address, target: address, protocol, ports: (0, port) };
        let opens = self.doc.policies.iter().any(|policy| {
            let is_there = policy.until.is_none_or(|until| self.now < until)
                && policy
                    .schedule
                    .as_ref()
                    .is_none_or(|times| crate::clock::is_open(times, self.now));
            let from_anywhere =
                policy::document::Policy { source_ports: Vec::new(), ..policy.clone() };
            let means = |peer: &Peer| self.is(peer, &policy.scope, Who::Endpoint(at), address);
            let lets = has(&policy.allow, &from_anywhere, &flow)
                || policy.audit && !policy.allow.is_empty();
            is_there && lets && policy.to.iter().any(means)
        });
        if opens { Expected::Pass(None) } else { Expected::Drop(Reason::PortNotOpen) }
    }
}

/// What is not routed: groups and link-local addresses. Those of IPv4 are addresses as any other.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}
