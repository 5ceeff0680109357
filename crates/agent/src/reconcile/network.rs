//! Namespaces, links, addresses, routes, nftables: `host::network`, with our programs as its attacher.

use host::linux::bpf::Hooks;
use host::network::{self, Desired, Kernel};

use crate::attach::Attacher;
use crate::fault::sentence;
use crate::options::Options;

use super::Pass;

/// One pass towards `desired`.
pub(crate) fn pass(
    kernel: &mut impl Kernel,
    hooks: Hooks,
    options: &Options,
    desired: &Desired,
) -> Pass {
    let mut attacher = Attacher::new(hooks, desired, |name| options.pin(name));
    match network::reconcile(kernel, &mut attacher, desired) {
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
) -> Vec<String> {
    let mut attacher = Attacher::new(hooks, desired, |name| options.pin(name));
    let Ok((observed, _)) = network::observe(kernel, &mut attacher, desired) else {
        return Vec::new();
    };
    let plan = network::Plan::diff(desired, &observed);
    plan.units.iter().flat_map(|unit| &unit.steps).map(ToString::to_string).collect()
}
