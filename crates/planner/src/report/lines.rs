//! From pairs of groups that change alike to few lines that hold for every pair of their two sides.

use std::collections::{BTreeMap, BTreeSet};

use crate::flows::Flows;
use crate::nodes::{Node, Party};
use crate::report::words::{Names, Population};
use crate::report::{Change, ChangeKind, Reason};

/// Pairs of groups by what they are told under and how their flows read.
pub(super) type Found<'n> = BTreeMap<(Reason, String), Vec<(&'n Node, &'n Node, Flows)>>;

/// The members of a group; the same party may stand in several groups, once for each version of IP.
type Members<'n> = &'n [Party];

/// Everybody of the first side with everybody of the second.
struct Rectangle<'n> {
    sides: [BTreeSet<Members<'n>>; 2],
}

/// All lines, in no order.
pub(super) fn lines(
    found: &Found<'_>,
    names: &Names<'_>,
    population: &Population<'_>,
) -> Vec<Change> {
    let mut out = Vec::new();
    for ((reason, _), pairs) in found {
        // They read alike; what differs is which versions of IP the pairs have.
        let mut flows = Flows::default();
        let mut known: Vec<&Flows> = Vec::new();
        for (_, _, part) in pairs {
            if !known.contains(&part) {
                flows.extend(part);
                known.push(part);
            }
        }
        let lines = rectangles(pairs);
        out.extend(lines.iter().filter_map(|line| told(*reason, &flows, line, names, population)));
    }
    out
}

/// One line; `None` when it is about nobody.
fn told(
    (kind, rule, cause): Reason,
    flows: &Flows,
    rectangle: &Rectangle<'_>,
    names: &Names<'_>,
    population: &Population<'_>,
) -> Option<Change> {
    let policy = names.get(rule, kind);
    let sides = rectangle.sides.each_ref().map(parties);
    let [from, to] = &sides;
    let pairs = from.len() * to.len() - from.intersection(to).count();
    if pairs == 0 {
        return None;
    }
    let was = kind == ChangeKind::Lost;
    let from =
        population.words(was, from, policy.map(|(policy, _)| (policy, &*policy.from)), names);
    let to = population.words(was, to, policy.map(|(policy, _)| (policy, &*policy.to)), names);
    Some(Change {
        kind,
        from,
        to,
        flows: flows.clone(),
        rule: policy.map(|(_, rule)| rule.clone()),
        cause: names.new_rule(cause).cloned(),
        pairs,
        between: population.between(&sides),
        sides: sides.map(|side| side.into_iter().take(Change::PARTIES).cloned().collect()),
    })
}

fn parties<'n>(side: &BTreeSet<Members<'n>>) -> BTreeSet<&'n Party> {
    side.iter().flat_map(|members| members.iter()).collect()
}

/// Groups with the same others become one side. Groups that all reach each other would never have the same others, since
/// none reaches itself: they are found as if each did.
fn rectangles<'n>(pairs: &[(&'n Node, &'n Node, Flows)]) -> Vec<Rectangle<'n>> {
    let mut targets: BTreeMap<Members<'n>, BTreeSet<Members<'n>>> = BTreeMap::new();
    for (from, to, _) in pairs {
        targets.entry(&from.members).or_default().insert(&to.members);
    }
    let mut meshes: BTreeMap<BTreeSet<Members<'n>>, BTreeSet<Members<'n>>> = BTreeMap::new();
    for (from, to) in &targets {
        if from.len() == 1 && !to.contains(from) {
            let mut with_itself = to.clone();
            with_itself.insert(from);
            meshes.entry(with_itself).or_default().insert(from);
        }
    }
    let mut out = Vec::new();
    for (to, from) in meshes.into_iter().filter(|(to, from)| from.len() > 1 && from.is_subset(to)) {
        for each in &from {
            targets.remove(each);
        }
        out.push(Rectangle { sides: [from, to] });
    }
    let mut alike: BTreeMap<BTreeSet<Members<'n>>, BTreeSet<Members<'n>>> = BTreeMap::new();
    for (from, to) in targets {
        alike.entry(to).or_default().insert(from);
    }
    out.extend(alike.into_iter().map(|(to, from)| Rectangle { sides: [from, to] }));
    out
}
