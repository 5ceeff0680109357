//! The host at its uplinks, from the description of `host:`: whose a packet is, what no rule turns off, what others send with the host's
//! address, and connections that are older than the policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{Mode, Posture};
use planner::Accounts;
use verdict::Reason;

use super::flows::{Phase, State, advance, key, opens, ports, stray};
use super::{Answer, Expected, Flow, Opinion, Oracle, Scene, Who, rule};
use crate::accounts::Sender;
use crate::bytes::{Body, Packet, Part};

/// Stands for the uplinks where others have the position of a network.
pub const UPLINK: usize = usize::MAX;

/// Which way a packet takes at an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// It leaves.
    pub sent: bool,
    /// A socket of the host has sent it; otherwise it is forwarded for somebody.
    pub by_socket: bool,
    /// Whose that socket is.
    pub sender: Sender,
}

impl Way {
    /// The number of the account that sends, by the agent's tables; 0 for everybody else.
    #[must_use]
    pub fn account(&self, accounts: &Accounts) -> u32 {
        if self.sent && self.by_socket { self.sender.number(accounts) } else { 0 }
    }
}

impl Scene {
    /// Who has an address, seen from an uplink.
    #[must_use]
    pub fn who_outside(&self, address: IpAddr) -> Who {
        if self.host.contains(&address) || address.is_unspecified() {
            return Who::Host;
        }
        let routed = self.doc.networks.iter().filter(|network| network.mode == Mode::Routed);
        let is_behind =
            routed.flat_map(|network| network.subnets.iter()).any(|net| net.contains(&address));
        let transit = ["169.254.64.0/19", "fd62:756c:6b68::/64"];
        let in_transit = transit
            .iter()
            .any(|text| text.parse::<IpNet>().is_ok_and(|net| net.contains(&address)));
        if is_behind || in_transit { Who::Unmanaged } else { Who::World }
    }

    /// What becomes of a flow of the host that these processes open, if they are of the host; `None` when neither end is the host.
    #[must_use]
    pub fn judge_host(&self, flow: &Flow, sender: Sender) -> Option<Opinion> {
        let (source, target) = (self.who_outside(flow.source), self.who_outside(flow.target));
        let mut opinion = None;
        for (end, ingress) in [(source, false), (target, true)] {
            if end != Who::Host {
                continue;
            }
            // Processes are told apart in what they send; to who receives it they are the host.
            let from = if ingress { source } else { Who::Processes(sender) };
            let answer = self.side_of_host(flow, (from, target), ingress);
            let before = opinion.unwrap_or(Opinion { answer, egress: 0, ingress: 0 });
            let recorded =
                matches!(before.answer, Answer::Audit(_)) && !matches!(answer, Answer::Drop(_));
            let mut now =
                Opinion { answer: if recorded { before.answer } else { answer }, ..before };
            if ingress {
                now.ingress = rule(answer);
            } else {
                now.egress = rule(answer);
            }
            opinion = Some(now);
            if matches!(answer, Answer::Drop(_)) {
                return opinion;
            }
        }
        opinion
    }

    /// What the host's policy says in one direction.
    fn side_of_host(&self, flow: &Flow, ends: (Who, Who), ingress: bool) -> Answer {
        let Some(host) = &self.doc.host else { return Answer::Allow(0) };
        let is_confined = match ends.0 {
            Who::Processes(sender) => host.confined.iter().any(|each| sender.is(each)),
            _ => false,
        };
        let posture = match (ingress, is_confined) {
            (true, _) => host.postures.ingress,
            (false, true) => Posture::Deny,
            (false, false) => host.postures.egress,
        };
        let answer = self.rules(flow, ends, None, (posture, false));
        let is_audited = self.audits([host.audit, self.doc.audit].into_iter(), ingress);
        match answer {
            Answer::Drop(rule) if is_audited => Answer::Audit(rule),
            answer => answer,
        }
    }
}

impl Oracle {
    /// Judges a packet that leaves by an uplink, of a socket of this host or of somebody else, or that comes in there.
    pub fn at_uplink(&mut self, scene: &Scene, way: Way, packet: &Packet) -> Expected {
        let sent = way.sent;
        if scene.doc.host.is_none() || matches!(packet.body, Body::Arp(_)) {
            return Expected::Pass(None);
        }
        let own = if sent { packet.source } else { packet.target };
        let everybody = !sent && (packet.target_mac[0] & 1 == 1 || is_group(own));
        let is_own = everybody || is_link_local(own) || scene.who_outside(own) == Who::Host;
        if !is_own || is_kept(packet, sent) {
            return Expected::Pass(None);
        }
        // What has no address of its own there is the host's first one.
        let stands = everybody || is_link_local(own) || own.is_unspecified();
        let mut packet = packet.clone();
        let first = scene.host.iter().find(|each| each.is_ipv4() == own.is_ipv4());
        if let Some(first) = first.filter(|_| stands) {
            *(if sent { &mut packet.source } else { &mut packet.target }) = *first;
        }
        self.of_host(scene, way, &packet)
    }

    fn of_host(&mut self, scene: &Scene, way: Way, packet: &Packet) -> Expected {
        if let Body::Error(_, _, cause) = &packet.body {
            return self.about(scene, packet, cause);
        }
        let fragment = |id| (UPLINK, packet.source, packet.target, id);
        let ports = match packet.part {
            Part::Later(id) => match self.fragments.get(&fragment(id)) {
                Some(ports) => *ports,
                None => return Expected::Drop(Reason::OrphanFragment),
            },
            _ => ports(&packet.body, packet.source.is_ipv4()),
        };
        let protocol = packet.body.protocol(packet.source.is_ipv4());
        let (source, target) = (packet.source, packet.target);
        let flow = Flow { network: UPLINK, source, target, protocol, ports };
        let expected = match self.known(scene, way, packet, &flow) {
            Some(expected) => expected,
            None => self.new_flow(scene, way, packet, flow),
        };
        if let (Part::First(id), Expected::Pass(_) | Expected::Open(..)) = (packet.part, expected) {
            self.fragments.insert(fragment(id), ports);
        }
        expected
    }

    /// What becomes of a packet of a flow that is known.
    fn known(&mut self, scene: &Scene, way: Way, packet: &Packet, flow: &Flow) -> Option<Expected> {
        let key = key(flow);
        let mut state = self.flows.get(&key)?.clone();
        let opener = |flow: &Flow| (flow.source, flow.ports.0);
        let forward = opener(&state.flow) == opener(flow);
        // A port of UDP or SCTP that one process has left may be taken by another one; a TCP connection begins anew by itself.
        let sender = if way.by_socket { way.sender } else { Sender::default() };
        let told = |sender: Sender| sender.told_by(&scene.doc);
        let another = told(sender) != told(state.sender);
        if way.sent && forward && another && !matches!(packet.body, Body::Tcp(_)) {
            self.flows.remove(&key);
            return None;
        }
        if state.phase == Phase::Closed && opens(&packet.body) {
            self.flows.remove(&key);
            return None;
        }
        if state.epoch != self.epoch {
            match lives(scene, &state) {
                Ok(()) => {
                    state.epoch = self.epoch;
                    state.sender = told(state.sender);
                }
                Err(expected) => {
                    self.flows.remove(&key);
                    return Some(expected);
                }
            }
        }
        let result = advance(&mut state, packet, forward);
        self.flows.insert(key, state);
        Some(result.map_or_else(Expected::Drop, |()| Expected::Pass(None)))
    }

    fn new_flow(
        &mut self,
        scene: &Scene,
        Way { sent, by_socket: socket, sender }: Way,
        packet: &Packet,
        mut flow: Flow,
    ) -> Expected {
        let connected = matches!(packet.body, Body::Tcp(_) | Body::Sctp(_));
        let midway = connected && !opens(&packet.body) && packet.part == Part::Whole;
        if let Some(reason) = stray(&packet.body, packet.source.is_ipv4()).filter(|_| !midway) {
            return Expected::Drop(reason);
        }
        let begin = |flow: Flow, epoch, sender| {
            let mut state = State::new(flow, epoch, &packet.body);
            state.sender = sender;
            if midway {
                (state.phase, state.answered, state.midway) = (Phase::Established, true, true);
            }
            state
        };
        let (key, begun_at) = (key(&flow), flow.ports.0);
        if sent && !socket {
            let mut state = begin(flow, self.epoch, Sender::default());
            state.masqueraded = true;
            self.flows.insert(key, state);
            return Expected::Pass(None);
        }
        // The service is the side with the lower port.
        if midway && sent && flow.ports.0 < flow.ports.1 {
            (flow.source, flow.target) = (flow.target, flow.source);
            flow.ports = (flow.ports.1, flow.ports.0);
        }
        let opens_it = sent && (flow.source, flow.ports.0) == (packet.source, begun_at);
        let sender = if opens_it { sender.told_by(&scene.doc) } else { Sender::default() };
        if !sent && scene.who_outside(flow.source) == Who::Host {
            return Expected::Drop(Reason::SpoofedAddress);
        }
        let Some(opinion) = scene.judge_host(&flow, sender) else {
            return Expected::Drop(Reason::UnknownPeer);
        };
        if matches!(opinion.answer, Answer::Drop(_)) {
            return Expected::Refused(opinion);
        }
        self.flows.insert(key, begin(flow, self.epoch, sender));
        Expected::Open(None, opinion)
    }

    /// An ICMP error that comes in, about something that the host has sent. Those that the host sends are never refused.
    fn about(&self, scene: &Scene, packet: &Packet, cause: &Packet) -> Expected {
        let (source, target) = (cause.source, cause.target);
        let protocol = cause.body.protocol(source.is_ipv4());
        let ports = ports(&cause.body, source.is_ipv4());
        let flow = Flow { network: UPLINK, source, target, protocol, ports };
        let state = self.flows.get(&key(&flow)).filter(|_| source == packet.target);
        let lives =
            state.is_some_and(|state| state.epoch == self.epoch || lives(scene, state).is_ok());
        // Of what the host sends to itself speaks nobody else.
        let inside = state.is_some_and(|state| {
            [state.flow.source, state.flow.target]
                .into_iter()
                .all(|end| scene.who_outside(end) == Who::Host)
        });
        let stranger = packet.source != target && scene.who_outside(packet.source) != Who::Host;
        if lives && !(inside && stranger) {
            Expected::Pass(None)
        } else {
            Expected::Drop(Reason::UnrelatedIcmp)
        }
    }
}

/// Whether a flow of an older policy may go on.
fn lives(scene: &Scene, state: &State) -> Result<(), Expected> {
    if state.masqueraded {
        return Ok(());
    }
    match scene.judge_host(&state.flow, state.sender) {
        Some(opinion) if matches!(opinion.answer, Answer::Drop(_)) => {
            Err(Expected::Refused(opinion))
        }
        Some(_) => Ok(()),
        None => Err(Expected::Drop(Reason::UnknownPeer)),
    }
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Of IPv6; those of IPv4 are the host's when it has them.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(&v6),
    }
}

/// What no rule turns off: "too big", neighbour discovery and group membership by their hop limits, the errors that the host sends, and
/// its own DHCP.
fn is_kept(packet: &Packet, sent: bool) -> bool {
    if packet.part != Part::Whole {
        return false;
    }
    let v4 = packet.source.is_ipv4();
    match packet.body {
        Body::Error(kind, code, _) => sent || (v4, kind, code) == (true, 3, 4) || !v4 && kind == 2,
        Body::Icmp(kind, code, _) if v4 => (kind, code) == (3, 4),
        Body::Icmp(kind, ..) => {
            kind == 2
                || packet.hops == 255 && (133..=137).contains(&kind)
                || packet.hops == 1 && matches!(kind, 130 | 131 | 132 | 143)
        }
        Body::Other(2) => packet.hops == 1,
        Body::Udp(source, target) => {
            let (server, client) = if sent { (target, source) } else { (source, target) };
            matches!((server, client), (67, 68) | (547, 546))
        }
        _ => false,
    }
}
