//! What a new document changes for people: connections gained and lost, objects, assertions.
//!
//! Connections are compared as exact sets, once for all pairs of groups of which the tables say the same; only
//! pairs with a changed side are looked at. They are then told in few lines, each of which holds for every pair of its
//! two sides: under the policy that now lets them pass or that did before, in its own words where it changes as a whole.

use model::RuleRef;
use policy::Document;

use crate::assertions::{self, Outcome};
use crate::bundle::Bundle;
use crate::flows::Flows;
use crate::nodes::{Party, nodes};
use crate::objects::{Objects, objects};
use crate::reach::Atlas;

mod compare;
mod lines;
mod parts;
mod words;

use compare::{Comparison, Standing};
use lines::lines;
pub(crate) use parts::split;
use words::{Names, Population};

pub use words::Area;

/// What a plan says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanReport {
    /// Gains first, then losses, each in file order.
    pub connections: Vec<Change>,
    /// Pairs that are not told because there are too many lines, or that were not compared because that is too much work;
    /// 0 when the comparison is complete.
    pub omitted: usize,
    /// Of those, the pairs that were not compared: none of a host with 10,000 workloads and 100,000 rules.
    pub uncompared: usize,
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
    let (connections, beyond, uncompared) = connections(old, new);
    PlanReport {
        connections,
        omitted: beyond + uncompared,
        uncompared,
        objects: objects(old.map(|(document, _)| document), document).0,
        assertions: assertions::prove(document, bundle),
    }
}

/// Most lines that are told. Nobody reads more, and a first plan has as many as there are rules.
const LINES: usize = 2_000;

/// What a line is told under: what happens, the rule that lets pass, the rule that drops.
type Reason = (ChangeKind, u32, u32);

fn connections(
    old: Option<(&Document, &Bundle)>,
    new: (&Document, &Bundle),
) -> (Vec<Change>, usize, usize) {
    let old_atlas = old.map(|(_, bundle)| Atlas::new(&bundle.tables));
    let new_atlas = Atlas::new(&new.1.tables);
    let mut all = nodes(&[
        (old.map(|(_, bundle)| bundle), old_atlas.as_ref()),
        (Some(new.1), Some(&new_atlas)),
    ]);
    // Those that nothing but rules tells apart stand side by side.
    all.sort_by(|a, b| {
        Standing::of(a).cmp(&Standing::of(b)).then_with(|| a.members.cmp(&b.members))
    });
    let names = Names::new(old.map(|(document, _)| document), new.0);
    let atlases = [old_atlas.as_ref(), Some(&new_atlas)];
    let (found, uncompared) = Comparison::run(&all, atlases, &names);
    if found.is_empty() {
        return (Vec::new(), 0, uncompared);
    }
    let population = Population::new(old.map(|(document, _)| document), new.0, &all);
    let (mut lines, beyond) = lines(&found, &all, &names, &population);
    lines.sort_by(|a, b| place(a).cmp(&place(b)));
    (lines, beyond, uncompared)
}

/// Leaves as many lines as are told; how many pairs that leaves out. Half of the room is kept for losses: many gains
/// must not hide what is cut.
fn shorten<L>(all: &mut Vec<L>, of: impl Fn(&L) -> (ChangeKind, usize)) -> usize {
    let lost = all.iter().filter(|line| of(line).0 == ChangeKind::Lost).count();
    let mut room = LINES - lost.min(LINES / 2);
    let mut losses = LINES - room.min(all.len() - lost);
    let mut beyond = 0;
    all.retain(|line| {
        let (kind, pairs) = of(line);
        let left = if kind == ChangeKind::Lost { &mut losses } else { &mut room };
        let is_told = *left > 0;
        *left -= usize::from(is_told);
        beyond += if is_told { 0 } else { pairs };
        is_told
    });
    beyond
}

/// Where a change is told.
fn place(change: &Change) -> (ChangeKind, Option<(u32, &str)>, &str, &str) {
    let rule = change.rule.as_ref().map(|rule| (rule.line, &*rule.path));
    (change.kind, rule, &change.from, &change.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_leave_room_for_losses() {
        let left = |gained: usize, lost: usize| {
            let gains = std::iter::repeat_n(ChangeKind::Gained, gained);
            let mut all: Vec<ChangeKind> =
                gains.chain(std::iter::repeat_n(ChangeKind::Lost, lost)).collect();
            let beyond = shorten(&mut all, |kind| (*kind, 1));
            assert_eq!(all.len() + beyond, gained + lost);
            let lost = all.iter().filter(|kind| **kind == ChangeKind::Lost).count();
            (all.len() - lost, lost)
        };
        assert_eq!(left(10, 10), (10, 10));
        assert_eq!(left(5_000, 10), (1_990, 10));
        assert_eq!(left(5_000, 5_000), (1_000, 1_000));
        assert_eq!(left(10, 5_000), (10, 1_990));
        assert_eq!(left(0, 5_000), (0, 2_000));
    }
}
