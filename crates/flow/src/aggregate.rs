//! Merges repeated drops: the first is a record at once, those that follow become one record per interval.
//!
//! The sum of [`Record::repeats`] over all records is the number of events, merged or not, but for *chatter*: what every
//! IPv6 stack says unasked when a link comes up (router solicitations, multicast listener queries and reports). Where it is
//! dropped that is counted here, and in the kernel's counters of drops, but makes no record: it would bury the others.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use verdict::{Reason, packet};

use crate::{Kind, Protocol, Record};

/// What makes two drops the same: everything but the source port and the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    network: std::sync::Arc<str>,
    endpoint: Option<std::sync::Arc<str>>,
    source: IpAddr,
    target: IpAddr,
    protocol: Protocol,
    port: u16,
    icmp: Option<[u8; 2]>,
    reason: u8,
    rule: u32,
}

/// What is being merged.
#[derive(Debug)]
struct Pending {
    /// The newest event, with what was merged into it; `repeats` 0 right after a record was given out.
    merged: Option<Record>,
    /// When the last record was given out.
    told: Timestamp,
}

/// Merges repeated drops.
#[derive(Debug)]
pub struct Aggregator {
    pending: HashMap<Key, Pending>,
    capacity: usize,
    interval: SignedDuration,
    unmerged: u64,
    chatter: u64,
}

impl Aggregator {
    /// Merges up to `capacity` different drops, and gives out one record per `interval` for each that goes on.
    #[must_use]
    pub fn new(capacity: usize, interval: SignedDuration) -> Self {
        Self { pending: HashMap::new(), capacity, interval, unmerged: 0, chatter: 0 }
    }

    /// Takes a record; gives back what is to be told at once. `now` is the wall clock.
    pub fn push(&mut self, record: Record, now: Timestamp) -> Option<Record> {
        if record.kind != Kind::Drop {
            return Some(record);
        }
        if is_chatter(&record) {
            self.chatter += record.repeats;
            return None;
        }
        let key = key(&record);
        if let Some(pending) = self.pending.get_mut(&key) {
            let before = pending.merged.take();
            pending.merged = Some(merge(before, record));
            return None;
        }
        if self.pending.len() < self.capacity {
            self.pending.insert(key, Pending { merged: None, told: now });
        } else {
            self.unmerged += 1;
        }
        Some(record)
    }

    /// Everything whose interval is over, ordered by time; what did not repeat is forgotten.
    pub fn flush(&mut self, now: Timestamp) -> Vec<Record> {
        let mut due = Vec::new();
        let interval = self.interval;
        self.pending.retain(|_, pending| {
            if now.duration_since(pending.told) < interval {
                return true;
            }
            pending.told = now;
            match pending.merged.take() {
                Some(record) => {
                    due.push(record);
                    true
                }
                None => false,
            }
        });
        due.sort_by_key(|record| record.at);
        due
    }

    /// How many drops were given out unmerged because too many different ones were under way.
    #[must_use]
    pub fn unmerged(&self) -> u64 {
        self.unmerged
    }

    /// How many drops made no record because they are what every IPv6 stack says unasked.
    #[must_use]
    pub fn chatter(&self) -> u64 {
        self.chatter
    }
}

/// Multicast listener discovery (130 to 132, 143: RFC 2710, RFC 3810) and router solicitations (133: RFC 4861) that were
/// dropped because multicast is not carried. Answers of a router (134) are none of it: who sends them wants to be one.
pub(crate) fn is_chatter(record: &Record) -> bool {
    record.reason == Reason::LocalScope
        && record.protocol == Protocol::Ip(packet::protocol::ICMPV6)
        && matches!(record.icmp, Some([130..=133 | 143, _]))
}

fn merge(before: Option<Record>, mut record: Record) -> Record {
    if let Some(before) = before {
        record.repeats += before.repeats;
        record.since = before.since.or(Some(before.at));
    }
    record
}

fn key(record: &Record) -> Key {
    Key {
        network: std::sync::Arc::clone(&record.network),
        endpoint: record.endpoint.clone(),
        source: record.source.address,
        target: record.target.address,
        protocol: record.protocol,
        port: record.target.port,
        icmp: record.icmp,
        reason: record.reason.code(),
        rule: record.rule_id,
    }
}
