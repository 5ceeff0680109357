//! The reconcilers: each brings one kind of object to what is wanted, and says what it did.
//!
//! A reconciler takes nothing but what is wanted. It reads what is, acts on the difference, reports in a [`Pass`], never
//! stops at the first failure, never retries inside, and its second pass does nothing.

pub(crate) mod hosted;
pub(crate) mod network;
pub(crate) mod tables;
pub(crate) mod workloads;

use api::{Step, StepState};

/// Lines of a pass that are kept.
const LINES: usize = 200;

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// What was done, in the words of `ip`, `nft` and `bpftool`.
    pub(crate) done: Vec<String>,
    /// How many things were changed; at least as many as lines in `done`.
    pub(crate) changes: u64,
    /// What failed, one sentence each.
    pub(crate) failed: Vec<String>,
}

impl Pass {
    /// A pass that could not even begin.
    pub(crate) fn failed(error: &dyn std::error::Error) -> Self {
        Self { failed: vec![crate::fault::sentence(error)], ..Self::default() }
    }

    /// Takes in what another pass of the same reconciler did.
    pub(crate) fn add(&mut self, other: Self) {
        self.changes += other.changes;
        self.done.extend(other.done);
        self.failed.extend(other.failed);
    }

    /// Notes something that was done.
    pub(crate) fn did(&mut self, what: impl Into<String>) {
        self.done.push(what.into());
        self.changes += 1;
    }

    /// As a step of an answer.
    pub(crate) fn step(mut self, name: &str) -> Step {
        self.done.truncate(LINES);
        self.failed.truncate(LINES);
        let state = match (self.failed.is_empty(), self.changes) {
            (false, _) => StepState::Failed,
            (true, 0) => StepState::Unchanged,
            (true, _) => StepState::Done,
        };
        Step {
            name: name.to_owned(),
            state,
            changes: self.changes,
            actions: self.done,
            failures: self.failed,
        }
    }
}

/// A step that was not tried.
pub(crate) fn skipped(name: &str) -> Step {
    Step {
        name: name.to_owned(),
        state: StepState::Skipped,
        changes: 0,
        actions: Vec::new(),
        failures: Vec::new(),
    }
}
