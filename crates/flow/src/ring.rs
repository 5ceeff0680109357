//! The newest records, as many as fit.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use crate::{Filter, Kind, Record};

/// A bounded list of records, oldest first. At its capacity the oldest record goes, and is counted.
#[derive(Debug)]
pub struct Ring {
    records: VecDeque<Arc<Record>>,
    capacity: usize,
    last: u64,
    forgotten: u64,
}

/// How often something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// How many events.
    pub count: u64,
    /// The first one that is remembered.
    pub since: Option<Timestamp>,
    /// The last one.
    pub last: Option<Timestamp>,
}

impl Ring {
    /// An empty ring for `capacity` records, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { records: VecDeque::new(), capacity: capacity.max(1), last: 0, forgotten: 0 }
    }

    /// Numbers a record and keeps it.
    pub fn push(&mut self, mut record: Record) -> Arc<Record> {
        self.last += 1;
        record.number = self.last;
        if self.records.len() >= self.capacity {
            self.records.pop_front();
            self.forgotten += 1;
        }
        let record = Arc::new(record);
        self.records.push_back(Arc::clone(&record));
        record
    }

    /// The newest `limit` records that match, oldest first.
    #[must_use]
    pub fn newest(&self, filter: &Filter, limit: usize) -> Vec<Arc<Record>> {
        let matching = self.records.iter().rev().filter(|record| filter.matches(record));
        let mut found: Vec<_> = matching.take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// Records with a number above `number` that match, oldest first, at most `limit`.
    #[must_use]
    pub fn after(&self, number: u64, filter: &Filter, limit: usize) -> Vec<Arc<Record>> {
        let behind = self.last.saturating_sub(number);
        let start =
            self.records.len().saturating_sub(usize::try_from(behind).unwrap_or(usize::MAX));
        let newer = self.records.iter().skip(start).filter(|record| filter.matches(record));
        newer.take(limit).cloned().collect()
    }

    /// How often new flows and drops that `wanted` tells apart were seen, ends of flows left out.
    #[must_use]
    pub fn seen(&self, wanted: impl Fn(&Record) -> bool) -> Seen {
        let mut seen = Seen::default();
        let started = self.records.iter().filter(|record| record.kind != Kind::Close);
        for record in started.filter(|record| wanted(record)) {
            seen.count += record.repeats;
            seen.since.get_or_insert(record.since.unwrap_or(record.at));
            seen.last = Some(record.at);
        }
        seen
    }

    /// The number of the newest record; 0 when there was none.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.last
    }

    /// How many records are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records had to go.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
