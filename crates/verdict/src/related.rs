//! ICMP errors that speak of flows (RFC 5508).

use crate::abi::FlowEntry;
use crate::flow::{Asked, is_expired, key, low};
use crate::judge::is_host;
use crate::packet::{Packet, quoted};
use crate::report::reject;
use crate::step::STOP;
use crate::work::Work;
use crate::{Action, Env, Reason, Step, account};

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
    // Of what others send with an address of the host policy is not asked.
    let current = entry.epoch == low(work.hook.epoch) || entry.flags & FlowEntry::FORWARDED != 0;
    let forward = high == (entry.flags & FlowEntry::HIGH_ORIGINATES != 0);
    let far = if forward { entry.target } else { entry.source };
    let from_port = work.hook.in_place && !work.hook.sent && by_target && far != 0;
    work.question = account::asked(env, &work.key, &entry);
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
