//! From pairs of groups that change alike to few lines that hold for every pair of their two sides.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::compare::Found;
use super::words::{Names, Population};
use super::{Change, ChangeKind, shorten};
use crate::nodes::{Node, Party};

/// First and last number of those that follow each other.
type Run = (u32, u32);

/// Everybody of the first side with everybody of the second; members by number.
struct Rectangle {
    from: Vec<u32>,
    to: Vec<Run>,
}

/// A line that may be told.
struct Candidate<'f> {
    found: &'f Found,
    sides: Rectangle,
    pairs: usize,
}

/// The lines that are told, in no order, and how many pairs that leaves out.
pub(super) fn lines(
    found: &[Found],
    all: &[Node],
    names: &Names<'_>,
    population: &Population<'_>,
) -> (Vec<Change>, usize) {
    let crowd = Crowd::new(all);
    let mut stamps = Stamps::new(crowd.parties.len());
    let mut candidates = Vec::new();
    for each in found {
        for sides in rectangles(crowd.pairs(&each.runs), &crowd.members) {
            let pairs = crowd.count(&sides, &mut stamps);
            if pairs > 0 {
                candidates.push(Candidate { found: each, sides, pairs });
            }
        }
    }
    // When there are too many, the first rules are told, and of each the lines that say most.
    candidates.sort_by_cached_key(|line| {
        let (kind, rule, _) = line.found.reason;
        let rule = names.get(rule, kind).map(|(_, rule)| (rule.line, &*rule.path));
        (kind, rule, Reverse(line.pairs), line.sides.from.first().copied())
    });
    let beyond = shorten(&mut candidates, |line| (line.found.reason.0, line.pairs));
    let lines = candidates.iter().map(|line| told(line, &crowd, names, population)).collect();
    (lines, beyond)
}

fn told(
    line: &Candidate<'_>,
    crowd: &Crowd<'_>,
    names: &Names<'_>,
    population: &Population<'_>,
) -> Change {
    let (kind, rule, cause) = line.found.reason;
    let policy = names.get(rule, kind);
    let to = line.sides.to.iter().flat_map(|(first, last)| *first..=*last);
    let sides = [crowd.people(line.sides.from.iter().copied()), crowd.people(to)];
    let [from, to] = &sides;
    let was = kind == ChangeKind::Lost;
    let from =
        population.words(was, from, policy.map(|(policy, _)| (policy, &*policy.from)), names);
    let to = population.words(was, to, policy.map(|(policy, _)| (policy, &*policy.to)), names);
    Change {
        kind,
        from,
        to,
        flows: line.found.flows.clone(),
        rule: policy.map(|(_, rule)| rule.clone()),
        cause: names.new_rule(cause).cloned(),
        pairs: line.pairs,
        between: population.between(&sides),
        sides: sides.map(|side| side.into_iter().take(Change::PARTIES).cloned().collect()),
    }
}

/// Who stands in the groups. The same party may stand in several groups, once for each version of IP, and the same members
/// in several networks: they are one.
struct Crowd<'n> {
    /// In order, each once.
    parties: Vec<&'n Party>,
    /// The positions of the members of each group, without repetition.
    members: Vec<Vec<u32>>,
    /// By the position of a group, its members.
    numbers: Vec<u32>,
}

impl<'n> Crowd<'n> {
    fn new(all: &'n [Node]) -> Self {
        let mut parties: Vec<&Party> = all.iter().flat_map(|node| &node.members).collect();
        parties.sort_unstable();
        parties.dedup();
        let places: FxHashMap<&Party, u32> = parties.iter().copied().zip(0..).collect();
        let mut known: FxHashMap<&[Party], u32> = FxHashMap::default();
        let mut this = Self { parties, members: Vec::new(), numbers: Vec::new() };
        for node in all {
            let number = *known.entry(&node.members).or_insert_with(|| {
                let places = node.members.iter().filter_map(|party| places.get(party).copied());
                this.members.push(places.collect());
                narrow(this.members.len() - 1)
            });
            this.numbers.push(number);
        }
        this
    }

    /// By members, runs of the members that they open to.
    fn pairs(&self, runs: &[(u32, u32, u32)]) -> BTreeMap<u32, Vec<Run>> {
        let number = |at: u32| self.numbers.get(at as usize).copied().unwrap_or_default();
        let mut pairs: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
        for (from, first, last) in runs {
            let to = pairs.entry(number(*from)).or_default();
            for at in *first..=*last {
                let next = number(at);
                match to.last_mut() {
                    Some(before) if before.1.checked_add(1) == Some(next) => before.1 = next,
                    Some(before) if before.0 <= next && next <= before.1 => {}
                    _ => to.push((next, next)),
                }
            }
        }
        for runs in pairs.values_mut() {
            *runs = joined(std::mem::take(runs));
        }
        pairs
    }

    /// Everybody of one side, in order.
    fn people(&self, side: impl Iterator<Item = u32>) -> Vec<&'n Party> {
        let members = side.filter_map(|number| self.members.get(number as usize)).flatten();
        let mut all: Vec<u32> = members.copied().collect();
        all.sort_unstable();
        all.dedup();
        all.iter().filter_map(|at| self.parties.get(*at as usize).copied()).collect()
    }

    /// How many pairs of parties these are; nobody is a pair with himself.
    fn count(&self, sides: &Rectangle, stamps: &mut Stamps) -> usize {
        let people = |number: u32| self.members.get(number as usize).into_iter().flatten().copied();
        stamps.next();
        let from = sides.from.iter().flat_map(|number| people(*number));
        let from = from.filter(|party| stamps.enter(0, *party)).count();
        let to = sides.to.iter().flat_map(|(first, last)| *first..=*last).flat_map(people);
        let (mut count, mut both) = (0, 0);
        for party in to {
            if stamps.enter(1, party) {
                count += 1;
                both += usize::from(stamps.has(0, party));
            }
        }
        from * count - both
    }
}

/// Who was counted already on each side.
struct Stamps {
    now: u32,
    seen: [Vec<u32>; 2],
}

impl Stamps {
    fn new(parties: usize) -> Self {
        Self { now: 0, seen: [vec![0; parties], vec![0; parties]] }
    }

    fn next(&mut self) {
        self.now += 1;
    }

    fn has(&self, side: usize, party: u32) -> bool {
        self.seen.get(side).and_then(|seen| seen.get(party as usize)) == Some(&self.now)
    }

    fn enter(&mut self, side: usize, party: u32) -> bool {
        match self.seen.get_mut(side).and_then(|seen| seen.get_mut(party as usize)) {
            Some(seen) if *seen != self.now => {
                *seen = self.now;
                true
            }
            _ => false,
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Runs in order, as few as can be.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut out: Vec<Run> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match out.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn has(runs: &[Run], number: u32) -> bool {
    let at = runs.partition_point(|run| run.1 < number);
    runs.get(at).is_some_and(|run| run.0 <= number)
}

/// Groups with the same others become one side. Groups that all reach each other would never have the same others, since
/// none reaches itself: they are found as if each did.
fn rectangles(mut targets: BTreeMap<u32, Vec<Run>>, members: &[Vec<u32>]) -> Vec<Rectangle> {
    let mut meshes: BTreeMap<Vec<Run>, Vec<u32>> = BTreeMap::new();
    for (from, to) in &targets {
        let is_alone = members.get(*from as usize).is_some_and(|members| members.len() == 1);
        if is_alone && !has(to, *from) {
            let mut with_itself = to.clone();
            with_itself.push((*from, *from));
            meshes.entry(joined(with_itself)).or_default().push(*from);
        }
    }
    let mut out = Vec::new();
    for (to, from) in meshes {
        if from.len() > 1 && from.iter().all(|each| has(&to, *each)) {
            for each in &from {
                targets.remove(each);
            }
            out.push(Rectangle { from, to });
        }
    }
    let mut alike: BTreeMap<Vec<Run>, Vec<u32>> = BTreeMap::new();
    for (from, to) in targets {
        alike.entry(to).or_default().push(from);
    }
    out.extend(alike.into_iter().map(|(to, from)| Rectangle { from, to }));
    out
}
