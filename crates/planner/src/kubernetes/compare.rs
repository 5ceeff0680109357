//! Connections that one cluster allows and another does not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use policy::kubernetes::{AddressRange, Lowered, WorkloadName};
use rustc_hash::FxHashMap;

use super::view::{Class, Group, View, ranges};
use super::{Allowed, End};
use crate::PlanErrors;
use crate::compiler::Compiler;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Both allow something, not the same.
    Changed,
    /// Only the new one allows something.
    Added,
    /// Only the old one allows something.
    Removed,
}

impl Change {
    /// `changed`, `added`, `removed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

/// In which of the two clusters a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In both; ranges always are.
    Both,
    /// In the old one.
    Removed,
    /// In the new one.
    Added,
}

/// A pair of ends for which the two clusters allow different things.
#[derive(Debug, Clone)]
pub struct Difference<'c> {
    /// What became of it.
    pub change: Change,
    /// Who opens, and where it is.
    pub source: (End<'c>, Presence),
    /// To whom, and where it is.
    pub target: (End<'c>, Presence),
    /// What the old cluster allows.
    pub old: Arc<Allowed>,
    /// What the new cluster allows.
    pub new: Arc<Allowed>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, source, target, old, new } = self;
        write!(
            f,
            "diff-type: {}, source: {}, destination: {}",
            change.as_str(),
            source.0,
            target.0
        )?;
        write!(f, ", ref1: {old}, ref2: {new}")?;
        let moved: Vec<_> =
            [source, target].into_iter().filter(|each| each.1 != Presence::Both).collect();
        let Some((_, presence)) = moved.first() else { return Ok(()) };
        f.write_str(", workloads-diff-info: workload ")?;
        for (at, (end, _)) in moved.iter().enumerate() {
            write!(f, "{}{end}", if at > 0 { " and " } else { "" })?;
        }
        f.write_str(if *presence == Presence::Added { " added" } else { " removed" })
    }
}

/// Every difference, ordered by what became of it, source and target. Ranges that differ alike are one. With `v6`, ranges of
/// IPv6 too.
///
/// # Errors
///
/// As [`super::connections`].
pub fn compare<'c>(
    old: &'c Lowered,
    new: &'c Lowered,
    v6: bool,
) -> Result<Vec<Difference<'c>>, PlanErrors> {
    let bundles = [old, new].map(|each| Compiler::detached(each.document.clone()));
    let [first, second] = bundles;
    let (first, second) = (first?.into_bundle(), second?.into_bundle());
    let mut work = Work {
        views: [View::new(old, &first), View::new(new, &second)],
        kinds: Vec::new(),
        out: Vec::new(),
    };
    work.enter([old, new]);
    work.workloads();
    for side in [0, 1] {
        work.externals(&ranges(&[old, new], side, v6), side == 0);
    }
    let mut out = work.out;
    out.sort_by(|a, b| (a.change, a.source.0, a.target.0).cmp(&(b.change, b.source.0, b.target.0)));
    Ok(out)
}

/// Workloads that have the same class in each of the clusters; `None` where they are not.
struct Sort<'c> {
    classes: [Option<Class>; 2],
    names: Vec<&'c WorkloadName>,
}

struct Work<'c, 'w> {
    views: [View<'c, 'w>; 2],
    kinds: Vec<Sort<'c>>,
    out: Vec<Difference<'c>>,
}

impl<'c> Work<'c, '_> {
    fn enter(&mut self, clusters: [&'c Lowered; 2]) {
        let mut all: BTreeMap<&'c WorkloadName, [Option<Class>; 2]> = BTreeMap::new();
        for (at, (cluster, view)) in clusters.into_iter().zip(&self.views).enumerate() {
            for (node, class) in cluster.nodes.iter().zip(&view.classes) {
                if let Some(place) = all.entry(&node.name).or_default().get_mut(at) {
                    *place = Some(*class);
                }
            }
        }
        let mut known: FxHashMap<[Option<Class>; 2], usize> = FxHashMap::default();
        for (name, classes) in all {
            let next = self.kinds.len();
            let at = *known.entry(classes).or_insert(next);
            if at == next {
                self.kinds.push(Sort { classes, names: Vec::new() });
            }
            if let Some(kind) = self.kinds.get_mut(at) {
                kind.names.push(name);
            }
        }
    }

    fn workloads(&mut self) {
        let mut by_class: [FxHashMap<Class, Vec<usize>>; 2] = Default::default();
        for (at, kind) in self.kinds.iter().enumerate() {
            for (class, by_class) in kind.classes.iter().zip(&mut by_class) {
                if let Some(class) = class {
                    by_class.entry(*class).or_default().push(at);
                }
            }
        }
        let none = Arc::new(Allowed::default());
        for source in &self.kinds {
            let mut found: BTreeMap<usize, [Arc<Allowed>; 2]> = BTreeMap::new();
            for (at, view) in self.views.iter_mut().enumerate() {
                let Some(class) = source.classes.get(at).copied().flatten() else { continue };
                for (target, allowed) in view.reach(class) {
                    let kinds = by_class.get(at).and_then(|all| all.get(&target));
                    for kind in kinds.into_iter().flatten() {
                        let both = [Arc::clone(&none), Arc::clone(&none)];
                        if let Some(place) = found.entry(*kind).or_insert(both).get_mut(at) {
                            *place = Arc::clone(&allowed);
                        }
                    }
                }
            }
            for (target, [old, new]) in found {
                let Some(target) = self.kinds.get(target) else { continue };
                let Some(change) = change(&old, &new) else { continue };
                for from in &source.names {
                    for to in target.names.iter().filter(|to| *to != from) {
                        self.out.push(Difference {
                            change,
                            source: (End::Workload(from), presence(source.classes)),
                            target: (End::Workload(to), presence(target.classes)),
                            old: Arc::clone(&old),
                            new: Arc::clone(&new),
                        });
                    }
                }
            }
        }
    }

    fn externals(&mut self, ranges: &[AddressRange], opens: bool) {
        let groups: Vec<[Option<Group>; 2]> = ranges
            .iter()
            .map(|range| self.views.each_mut().map(|view| view.external(range.first)))
            .collect();
        for kind in &self.kinds {
            let mut found: Vec<(AddressRange, Arc<Allowed>, Arc<Allowed>)> = Vec::new();
            for (range, groups) in ranges.iter().zip(&groups) {
                let mut allowed = |at: usize| {
                    let class = kind.classes.get(at).copied().flatten();
                    let group = groups.get(at).copied().flatten();
                    class
                        .zip(self.views.get_mut(at))
                        .map(|(class, view)| view.between_external(group, class, opens))
                        .unwrap_or_default()
                };
                let (old, new) = (allowed(0), allowed(1));
                if change(&old, &new).is_none() {
                    continue;
                }
                match found.last_mut() {
                    Some(before)
                        if before.1 == old && before.2 == new && touch(&before.0, range) =>
                    {
                        before.0.last = range.last;
                    }
                    _ => found.push((*range, old, new)),
                }
            }
            for (range, old, new) in found {
                let Some(change) = change(&old, &new) else { continue };
                for name in &kind.names {
                    let outside = (End::External(range), Presence::Both);
                    let inside = (End::Workload(name), presence(kind.classes));
                    let (source, target) =
                        if opens { (outside, inside) } else { (inside, outside) };
                    let (old, new) = (Arc::clone(&old), Arc::clone(&new));
                    self.out.push(Difference { change, source, target, old, new });
                }
            }
        }
    }
}

/// Whether a range begins where another one ends.
fn touch(before: &AddressRange, after: &AddressRange) -> bool {
    use std::net::IpAddr;
    match (before.last, after.first) {
        (IpAddr::V4(last), IpAddr::V4(first)) => {
            last.to_bits().checked_add(1) == Some(first.to_bits())
        }
        (IpAddr::V6(last), IpAddr::V6(first)) => {
            last.to_bits().checked_add(1) == Some(first.to_bits())
        }
        _ => false,
    }
}

fn change(old: &Allowed, new: &Allowed) -> Option<Change> {
    match (old.is_empty(), new.is_empty()) {
        _ if old == new => None,
        (true, _) => Some(Change::Added),
        (_, true) => Some(Change::Removed),
        _ => Some(Change::Changed),
    }
}

fn presence(classes: [Option<Class>; 2]) -> Presence {
    match classes {
        [None, Some(_)] => Presence::Added,
        [Some(_), None] => Presence::Removed,
        _ => Presence::Both,
    }
}
