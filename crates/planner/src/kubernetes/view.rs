//! One compiled cluster, ready to be asked about pairs of workloads and ranges.

use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Proto, Transport};
use policy::kubernetes::{AddressRange, Lowered, WorkloadName, ranges as cut};
use rustc_hash::FxHashMap;
use verdict::abi::Addr;

use super::Allowed;
use crate::bundle::Bundle;
use crate::meet::{judged, posture};
use crate::nodes::key;
use crate::reach::{Atlas, Place};

/// Pods, or addresses, that the tables do not tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group(u32);

/// Workloads whose pods are of the same groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Class(u32);

/// What the tables say of a pair, at both ends: port set, rest and posture, where an end is asked.
type Said = [Option<(u64, u32, u8, u64)>; 2];

pub(super) struct View<'c, 'w> {
    cluster: &'c Lowered,
    atlas: Atlas<'w>,
    network: u32,
    /// The class of every node.
    pub classes: Vec<Class>,
    /// The groups of every class.
    members: Vec<Vec<Group>>,
    /// The classes of every group of pods.
    owners: Vec<Vec<Class>>,
    groups: Vec<Entry>,
    index: Index,
    known: FxHashMap<([u64; 6], bool), Group>,
    answers: FxHashMap<Said, Arc<Allowed>>,
    none: Arc<Allowed>,
}

/// Where to look for whom a group of pods may reach, by numbers of the tables.
#[derive(Default)]
struct Index {
    /// Groups of pods by their class.
    by_class: FxHashMap<u64, Vec<Group>>,
    /// Groups of pods by their slot of ingress.
    by_ingress: FxHashMap<u64, Vec<Group>>,
    /// Groups of pods that let everybody in of whom no row says otherwise.
    open: Vec<Group>,
    /// Classes of which a slot says something.
    classes: FxHashMap<u64, Vec<u64>>,
    /// Slots that say something of a class.
    slots: FxHashMap<u64, Vec<u64>>,
}

struct Entry {
    /// The address of one of them.
    witness: Addr,
    key: [u64; 6],
    is_pod: bool,
}

impl<'c, 'w> View<'c, 'w> {
    pub(super) fn new(cluster: &'c Lowered, bundle: &'w Bundle) -> Self {
        let mut this = Self {
            cluster,
            atlas: Atlas::new(&bundle.tables),
            network: bundle.routers.first().map_or(0, |router| u32::from(router.number)),
            classes: Vec::with_capacity(cluster.nodes.len()),
            members: Vec::new(),
            owners: Vec::new(),
            groups: Vec::new(),
            index: Index::default(),
            known: FxHashMap::default(),
            answers: FxHashMap::default(),
            none: Arc::default(),
        };
        let pods: Vec<Option<Group>> = cluster
            .document
            .workloads
            .iter()
            .map(|pod| this.group(IpAddr::V6(pod.v6?), true))
            .collect();
        let mut known: FxHashMap<Vec<Group>, Class> = FxHashMap::default();
        for node in &cluster.nodes {
            let groups = node.pods.iter().filter_map(|at| pods.get(*at).copied().flatten());
            let mut groups: Vec<Group> = groups.collect();
            groups.sort_unstable();
            groups.dedup();
            let next = Class(u32::try_from(this.members.len()).unwrap_or(u32::MAX));
            let class = *known.entry(groups).or_insert_with_key(|groups| {
                this.members.push(groups.clone());
                next
            });
            this.classes.push(class);
        }
        this.owners = vec![Vec::new(); this.groups.len()];
        for (class, groups) in (0..).map(Class).zip(&this.members) {
            for group in groups {
                if let Some(owners) = this.owners.get_mut(group.0 as usize) {
                    owners.push(class);
                }
            }
        }
        this.index = Index::of(&this.atlas, &this.groups);
        this
    }

    /// The group of an address outside.
    pub(super) fn external(&mut self, address: IpAddr) -> Option<Group> {
        self.group(address, false)
    }

    fn group(&mut self, address: IpAddr, is_pod: bool) -> Option<Group> {
        let key = key(&self.atlas, &Place::of(self.network, address))?;
        let next = Group(u32::try_from(self.groups.len()).ok()?);
        let group = *self.known.entry((key, is_pod)).or_insert(next);
        if group == next {
            self.groups.push(Entry { witness: address.into(), key, is_pod });
        }
        Some(group)
    }

    /// Whom workloads of a class may reach, and with what: only those whom they reach with something, in order.
    pub(super) fn reach(&mut self, class: Class) -> Vec<(Class, Arc<Allowed>)> {
        let mut found: FxHashMap<Class, Arc<Allowed>> = FxHashMap::default();
        for source in self.of_class(class) {
            for target in self.targets(source) {
                let allowed = self.pair((source, target));
                if allowed.is_empty() {
                    continue;
                }
                for owner in self.owners.get(target.0 as usize).into_iter().flatten() {
                    match found.entry(*owner) {
                        Slot::Vacant(free) => drop(free.insert(Arc::clone(&allowed))),
                        Slot::Occupied(mut known) if **known.get() != *allowed => {
                            Arc::make_mut(known.get_mut()).extend(&allowed);
                        }
                        Slot::Occupied(_) => {}
                    }
                }
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable_by_key(|(class, _)| *class);
        found
    }

    /// The groups of pods that a group may reach, as far as rows and postures tell.
    fn targets(&self, source: Group) -> Vec<Group> {
        let Some(entry) = self.groups.get(source.0 as usize) else { return Vec::new() };
        let [class, egress, ..] = entry.key;
        let index = &self.index;
        let slots = index.slots.get(&class).into_iter().flatten();
        let named = slots.filter_map(|slot| index.by_ingress.get(slot)).flatten();
        let mut found: Vec<Group> = index.open.iter().chain(named).copied().collect();
        if posture(&entry.key, 0) == 0 {
            // Both ends must let it pass: the shorter list of the two holds everybody.
            let sent = || {
                let classes = index.classes.get(&egress).into_iter().flatten();
                classes.filter_map(|class| index.by_class.get(class))
            };
            if sent().map(Vec::len).sum::<usize>() < found.len() {
                found = sent().flatten().copied().collect();
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What addresses of a group may open to workloads of a class, or the other way round.
    pub(super) fn between_external(
        &mut self,
        group: Option<Group>,
        class: Class,
        opens: bool,
    ) -> Arc<Allowed> {
        let Some(group) = group else { return Arc::clone(&self.none) };
        let pods = self.of_class(class);
        let pair = |pod: &Group| if opens { (group, *pod) } else { (*pod, group) };
        let pairs: Vec<(Group, Group)> = pods.iter().map(pair).collect();
        self.union(&pairs)
    }

    /// The positions of the nodes of every class.
    pub(super) fn members_by_class(&self) -> FxHashMap<Class, Vec<usize>> {
        let mut out: FxHashMap<Class, Vec<usize>> = FxHashMap::default();
        for (at, class) in self.classes.iter().enumerate() {
            out.entry(*class).or_default().push(at);
        }
        out
    }

    fn of_class(&self, class: Class) -> Vec<Group> {
        self.members.get(class.0 as usize).cloned().unwrap_or_default()
    }

    fn union(&mut self, pairs: &[(Group, Group)]) -> Arc<Allowed> {
        if let [pair] = pairs {
            return self.pair(*pair);
        }
        let mut all = Allowed::default();
        for pair in pairs {
            all.extend(&self.pair(*pair));
        }
        Arc::new(all)
    }

    fn pair(&mut self, (from, to): (Group, Group)) -> Arc<Allowed> {
        let entry = |group: Group| self.groups.get(group.0 as usize);
        let (Some(from), Some(to)) = (entry(from), entry(to)) else {
            return Arc::clone(&self.none);
        };
        let said = judged(&self.atlas, (&from.key, from.is_pod), (&to.key, to.is_pod));
        let Some(said) = said else { return Arc::clone(&self.none) };
        let said: Said = said.map(|side| {
            let (row, posture) = side?;
            let row = row.unwrap_or_default();
            Some((row.ports.id, row.rest.rule, row.rest.verdict, posture))
        });
        if let Some(known) = self.answers.get(&said) {
            return Arc::clone(known);
        }
        let mut allowed = Allowed::default();
        for transport in Transport::ALL {
            let ends = (from.witness, to.witness);
            for ports in self.atlas.ports(self.network, ends, Proto::from(transport)) {
                allowed.add(transport, ports);
            }
        }
        let allowed = Arc::new(allowed);
        self.answers.insert(said, Arc::clone(&allowed));
        allowed
    }

    /// Workloads whose pods the tables tell apart.
    pub(super) fn mixed(&self) -> Vec<&'c WorkloadName> {
        let nodes = self.cluster.nodes.iter().zip(&self.classes);
        let is_mixed =
            |class: &Class| self.members.get(class.0 as usize).is_some_and(|all| all.len() > 1);
        nodes.filter(|(_, class)| is_mixed(class)).map(|(node, _)| &node.name).collect()
    }
}

impl Index {
    fn of(atlas: &Atlas<'_>, pods: &[Entry]) -> Self {
        let mut this = Self::default();
        for key in atlas.rows().keys() {
            this.classes.entry(key.slot).or_default().push(key.class);
            this.slots.entry(key.class).or_default().push(key.slot);
        }
        for (group, entry) in (0..).map(Group).zip(pods) {
            let [class, _, ingress, ..] = entry.key;
            this.by_class.entry(class).or_default().push(group);
            this.by_ingress.entry(ingress).or_default().push(group);
            if posture(&entry.key, 1) != 0 {
                this.open.push(group);
            }
        }
        this
    }
}

/// The ranges that some cluster's rules of ingress (0) or egress (1) tell apart.
pub(super) fn ranges(clusters: &[&Lowered], side: usize, v6: bool) -> Vec<AddressRange> {
    let blocks = || clusters.iter().filter_map(|each| each.blocks.get(side)).flatten();
    let mut out = cut(blocks(), true);
    if v6 {
        out.extend(cut(blocks(), false));
    }
    out
}
