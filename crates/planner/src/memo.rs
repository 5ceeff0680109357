//! What passes between two places, asked once for all pairs of which the tables say the same.
//!
//! The evaluator looks at one row and one posture of each end that it asks. Pairs with equal rows and postures, and the same
//! versions of IP in common, therefore have equal flows; there are far fewer such answers than pairs.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use verdict::abi::RowKey;

use crate::meet::{Judged, posture};
use crate::reach::{Atlas, Place, Span};

/// What the tables know of a party; see [`crate::nodes::Key`].
pub(crate) type Known = [u64; 6];

/// One end of a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand<'p> {
    /// Where it is.
    pub place: &'p Place,
    /// What the tables of its own network know of it.
    pub key: &'p Known,
    /// Whether it is an endpoint of this node.
    pub local: bool,
}

/// Flows by what is said of a pair, and the versions of IP in common.
type Answers = FxHashMap<(Judged, u64), Rc<[Span]>>;

/// Answers that were given.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    known: RefCell<Answers>,
}

impl Memo {
    /// Everything that passes from one end to the other, directly. The ends can meet: at least one is an endpoint, and they
    /// are in one network, or both are endpoints of routed ones.
    pub(crate) fn spans(&self, atlas: &Atlas<'_>, from: Stand<'_>, to: Stand<'_>) -> Rc<[Span]> {
        let Some(judged) = judged(atlas, from, to) else { return Rc::from([]) };
        let key = (judged, from.key[5] & to.key[5]);
        if let Some(known) = self.known.borrow().get(&key) {
            return Rc::clone(known);
        }
        let spans: Rc<[Span]> = atlas.spans(from.place, to.place).into();
        self.known.borrow_mut().insert(key, Rc::clone(&spans));
        spans
    }
}

/// What the tables say of a pair, each end by the network that it stands in; `None` when nothing passes.
pub(crate) fn judged(atlas: &Atlas<'_>, from: Stand<'_>, to: Stand<'_>) -> Option<Judged> {
    let side = |own: Stand<'_>, peer: Stand<'_>, direction: usize| {
        if !own.local {
            return Some(None);
        }
        let class = if own.place.network == peer.place.network {
            peer.key[0]
        } else {
            // Of a workload of another network each network knows its own class.
            let addr = peer.place.v4.or(peer.place.v6)?;
            atlas.peer(own.place.network, addr)?.class[0]
        };
        let slot = if direction == 0 { own.key[1] } else { own.key[2] };
        let row = atlas.rows().get(&RowKey { slot, class }).copied();
        let posture = posture(own.key, direction);
        (row.is_some() || posture != 0).then_some(Some((row, posture)))
    };
    Some([side(from, to, 0)?, side(to, from, 1)?])
}
