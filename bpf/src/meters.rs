//! Counters and reports: what the agent learns of the packets.

use aya_ebpf::helpers::{bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit};
use verdict::abi::{Event, EventKind};
use verdict::meters::{DropKey, ReportKey, Reported, RuleCount};

use crate::{env, maps};

/// `BPF_RB_AVAIL_DATA`: unread bytes.
const UNREAD: u64 = 0;
/// `BPF_RB_RING_SIZE`: bytes in all.
const SIZE: u64 = 1;
/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`.
const SILENT: u64 = 1;
const WAKE: u64 = 2;

/// Counts a passed packet.
#[inline(always)]
pub(crate) fn count<C: env::Context>(endpoint: u32, sent: bool, bytes: u32) {
    let Some(traffic) = maps::COUNTERS.get_ptr_mut(endpoint) else { return };
    // SAFETY: this CPU's value.
    unsafe {
        let count = if sent { &raw mut (*traffic).sent } else { &raw mut (*traffic).received };
        if C::ALONE {
            (*count).packets += 1;
            (*count).bytes += u64::from(bytes);
        } else {
            env::add(&raw mut (*count).packets, 1);
            env::add(&raw mut (*count).bytes, u64::from(bytes));
        }
    }
}

/// Counts what an event stands for and hands it to the agent.
#[inline(always)]
pub(crate) fn report(event: &Event, interval: u32) {
    let mut repeats = event.repeats;
    if event.kind == EventKind::Drop as u8 {
        count_drop(event.endpoint, u32::from(event.reason));
        count_rule(if event.ingress != 0 { event.ingress_rule } else { event.egress_rule }, true);
        repeats = unreported(event, interval);
        if repeats == 0 {
            return;
        }
    } else if event.kind == EventKind::Open as u8 {
        count_rule(event.egress_rule, false);
        if event.ingress_rule != event.egress_rule {
            count_rule(event.ingress_rule, false);
        }
    }
    emit(event, repeats);
}

/// Counts a dropped packet.
#[inline(never)]
pub(crate) fn count_drop(endpoint: u32, reason: u32) {
    let key = DropKey { endpoint, reason };
    if let Some(count) = maps::DROPS.get_ptr_mut(&key) {
        env::add(count, 1);
    } else {
        // A full table keeps what it has; the agent sees that it is full.
        let _ = maps::DROPS.insert(&key, 1, 0);
    }
}

/// Counts a decision of a rule.
#[inline(never)]
fn count_rule(rule: u32, drop: bool) {
    if rule == 0 {
        return;
    }
    if let Some(count) = maps::RULES.get_ptr_mut(&rule) {
        // SAFETY: a value of the map.
        env::add(
            unsafe { if drop { &raw mut (*count).drops } else { &raw mut (*count).flows } },
            1,
        );
    } else {
        let count = RuleCount { flows: u64::from(!drop), drops: u64::from(drop) };
        let _ = maps::RULES.insert(&rule, count, 0);
    }
}

/// How many drops a report made now stands for; 0 when it is too early for one.
#[inline(never)]
fn unreported(event: &Event, interval: u32) -> u32 {
    let key = ReportKey {
        source: event.source,
        target: event.target,
        network: event.network,
        endpoint: event.endpoint,
        target_port: event.target_port,
        protocol: event.protocol,
        reason: event.reason,
    };
    let Some(last) = maps::REPORTED.get_ptr_mut(&key) else {
        let _ = maps::REPORTED.insert(&key, Reported { at: event.at, pad: 0, silent: 0 }, 0);
        return 1;
    };
    // SAFETY: a value of the map. Two CPUs may both report at the end of an interval; none of the
    // counted drops is told twice, because each takes away what it has read.
    unsafe {
        if event.at.wrapping_sub((*last).at) < interval {
            env::add(&raw mut (*last).silent, 1);
            return 0;
        }
        let silent = (*last).silent;
        (*last).at = event.at;
        env::add(&raw mut (*last).silent, silent.wrapping_neg());
        (silent as u32).wrapping_add(1)
    }
}

/// Counts a report that was not made.
#[inline(always)]
pub(crate) fn lose() {
    if let Some(lost) = maps::LOST.get_ptr_mut(0) {
        // SAFETY: this CPU's value.
        unsafe { *lost += 1 };
    }
}

/// Puts a record into the ring buffer, or counts it as lost.
#[inline(always)]
fn emit(event: &Event, repeats: u32) {
    let ring = (&raw const maps::EVENTS).cast_mut().cast();
    // SAFETY: the record is as large as an event and is submitted on every path.
    unsafe {
        let record: *mut Event = bpf_ringbuf_reserve(ring, size_of::<Event>() as u64, 0).cast();
        if record.is_null() {
            lose();
            return;
        }
        record.write(*event);
        (*record).repeats = repeats;
        let crowded = bpf_ringbuf_query(ring, UNREAD) >= bpf_ringbuf_query(ring, SIZE) / 4;
        bpf_ringbuf_submit(record.cast(), if crowded { WAKE } else { SILENT });
    }
}
