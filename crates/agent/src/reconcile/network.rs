//! Namespaces, links, addresses, routes, nftables: `host::network`, with our programs as its attacher.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use host::linux::bpf::Hooks;
use host::linux::rule;
use host::network::{
    self, Attach, Desired, EndpointNumber, Kernel, KernelError, Outcome, Place, Scope,
};
use planner::Bundle;

use crate::attach::Attacher;
use crate::desired;
use crate::fault::sentence;
use crate::options::Options;

use super::Pass;

/// Passes of a removal.
const PASSES: usize = 3;

/// One pass towards `desired`, over a part of it.
pub(crate) fn pass(
    kernel: &mut impl Kernel,
    hooks: Hooks,
    options: &Options,
    desired: &Desired,
    scope: &Scope,
) -> Pass {
    let mut attacher = Attacher::new(hooks, desired, |name| options.pin(name));
    told(network::reconcile_in(kernel, &mut attacher, desired, scope))
}

/// Removes everything. A namespace takes its links along some time after it was removed, so passes go on until there is
/// nothing left to remove, three at most.
pub(crate) fn removal(kernel: &mut impl Kernel, attach: &mut impl Attach) -> Pass {
    let mut all = Pass::default();
    for _ in 0..PASSES {
        let pass = told(network::teardown(kernel, attach));
        let is_over = pass.changes == 0 || !pass.failed.is_empty();
        all.changes += pass.changes;
        all.done.extend(pass.done);
        all.failed = pass.failed;
        if is_over {
            break;
        }
    }
    all
}

fn told(outcome: Result<Outcome, KernelError>) -> Pass {
    match outcome {
        Ok(outcome) => Pass {
            changes: outcome.done.len() as u64,
            failed: outcome.failed.iter().map(|error| sentence(error)).collect(),
            done: outcome.done,
        },
        Err(error) => Pass::failed(&error),
    }
}

/// Removes what links of workloads with several attachments leave behind in adopted namespaces: routing rules do not end with
/// a link. `after` is what stays. A namespace that is gone has none.
pub(crate) fn sweep(before: &Bundle, after: &Bundle) {
    let mut left: BTreeMap<PathBuf, BTreeSet<u32>> = BTreeMap::new();
    for (id, workload) in before.workloads.iter().filter(|(id, _)| id.contains('@')) {
        if after.workloads.get(id).is_some_and(|other| other.endpoint == workload.endpoint) {
            continue;
        }
        let Some(Place::At(path)) = desired::place(&workload.start) else { continue };
        let all = before.attachments(id).filter_map(|(_, each)| each.endpoint);
        let gone = all.filter(|number| after.endpoint(*number).is_none());
        let numbers = gone.filter_map(|number| EndpointNumber::new(number).ok());
        left.entry(path).or_default().extend(numbers.map(EndpointNumber::peer_ifindex));
    }
    for (path, tables) in left {
        match rule::forget(&path, &tables) {
            Err(error) if path.exists() => {
                tracing::warn!(%error, "routing rules are left in {}", path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// What a pass would do, in `ip`'s and `nft`'s words.
pub(crate) fn preview(
    kernel: &mut impl Kernel,
    hooks: Hooks,
    options: &Options,
    desired: &Desired,
    scope: &Scope,
) -> Vec<String> {
    let mut attacher = Attacher::new(hooks, desired, |name| options.pin(name));
    let Ok((observed, _)) = network::observe(kernel, &mut attacher, desired, scope) else {
        return Vec::new();
    };
    let plan = network::Plan::diff(desired, &observed);
    plan.units.iter().flat_map(|unit| &unit.steps).map(ToString::to_string).collect()
}
