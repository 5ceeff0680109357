//! One compiled cluster, ready to be asked about pairs of workloads and ranges.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Proto, Transport};
use policy::kubernetes::{AddressRange, Lowered, WorkloadName, ranges as cut};
use rustc_hash::FxHashMap;
use verdict::abi::Addr;

use super::Allowed;
use crate::bundle::Bundle;
use crate::meet::judged;
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
    groups: Vec<Entry>,
    known: FxHashMap<([u64; 6], bool), Group>,
    answers: FxHashMap<Said, Arc<Allowed>>,
    none: Arc<Allowed>,
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
            groups: Vec::new(),
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

    /// What workloads of one class may open to workloads of another.
    pub(super) fn between(&mut self, from: Class, to: Class) -> Arc<Allowed> {
        let (from, to) = (self.of_class(from), self.of_class(to));
        let pairs = from.iter().flat_map(|a| to.iter().map(|b| (*a, *b)));
        let pairs: Vec<(Group, Group)> = pairs.collect();
        self.union(&pairs)
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

/// The ranges that some cluster's rules of ingress (0) or egress (1) tell apart.
pub(super) fn ranges(clusters: &[&Lowered], side: usize, v6: bool) -> Vec<AddressRange> {
    let blocks = || clusters.iter().filter_map(|each| each.blocks.get(side)).flatten();
    let mut out = cut(blocks(), true);
    if v6 {
        out.extend(cut(blocks(), false));
    }
    out
}
