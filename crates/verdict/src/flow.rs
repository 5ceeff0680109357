//! What happens to a packet at an endpoint's hook: guard, connection table, policy, report.
//!
//! The two entry points are [`from_endpoint`] and [`to_endpoint`]. A flow is judged once for both
//! of its ends on this node, at the hook that sees its first packet; later packets, at either hook,
//! cost one lookup in the connection table. An entry of an older epoch is judged again.

use crate::abi::{
    Addr, Config, Endpoint, EventKind, FlowEntry, FlowKey, FlowState, FragmentKey, Ports,
};
use crate::judge::{Judgement, Question};
use crate::packet::{ARP, Fragment, Header, IPV4, IcmpRole, Packet, ipv4, protocol, usual};
use crate::report::{describe, refuse, reject, report_end};
use crate::step::{self, STOP};
use crate::work::{Hook, Work};
use crate::{Action, Env, Reason, Step, account, guard, sctp, tcp, unmanaged, uplink};

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
        accounts: endpoint.flags & Endpoint::ACCOUNTS != 0,
        hosted: endpoint.flags & Endpoint::HOSTED != 0,
        unmanaged: endpoint.flags & Endpoint::UNMANAGED != 0,
        stray: 0,
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
    let another = forward && account::is_another(env, packet, work, &entry);
    // Who was nobody's when it began has become a workload.
    let adopted = entry.flags & FlowEntry::UNMANAGED != 0 && !work.hook.unmanaged;
    let again = adopted || work.hook.hosted && tcp::begins_again(&work.header, &entry);
    if again || another || is_over(env.config(), now, &work.header, &entry) {
        work.entry = *entry;
        drop(entry);
        forget(env, packet, work, again);
        return None;
    }
    let from = if forward { entry.source } else { entry.target };
    let passed = work.hook.in_place && !work.hook.sent && from != 0;
    // Of sockets of this host it was the sender's own socket that told who sends; who is nobody's has no name that could be taken.
    if passed && !work.hook.hosted && !work.hook.unmanaged && packet.entered() != from {
        drop(entry);
        return Some(reject(env, packet, work, Reason::SpoofedAddress));
    }
    if entry.epoch != low(work.hook.epoch) && !renew(env, packet, work, &mut entry) {
        work.entry = *entry;
        drop(entry);
        return Some(act(env, Step::Revoke, packet, work));
    }
    if is_unasked(&work.hook, if forward { entry.target } else { entry.source }) {
        drop(entry);
        return Some(reject(env, packet, work, Reason::UnknownPeer));
    }
    // Its sender's hook has moved the flow on and counted it.
    if passed {
        drop(entry);
        return Some(pass(env, work, 0));
    }
    let outcome = advance(env, packet, work, &mut entry, forward);
    // What nobody's ports exchange is not ours to keep in order.
    if let Err(reason) = outcome
        && !work.hook.unmanaged
    {
        drop(entry);
        return Some(reject(env, packet, work, reason));
    }
    if work.hook.unmanaged && work.hook.sent {
        // From now on it counts where it is sent.
        let sender = if forward { &mut entry.source } else { &mut entry.target };
        *sender = work.hook.endpoint;
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

/// Whether the receiver's policy was not asked: the flow was judged where the tables did not say that an endpoint is at that end.
#[inline(always)]
const fn is_unasked(hook: &Hook, to: u32) -> bool {
    to == 0 && !hook.sent && !hook.unmanaged && !hook.uplink
}

/// Makes room for a new flow in the place of the one in `work.entry`, whose end is told if nobody has told it.
#[inline(always)]
fn forget<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work, is_untold: bool) {
    if is_untold {
        env.step(Step::End, packet, work);
    }
    env.close(work.entry.tenant, &work.key);
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
pub(crate) fn is_expired(config: &Config, now: u32, entry: &FlowEntry) -> bool {
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
    if entry.flags & (FlowEntry::FORWARDED | FlowEntry::UNMANAGED) != 0 {
        entry.epoch = low(work.hook.epoch);
        if entry.flags & FlowEntry::UNMANAGED != 0 {
            entry.verdict = unmanaged::verdict(env, &work.hook) as u8;
        }
        return true;
    }
    work.question = account::asked(env, &work.key, entry);
    if env.step(Step::Judge, packet, work) == STOP {
        return false;
    }
    remember(entry, &work.judgement, work.hook.epoch);
    true
}

/// The question that opened a flow, with the addresses that its packets have; an account has a name of its own there, see [`crate::account`].
#[must_use]
pub fn question(key: &FlowKey, entry: &FlowEntry) -> Question {
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

/// Ends a flow that the policy no longer allows: its end and this packet's drop are reported, as the flow's whoever of its two
/// has sent the packet.
#[inline(always)]
pub(crate) fn revoke<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    env.close(work.entry.tenant, &work.key);
    report_end(env, packet, work, Reason::Revoked);
    let header = &work.header;
    let high = is_higher(&header.source, &header.target, header.ports);
    if high != (work.entry.flags & FlowEntry::HIGH_ORIGINATES != 0) {
        work.header.turn();
    }
    let reason = work.judgement.reason;
    refuse(env, packet, work, reason)
}

/// Judges the first packet of a flow and enters it into the connection table.
///
/// What an endpoint of this network sends was judged at its own hook: a packet that opens a flow at the receiver's
/// and claims such a source came another way.
#[inline(always)]
pub(crate) fn open<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    if work.hook.unmanaged {
        return unmanaged::begin(env, packet, work);
    }
    let midway = work.hook.uplink && uplink::is_midway(&work.header);
    if let Some(reason) = stray(&work.header).filter(|_| !midway) {
        return reject(env, packet, work, reason);
    }
    if work.hook.uplink && work.hook.sent && !packet.has_socket() {
        return uplink::forward(env, packet, work, midway);
    }
    // Of a connection that is older than the policy, the side with the lower port is the service.
    let ports = work.header.ports;
    let answers = midway && work.hook.sent && ports.source < ports.target;
    if answers {
        work.header.turn();
    }
    let header = &work.header;
    work.question = Question {
        source: header.source,
        target: header.target,
        network: work.hook.network,
        ports: header.ports,
        protocol: header.protocol,
    };
    if work.hook.sent && !answers {
        account::ask(env, packet, work);
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
    // What leaves by an uplink is handed to nobody here, whoever of the host has sent it.
    let here = !hook.in_place && !hook.uplink;
    let direct = hook.sent && here && target != 0 && target != hook.endpoint;
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
