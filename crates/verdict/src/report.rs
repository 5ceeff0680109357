//! What is told of a packet or a flow: drops, and the end of flows.

use crate::abi::{Event, EventKind, FlowEntry, FlowKey, Verdict};
use crate::flow::{low, question};
use crate::judge::Judgement;
use crate::packet::{IPV4, IPV6, Packet};
use crate::work::Work;
use crate::{Action, Env, Reason, Step, unmanaged};

/// Drops a packet that policy was not asked about.
#[inline(always)]
pub(crate) fn reject<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    reason: Reason,
) -> Action {
    work.judgement.reason = reason;
    env.step(Step::Reject, packet, work);
    Action::Drop(reason)
}

/// The step of [`reject`]: reports the packet with the reason in the judgement and nothing else.
#[inline(always)]
pub(crate) fn turn_away<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
) -> Action {
    let reason = work.judgement.reason;
    work.judgement = Judgement { reason, ingress: !work.hook.sent, ..Judgement::default() };
    if work.hook.unmanaged {
        unmanaged::name(env, work);
    }
    refuse(env, packet, work, reason)
}

/// Drops a packet and reports what the judgement knows of it.
#[inline(always)]
pub(crate) fn refuse<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    reason: Reason,
) -> Action {
    work.judgement.verdict = Verdict::Drop;
    work.judgement.reason = reason;
    describe(work, EventKind::Drop);
    env.step(Step::Report, packet, work);
    Action::Drop(reason)
}

/// Writes the report of the packet at hand.
#[inline(never)]
pub(crate) fn describe(work: &mut Work, kind: EventKind) {
    let (hook, header) = (&work.hook, &work.header);
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
#[inline(always)]
pub(crate) fn report_end<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    reason: Reason,
) {
    work.event = ended(&work.key, &work.entry, work.hook.now, reason);
    work.event.endpoint = work.hook.endpoint;
    work.event.sent = u8::from(work.hook.sent);
    env.step(Step::Report, packet, work);
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
        ethertype: if v4 { IPV4 } else { IPV6 },
        kind: EventKind::Close as u8,
        verdict: entry.verdict,
        reason: reason as u8,
        protocol: key.protocol,
        ..Event::default()
    }
}
