//! Which groups can meet at all, found from the rows of the tables instead of from every pair.
//!
//! A flow needs an endpoint at one of its ends, and that endpoint lets nothing through to a class for
//! which it has neither a row nor an open posture. So the rows of a slot name everybody worth asking
//! about, and the work follows the size of the tables, not the square of what is on the map.

use rustc_hash::FxHashMap;
use verdict::abi::{Row, RowKey};

use crate::nodes::Node;
use crate::reach::Atlas;

/// What the tables of one bundle say of a pair, at the source and at the target; `None` where no
/// endpoint is asked. Equal judgements mean equal flows.
pub(crate) type Judged = [Option<(Option<Row>, u64)>; 2];

/// For each slot, the classes for which it has rows.
pub(crate) type Slots = FxHashMap<u64, Vec<u64>>;

/// Which slots say something of which classes.
pub(crate) fn slots(atlas: &Atlas<'_>) -> Slots {
    let mut slots = Slots::default();
    for key in atlas.rows().keys() {
        slots.entry(key.slot).or_default().push(key.class);
    }
    slots
}

/// Who has rows for whom when flows come in.
#[derive(Default)]
struct Takers {
    /// By class, the slots that have a row for it.
    slots: FxHashMap<u64, Vec<u64>>,
    /// By network and slot of ingress, the groups of workloads.
    holders: FxHashMap<(u32, u64), Vec<u32>>,
}

/// Groups, ready to be paired.
pub(crate) struct Meetings<'n> {
    all: &'n [Node],
    /// For each bundle, the classes for which a slot has rows.
    classes: Vec<Slots>,
    /// For each bundle, the groups of a network that have a class.
    holders: Vec<FxHashMap<(u32, u64), Vec<u32>>>,
    networks: FxHashMap<u32, Vec<u32>>,
    routed: Vec<u32>,
}

impl<'n> Meetings<'n> {
    pub(crate) fn new(all: &'n [Node], atlases: &[Option<&Atlas<'_>>]) -> Self {
        let mut networks: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        let mut holders = vec![FxHashMap::<(u32, u64), Vec<u32>>::default(); atlases.len()];
        let mut routed = Vec::new();
        for (at, node) in (0_u32..).zip(all) {
            networks.entry(node.network).or_default().push(at);
            if node.routed {
                routed.push(at);
            }
            for (holders, key) in holders.iter_mut().zip(&node.keys) {
                if let Some([class, ..]) = key {
                    holders.entry((node.network, *class)).or_default().push(at);
                }
            }
        }
        let rows = |atlas: Option<&Atlas<'_>>| atlas.map(slots).unwrap_or_default();
        Self {
            all,
            classes: atlases.iter().copied().map(rows).collect(),
            holders,
            networks,
            routed,
        }
    }

    /// Shows every pair that may pass something: one group, the others, and whether the one opens.
    ///
    /// The one holds an endpoint. Each pair comes once.
    pub(crate) fn visit(
        &self,
        mut visit: impl FnMut(&'n Node, &mut dyn Iterator<Item = &'n Node>, usize, bool),
    ) {
        for one in self.all.iter().filter(|node| node.local) {
            let targets = self.peers(one, 0);
            let mut others = self.nodes(&targets);
            visit(one, &mut others, targets.len(), true);
            let mut sources = self.peers(one, 1);
            sources.retain(|at| self.node(*at).is_some_and(|node| !node.local));
            let mut others = self.nodes(&sources);
            visit(one, &mut others, sources.len(), false);
        }
    }

    /// As [`Self::visit`] by positions, in order; with those of the others of which the tables may have rows for the one, or
    /// the other way round. Between the one and the rest only postures answer.
    pub(crate) fn visit_ruled(
        &self,
        atlases: &[Option<&Atlas<'_>>],
        mut visit: impl FnMut(u32, &[u32], &[u32], bool),
    ) {
        let takers: Vec<Takers> =
            atlases.iter().enumerate().map(|(at, _)| self.takers(at)).collect();
        for (at, one) in (0_u32..).zip(self.all).filter(|(_, node)| node.local) {
            for direction in [0, 1] {
                let opens = direction == 0;
                let mut others = self.peers(one, direction);
                if !opens {
                    others.retain(|at| self.node(*at).is_some_and(|node| !node.local));
                }
                let mut ruled = Vec::new();
                self.ruled(one, direction, &mut ruled);
                for (takers, key) in takers.iter().zip(&one.keys).filter(|_| opens) {
                    let Some(key) = key else { continue };
                    for slot in takers.slots.get(&key[0]).into_iter().flatten() {
                        let holders = takers.holders.get(&(one.network, *slot));
                        ruled.extend(holders.into_iter().flatten());
                    }
                }
                self.strangers(one, direction, &mut ruled);
                ruled.sort_unstable();
                ruled.dedup();
                visit(at, &others, &ruled, opens);
            }
        }
    }

    /// Who has rows for whom when flows come in, by one bundle.
    fn takers(&self, bundle: usize) -> Takers {
        let mut takers = Takers::default();
        for (slot, classes) in self.classes.get(bundle).into_iter().flatten() {
            for class in classes {
                takers.slots.entry(*class).or_default().push(*slot);
            }
        }
        for (at, node) in (0_u32..).zip(self.all).filter(|(_, node)| node.local) {
            if let Some(Some(key)) = node.keys.get(bundle) {
                takers.holders.entry((node.network, key[2])).or_default().push(at);
            }
        }
        takers
    }

    fn nodes<'a>(&'a self, list: &'a [u32]) -> impl Iterator<Item = &'n Node> + use<'a, 'n> {
        list.iter().filter_map(|at| self.node(*at))
    }

    fn node(&self, at: u32) -> Option<&'n Node> {
        self.all.get(at as usize)
    }

    /// Whom an endpoint may reach (direction 0) or be reached by (direction 1), in order.
    fn peers(&self, one: &Node, direction: usize) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        if one.keys.iter().flatten().any(|key| posture(key, direction) != 0) {
            found.extend(self.networks.get(&one.network).into_iter().flatten());
        } else {
            self.ruled(one, direction, &mut found);
        }
        self.strangers(one, direction, &mut found);
        // What the host says to itself comes to no uplink.
        if one.is_host() {
            found.retain(|at| self.node(*at).is_some_and(|node| !node.is_host()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Adds those for whom an endpoint has rows.
    fn ruled(&self, one: &Node, direction: usize, found: &mut Vec<u32>) {
        for (bundle, key) in one.keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let slot = if direction == 0 { key[1] } else { key[2] };
            let classes = self.classes.get(bundle).and_then(|classes| classes.get(&slot));
            let Some(holders) = self.holders.get(bundle) else { continue };
            for class in classes.into_iter().flatten() {
                found.extend(holders.get(&(one.network, *class)).into_iter().flatten());
            }
        }
    }

    /// Adds the workloads of other networks that an endpoint opens flows to.
    fn strangers(&self, one: &Node, direction: usize, found: &mut Vec<u32>) {
        if one.routed && direction == 0 {
            let other = |at: &u32| self.node(*at).is_some_and(|node| node.network != one.network);
            found.extend(self.routed.iter().copied().filter(other));
        }
    }
}

/// The posture of an endpoint in a direction; 0 is deny.
pub(crate) const fn posture(key: &[u64; 6], direction: usize) -> u64 {
    if direction == 0 { key[3] >> 8 } else { key[3] & 0xff }
}

/// What one bundle says of two groups of one network; `None` when nothing passes.
pub(crate) fn judged(
    atlas: &Atlas<'_>,
    (from, from_local): (&[u64; 6], bool),
    (to, to_local): (&[u64; 6], bool),
) -> Option<Judged> {
    let side = |local: bool, own: &[u64; 6], peer: &[u64; 6], direction: usize| {
        if !local {
            return Some(None);
        }
        let slot = if direction == 0 { own[1] } else { own[2] };
        let row = atlas.rows().get(&RowKey { slot, class: peer[0] }).copied();
        let posture = posture(own, direction);
        (row.is_some() || posture != 0).then_some(Some((row, posture)))
    };
    Some([side(from_local, from, to, 0)?, side(to_local, to, from, 1)?])
}
