//! Whether everything that was asked for is enforced.

use std::net::IpAddr;

use api::Health;
use policy::Document;

use crate::fault::sentence;
use crate::shared::Shared;

/// Entries of `publish` that are told.
const MISLED: usize = 50;

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
        problems.extend(strays(&force.wanted.document));
        problems.extend(misled(&force.wanted.document));
    }
    problems.extend(shared.ports.strays().1);
    let lost = shared.meters.lost().unwrap_or_default();
    if lost > 0 {
        problems.push(format!("{lost} flow events were lost: flow records are incomplete"));
    }
    problems
}

/// Addresses of the host that a document names and that are not there now, in the network namespace of the calling thread.
fn strays(document: &Document) -> Vec<String> {
    if !policy::names_addresses(document) {
        return Vec::new();
    }
    let own: Vec<IpAddr> = match host::linux::kernel::own_addresses() {
        Ok(own) => own.into_iter().collect(),
        Err(error) => return vec![sentence(&error)],
    };
    policy::strays(document, &own).into_iter().map(|found| placed(&found, document)).collect()
}

/// Published ports that a runtime does not lead where the file says; a number of them.
pub(crate) fn misled(document: &Document) -> Vec<String> {
    let all = policy::misled(document).into_iter();
    all.take(MISLED).map(|found| placed(&found.told, document)).collect()
}

/// What was found and where.
fn placed(found: &policy::Diagnostic, document: &Document) -> String {
    let line = found.span.map_or(0, |span| span.line);
    format!("{} ({}:{line})", found.message, document.file)
}
