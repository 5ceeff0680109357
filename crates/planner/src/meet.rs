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

    fn nodes<'a>(&'a self, list: &'a [u32]) -> impl Iterator<Item = &'n Node> + use<'a, 'n> {
        list.iter().filter_map(|at| self.node(*at))
    }

    fn node(&self, at: u32) -> Option<&'n Node> {
        self.all.get(at as usize)
    }

    /// Whom an endpoint may reach (direction 0) or be reached by (direction 1), in order.
    fn peers(&self, one: &Node, direction: usize) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        let everybody = self.networks.get(&one.network);
        for (bundle, key) in one.keys.iter().enumerate() {
            let Some(key) = key else { continue };
            if posture(key, direction) != 0 {
                found.clear();
                found.extend(everybody.into_iter().flatten());
                break;
            }
            let slot = if direction == 0 { key[1] } else { key[2] };
            let classes = self.classes.get(bundle).and_then(|classes| classes.get(&slot));
            let Some(holders) = self.holders.get(bundle) else { continue };
            for class in classes.into_iter().flatten() {
                found.extend(holders.get(&(one.network, *class)).into_iter().flatten());
            }
        }
        if one.routed && direction == 0 {
            let other = |at: &u32| self.node(*at).is_some_and(|node| node.network != one.network);
            found.extend(self.routed.iter().copied().filter(other));
        }
        found.sort_unstable();
        found.dedup();
        found
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

/// Whether a pair of one network passes the same in both bundles, as far as the rows tell.
pub(crate) fn is_same(atlases: [Option<&Atlas<'_>>; 2], from: &Node, to: &Node) -> bool {
    if from.network != to.network {
        return false;
    }
    let of = |bundle: usize| {
        let atlas = atlases.get(bundle).copied().flatten()?;
        let key = |node: &Node| node.keys.get(bundle).copied().flatten();
        let (a, b) = (key(from)?, key(to)?);
        let families = a[5] & b[5];
        Some((judged(atlas, (&a, from.local), (&b, to.local))?, families))
    };
    of(0) == of(1)
}
