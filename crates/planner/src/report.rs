//! What a new document changes for people: connections gained and lost, objects, assertions.
//!
//! Connections are compared as exact sets between groups of parties that nothing tells apart; only
//! pairs with a changed side are looked at. They are then told in few lines, each of which holds for every pair of its
//! two sides: under the policy that now lets them pass or that did before, in its own words where it changes as a whole.

use std::collections::BTreeMap;

use model::RuleRef;
use policy::Document;

use crate::assertions::{self, Outcome};
use crate::bundle::Bundle;
use crate::flows::Flows;
use crate::matrix::places;
use crate::meet::{Meetings, is_same};
use crate::nodes::{Node, Party, nodes};
use crate::objects::{Objects, objects};
use crate::reach::{Atlas, Span};

mod lines;
mod words;

use lines::{Found, lines};
use words::{Names, Population};

pub use words::Area;

/// What a plan says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanReport {
    /// Gains first, then losses, each in file order.
    pub connections: Vec<Change>,
    /// Pairs that were not compared or are not told because there are too many; 0 when the
    /// comparison is complete.
    pub omitted: usize,
    /// By kind, in the order tenant, network, segment, workload, publish, policy, audit.
    pub objects: Vec<Objects>,
    /// One for each assertion of the new document, in file order.
    pub assertions: Vec<Outcome>,
}

/// Connections that change for one reason: everybody of one side with everybody of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens to them.
    pub kind: ChangeKind,
    /// Who opens them: as the policy says it, or by segment, label or name.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Which flows.
    pub flows: Flows,
    /// The rule that lets them pass now, or that let them pass before. `None`: the posture.
    pub rule: Option<RuleRef>,
    /// Of a loss, the deny rule that drops them now, when it is not the default.
    pub cause: Option<RuleRef>,
    /// How many pairs of parties this is; ranges count as one.
    pub pairs: usize,
    /// Who opens them and to whom, at most [`Change::PARTIES`] each; nobody meets himself.
    pub sides: [Vec<Party>; 2],
    /// Between which segments and zones, at most [`Change::AREAS`] pairs.
    pub between: Vec<(Area, Area)>,
}

impl Change {
    /// Most parties that are listed of a side.
    pub const PARTIES: usize = 1_000;
    /// Most pairs of areas that are listed.
    pub const AREAS: usize = 64;

    /// Whether a side has more parties than are listed.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.sides.iter().any(|side| side.len() >= Self::PARTIES)
    }
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It passes now and did not before.
    Gained,
    /// It passed before and does not now.
    Lost,
    /// It passes as before, and is now recorded as "would be dropped".
    Recorded,
    /// It passes as before, and is no longer recorded.
    Settled,
}

impl ChangeKind {
    /// The sign in front of the line.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Gained => '+',
            Self::Lost => '-',
            Self::Recorded | Self::Settled => '~',
        }
    }
}

impl PlanReport {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let same = |each: &Objects| each.added + each.changed + each.removed == 0;
        self.connections.is_empty() && self.omitted == 0 && self.objects.iter().all(same)
    }

    /// Whether every assertion holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.assertions.iter().all(|outcome| outcome.broken.is_none())
    }
}

/// Compares two states of one node. Without an old one, everything is new.
#[must_use]
pub fn diff(old: Option<(&Document, &Bundle)>, new: (&Document, &Bundle)) -> PlanReport {
    let (document, bundle) = new;
    let (connections, omitted) = connections(old, new);
    PlanReport {
        connections,
        omitted,
        objects: objects(old.map(|(document, _)| document), document).0,
        assertions: assertions::prove(document, bundle),
    }
}

/// Pairs of groups that are looked at: a tenth of a second each million.
const LOOKS: usize = 6_000_000;
/// Pairs that differ and of which it is found out exactly what passes: a tenth of a second each ten thousand.
const EXACT: usize = 20_000;
/// Most lines that are told. Nobody reads more, and a first plan has as many as there are rules.
const LINES: usize = 2_000;

/// What a line is told under: what happens, the rule that lets pass, the rule that drops.
type Reason = (ChangeKind, u32, u32);

/// A comparison on its way.
struct Comparison<'c, 't> {
    atlases: [Option<&'c Atlas<'t>>; 2],
    names: Names<'c>,
    found: Found<'c>,
    looks: usize,
    exact: usize,
    omitted: usize,
}

fn connections(
    old: Option<(&Document, &Bundle)>,
    new: (&Document, &Bundle),
) -> (Vec<Change>, usize) {
    let old_atlas = old.map(|(_, bundle)| Atlas::new(&bundle.tables));
    let new_atlas = Atlas::new(&new.1.tables);
    let all = nodes(&[
        (old.map(|(_, bundle)| bundle), old_atlas.as_ref()),
        (Some(new.1), Some(&new_atlas)),
    ]);
    let atlases = [old_atlas.as_ref(), Some(&new_atlas)];
    let mut this = Comparison {
        atlases,
        names: Names::new(old.map(|(document, _)| document), new.0),
        found: Found::new(),
        looks: LOOKS,
        exact: EXACT,
        omitted: 0,
    };
    Meetings::new(&all, &atlases).visit(|one, others, count, opens| {
        if this.looks == 0 || this.exact == 0 {
            this.omitted += count;
            return;
        }
        for other in others {
            let (from, to) = if opens { (one, other) } else { (other, one) };
            this.pair(from, to);
        }
    });
    if this.found.is_empty() {
        return (Vec::new(), this.omitted);
    }
    let population = Population::new(old.map(|(document, _)| document), new.0, &all);
    let mut all = lines(&this.found, &this.names, &population);
    all.sort_by(|a, b| place(a).cmp(&place(b)));
    let beyond = shorten(&mut all);
    (all, this.omitted + beyond)
}

/// Leaves as many lines as are told; how many pairs that leaves out. Half of the room is kept for losses: many gains
/// must not hide what is cut.
fn shorten(all: &mut Vec<Change>) -> usize {
    let lost = all.iter().filter(|change| change.kind == ChangeKind::Lost).count();
    let mut room = LINES - lost.min(LINES / 2);
    let mut losses = LINES - room.min(all.len() - lost);
    let mut beyond = 0;
    all.retain(|change| {
        let left = if change.kind == ChangeKind::Lost { &mut losses } else { &mut room };
        let is_told = *left > 0;
        *left -= usize::from(is_told);
        beyond += if is_told { 0 } else { change.pairs };
        is_told
    });
    beyond
}

/// Where a change is told.
fn place(change: &Change) -> (ChangeKind, Option<(u32, &str)>, &str, &str) {
    let rule = change.rule.as_ref().map(|rule| (rule.line, &*rule.path));
    (change.kind, rule, &change.from, &change.to)
}

impl<'c> Comparison<'c, '_> {
    /// Compares what passes from one group to another.
    fn pair(&mut self, from: &'c Node, to: &'c Node) {
        if !(from.changed || to.changed) {
            return;
        }
        if self.looks == 0 || self.exact == 0 {
            self.omitted += 1;
            return;
        }
        self.looks -= 1;
        if is_same(self.atlases, from, to) {
            return;
        }
        self.exact -= 1;
        let spans = |bundle: usize| {
            let atlas = self.atlases.get(bundle).copied().flatten();
            let pair = atlas.zip(places(from, to, bundle));
            pair.map(|(atlas, (a, b))| atlas.spans(&a, &b)).unwrap_or_default()
        };
        let mut told: BTreeMap<Reason, Flows> = BTreeMap::new();
        for (kind, part) in compare(&spans(0), &spans(1)) {
            let cause = match (kind, self.atlases[1].zip(places(from, to, 1))) {
                (ChangeKind::Lost, Some((atlas, (a, b)))) => denied_by(atlas, &a, &b, &part),
                _ => 0,
            };
            let known = |rule: &u32| self.names.get(*rule, kind).is_some();
            // The rule that lets a part pass, at the target or else at the source.
            let rule = [part.ingress_rule, part.egress_rule].into_iter().find(known).unwrap_or(0);
            told.entry((kind, rule, cause)).or_default().add(part.protocol, part.ports);
        }
        let places = places(from, to, 1).or(places(from, to, 0));
        let common = places.map_or((true, true), |(a, b)| {
            (a.v4.is_some() && b.v4.is_some(), a.v6.is_some() && b.v6.is_some())
        });
        for (reason, mut flows) in told {
            flows.between(common.0, common.1);
            self.found.entry((reason, flows.to_string())).or_default().push((from, to, flows));
        }
    }
}

/// The parts of two sets of spans that differ, each with the span that explains it.
fn compare(before: &[Span], after: &[Span]) -> Vec<(ChangeKind, Span)> {
    let mut out = Vec::new();
    for span in after {
        for (part, other) in split(span, before) {
            match other {
                None => out.push((ChangeKind::Gained, part)),
                Some(other) if span.audit && !other.audit => {
                    out.push((ChangeKind::Recorded, part));
                }
                Some(other) if !span.audit && other.audit => {
                    out.push((ChangeKind::Settled, part));
                }
                Some(_) => {}
            }
        }
    }
    for span in before {
        for (part, other) in split(span, after) {
            if other.is_none() {
                out.push((ChangeKind::Lost, part));
            }
        }
    }
    out
}

/// Cuts a span where the others begin and end; each part with the one that holds it.
pub(crate) fn split<'o>(span: &Span, others: &'o [Span]) -> Vec<(Span, Option<&'o Span>)> {
    let near: Vec<&Span> = others
        .iter()
        .filter(|other| other.protocol == span.protocol)
        .filter(|other| other.ports.0 <= span.ports.1 && span.ports.0 <= other.ports.1)
        .collect();
    let mut out = Vec::new();
    let all = span.sources.unwrap_or((0, u16::MAX));
    for ports in cut(span.ports, near.iter().map(|other| other.ports)) {
        let here = || near.iter().filter(|o| o.ports.0 <= ports.0 && ports.1 <= o.ports.1);
        let ranges = here().map(|other| other.sources.unwrap_or((0, u16::MAX)));
        for sources in cut(all, ranges) {
            let holds = |other: &&&Span| {
                other.sources.is_none_or(|all| all.0 <= sources.0 && sources.1 <= all.1)
            };
            let limited = (sources != (0, u16::MAX)).then_some(sources);
            let part = Span { ports, sources: limited, ..*span };
            out.push((part, here().find(holds).copied()));
        }
    }
    out
}

/// Cuts an interval at the edges of others.
fn cut(all: (u16, u16), others: impl Iterator<Item = (u16, u16)>) -> Vec<(u16, u16)> {
    let mut edges: Vec<u32> = vec![u32::from(all.0), u32::from(all.1) + 1];
    for (first, last) in others {
        edges.push(u32::from(first).max(u32::from(all.0)));
        edges.push((u32::from(last) + 1).min(u32::from(all.1) + 1));
    }
    edges.sort_unstable();
    edges.dedup();
    let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    let pair = |pair: &[u32]| match pair {
        [a, b] if u32::from(all.0) <= *a => Some((narrow(*a), narrow(b - 1))),
        _ => None,
    };
    edges.windows(2).filter_map(pair).collect()
}

/// The deny rule that drops a part now; 0 when it is the default.
fn denied_by(
    atlas: &Atlas<'_>,
    from: &crate::reach::Place,
    to: &crate::reach::Place,
    part: &Span,
) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_leave_room_for_losses() {
        let change = |kind: ChangeKind| Change {
            kind,
            from: String::new(),
            to: String::new(),
            flows: Flows::default(),
            rule: None,
            cause: None,
            pairs: 1,
            sides: [Vec::new(), Vec::new()],
            between: Vec::new(),
        };
        let left = |gained: usize, lost: usize| {
            let gains = std::iter::repeat_n(change(ChangeKind::Gained), gained);
            let mut all: Vec<Change> =
                gains.chain(std::iter::repeat_n(change(ChangeKind::Lost), lost)).collect();
            let beyond = shorten(&mut all);
            assert_eq!(all.len() + beyond, gained + lost);
            let lost = all.iter().filter(|change| change.kind == ChangeKind::Lost).count();
            (all.len() - lost, lost)
        };
        assert_eq!(left(10, 10), (10, 10));
        assert_eq!(left(5_000, 10), (1_990, 10));
        assert_eq!(left(5_000, 5_000), (1_000, 1_000));
        assert_eq!(left(10, 5_000), (10, 1_990));
        assert_eq!(left(0, 5_000), (0, 2_000));
    }
}
