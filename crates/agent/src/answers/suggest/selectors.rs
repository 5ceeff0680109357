//! Sets of workloads as selectors that mean exactly these: labels and segments before names.
//!
//! Whom each label, segment and pair of them means is found once for a tenant. A large tenant with many different labels and flows must not keep
//! the agent busy for long: what is compared is bounded, and beyond it workloads are named one by one, which means the same and is said.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Name;
use policy::Document;
use policy::document::Workload;

/// Terms of which pairs are tried.
const TERMS: usize = 64;
/// Terms that are tried alone; of more, those that mean most workloads.
const ALONE: usize = 4_096;
/// Steps of all comparisons for one tenant, each of 64 workloads: about a second.
const STEPS: u64 = 500_000_000;

/// Workloads of a tenant, by their numbers.
type Members = Vec<u64>;

/// What selectors of a tenant can say.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// The number of each workload.
    numbers: BTreeMap<Arc<str>, usize>,
    /// Selectors and whom each means.
    candidates: Vec<(String, Members)>,
    /// Steps that are left.
    steps: Cell<u64>,
    /// Whether there are more terms than are tried.
    is_cut: bool,
}

impl Vocabulary {
    /// Every label and segment of the tenant alone, and pairs of them.
    pub(super) fn new(document: &Document, tenant: &Name) -> Self {
        Self::bounded(document, tenant, STEPS)
    }

    fn bounded(document: &Document, tenant: &Name, steps: u64) -> Self {
        let own = document.workloads.iter().filter(|workload| workload.tenant == *tenant);
        let mut numbers: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut terms: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, workload) in own.enumerate() {
            numbers.insert(workload.id().into(), number);
            for term in terms_of(workload) {
                terms.entry(term).or_default().push(number);
            }
        }
        let mut terms: Vec<(String, Vec<usize>)> = terms.into_iter().collect();
        let is_cut = terms.len() > ALONE;
        if is_cut {
            terms.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
            terms.truncate(ALONE);
            terms.sort();
        }
        let words = numbers.len().div_ceil(64);
        let bits = |(text, members): (String, Vec<usize>)| (text, set(members, words));
        let mut candidates: Vec<(String, Members)> = terms.into_iter().map(bits).collect();
        let mut pairs = Vec::new();
        for (at, (one, members)) in candidates.iter().take(TERMS).enumerate() {
            for (other, more) in candidates.iter().take(TERMS).skip(at + 1) {
                let both: Members = members.iter().zip(more).map(|(a, b)| a & b).collect();
                if both.iter().any(|word| *word != 0) {
                    pairs.push((format!("{one}, {other}"), both));
                }
            }
        }
        candidates.extend(pairs);
        Self { numbers, candidates, steps: Cell::new(steps), is_cut }
    }

    /// Selectors that together mean exactly `wanted`; who is in `harmless` may be meant too.
    pub(super) fn selectors(
        &self,
        wanted: &BTreeSet<Arc<str>>,
        harmless: Option<&Arc<str>>,
    ) -> Vec<String> {
        let numbers = |ids: &mut dyn Iterator<Item = &Arc<str>>| {
            let numbers = ids.filter_map(|id| self.numbers.get(id).copied()).collect();
            set(numbers, self.numbers.len().div_ceil(64))
        };
        let mut left = numbers(&mut wanted.iter());
        let may = numbers(&mut wanted.iter().chain(harmless));
        let fits = |(_, members): &&(String, Members)| {
            let beyond = members.iter().zip(&may).position(|(members, may)| members & !may != 0);
            self.spend(beyond.map_or(members.len(), |at| at + 1)) && beyond.is_none()
        };
        let candidates: Vec<&(String, Members)> = self.candidates.iter().filter(fits).collect();
        let mut out = Vec::new();
        while self.spend(candidates.len().saturating_mul(left.len())) {
            let gain = |members: &Members| -> u32 {
                members.iter().zip(&left).map(|(a, b)| (a & b).count_ones()).sum()
            };
            // Of those that mean as many, the shortest.
            let rank = |(text, members): &&&(String, Members)| {
                (gain(members), std::cmp::Reverse(text.len()))
            };
            let best = candidates.iter().max_by_key(rank).filter(|best| gain(&best.1) > 0);
            let Some((text, members)) = best.copied() else { break };
            for (left, members) in left.iter_mut().zip(members) {
                *left &= !members;
            }
            out.push(text.clone());
        }
        let is_left = |id: &&Arc<str>| {
            let number = self.numbers.get(*id);
            number.is_none_or(|at| left.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1))
        };
        let names = wanted.iter().filter(is_left).filter_map(|id| id.split_once('.'));
        out.extend(names.map(|(_, name)| match name.split_once('@') {
            Some((name, network)) => format!("workload={name}, network={network}"),
            None => format!("workload={name}"),
        }));
        out.sort();
        out
    }

    /// Takes steps, unless too few are left: then there are none any more.
    fn spend(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps as u64);
        self.steps.set(left.unwrap_or_default());
        left.is_some()
    }

    /// What was not tried, a clause.
    pub(super) fn untried(&self) -> Option<&'static str> {
        let is_over = self.steps.get() == 0;
        (is_over || self.is_cut).then_some(
            "there are more labels and flows than are compared: some workloads are named where labels mean them too",
        )
    }
}

fn set(numbers: Vec<usize>, words: usize) -> Members {
    let mut members = vec![0; words];
    for number in numbers {
        if let Some(word) = members.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }
    members
}

/// Labels and the segment; a name of a segment that several networks have needs the network, too.
fn terms_of(workload: &Workload) -> BTreeSet<String> {
    let labels = workload.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let segment = workload.segment.iter().map(|segment| format!("segment={segment}"));
    labels.chain(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant with a label that each workload has alone, one that ten have, and one that all have.
    fn tenant(workloads: usize) -> Document {
        let mut text = "bulkhead: 1\ntenants:\n  s:\n    networks: { n: { subnets: [10.0.0.0/16] } }\n    workloads:\n".to_owned();
        let line = |n: usize| {
            let ten = n / 10;
            format!("      w{n}: {{ labels: {{ all: x, id: i{n}, ten: t{ten} }}, netns: w{n} }}\n")
        };
        text.extend((0..workloads).map(line));
        crate::tests::wanted(&text).document
    }

    fn some(numbers: std::ops::Range<usize>) -> BTreeSet<Arc<str>> {
        numbers.map(|n| format!("s.w{n}").into()).collect()
    }

    #[test]
    fn whom_labels_mean_is_found_once_and_names_stand_in_when_it_takes_too_long() {
        let document = tenant(300);
        let name = &document.tenants[0].name;
        let all = Vocabulary::new(&document, name);
        assert_eq!(all.selectors(&some(0..300), None), ["all=x"]);
        assert_eq!(all.selectors(&some(130..150), None), ["ten=t13", "ten=t14"]);
        assert_eq!(all.selectors(&some(130..141), None), ["id=i140", "ten=t13"]);
        assert_eq!(all.selectors(&some(131..140), Some(&"s.w130".into())), ["ten=t13"]);
        assert_eq!(all.untried(), None);
        let few = Vocabulary::bounded(&document, name, 1_000);
        let names = ["workload=w0", "workload=w1"];
        assert_eq!(few.selectors(&some(0..2), None), names, "exact all the same");
        assert!(few.untried().is_some(), "and it is said");
    }
}
