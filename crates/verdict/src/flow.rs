//! What happens to a packet at an endpoint's hook: guard, connection table, policy, report.
//!
//! The two entry points are [`from_endpoint`] and [`to_endpoint`]. A flow is judged once for both
//! of its ends on this node, at the hook that sees its first packet; later packets, at either hook,
//! cost one lookup in the connection table. An entry of an older epoch is judged again.

use crate::abi::{
    Addr, Config, Endpoint, Event, EventKind, FlowEntry, FlowKey, FlowState, FragmentKey, Ports,
    Verdict,
};
use crate::judge::{Judgement, Question, judge};
use crate::packet::{ARP, Fragment, Frame, Header, IcmpRole, Packet, parse, protocol, quoted};
use crate::{Action, Env, Reason, guard, sctp, tcp};

/// Working memory for one packet. The kernel keeps it outside of its 512 bytes of stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The Ethernet header.
    pub frame: Frame,
    /// Network and transport headers.
    pub header: Header,
    /// The flow's key.
    pub key: FlowKey,
    /// A new or ended flow.
    pub entry: FlowEntry,
    /// The question that is put to the policy, or the flow that an ICMP error quotes.
    pub question: Question,
    /// The policy's answer.
    pub judgement: Judgement,
    /// The report.
    pub event: Event,
}

/// Where the packet was met.
#[derive(Clone, Copy)]
struct Hook {
    endpoint: u32,
    network: u32,
    tenant: u32,
    epoch: u64,
    now: u32,
    /// The endpoint sent the packet; otherwise it is to receive it.
    sent: bool,
}

impl Hook {
    fn new<E: Env>(env: &E, number: u32, endpoint: &Endpoint, sent: bool) -> Self {
        Self {
            endpoint: number,
            network: endpoint.network,
            tenant: endpoint.tenant,
            epoch: env.epoch(),
            now: env.now(),
            sent,
        }
    }
}

/// Decides on a packet that an endpoint sends.
#[inline(always)]
pub fn from_endpoint<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    work: &mut Work,
) -> Action {
    let Some(endpoint) = env.endpoint(number).filter(|endpoint| endpoint.network != 0) else {
        return Action::Drop(Reason::UnknownEndpoint);
    };
    let hook = Hook::new(env, number, endpoint, true);
    match guarded(packet, endpoint, work) {
        Ok(guard::Kind::Flow) => decide(env, packet, &hook, work),
        Ok(guard::Kind::Neighbour) => {
            env.count(number, true, packet.len());
            Action::Pass
        }
        Err(reason) => reject(env, &hook, work, reason),
    }
}

/// Decides on a packet that an endpoint is to receive.
#[inline(always)]
pub fn to_endpoint<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    work: &mut Work,
) -> Action {
    let Some(endpoint) = env.endpoint(number).filter(|endpoint| endpoint.network != 0) else {
        return Action::Drop(Reason::UnknownEndpoint);
    };
    let hook = Hook::new(env, number, endpoint, false);
    match addressed(packet, endpoint, work) {
        Ok(guard::Kind::Flow) => decide(env, packet, &hook, work),
        Ok(guard::Kind::Neighbour) => {
            env.count(number, false, packet.len());
            Action::Pass
        }
        Err(reason) => reject(env, &hook, work, reason),
    }
}

/// Parses and checks what an endpoint sends.
#[inline(always)]
fn guarded<P: Packet + ?Sized>(
    packet: &P,
    endpoint: &Endpoint,
    work: &mut Work,
) -> Result<guard::Kind, Reason> {
    work.header = Header::default();
    work.frame = Frame::default();
    work.frame = crate::packet::frame(packet)?;
    guard::mac(endpoint, &work.frame)?;
    if work.frame.ethertype == ARP {
        return guard::arp(packet, endpoint, &mut work.header);
    }
    parse(packet, work.frame.ethertype, &mut work.header)?;
    guard::sent(packet, endpoint, &work.header)
}

/// Parses and checks what an endpoint is to receive. Frames flooded for others stop here.
#[inline(always)]
fn addressed<P: Packet + ?Sized>(
    packet: &P,
    endpoint: &Endpoint,
    work: &mut Work,
) -> Result<guard::Kind, Reason> {
    work.header = Header::default();
    work.frame = Frame::default();
    work.frame = crate::packet::frame(packet)?;
    let group = work.frame.target[0] & 1 != 0;
    if !group && !guard::same(work.frame.target, endpoint.mac) {
        return Err(Reason::ForeignFrame);
    }
    if work.frame.ethertype == ARP {
        return Ok(guard::Kind::Neighbour);
    }
    parse(packet, work.frame.ethertype, &mut work.header)?;
    guard::received(endpoint, &work.header)
}

/// The connection table first, the policy for what it does not know.
#[inline(always)]
fn decide<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, hook: &Hook, work: &mut Work) -> Action {
    if work.header.fragment == Fragment::Later && !recall(env, hook, work) {
        return reject(env, hook, work, Reason::OrphanFragment);
    }
    if work.header.is_icmp() && work.header.icmp_role() == IcmpRole::Error {
        return related(env, packet, hook, work);
    }
    let header = &work.header;
    let asked = Asked { source: &header.source, target: &header.target, ports: header.ports };
    let high_sent = key(hook.network, header.protocol, &asked, &mut work.key);
    match established(env, packet, hook, work, high_sent) {
        Some(action) => action,
        None => open(env, packet, hook, work),
    }
}

/// Gives a later fragment the ports of its first one; whether that one has passed.
#[inline(never)]
fn recall<E: Env>(env: &E, hook: &Hook, work: &mut Work) -> bool {
    let Some(ports) = env.fragment(&fragment_key(hook, &work.header)) else { return false };
    work.header.ports = ports;
    true
}

/// Keeps the ports of a first fragment for the later ones.
#[inline(never)]
fn keep<E: Env>(env: &E, hook: &Hook, work: &Work) {
    env.remember_fragment(&fragment_key(hook, &work.header), work.header.ports);
}

fn fragment_key(hook: &Hook, header: &Header) -> FragmentKey {
    FragmentKey {
        source: header.source,
        target: header.target,
        network: hook.network,
        id: header.fragment_id,
        protocol: u32::from(header.protocol),
    }
}

/// The two sides of a packet.
struct Asked<'a> {
    source: &'a Addr,
    target: &'a Addr,
    ports: Ports,
}

/// Writes the canonical key of a packet; tells whether its source is the key's `high` side.
#[inline(always)]
fn key(network: u32, protocol: u8, asked: &Asked<'_>, key: &mut FlowKey) -> bool {
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
    hook: &Hook,
    work: &mut Work,
    high_sent: bool,
) -> Option<Action> {
    let mut entry = env.flow(&work.key)?;
    let forward = high_sent == (entry.flags & FlowEntry::HIGH_ORIGINATES != 0);
    if is_over(env.config(), hook.now, &work.header, &entry) {
        let tenant = entry.tenant;
        drop(entry);
        env.close(tenant, &work.key);
        return None;
    }
    if entry.epoch != low(hook.epoch) && !renew(env, hook, work, &mut entry) {
        work.entry = *entry;
        drop(entry);
        return Some(revoke(env, hook, work));
    }
    let outcome = advance(packet, &work.header, &mut entry, forward);
    if let Err(reason) = outcome {
        drop(entry);
        return Some(reject(env, hook, work, reason));
    }
    entry.seen = hook.now;
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
        report_end(env, hook, work, Reason::None);
    } else {
        drop(entry);
    }
    Some(pass(env, hook, work, target))
}

/// The policy's version as a flow remembers it.
#[expect(clippy::cast_possible_truncation, reason = "only equality matters")]
const fn low(epoch: u64) -> u32 {
    epoch as u32
}

/// Whether an entry has timed out, or a new SYN replaces a flow that was closed.
#[inline(always)]
fn is_over(config: &Config, now: u32, header: &Header, entry: &FlowEntry) -> bool {
    let state = usize::from(entry.state) & (FlowState::COUNT - 1);
    now.wrapping_sub(entry.seen) > config.timeouts[state]
        && now.wrapping_sub(entry.seen) < u32::MAX / 2
        || entry.state == FlowState::Closed as u8
            && (header.protocol == protocol::TCP && tcp::opens(header)
                || header.protocol == protocol::SCTP && sctp::opens(header))
}

/// Moves the state of a known flow on.
#[inline(always)]
fn advance<P: Packet + ?Sized>(
    packet: &P,
    header: &Header,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    match header.protocol {
        protocol::TCP => tcp::advance(packet, header, entry, forward),
        protocol::SCTP if header.fragment != Fragment::Later => {
            sctp::advance(header, entry, forward)
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
fn renew<E: Env>(env: &E, hook: &Hook, work: &mut Work, entry: &mut FlowEntry) -> bool {
    work.question = question(&work.key, entry);
    judge(env, &work.question, hook.epoch, &mut work.judgement);
    let judgement = &work.judgement;
    if judgement.verdict == Verdict::Drop {
        return false;
    }
    remember(entry, judgement, hook.epoch);
    true
}

/// The question that opened a flow.
fn question(key: &FlowKey, entry: &FlowEntry) -> Question {
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
#[inline(never)]
fn revoke<E: Env>(env: &E, hook: &Hook, work: &mut Work) -> Action {
    env.close(work.entry.tenant, &work.key);
    report_end(env, hook, work, Reason::Revoked);
    let reason = work.judgement.reason;
    refuse(env, hook, work, reason)
}

/// Judges the first packet of a flow and enters it into the connection table.
#[inline(never)]
fn open<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, hook: &Hook, work: &mut Work) -> Action {
    if let Some(reason) = stray(&work.header) {
        return reject(env, hook, work, reason);
    }
    let header = &work.header;
    work.question = Question {
        source: header.source,
        target: header.target,
        network: hook.network,
        ports: header.ports,
        protocol: header.protocol,
    };
    judge(env, &work.question, hook.epoch, &mut work.judgement);
    let here = if hook.sent { work.judgement.source } else { work.judgement.target };
    if work.judgement.verdict != Verdict::Drop && here != hook.endpoint {
        work.judgement.verdict = Verdict::Drop;
        work.judgement.reason = Reason::UnknownPeer;
    }
    if work.judgement.verdict == Verdict::Drop {
        let reason = work.judgement.reason;
        return refuse(env, hook, work, reason);
    }
    enter(packet, hook, work);
    if env.open(hook.tenant, &work.key, &work.entry).is_err() {
        return refuse(env, hook, work, Reason::TableFull);
    }
    describe(hook, work, EventKind::Open);
    env.report(&work.event);
    let target = work.judgement.target;
    pass(env, hook, work, target)
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
#[inline(never)]
fn enter<P: Packet + ?Sized>(packet: &P, hook: &Hook, work: &mut Work) {
    let header = &work.header;
    let entry = &mut work.entry;
    *entry = FlowEntry::default();
    entry.counts[0].packets = 1;
    entry.counts[0].bytes = u64::from(header.bytes);
    entry.seen = hook.now;
    entry.created = hook.now;
    entry.tenant = hook.tenant;
    entry.flags = u8::from(is_higher(&header.source, &header.target, header.ports));
    remember(entry, &work.judgement, hook.epoch);
    match header.protocol {
        protocol::TCP => tcp::begin(packet, header, entry),
        protocol::SCTP => entry.state = FlowState::Opening as u8,
        protocol::ICMP | protocol::ICMPV6 => entry.state = FlowState::Echo as u8,
        _ => entry.state = FlowState::OneWay as u8,
    }
}

/// Lets a packet through, straight to a target on this node where that is possible.
///
/// A hop limit that would run out at the gateway is left to the gateway, which answers.
#[inline(always)]
fn pass<E: Env>(env: &E, hook: &Hook, work: &Work, target: u32) -> Action {
    let header = &work.header;
    if header.fragment == Fragment::First {
        keep(env, hook, work);
    }
    env.count(hook.endpoint, hook.sent, header.bytes);
    let direct = hook.sent && target != 0 && target != hook.endpoint;
    if !direct || env.config().flags & Config::DELIVER == 0 {
        return Action::Pass;
    }
    let Some(receiver) = env.endpoint(target) else { return Action::Pass };
    let routed = !guard::same(work.frame.target, receiver.mac);
    if receiver.network != hook.network || routed && header.hops <= 1 {
        return Action::Pass;
    }
    env.count(target, false, header.bytes);
    Action::Deliver(target)
}

/// Passes an ICMP error that quotes a packet of a live, still allowed flow (RFC 5508 §4).
#[inline(never)]
fn related<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    hook: &Hook,
    work: &mut Work,
) -> Action {
    let belongs = quoted(packet, &work.header, &mut work.question).is_some()
        && work.question.source == work.header.target;
    if !belongs {
        return reject(env, hook, work, Reason::UnrelatedIcmp);
    }
    let inner = &work.question;
    let asked = Asked { source: &inner.source, target: &inner.target, ports: inner.ports };
    key(hook.network, inner.protocol, &asked, &mut work.key);
    let Some(entry) = env.flow(&work.key) else {
        return reject(env, hook, work, Reason::UnrelatedIcmp);
    };
    let current = entry.epoch == low(hook.epoch);
    work.question = question(&work.key, &entry);
    drop(entry);
    if !current {
        judge(env, &work.question, hook.epoch, &mut work.judgement);
        if work.judgement.verdict == Verdict::Drop {
            return reject(env, hook, work, Reason::UnrelatedIcmp);
        }
    }
    env.count(hook.endpoint, hook.sent, work.header.bytes);
    Action::Pass
}

/// Drops a packet that policy was not asked about.
#[inline(never)]
fn reject<E: Env>(env: &E, hook: &Hook, work: &mut Work, reason: Reason) -> Action {
    work.judgement = Judgement { reason, ingress: !hook.sent, ..Judgement::default() };
    refuse(env, hook, work, reason)
}

/// Drops a packet and reports what the judgement knows of it.
fn refuse<E: Env>(env: &E, hook: &Hook, work: &mut Work, reason: Reason) -> Action {
    work.judgement.verdict = Verdict::Drop;
    work.judgement.reason = reason;
    describe(hook, work, EventKind::Drop);
    env.report(&work.event);
    Action::Drop(reason)
}

/// Writes the report of the packet at hand.
#[inline(never)]
fn describe(hook: &Hook, work: &mut Work, kind: EventKind) {
    let header = &work.header;
    let judgement = &work.judgement;
    let event = &mut work.event;
    *event = Event::default();
    event.source_identity = judgement.source_identity;
    event.target_identity = judgement.target_identity;
    event.source = header.source;
    event.target = header.target;
    event.network = hook.network;
    event.endpoint = hook.endpoint;
    event.egress_rule = judgement.egress_rule;
    event.ingress_rule = judgement.ingress_rule;
    event.at = hook.now;
    event.created = if kind == EventKind::Open { hook.now } else { 0 };
    event.epoch = low(hook.epoch);
    event.repeats = 1;
    event.source_port = header.ports.source;
    event.target_port = if header.is_icmp() { header.icmp } else { header.ports.target };
    event.ethertype = work.frame.ethertype;
    event.kind = kind as u8;
    event.verdict = judgement.verdict as u8;
    event.reason = judgement.reason as u8;
    event.protocol = header.protocol;
    event.ingress = u8::from(judgement.ingress);
    event.sent = u8::from(hook.sent);
    event.mac = work.frame.source;
    if kind == EventKind::Open {
        event.counts = work.entry.counts;
    }
}

/// Reports the end of the flow in `work.entry`, seen from its originator.
#[inline(never)]
fn report_end<E: Env>(env: &E, hook: &Hook, work: &mut Work, reason: Reason) {
    work.event = ended(&work.key, &work.entry, hook.now, reason);
    work.event.endpoint = hook.endpoint;
    work.event.sent = u8::from(hook.sent);
    env.report(&work.event);
}

/// The report of a flow's end; `now` in jiffies. The agent uses it for flows that time out.
#[must_use]
pub fn ended(key: &FlowKey, entry: &FlowEntry, now: u32, reason: Reason) -> Event {
    let question = question(key, entry);
    let v4 = key.low.is_v4();
    Event {
        counts: entry.counts,
        source_identity: entry.source_identity,
        target_identity: entry.target_identity,
        source: question.source,
        target: question.target,
        network: key.network,
        endpoint: if entry.source == 0 { entry.target } else { entry.source },
        egress_rule: entry.egress_rule,
        ingress_rule: entry.ingress_rule,
        at: now,
        created: entry.created,
        epoch: entry.epoch,
        repeats: 1,
        source_port: question.ports.source,
        target_port: question.ports.target,
        ethertype: if v4 { crate::packet::IPV4 } else { crate::packet::IPV6 },
        kind: EventKind::Close as u8,
        verdict: entry.verdict,
        reason: reason as u8,
        protocol: key.protocol,
        ..Event::default()
    }
}
