//! What a stateful firewall must do with a sequence of packets: straight from the RFCs' states.
//!
//! Times stand still, so flows never time out here; timeouts have tests of their own.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Answer, Flow, Opinion, Scene, Seat, Who};
use crate::accounts::Sender;
use crate::bytes::{Body, Packet, Part, Sctp, Tcp};
use verdict::Reason;

/// What must become of a packet at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It passes; with the number of the endpoint that it may be handed to directly.
    Pass(Option<u16>),
    /// It passes and opens a flow.
    Open(Option<u16>, Opinion),
    /// It is dropped by the policy.
    Refused(Opinion),
    /// It is dropped for another reason.
    Drop(Reason),
}

pub(super) type Side = (IpAddr, u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    network: usize,
    protocol: u8,
    low: Side,
    high: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first packet was seen.
    Opening,
    /// It was answered.
    Answered,
    Established,
    Closing,
    Closed,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    /// As it was asked when the flow was opened.
    pub(super) flow: Flow,
    pub(super) epoch: u64,
    pub(super) phase: Phase,
    /// TCP: next sequence number of originator and responder.
    next: [u32; 2],
    /// TCP: who has sent a FIN.
    finished: [bool; 2],
    /// TCP: the responder's sequence numbers are known.
    pub(super) answered: bool,
    /// TCP: where the responder must stay until the originator has offered it a window.
    fence: Option<u32>,
    /// SCTP: the tags that packets to originator and responder carry, of before and after a restart.
    tags: [Option<[u32; 2]>; 2],
    /// Its beginning was not seen: nothing is known of sequence numbers and tags.
    pub(super) midway: bool,
    /// Somebody else's, who leaves with an address of the host: policy is not asked.
    pub(super) masqueraded: bool,
    /// Whose socket of the host has opened it.
    pub(super) sender: Sender,
}

impl State {
    /// After the first packet.
    pub(super) fn new(flow: Flow, epoch: u64, body: &Body) -> Self {
        let (next, tags) = begun(body);
        let (phase, finished) = (Phase::Opening, [false, false]);
        let (answered, fence, midway, masqueraded) = (false, None, false, false);
        let sender = Sender::default();
        Self {
            flow,
            epoch,
            phase,
            next,
            finished,
            answered,
            fence,
            tags,
            midway,
            masqueraded,
            sender,
        }
    }
}

/// Remembers flows and fragments over the scenes of a case.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    pub(super) flows: HashMap<Key, State>,
    pub(super) fragments: HashMap<(usize, IpAddr, IpAddr, u16), (u16, u16)>,
    /// Flows of workloads on the host's own stack.
    pub(super) of_sockets: super::hosted::Flows,
    /// Raised by one with every change of the policy.
    pub epoch: u64,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Oracle {
    /// Judges a packet that the seat sends or is to receive.
    pub fn judge(
        &mut self,
        scene: &Scene,
        seat: usize,
        (outgoing, entered): (bool, u16),
        packet: &Packet,
    ) -> Expected {
        match guard(scene, seat, outgoing, packet) {
            Err(reason) => Expected::Drop(reason),
            Ok(true) => Expected::Pass(None),
            Ok(false) => {
                let came = came(scene, seat, (outgoing, entered), packet);
                self.flow(scene, seat, (outgoing, came), packet)
            }
        }
    }

    fn flow(
        &mut self,
        scene: &Scene,
        seat: usize,
        (outgoing, came): (bool, Came),
        packet: &Packet,
    ) -> Expected {
        let network = scene.seats[seat].network;
        if let Body::Error(_, _, cause) = &packet.body {
            return self.error(scene, network, (outgoing, came), packet, cause);
        }
        let fragment = |id| (network, packet.source, packet.target, id);
        let ports = match packet.part {
            Part::Later(id) => match self.fragments.get(&fragment(id)) {
                Some(ports) => *ports,
                None => return Expected::Drop(Reason::OrphanFragment),
            },
            _ => ports(&packet.body, packet.source.is_ipv4()),
        };
        let expected = self.track(scene, seat, (outgoing, came), packet, ports);
        if let (Part::First(id), Expected::Pass(_) | Expected::Open(..)) = (packet.part, expected) {
            self.fragments.insert(fragment(id), ports);
        }
        expected
    }

    fn track(
        &mut self,
        scene: &Scene,
        seat: usize,
        (outgoing, came): (bool, Came),
        packet: &Packet,
        ports: (u16, u16),
    ) -> Expected {
        let network = scene.seats[seat].network;
        let protocol = packet.body.protocol(packet.source.is_ipv4());
        let flow = Flow { network, source: packet.source, target: packet.target, protocol, ports };
        let key = key(&flow);
        let to = direct(scene, network, outgoing, packet);
        if let Some(mut state) = self.flows.get(&key).cloned() {
            let reopens = state.phase == Phase::Closed && opens(&packet.body);
            if !reopens {
                if came == Came::Elsewhere {
                    return Expected::Drop(Reason::SpoofedAddress);
                }
                if state.epoch != self.epoch {
                    match scene.judge(&state.flow) {
                        Some(opinion) if !matches!(opinion.answer, Answer::Drop(_)) => {
                            state.epoch = self.epoch;
                        }
                        Some(opinion) => {
                            self.flows.remove(&key);
                            return Expected::Refused(opinion);
                        }
                        None => {
                            self.flows.remove(&key);
                            return Expected::Drop(Reason::UnknownPeer);
                        }
                    }
                }
                let forward = state.flow.source == packet.source;
                // Its own hook has looked at it already.
                let result = if came == Came::ByItsPort {
                    Ok(())
                } else {
                    advance(&mut state, packet, forward)
                };
                self.flows.insert(key, state);
                return result.map_or_else(Expected::Drop, |()| Expected::Pass(to));
            }
            self.flows.remove(&key);
        }
        if let Some(reason) = stray(&packet.body, packet.source.is_ipv4()) {
            return Expected::Drop(reason);
        }
        let own = |seat: &Seat| seat.network == network && seat.has(packet.source);
        if !outgoing && scene.seats.iter().any(own) {
            // Its own hook would have entered the flow.
            return Expected::Drop(Reason::SpoofedAddress);
        }
        let Some(opinion) = scene.judge(&flow) else {
            return Expected::Drop(Reason::UnknownPeer);
        };
        if matches!(opinion.answer, Answer::Drop(_)) {
            return Expected::Refused(opinion);
        }
        self.flows.insert(key, State::new(flow, self.epoch, &packet.body));
        Expected::Open(to, opinion)
    }

    /// An ICMP error passes when it quotes a packet of a live, still allowed flow, and its sender can know of it.
    fn error(
        &self,
        scene: &Scene,
        network: usize,
        (outgoing, came): (bool, Came),
        packet: &Packet,
        cause: &Packet,
    ) -> Expected {
        let local =
            |address| scene.seats.iter().any(|seat| seat.network == network && seat.has(address));
        let by_target = packet.source == cause.target;
        let inside = local(cause.source) && local(cause.target);
        let by_gateway = !outgoing && scene.who(network, packet.source) == Who::Host;
        if by_target && came == Came::Elsewhere {
            return Expected::Drop(Reason::UnrelatedIcmp);
        }
        if !by_target && (outgoing || inside && !by_gateway) {
            return Expected::Drop(Reason::UnrelatedIcmp);
        }
        let (source, target) = (cause.source, cause.target);
        let protocol = cause.body.protocol(source.is_ipv4());
        let ports = ports(&cause.body, source.is_ipv4());
        let flow = Flow { network, source, target, protocol, ports };
        let state = self.flows.get(&key(&flow)).filter(|_| source == packet.target);
        let lives = state.is_some_and(|state| {
            state.epoch == self.epoch
                || scene
                    .judge(&state.flow)
                    .is_some_and(|opinion| !matches!(opinion.answer, Answer::Drop(_)))
        });
        if lives { Expected::Pass(None) } else { Expected::Drop(Reason::UnrelatedIcmp) }
    }
}

/// The next sequence numbers and the tags of a flow after its first packet.
fn begun(body: &Body) -> ([u32; 2], [Option<[u32; 2]>; 2]) {
    match body {
        Body::Tcp(tcp) => {
            ([tcp.seq.wrapping_add(u32::from(tcp.len)).wrapping_add(1), 0], [None, None])
        }
        Body::Sctp(sctp) => ([0, 0], [Some([sctp.own; 2]), None]),
        _ => ([0, 0], [None, None]),
    }
}

/// How a packet with the address of a neighbour came to a port in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It is to be sent, or its source is no neighbour, or the port is not in place.
    Somehow,
    /// By the neighbour's port.
    ByItsPort,
    /// Another way.
    Elsewhere,
}

fn came(scene: &Scene, seat: usize, (outgoing, entered): (bool, u16), packet: &Packet) -> Came {
    let here = &scene.seats[seat];
    let neighbour = |seat: &&Seat| seat.network == here.network && seat.has(packet.source);
    match scene.seats.iter().find(neighbour) {
        Some(neighbour) if !outgoing && here.in_place => {
            if neighbour.number == entered {
                Came::ByItsPort
            } else {
                Came::Elsewhere
            }
        }
        _ => Came::Somehow,
    }
}

/// Who speaks for whom: `Ok(true)` for address resolution that passes.
fn guard(scene: &Scene, seat: usize, outgoing: bool, packet: &Packet) -> Result<bool, Reason> {
    let seat = &scene.seats[seat];
    let own_mac = seat.mac;
    let own = |address: IpAddr| seat.has(address);
    if outgoing && packet.source_mac != own_mac {
        return Err(Reason::SpoofedMac);
    }
    if !outgoing && packet.target_mac != own_mac {
        return Err(Reason::ForeignFrame);
    }
    if let Body::Arp(sender) = packet.body {
        let honest = sender == own_mac && seat.v4 == Some(packet.source);
        return if !outgoing || honest { Ok(true) } else { Err(Reason::SpoofedArp) };
    }
    if !outgoing && !own(packet.target) {
        return Err(Reason::ForeignFrame);
    }
    if outgoing && !own(packet.source) {
        return Err(Reason::SpoofedAddress);
    }
    if outgoing
        && matches!(packet.body, Body::Udp(67 | 547, _))
        && !matches!(packet.part, Part::Later(_))
    {
        return Err(Reason::RogueDhcp);
    }
    Ok(false)
}

/// The endpoint that a outgoing packet may be handed to without bridge and router.
fn direct(scene: &Scene, network: usize, outgoing: bool, packet: &Packet) -> Option<u16> {
    let there =
        scene.seats.iter().find(|seat| seat.network == network && seat.has(packet.target))?;
    let routed = packet.target_mac != there.mac;
    (outgoing && !there.in_place && packet.source != packet.target && (!routed || packet.hops > 1))
        .then_some(there.number)
}

pub(super) fn key(flow: &Flow) -> Key {
    let (a, b) = ((flow.source, flow.ports.0), (flow.target, flow.ports.1));
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    Key { network: flow.network, protocol: flow.protocol, low, high }
}

/// Ports, or what stands for them: a query has its identifier and type, a reply those of its query.
pub(super) fn ports(body: &Body, v4: bool) -> (u16, u16) {
    match *body {
        Body::Tcp(tcp) => (tcp.source, tcp.target),
        Body::Udp(source, target) => (source, target),
        Body::Sctp(sctp) => (sctp.source, sctp.target),
        Body::Icmp(kind, code, id) => {
            let query = u16::from(kind) << 8 | u16::from(code);
            match (v4, kind) {
                (true, 0) => (8 << 8, id),
                (true, 14) => (13 << 8, id),
                (false, 129) => (128 << 8, id),
                (true, 8 | 13) | (false, 128) => (id, query),
                _ => (0, query),
            }
        }
        Body::Error(..) | Body::Other(_) | Body::Arp(_) => (0, 0),
    }
}

pub(super) fn opens(body: &Body) -> bool {
    match body {
        Body::Tcp(tcp) => tcp.flags & (SYN | ACK | RST | FIN) == SYN,
        Body::Sctp(sctp) => sctp.chunk == 1 && sctp.tag == 0,
        _ => false,
    }
}

pub(super) fn stray(body: &Body, v4: bool) -> Option<Reason> {
    match body {
        Body::Tcp(_) if !opens(body) => Some(Reason::StrayTcp),
        Body::Sctp(_) if !opens(body) => Some(Reason::StraySctp),
        Body::Icmp(kind, _, _) => {
            let query = matches!((v4, kind), (true, 8 | 13) | (false, 128));
            (!query).then_some(Reason::StrayIcmp)
        }
        _ => None,
    }
}

pub(super) fn advance(state: &mut State, packet: &Packet, forward: bool) -> Result<(), Reason> {
    match packet.body {
        Body::Tcp(tcp) => segment(state, tcp, forward),
        Body::Sctp(sctp) => association(state, sctp, forward),
        _ => Ok(()),
    }
}

/// RFC 9293 §3.3.2, seen from between the two.
fn segment(state: &mut State, tcp: Tcp, forward: bool) -> Result<(), Reason> {
    let has = |flag: u8| tcp.flags & flag != 0;
    let (sender, receiver) = if forward { (0, 1) } else { (1, 0) };
    if has(SYN) && !has(RST) {
        if has(FIN) || !has(ACK) && !forward {
            return Err(Reason::StrayTcp);
        }
        if state.phase != Phase::Opening {
            return Ok(());
        }
        return match (has(ACK), forward) {
            (false, true) => {
                state.next[0] = tcp.seq.wrapping_add(u32::from(tcp.len)).wrapping_add(1);
                Ok(())
            }
            (true, false) if tcp.ack == state.next[0] => {
                state.next[1] = tcp.seq.wrapping_add(u32::from(tcp.len)).wrapping_add(1);
                state.phase = Phase::Answered;
                state.answered = true;
                state.fence = Some(state.next[1]);
                Ok(())
            }
            _ => Err(Reason::OutOfWindow),
        };
    }
    if !state.answered {
        if forward || !has(RST) || state.phase != Phase::Opening {
            return Err(Reason::StrayTcp);
        }
        if !has(ACK) || tcp.ack != state.next[0] {
            return Err(Reason::OutOfWindow);
        }
        state.phase = Phase::Closed;
        return Ok(());
    }
    let near = |a: u32, b: u32| a.wrapping_sub(b).cast_signed().unsigned_abs() < 60_000;
    // Nothing can be acknowledged that was not sent.
    let unsent = tcp.ack.wrapping_sub(state.next[receiver]).cast_signed() > 0;
    let acks = !has(ACK) || near(tcp.ack, state.next[receiver]) && !unsent;
    let fits = state.midway || near(tcp.seq, state.next[sender]) && acks;
    let fenced = state.fence.is_some_and(|fence| tcp.seq.wrapping_sub(fence).cast_signed() > 0);
    if !fits || !forward && fenced {
        return Err(Reason::OutOfWindow);
    }
    if forward {
        state.fence = None;
    }
    let end = tcp.seq.wrapping_add(u32::from(tcp.len)).wrapping_add(u32::from(has(FIN)));
    if end.wrapping_sub(state.next[sender]).cast_signed() > 0 {
        state.next[sender] = end;
    }
    state.finished[sender] |= has(FIN);
    if has(RST) || state.finished == [true, true] {
        state.phase = Phase::Closed;
    } else if state.finished[0] || state.finished[1] {
        if state.phase != Phase::Closed {
            state.phase = Phase::Closing;
        }
    } else if forward && state.phase == Phase::Answered {
        state.phase = Phase::Established;
    }
    Ok(())
}

/// RFC 9260 §4 and §8.5, seen from between the two.
fn association(state: &mut State, sctp: Sctp, forward: bool) -> Result<(), Reason> {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    let (sender, receiver) = if forward { (0, 1) } else { (1, 0) };
    let first = state.phase == Phase::Opening;
    let names = |tags: Option<[u32; 2]>| match tags {
        Some([old, _]) if !first => Some([old, sctp.own]),
        _ => Some([sctp.own; 2]),
    };
    if sctp.chunk == INIT {
        // The responder's would be a flow of its own.
        if !forward || sctp.tag != 0 {
            return Err(Reason::StraySctp);
        }
        state.tags[0] = names(state.tags[0]);
        return Ok(());
    }
    let ends = matches!(sctp.chunk, 6 | 14);
    let side = if ends && sctp.reflected { sender } else { receiver };
    let fits = state.midway || state.tags[side].map_or(!ends, |tags| tags.contains(&sctp.tag));
    if !fits {
        return Err(Reason::OutOfWindow);
    }
    if sctp.chunk == INIT_ACK && !forward {
        state.tags[1] = names(state.tags[1]);
    }
    state.phase = match (state.phase, sctp.chunk) {
        (_, 6 | 14) => Phase::Closed,
        (Phase::Opening, INIT_ACK) if !forward => Phase::Answered,
        (Phase::Opening, _) => return Err(Reason::StraySctp),
        (Phase::Answered, 11) if !forward => Phase::Established,
        (phase, INIT_ACK | 10) => phase,
        (Phase::Answered, _) => return Err(Reason::StraySctp),
        (Phase::Established, 7 | 8) => Phase::Closing,
        (phase, _) => phase,
    };
    Ok(())
}
