//! The endpoints and addresses that one side of a policy stands for, found through an inverted index.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Name, Op, Peer, Selector};

use super::Budget;
use crate::document::{Document, Scope};

/// Everything that one side of a policy matches.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the file")]
pub(crate) struct Side {
    /// Positions in `Document::workloads`, sorted, unique.
    pub(crate) workloads: Arc<[u32]>,
    pub(crate) host: bool,
    pub(crate) world: bool,
    pub(crate) unmanaged: bool,
    /// `any`: every address too.
    pub(crate) everywhere: bool,
    /// Sorted and disjoint: ranges inside of others are left out.
    pub(crate) cidrs: Vec<IpNet>,
}

impl Side {
    /// Whether it matches nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.workloads.is_empty() && !self.has_addresses()
    }

    /// Whether it matches something that is not a workload.
    pub(crate) fn has_addresses(&self) -> bool {
        self.host || self.world || self.unmanaged || self.everywhere || !self.cidrs.is_empty()
    }

    /// Whether it matches everything that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let whole = self.everywhere;
        (whole || self.host || !other.host)
            && (whole || self.world || !other.world)
            && (whole || self.unmanaged || !other.unmanaged)
            && (whole || !other.everywhere)
            && (whole || cover(&self.cidrs, &other.cidrs))
            && subset(&other.workloads, &self.workloads)
    }
}

/// Sorts ranges by their first address and leaves out those inside of others.
fn disjoint(mut nets: Vec<IpNet>) -> Vec<IpNet> {
    nets.sort_unstable_by_key(|net| (net.network(), net.prefix_len()));
    let mut outer: Vec<IpNet> = Vec::with_capacity(nets.len());
    for net in nets {
        if !outer.last().is_some_and(|last| last.contains(&net)) {
            outer.push(net);
        }
    }
    outer
}

/// Whether every range of `narrow` is inside of one of `wide`; both sorted and disjoint. One walk over both.
fn cover(wide: &[IpNet], narrow: &[IpNet]) -> bool {
    let mut wide = wide.iter().peekable();
    narrow.iter().all(|net| {
        while wide.next_if(|wide| wide.broadcast() < net.network()).is_some() {}
        wide.peek().is_some_and(|wide| wide.contains(net))
    })
}

/// Whether every number of `small` is in `large`; both sorted.
fn subset(small: &[u32], large: &[u32]) -> bool {
    if small.len() > large.len() {
        return false;
    }
    if std::ptr::eq(small, large) {
        return true;
    }
    small.iter().all(|number| large.binary_search(number).is_ok())
}

/// Finds the workloads of selectors, each distinct selector once.
pub(crate) struct Index<'d> {
    document: &'d Document,
    everybody: Arc<[u32]>,
    tenants: HashMap<&'d Name, Arc<[u32]>>,
    /// By label key (or the word for a place), then by value.
    values: HashMap<&'d str, HashMap<&'d str, Vec<u32>>>,
    known: HashMap<(Scope, Selector), Arc<[u32]>>,
}

impl<'d> Index<'d> {
    /// Indexes labels and places of every workload.
    pub(crate) fn new(document: &'d Document) -> Self {
        let mut values: HashMap<&str, HashMap<&str, Vec<u32>>> = HashMap::new();
        let mut tenants: HashMap<&Name, Vec<u32>> = HashMap::new();
        for (at, workload) in (0_u32..).zip(&document.workloads) {
            tenants.entry(&workload.tenant).or_default().push(at);
            // Labels cannot have the names of places as keys.
            let places = [
                ("workload", Some(&workload.name)),
                ("network", Some(&workload.network)),
                ("tenant", Some(&workload.tenant)),
                ("segment", workload.segment.as_ref()),
            ];
            let places = places.into_iter().filter_map(|(word, name)| Some((word, name?.as_str())));
            let labels = workload.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            for (key, value) in places.chain(labels) {
                values.entry(key).or_default().entry(value).or_default().push(at);
            }
        }
        Self {
            document,
            everybody: (0..u32::try_from(document.workloads.len()).unwrap_or(u32::MAX)).collect(),
            tenants: tenants.into_iter().map(|(name, list)| (name, Arc::from(list))).collect(),
            values,
            known: HashMap::new(),
        }
    }

    /// The number of workloads.
    pub(crate) fn workload(&self, at: u32) -> Option<&'d crate::document::Workload> {
        self.document.workloads.get(at as usize).map(|workload| &**workload)
    }

    /// Resolves one side of a policy; `None` when the budget is used up.
    pub(crate) fn side(
        &mut self,
        scope: &Scope,
        peers: &[Peer],
        budget: &mut Budget,
    ) -> Option<Side> {
        let mut side = Side::default();
        let mut sets: Vec<Arc<[u32]>> = Vec::new();
        for peer in peers {
            match peer {
                Peer::Selector(selector) => sets.push(self.selected(scope, selector, budget)?),
                Peer::Cidr(net) => side.cidrs.push(*net),
                Peer::Host => side.host = true,
                // Told apart at the uplinks alone, where no workload is a side.
                Peer::Processes(_) => {}
                Peer::World => side.world = true,
                Peer::Unmanaged => side.unmanaged = true,
                Peer::Any => {
                    side.everywhere = true;
                    sets.push(self.members(scope));
                }
            }
        }
        if !budget.spend(side.cidrs.len()) {
            return None;
        }
        side.cidrs = disjoint(side.cidrs);
        side.workloads = match sets.len() {
            0 => Arc::from([]),
            1 => sets.pop()?,
            _ => {
                let mut all: Vec<u32> = sets.iter().flat_map(|set| set.iter().copied()).collect();
                if !budget.spend(all.len() * 4) {
                    return None;
                }
                all.sort_unstable();
                all.dedup();
                Arc::from(all)
            }
        };
        Some(side)
    }

    fn members(&self, scope: &Scope) -> Arc<[u32]> {
        match scope {
            Scope::Host => Arc::clone(&self.everybody),
            Scope::Tenant(tenant) => {
                self.tenants.get(tenant).map_or_else(|| Arc::from([]), Arc::clone)
            }
        }
    }

    fn selected(
        &mut self,
        scope: &Scope,
        selector: &Selector,
        budget: &mut Budget,
    ) -> Option<Arc<[u32]>> {
        let key = (scope.clone(), selector.clone());
        if let Some(found) = self.known.get(&key) {
            return Some(Arc::clone(found));
        }
        let members = self.members(scope);
        let candidates =
            self.fewest(selector).filter(|few| few.len() < members.len()).unwrap_or(&members);
        if !budget.spend(candidates.len() * selector.terms().len()) {
            return None;
        }
        let matching = candidates.iter().copied().filter(|at| {
            let workload = self.document.workloads.get(*at as usize);
            workload.is_some_and(|workload| {
                scope.includes(&workload.tenant) && selector.matches(&workload.subject())
            })
        });
        let found: Arc<[u32]> = matching.collect();
        let shared = if found.len() == members.len() { members } else { found };
        self.known.insert(key, Arc::clone(&shared));
        Some(shared)
    }

    /// The shortest list of workloads that a term `k=v` leaves.
    fn fewest(&self, selector: &Selector) -> Option<&[u32]> {
        let lists = selector.terms().iter().filter_map(|term| {
            let Op::Is(value) = &term.op else { return None };
            let list = self
                .values
                .get(term.field.as_str())
                .and_then(|by_value| by_value.get(value.as_str()));
            Some(list.map_or(&[][..], Vec::as_slice))
        });
        lists.min_by_key(|list| list.len())
    }
}
