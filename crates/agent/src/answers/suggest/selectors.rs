//! Sets of workloads as selectors that mean exactly these: labels and segments before names.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Name;
use policy::Document;
use policy::document::Workload;

/// Terms of which pairs are tried.
const TERMS: usize = 64;

/// A selector and whom it means.
#[derive(Debug, Clone)]
struct Candidate {
    text: String,
    members: BTreeSet<Arc<str>>,
}

/// Selectors that together mean exactly `wanted`; who is in `harmless` may be meant too.
pub(super) fn selectors(
    document: &Document,
    tenant: &Name,
    wanted: &BTreeSet<Arc<str>>,
    harmless: Option<&Arc<str>>,
) -> Vec<String> {
    let may = |id: &Arc<str>| wanted.contains(id) || Some(id) == harmless;
    let mut candidates: Vec<Candidate> = candidates(document, tenant);
    candidates.retain(|candidate| candidate.members.iter().all(may));
    let (mut left, mut out) = (wanted.clone(), Vec::new());
    while !left.is_empty() {
        let gain = |candidate: &Candidate| candidate.members.intersection(&left).count();
        // Of those that mean as many, the shortest.
        let best = candidates.iter().max_by(|a, b| {
            (gain(a), std::cmp::Reverse(a.text.len()))
                .cmp(&(gain(b), std::cmp::Reverse(b.text.len())))
        });
        if let Some(best) = best.filter(|best| gain(best) > 0) {
            left = left.difference(&best.members).cloned().collect();
            out.push(best.text.clone());
        } else {
            let names = left.iter().filter_map(|id| id.split_once('.'));
            out.extend(names.map(|(_, name)| format!("workload={name}")));
            left.clear();
        }
    }
    out.sort();
    out
}

/// Every label and segment of the tenant alone, and pairs of them.
fn candidates(document: &Document, tenant: &Name) -> Vec<Candidate> {
    let own = || document.workloads.iter().filter(|workload| workload.tenant == *tenant);
    let mut terms: BTreeSet<String> = BTreeSet::new();
    for workload in own() {
        terms.extend(terms_of(workload));
    }
    let members = |terms: &[&String]| -> BTreeSet<Arc<str>> {
        let has_all = |workload: &&policy::document::Workload| {
            let has = terms_of(workload);
            terms.iter().all(|term| has.contains(*term))
        };
        own().map(|workload| &**workload).filter(has_all).map(|it| it.id().into()).collect()
    };
    let single = |term: &String| Candidate { text: term.clone(), members: members(&[term]) };
    let mut all: Vec<Candidate> = terms.iter().map(single).collect();
    let pairs = terms.iter().take(TERMS).enumerate();
    for (at, one) in pairs {
        for other in terms.iter().take(TERMS).skip(at + 1) {
            let members = members(&[one, other]);
            if !members.is_empty() {
                all.push(Candidate { text: format!("{one}, {other}"), members });
            }
        }
    }
    all
}

/// Labels and the segment; a name of a segment that several networks have needs the network, too.
fn terms_of(workload: &Workload) -> BTreeSet<String> {
    let labels = workload.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let segment = workload.segment.iter().map(|segment| format!("segment={segment}"));
    labels.chain(segment).collect()
}
