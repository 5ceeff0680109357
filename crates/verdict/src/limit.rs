//! How many flows may begin at a published port, from one source and from all.
//!
//! Policy has allowed the flow already. What is limited is what comes from outside of the endpoint's network: that is the way that a
//! published port leads. Nothing is taken from a bucket for a flow that another one refuses.

use crate::Env;
use crate::judge::Question;
use crate::meters::{LimitKey, MeterKey, Rate};

/// Takes one flow from the buckets of a published port; `false` when one of them is empty. A port without a limit has room.
#[inline(always)]
pub(crate) fn admits<E: Env>(env: &E, question: &Question, endpoint: u32, now: u32) -> bool {
    let port = question.ports.target;
    let key = LimitKey { endpoint, port, protocol: question.protocol, pad: 0 };
    let Some(limit) = env.limit(&key).copied() else { return true };
    let each = MeterKey::of(question.source, key);
    let all = MeterKey { source: MeterKey::ALL, limit: key };
    if !(has_room(env, &each, &limit.each, now) && has_room(env, &all, &limit.all, now)) {
        return false;
    }
    take(env, &each, &limit.each, now);
    take(env, &all, &limit.all, now);
    true
}

/// Whether a bucket has one. A table that has no room for the bucket lets nobody in.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "a part of a value that stands in memory")]
#[inline(never)]
fn has_room<E: Env>(env: &E, key: &MeterKey, rate: &Rate, now: u32) -> bool {
    rate.flows == 0 || env.bucket(key, now).is_some_and(|mut meter| meter.has_room(rate, now))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a part of a value that stands in memory")]
#[inline(never)]
fn take<E: Env>(env: &E, key: &MeterKey, rate: &Rate, now: u32) {
    if rate.flows != 0
        && let Some(mut meter) = env.bucket(key, now)
    {
        E::add(&mut meter.taken, 1);
    }
}
