//! How often each rule decided, as flow events tell: what the kernel's own counters do not keep (audits, the last time).
//!
//! Its serialized form is for storing, so that an agent that starts again goes on counting.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Decision, Kind, Record};

/// How often a rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleCount {
    /// Flows that it opened.
    pub flows: u64,
    /// Packets that it dropped.
    pub drops: u64,
    /// Flows that it let pass and recorded.
    pub audits: u64,
    /// When it decided last.
    pub last: Option<Timestamp>,
}

/// Counts by rule number; 0 stands for the defaults. As many entries as there are rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleTally {
    since: Option<Timestamp>,
    counts: BTreeMap<u32, RuleCount>,
}

impl RuleTally {
    /// Nothing counted yet, from this moment on.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self { since: Some(since), counts: BTreeMap::new() }
    }

    /// Since when it counts; `None` for one that was never told.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        if record.kind == Kind::Close {
            return;
        }
        let count = self.counts.entry(record.rule_id).or_default();
        match record.decision {
            Decision::Allow => count.flows += record.repeats,
            Decision::Drop => count.drops += record.repeats,
            Decision::Audit => count.audits += record.repeats,
        }
        count.last = Some(record.at);
    }

    /// The count of a rule.
    #[must_use]
    pub fn of(&self, rule: u32) -> RuleCount {
        self.counts.get(&rule).copied().unwrap_or_default()
    }

    /// Forgets rules that are gone.
    pub fn retain(&mut self, is_known: impl Fn(u32) -> bool) {
        self.counts.retain(|rule, _| *rule == 0 || is_known(*rule));
    }
}
