//! The order of an apply: which stage follows which, what a failure skips, and when a policy counts as enforced. Who does the
//! stages is the caller's.

use api::{Step, StepState};

use crate::reconcile::skipped;

/// A stage: one pass of one reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Workloads that go are stopped.
    Stop,
    /// New endpoints are made, closed.
    Close,
    /// Namespaces, links, addresses, routes, translation.
    Network,
    /// The policy is switched.
    Tables,
    /// Workloads that come are started.
    Workloads,
}

impl Stage {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 5] =
        [Self::Stop, Self::Close, Self::Network, Self::Tables, Self::Workloads];

    /// As answers and the log name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Close => "close",
            Self::Network => "network",
            Self::Tables => "tables",
            Self::Workloads => "workloads",
        }
    }
}

/// Does the stages in their order; after one that fails the others are skipped.
pub(super) fn in_order(mut pass: impl FnMut(Stage) -> Step) -> Vec<Step> {
    let mut failed = false;
    let step = |stage: Stage| {
        if failed {
            return skipped(stage.name());
        }
        let step = pass(stage);
        failed = step.state == StepState::Failed;
        step
    };
    Stage::ALL.into_iter().map(step).collect()
}

/// Whether everything up to the policy itself is in place. A workload that cannot be started changes nothing for the
/// others.
pub(super) fn is_enforced(steps: &[Step]) -> bool {
    let mut before = steps.iter().filter(|step| step.name != Stage::Workloads.name());
    !before.any(|step| matches!(step.state, StepState::Failed | StepState::Skipped))
}

#[cfg(test)]
mod tests;
