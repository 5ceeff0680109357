//! Whether everything that was asked for is enforced.

use api::Health;

use crate::shared::Shared;

/// Events lost make the flow records incomplete; that is a warning, not an illness.
pub(crate) fn health(shared: &Shared) -> Health {
    let condition = shared.condition().clone();
    let failing = condition.reconcilers.into_values();
    let failing = failing.filter(|each| each.name != "workloads" && each.name != "stop");
    let failures = failing.flat_map(|each| {
        let name = each.name;
        each.failures.into_iter().map(move |failure| format!("{name}: {failure}"))
    });
    let problems: Vec<String> = condition.problems.into_values().chain(failures).collect();
    let generation = shared.force().map_or(0, |force| force.generation);
    Health { ok: problems.is_empty(), generation, problems }
}

/// Everything that is not as it should be, one sentence each.
pub(crate) fn problems(shared: &Shared) -> Vec<String> {
    let condition = shared.condition().clone();
    let failures = condition.reconcilers.into_values().flat_map(|each| {
        let name = each.name;
        each.failures.into_iter().map(move |failure| format!("{name}: {failure}"))
    });
    let mut problems: Vec<String> = condition.problems.into_values().chain(failures).collect();
    if let Some(force) = shared.force() {
        problems.extend(shared.foreign.in_the_way(&force.wanted.bundle));
    }
    let lost = shared.meters.lost().unwrap_or_default();
    if lost > 0 {
        problems.push(format!("{lost} flow events were lost: flow records are incomplete"));
    }
    problems
}
