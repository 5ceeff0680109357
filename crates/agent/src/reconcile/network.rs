//! Namespaces, links, addresses, routes, nftables: `host::network`, with our programs as its attacher.

use host::linux::bpf::Hooks;
use host::network::{self, Attach, Desired, Kernel, KernelError, Outcome, Scope};

use crate::attach::Attacher;
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
