//! The comparison of two states, over groups of parties instead of pairs of them.
//!
//! What passes between two groups follows from one row and one posture at each end that is asked. Most pairs have no row at
//! either end: of these the postures answer, so one answer serves everybody who stands alike. Of the others, those with equal
//! rows share an answer. So the work follows the rows of the tables, and pairs are only written down, as runs.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use verdict::abi::{Row, RowKey};

use super::parts::compare;
use super::words::Names;
use super::{ChangeKind, Reason};
use crate::flows::Flows;
use crate::matrix::places;
use crate::meet::{Meetings, posture};
use crate::nodes::Node;
use crate::reach::{Atlas, Place, Span};

/// What one comparison may cost, in nanoseconds as they were once measured: it takes seconds, not for ever.
const WORK: u64 = 30_000_000_000;
/// Of it: a pair that is only written down, one whose rows are looked up, an answer, and each of its spans.
const COSTS: [u64; 4] = [5, 500, 8_000, 500];

/// Pairs of groups that are told under one reason with flows that read alike.
pub(super) struct Found {
    /// What happens, and by which rules.
    pub reason: Reason,
    /// What changes; pairs differ at most in which versions of IP they have.
    pub flows: Flows,
    /// The position of who opens, and the first and last position of a run of those it opens to; in no order.
    pub runs: Vec<(u32, u32, u32)>,
}

/// All that tells a group apart from others but for rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Standing {
    network: u32,
    local: bool,
    changed: bool,
    /// By state: postures and versions of IP.
    known: Vec<Option<(u64, u64)>>,
}

impl Standing {
    pub(super) fn of(node: &Node) -> Self {
        let known = node.keys.iter().map(|key| key.map(|key| (key[3], key[5]))).collect();
        Self { network: node.network, local: node.local, changed: node.changed, known }
    }
}

/// What the tables of a state say at one end, when an endpoint is asked there.
type End = Option<(Option<Row>, u64)>;
/// What two states say of a pair, each at both ends and with the versions of IP in common; and these of the pair that is told.
type Said = ([Option<([End; 2], u64)>; 2], u64);

/// Nothing changes.
const NOTHING: u32 = 0;
/// There was no work left to find out.
const UNKNOWN: u32 = 1;

/// A comparison on its way.
pub(super) struct Comparison<'c, 't> {
    all: &'c [Node],
    /// Equal numbers stand alike.
    standings: Vec<u32>,
    atlases: [Option<&'c Atlas<'t>>; 2],
    names: &'c Names<'c>,
    known: FxHashMap<Said, u32>,
    /// What is told of pairs, by number: positions in `found`.
    outcomes: Vec<Vec<usize>>,
    numbers: FxHashMap<(Reason, String), usize>,
    found: Vec<Found>,
    work: u64,
    omitted: usize,
}

impl<'c, 't> Comparison<'c, 't> {
    /// What changes, and how many pairs were not compared. Groups that stand alike are beside each other.
    pub(super) fn run(
        all: &'c [Node],
        atlases: [Option<&'c Atlas<'t>>; 2],
        names: &'c Names<'c>,
    ) -> (Vec<Found>, usize) {
        let mut kinds: FxHashMap<Standing, u32> = FxHashMap::default();
        let mut standings = Vec::with_capacity(all.len());
        for node in all {
            let next = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
            standings.push(*kinds.entry(Standing::of(node)).or_insert(next));
        }
        let mut this = Self {
            all,
            standings,
            atlases,
            names,
            known: FxHashMap::default(),
            outcomes: vec![Vec::new(); 2],
            numbers: FxHashMap::default(),
            found: Vec::new(),
            work: WORK,
            omitted: 0,
        };
        let mut alike = vec![None; kinds.len()];
        Meetings::new(all, &atlases).visit_ruled(&atlases, |one, others, ruled, opens| {
            this.meet(one, others, ruled, opens, &mut alike);
        });
        (this.found, this.omitted)
    }

    /// Compares what passes between one group and others, of which `ruled` may have rows; both in order.
    fn meet(
        &mut self,
        one: u32,
        others: &[u32],
        ruled: &[u32],
        opens: bool,
        alike: &mut [Option<u32>],
    ) {
        alike.fill(None);
        let mut ruled = ruled.iter().copied().peekable();
        let mut runs: Vec<(u32, u32, u32)> = Vec::new();
        for other in others {
            while ruled.next_if(|at| at < other).is_some() {}
            let (from, to) = if opens { (one, *other) } else { (*other, one) };
            let outcome = if ruled.peek() == Some(other) {
                self.pay(COSTS[1]);
                self.outcome(from, to)
            } else {
                self.pay(COSTS[0]);
                let standing = self.standings.get(*other as usize).map_or(0, |at| *at as usize);
                let cached = alike.get(standing).copied().flatten();
                cached.unwrap_or_else(|| {
                    let outcome = self.outcome(from, to);
                    if let Some(slot) = alike.get_mut(standing) {
                        *slot = Some(outcome);
                    }
                    outcome
                })
            };
            match (outcome, runs.last_mut()) {
                (NOTHING, _) => {}
                (UNKNOWN, _) => self.omitted += 1,
                (_, Some((same, _, last))) if *same == outcome && *last + 1 == *other => {
                    *last = *other;
                }
                _ => runs.push((outcome, *other, *other)),
            }
        }
        for (outcome, first, last) in runs {
            self.note(one, outcome, (first, last), opens);
        }
    }

    fn note(&mut self, one: u32, outcome: u32, (first, last): (u32, u32), opens: bool) {
        for at in self.outcomes.get(outcome as usize).into_iter().flatten() {
            let Some(found) = self.found.get_mut(*at) else { continue };
            if opens {
                found.runs.push((one, first, last));
            } else {
                found.runs.extend((first..=last).map(|other| (other, one, one)));
            }
        }
    }

    fn pay(&mut self, cost: u64) {
        self.work = self.work.saturating_sub(cost);
    }

    /// The number of what is told of a pair.
    fn outcome(&mut self, from: u32, to: u32) -> u32 {
        let all = self.all;
        let (Some(from), Some(to)) = (all.get(from as usize), all.get(to as usize)) else {
            return NOTHING;
        };
        if !(from.changed || to.changed) {
            return NOTHING;
        }
        let said = self.said(from, to);
        if said.0[0] == said.0[1] {
            return NOTHING;
        }
        if let Some(known) = self.known.get(&said) {
            return *known;
        }
        if self.work == 0 {
            return UNKNOWN;
        }
        let told = self.told(from, to, said.1);
        let outcome = if told.is_empty() {
            NOTHING
        } else {
            self.outcomes.push(told);
            u32::try_from(self.outcomes.len() - 1).unwrap_or(NOTHING)
        };
        self.known.insert(said, outcome);
        outcome
    }

    /// What the tables of both states say of a pair.
    fn said(&self, from: &'c Node, to: &'c Node) -> Said {
        let sides = [0, 1].map(|bundle| {
            let atlas = self.atlases.get(bundle).copied().flatten()?;
            let stand = |node: &'c Node| Some((node.keys.get(bundle).copied()??, node));
            let (a, b) = (stand(from)?, stand(to)?);
            Some(([end(atlas, a, b, bundle, 0)?, end(atlas, b, a, bundle, 1)?], a.0[5] & b.0[5]))
        });
        let both = |bundle: usize| {
            let key = |node: &Node| node.keys.get(bundle).copied().flatten();
            Some(key(from)?[5] & key(to)?[5])
        };
        (sides, both(1).or_else(|| both(0)).unwrap_or(3))
    }

    /// Finds out exactly what changes for a pair: positions in `found`.
    fn told(&mut self, from: &'c Node, to: &'c Node, families: u64) -> Vec<usize> {
        let spans = |bundle: usize| {
            let atlas = self.atlases.get(bundle).copied().flatten();
            let pair = atlas.zip(places(from, to, bundle));
            pair.map(|(atlas, (a, b))| atlas.spans(&a, &b)).unwrap_or_default()
        };
        let (before, after) = (spans(0), spans(1));
        self.pay(COSTS[2] + COSTS[3] * (before.len() + after.len()) as u64);
        let mut told: BTreeMap<Reason, Vec<Span>> = BTreeMap::new();
        for (kind, part) in compare(&before, &after) {
            let cause = match (kind, self.atlases[1].zip(places(from, to, 1))) {
                (ChangeKind::Lost, Some((atlas, (a, b)))) => denied_by(atlas, &a, &b, &part),
                _ => 0,
            };
            let known = |rule: &u32| self.names.get(*rule, kind).is_some();
            // The rule that lets a part pass, at the target or else at the source.
            let rule = [part.ingress_rule, part.egress_rule].into_iter().find(known).unwrap_or(0);
            told.entry((kind, rule, cause)).or_default().push(part);
        }
        told.into_iter()
            .map(|(reason, spans)| {
                let mut flows = Flows::of(&spans);
                flows.between(families & 2 != 0, families & 1 != 0);
                self.number(reason, flows)
            })
            .collect()
    }

    fn number(&mut self, reason: Reason, flows: Flows) -> usize {
        let at = *self.numbers.entry((reason, flows.to_string())).or_insert(self.found.len());
        match self.found.get_mut(at) {
            Some(found) => found.flows.extend(&flows),
            None => self.found.push(Found { reason, flows, runs: Vec::new() }),
        }
        at
    }
}

/// What one end of a pair says of the other; `None` when its network does not know the other.
fn end(
    atlas: &Atlas<'_>,
    (own, node): ([u64; 6], &Node),
    (peer, other): ([u64; 6], &Node),
    bundle: usize,
    direction: usize,
) -> Option<End> {
    if !node.local {
        return Some(None);
    }
    let class = if node.network == other.network {
        peer[0]
    } else {
        // Of a workload of another network each network knows its own class.
        let place: Place = (*other.places.get(bundle)?)?;
        atlas.peer(node.network, place.v4.or(place.v6)?)?.class[0]
    };
    let slot = if direction == 0 { own[1] } else { own[2] };
    let row = atlas.rows().get(&RowKey { slot, class }).copied();
    Some(Some((row, posture(&own, direction))))
}

/// The deny rule that drops a part now; 0 when it is the default.
fn denied_by(atlas: &Atlas<'_>, from: &Place, to: &Place, part: &Span) -> u32 {
    let v6 = part.protocol == model::Proto::Icmp6;
    let pair = if v6 { from.v6.zip(to.v6) } else { from.v4.zip(to.v4).or(from.v6.zip(to.v6)) };
    let Some((source, target)) = pair else { return 0 };
    let ports = verdict::abi::Ports {
        source: part.sources.map_or(0, |sources| sources.0),
        target: part.ports.0,
    };
    let mut networks = vec![from.network, to.network];
    networks.dedup();
    let answer = atlas.ask(&networks, source, target, ports, part.protocol.number());
    if answer.ingress_rule == 0 { answer.egress_rule } else { answer.ingress_rule }
}
