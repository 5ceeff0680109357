//! What happens to a packet at an endpoint's hook: guard, connection table, policy, report.
//!
//! The two entry points are [`from_endpoint`] and [`to_endpoint`]. A flow is judged once for both
//! of its ends on this node, at the hook that sees its first packet; later packets, at either hook,
//! cost one lookup in the connection table. An entry of an older epoch is judged again.

use crate::abi::{
    Addr, Config, Endpoint, EventKind, FlowEntry, FlowKey, FlowState, FragmentKey, Ports,
};
use crate::judge::{Judgement, Question, is_host};
use crate::packet::{ARP, Fragment, Header, IPV4, IcmpRole, Packet, ipv4, protocol, quoted, usual};
use crate::report::{describe, refuse, reject, report_end};
use crate::step::{self, STOP};
use crate::work::{Hook, Work};
use crate::{Action, Env, Reason, Step, guard, sctp, tcp, uplink};

/// Decides on a packet that an endpoint sends.
#[inline(always)]
pub fn from_endpoint<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    work: &mut Work,
) -> Action {
    let Some(endpoint) = met(env, number, true, work) else {
        return Action::Drop(Reason::UnknownEndpoint);
    };
    let guarded = guarded(env, packet, endpoint, work);
    guarded_by(env, packet, work, guarded)
}

/// Decides on a packet that an endpoint is to receive.
#[inline(always)]
pub fn to_endpoint<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    work: &mut Work,
) -> Action {
    let Some(endpoint) = met(env, number, false, work) else {
        return Action::Drop(Reason::UnknownEndpoint);
    };
    let addressed = addressed(env, packet, endpoint, work);
    guarded_by(env, packet, work, addressed)
}

/// Notes where the packet is; nothing when there is no such endpoint.
#[inline(always)]
pub(crate) fn met<'e, E: Env>(
    env: &'e E,
    number: u32,
    sent: bool,
    work: &mut Work,
) -> Option<&'e Endpoint> {
    let endpoint = env.endpoint(number).filter(|endpoint| endpoint.network != 0)?;
    work.hook = Hook {
        epoch: env.epoch(),
        endpoint: number,
        network: endpoint.network,
        tenant: endpoint.tenant,
        now: env.now(),
        sent,
        in_place: endpoint.flags & Endpoint::IN_PLACE != 0,
        uplink: endpoint.flags & Endpoint::UPLINK != 0,
        hosted: endpoint.flags & Endpoint::HOSTED != 0,
    };
    work.header = Header::default();
    Some(endpoint)
}

/// Goes on with what the guard said of the packet.
#[inline(always)]
fn guarded_by<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    said: Result<guard::Kind, Reason>,
) -> Action {
    match said {
        Ok(guard::Kind::Flow) => decide(env, packet, work),
        Ok(guard::Kind::Neighbour) => {
            env.count(work.hook.endpoint, work.hook.sent, packet.len());
            Action::Pass
        }
        Err(reason) => reject(env, packet, work, reason),
    }
}

/// Parses and checks what an endpoint sends.
#[inline(always)]
fn guarded<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    endpoint: &Endpoint,
    work: &mut Work,
) -> Result<guard::Kind, Reason> {
    framed(packet, work)?;
    guard::mac(endpoint, &work.frame)?;
    if work.frame.ethertype == ARP {
        step(env, Step::Arp, packet, work)?;
        return Ok(guard::Kind::Neighbour);
    }
    parse(env, packet, work)?;
    if guard::is_discovery(&work.header) {
        step(env, Step::Discovery, packet, work)?;
        return Ok(guard::Kind::Neighbour);
    }
    guard::sent(endpoint, &work.header)
}

/// Parses and checks what an endpoint is to receive. Frames flooded for others stop here.
#[inline(always)]
fn addressed<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    endpoint: &Endpoint,
    work: &mut Work,
) -> Result<guard::Kind, Reason> {
    framed(packet, work)?;
    let group = work.frame.target[0] & 1 != 0;
    if !group && !guard::same(work.frame.target, endpoint.mac) {
        return Err(Reason::ForeignFrame);
    }
    if work.frame.ethertype == ARP {
        return Ok(guard::Kind::Neighbour);
    }
    parse(env, packet, work)?;
    guard::received(endpoint, &work.header)
}

/// Takes a step that checks something.
#[inline(always)]
fn step<E: Env, P: Packet + ?Sized>(
    env: &E,
    step: Step,
    packet: &P,
    work: &mut Work,
) -> Result<(), Reason> {
    if env.step(step, packet, work) == STOP { Err(work.judgement.reason) } else { Ok(()) }
}

/// Reads the Ethernet header.
#[inline(always)]
pub(crate) fn framed<P: Packet + ?Sized>(packet: &P, work: &mut Work) -> Result<(), Reason> {
    let frame = crate::packet::frame(packet);
    work.frame = frame.unwrap_or_default();
    frame.map(drop)
}

/// Reads network and transport headers.
#[inline(always)]
pub(crate) fn parse<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
) -> Result<(), Reason> {
    if work.frame.ethertype != IPV4 {
        return step(env, Step::Ipv6, packet, work);
    }
    ipv4(packet, &mut work.header)?;
    if work.header.fragment == Fragment::Later {
        return Ok(());
    }
    match usual(packet, &mut work.header) {
        Some(read) => read,
        None => step(env, Step::Transport, packet, work),
    }
}

/// The connection table first, the policy for what it does not know.
#[inline(always)]
pub(crate) fn decide<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    if work.header.fragment == Fragment::Later && !recall(env, work) {
        return reject(env, packet, work, Reason::OrphanFragment);
    }
    if work.header.is_icmp() && work.header.icmp_role() == IcmpRole::Error {
        return act(env, Step::Related, packet, work);
    }
    let header = &work.header;
    let asked = Asked { source: &header.source, target: &header.target, ports: header.ports };
    let high_sent = key(work.hook.network, header.protocol, &asked, &mut work.key);
    match established(env, packet, work, high_sent) {
        Some(action) => action,
        None => act(env, Step::Open, packet, work),
    }
}

/// Takes a step that ends in an action.
#[inline(always)]
fn act<E: Env, P: Packet + ?Sized>(env: &E, step: Step, packet: &P, work: &mut Work) -> Action {
    step::action(env.step(step, packet, work), work)
}

/// Gives a later fragment the ports of its first one; whether that one has passed.
#[inline(never)]
fn recall<E: Env>(env: &E, work: &mut Work) -> bool {
    let Some(ports) = env.fragment(&fragment_key(work)) else { return false };
    work.header.ports = ports;
    true
}

/// Keeps the ports of a first fragment for the later ones.
#[inline(never)]
fn keep<E: Env>(env: &E, work: &Work) {
    env.remember_fragment(&fragment_key(work), work.header.ports);
}

fn fragment_key(work: &Work) -> FragmentKey {
    let header = &work.header;
    FragmentKey {
        source: header.source,
        target: header.target,
        network: work.hook.network,
        id: header.fragment_id,
        protocol: u32::from(header.protocol),
    }
}

/// The two sides of a packet.
pub(crate) struct Asked<'a> {
    pub(crate) source: &'a Addr,
    pub(crate) target: &'a Addr,
    pub(crate) ports: Ports,
}

/// Writes the canonical key of a packet; tells whether its source is the key's `high` side.
#[inline(always)]
pub(crate) fn key(network: u32, protocol: u8, asked: &Asked<'_>, key: &mut FlowKey) -> bool {
    let high_sent = is_higher(asked.source, asked.target, asked.ports);
    key.network = network;
    key.protocol = protocol;
    key.pad = [0; 3];
    if high_sent {
        key.low = *asked.target;
        key.high = *asked.source;
        key.low_port = asked.ports.target;
        key.high_port = asked.ports.source;
    } else {
        key.low = *asked.source;
        key.high = *asked.target;
        key.low_port = asked.ports.source;
        key.high_port = asked.ports.target;
    }
    high_sent
}

/// Whether the source's side (address, then port) is the larger one.
#[inline(always)]
fn is_higher(source: &Addr, target: &Addr, ports: Ports) -> bool {
    let (a, b) = (source.0, target.0);
    if a[3] != b[3] {
        a[3] > b[3]
    } else if a[2] != b[2] {
        a[2] > b[2]
    } else if a[1] != b[1] {
        a[1] > b[1]
    } else if a[0] != b[0] {
        a[0] > b[0]
    } else {
        ports.source > ports.target
    }
}

/// Handles a packet of a known flow; `None` when there is none, or it is over.
#[inline(always)]
fn established<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    high_sent: bool,
) -> Option<Action> {
    let mut entry = env.flow(&work.key)?;
    let forward = high_sent == (entry.flags & FlowEntry::HIGH_ORIGINATES != 0);
    let now = work.hook.now;
    if is_over(env.config(), now, &work.header, &entry) {
        let tenant = entry.tenant;
        drop(entry);
        env.close(tenant, &work.key);
        return None;
    }
    let from = if forward { entry.source } else { entry.target };
    let passed = work.hook.in_place && !work.hook.sent && from != 0;
    // Of sockets of this host it was the sender's own socket that told who sends.
    if passed && !work.hook.hosted && packet.entered() != from {
        drop(entry);
        return Some(reject(env, packet, work, Reason::SpoofedAddress));
    }
    if entry.epoch != low(work.hook.epoch) && !renew(env, packet, work, &mut entry) {
        work.entry = *entry;
        drop(entry);
        return Some(act(env, Step::Revoke, packet, work));
    }
    // Its sender's hook has moved the flow on and counted it.
    if passed {
        drop(entry);
        return Some(pass(env, work, 0));
    }
    let outcome = advance(env, packet, work, &mut entry, forward);
    if let Err(reason) = outcome {
        drop(entry);
        return Some(reject(env, packet, work, reason));
    }
    entry.seen = now;
    let bytes = u64::from(work.header.bytes);
    let count = if forward { &mut entry.counts[0] } else { &mut entry.counts[1] };
    E::add(&mut count.packets, 1);
    E::add(&mut count.bytes, bytes);
    let target = if forward { entry.target } else { entry.source };
    let ended = entry.state == FlowState::Closed as u8;
    if ended && entry.flags & FlowEntry::END_REPORTED == 0 {
        entry.flags |= FlowEntry::END_REPORTED;
        work.entry = *entry;
        drop(entry);
        env.step(Step::End, packet, work);
    } else {
        drop(entry);
    }
    Some(pass(env, work, target))
}

/// The policy's version as a flow remembers it.
#[expect(clippy::cast_possible_truncation, reason = "only equality matters")]
pub(crate) const fn low(epoch: u64) -> u32 {
    epoch as u32
}

/// Whether an entry has timed out, or a new SYN replaces a flow that was closed.
#[inline(always)]
fn is_over(config: &Config, now: u32, header: &Header, entry: &FlowEntry) -> bool {
    is_expired(config, now, entry)
        || entry.state == FlowState::Closed as u8
            && (header.protocol == protocol::TCP && tcp::opens(header)
                || header.protocol == protocol::SCTP && sctp::opens(header))
}

/// Whether an entry has been silent for longer than its state allows.
#[inline(always)]
fn is_expired(config: &Config, now: u32, entry: &FlowEntry) -> bool {
    let state = usize::from(entry.state) & (FlowState::COUNT - 1);
    let silent = now.wrapping_sub(entry.seen);
    silent > config.timeouts[state] && silent < u32::MAX / 2
}

/// Moves the state of a known flow on.
#[inline(always)]
fn advance<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    match work.header.protocol {
        protocol::TCP => tcp::advance(env, packet, work, entry, forward),
        protocol::SCTP if work.header.fragment != Fragment::Later => {
            sctp::advance(&work.header, entry, forward)
        }
        _ => {
            if !forward && entry.state == FlowState::OneWay as u8 {
                entry.state = FlowState::TwoWay as u8;
            }
            Ok(())
        }
    }
}

/// Judges a known flow again under the live epoch; whether it may go on.
#[inline(never)]
fn renew<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    entry: &mut FlowEntry,
) -> bool {
    if entry.flags & FlowEntry::FORWARDED != 0 {
        entry.epoch = low(work.hook.epoch);
        return true;
    }
    work.question = question(&work.key, entry);
    if env.step(Step::Judge, packet, work) == STOP {
        return false;
    }
    remember(entry, &work.judgement, work.hook.epoch);
    true
}

/// The question that opened a flow.
pub(crate) fn question(key: &FlowKey, entry: &FlowEntry) -> Question {
    let high = entry.flags & FlowEntry::HIGH_ORIGINATES != 0;
    let (source, target) = if high { (key.high, key.low) } else { (key.low, key.high) };
    let ports = if high {
        Ports { source: key.high_port, target: key.low_port }
    } else {
        Ports { source: key.low_port, target: key.high_port }
    };
    Question { source, target, network: key.network, ports, protocol: key.protocol }
}

fn remember(entry: &mut FlowEntry, judgement: &Judgement, epoch: u64) {
    entry.source_identity = judgement.source_identity;
    entry.target_identity = judgement.target_identity;
    entry.egress_rule = judgement.egress_rule;
    entry.ingress_rule = judgement.ingress_rule;
    entry.source = judgement.source;
    entry.target = judgement.target;
    entry.verdict = judgement.verdict as u8;
    entry.epoch = low(epoch);
}

/// Ends a flow that the policy no longer allows: its end and this packet's drop are reported.
#[inline(always)]
pub(crate) fn revoke<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    env.close(work.entry.tenant, &work.key);
    report_end(env, packet, work, Reason::Revoked);
    let reason = work.judgement.reason;
    refuse(env, packet, work, reason)
}

/// Judges the first packet of a flow and enters it into the connection table.
///
/// What an endpoint of this network sends was judged at its own hook: a packet that opens a flow at the receiver's
/// and claims such a source came another way.
#[inline(always)]
pub(crate) fn open<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    let midway = work.hook.uplink && uplink::is_midway(&work.header);
    if let Some(reason) = stray(&work.header).filter(|_| !midway) {
        return reject(env, packet, work, reason);
    }
    if work.hook.uplink && work.hook.sent && !packet.has_socket() {
        return uplink::forward(env, packet, work, midway);
    }
    let header = &work.header;
    work.question = Question {
        source: header.source,
        target: header.target,
        network: work.hook.network,
        ports: header.ports,
        protocol: header.protocol,
    };
    // Of a connection that is older than the policy, the side with the lower port is the service.
    let answers = midway && work.hook.sent && header.ports.source < header.ports.target;
    if answers {
        work.question.source = header.target;
        work.question.target = header.source;
        work.question.ports = Ports { source: header.ports.target, target: header.ports.source };
    }
    let judged = env.step(Step::Judge, packet, work);
    if !work.hook.sent && work.judgement.source != 0 {
        work.judgement.ingress = true;
        return refuse(env, packet, work, Reason::SpoofedAddress);
    }
    if judged == STOP {
        let reason = work.judgement.reason;
        return refuse(env, packet, work, reason);
    }
    let judgement = &work.judgement;
    let here = if work.hook.sent && !answers { judgement.source } else { judgement.target };
    if here != work.hook.endpoint {
        return refuse(env, packet, work, Reason::UnknownPeer);
    }
    if is_limited(env, work) && env.step(Step::Limit, packet, work) == STOP {
        work.judgement.ingress = true;
        return refuse(env, packet, work, Reason::Limited);
    }
    enter(env, packet, work);
    if midway {
        uplink::pick_up(work, answers);
    }
    if env.open(work.hook.tenant, &work.key, &work.entry).is_err() {
        return refuse(env, packet, work, Reason::TableFull);
    }
    describe(work, EventKind::Open);
    env.step(Step::Report, packet, work);
    pass(env, work, work.judgement.target)
}

/// Whether a flow from outside of its network begins at an endpoint some of whose ports have a limit: what endpoints of
/// this network send was judged where it was sent.
#[inline(always)]
fn is_limited<E: Env>(env: &E, work: &Work) -> bool {
    let hook = &work.hook;
    let flags = || env.endpoint(hook.endpoint).map_or(0, |endpoint| endpoint.flags);
    !hook.sent && !hook.uplink && !hook.hosted && flags() & Endpoint::LIMITED != 0
}

/// Why a packet cannot open a flow.
fn stray(header: &Header) -> Option<Reason> {
    match header.protocol {
        protocol::TCP if !tcp::opens(header) => Some(Reason::StrayTcp),
        protocol::SCTP if !sctp::opens(header) => Some(Reason::StraySctp),
        protocol::ICMP | protocol::ICMPV6 if header.icmp_role() != IcmpRole::Request => {
            Some(Reason::StrayIcmp)
        }
        _ => None,
    }
}

/// Fills in the entry of a new flow.
#[inline(always)]
pub(crate) fn enter<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) {
    let header = &work.header;
    let entry = &mut work.entry;
    *entry = FlowEntry::default();
    entry.counts[0].packets = 1;
    entry.counts[0].bytes = u64::from(header.bytes);
    entry.seen = work.hook.now;
    entry.created = work.hook.now;
    entry.tenant = work.hook.tenant;
    entry.flags = u8::from(is_higher(&header.source, &header.target, header.ports));
    remember(entry, &work.judgement, work.hook.epoch);
    match header.protocol {
        protocol::TCP => tcp::begin(env, packet, work),
        protocol::SCTP => sctp::begin(header, entry),
        protocol::ICMP | protocol::ICMPV6 => entry.state = FlowState::Echo as u8,
        _ => entry.state = FlowState::OneWay as u8,
    }
}

/// Lets a packet through, straight to a target on this node where that is possible.
///
/// A hop limit that would run out at the gateway is left to the gateway, which answers.
#[inline(always)]
pub(crate) fn pass<E: Env>(env: &E, work: &Work, target: u32) -> Action {
    let (hook, header) = (&work.hook, &work.header);
    if header.fragment == Fragment::First {
        keep(env, work);
    }
    env.count(hook.endpoint, hook.sent, header.bytes);
    let direct = hook.sent && !hook.in_place && target != 0 && target != hook.endpoint;
    if !direct || env.config().flags & Config::DELIVER == 0 {
        return Action::Pass;
    }
    let Some(receiver) = env.endpoint(target) else { return Action::Pass };
    let routed = !guard::same(work.frame.target, receiver.mac);
    let in_place = receiver.flags & Endpoint::IN_PLACE != 0;
    if in_place || receiver.network != hook.network || routed && header.hops <= 1 {
        return Action::Pass;
    }
    env.count(target, false, header.bytes);
    Action::Deliver(target)
}

/// Passes an ICMP error that quotes a packet of a live, still allowed flow (RFC 5508 §4).
#[inline(always)]
pub(crate) fn related<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    if !is_related(env, packet, work) {
        return reject(env, packet, work, Reason::UnrelatedIcmp);
    }
    env.count(work.hook.endpoint, work.hook.sent, work.header.bytes);
    Action::Pass
}

/// Whether an error belongs to a flow and comes from where such an error can come from: an endpoint speaks of what was
/// sent to itself; of a flow between two endpoints speak these and the gateways; of others any router outside.
#[inline(always)]
fn is_related<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> bool {
    if quoted(packet, &work.header, &mut work.question).is_none()
        || work.question.source != work.header.target
    {
        return false;
    }
    let inner = &work.question;
    let by_target = inner.target == work.header.source;
    if work.hook.sent && !by_target {
        return false;
    }
    let asked = Asked { source: &inner.source, target: &inner.target, ports: inner.ports };
    let high = key(work.hook.network, inner.protocol, &asked, &mut work.key);
    let Some(entry) = env.flow(&work.key) else { return false };
    let live = !is_expired(env.config(), work.hook.now, &entry);
    let inside = entry.source != 0 && entry.target != 0;
    let current = entry.epoch == low(work.hook.epoch);
    let forward = high == (entry.flags & FlowEntry::HIGH_ORIGINATES != 0);
    let far = if forward { entry.target } else { entry.source };
    let from_port = work.hook.in_place && !work.hook.sent && by_target && far != 0;
    work.question = question(&work.key, &entry);
    drop(entry);
    if from_port && packet.entered() != far {
        return false;
    }
    let hook = &work.hook;
    if !live || inside && !by_target && !is_host(env, hook.network, work.header.source, hook.epoch)
    {
        return false;
    }
    current || env.step(Step::Judge, packet, work) != STOP
}
