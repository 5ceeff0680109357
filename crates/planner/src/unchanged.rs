//! How many pairs of parties reach each other just as before.
//!
//! Counted over groups of parties that nothing tells apart in either state, so the work follows the number of groups, not the
//! square of the number of workloads.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::bundle::Bundle;
use crate::flows::Flows;
use crate::matrix::{is_shown, places};
use crate::meet::Meetings;
use crate::nodes::{Node, Party, nodes};
use crate::reach::Atlas;

/// What passes before and after.
type Both = [Flows; 2];

/// Pairs of parties with the same flows before and after, and with any: those of [`crate::matrix()`] that stay as they are.
#[must_use]
pub fn unchanged(old: &Bundle, new: &Bundle) -> u64 {
    let atlases = [Atlas::new(&old.tables), Atlas::new(&new.tables)];
    let all = nodes(&[(Some(old), Some(&atlases[0])), (Some(new), Some(&atlases[1]))]);
    let both = [Some(&atlases[0]), Some(&atlases[1])];
    let mut count = 0;
    Meetings::new(&all, &both).visit(|one, others, _, opens| {
        // The host and the world may be several groups of a network: what they have together is what counts.
        let mut outside: BTreeMap<&Party, Both> = BTreeMap::new();
        for other in others {
            let (from, to) = if opens { (one, other) } else { (other, one) };
            if other.local {
                count += if is_same(&flows(&atlases, from, to)) { pairs(from, to) } else { 0 };
                continue;
            }
            let Some(party) = other.members.iter().find(|party| is_shown(party)) else { continue };
            let sum = outside.entry(party).or_default();
            for (sum, found) in sum.iter_mut().zip(flows(&atlases, from, to)) {
                sum.extend(&found);
            }
        }
        let same = outside.values().filter(|both| is_same(both)).count();
        count += (same * one.members.len()) as u64;
    });
    count
}

fn is_same([before, after]: &Both) -> bool {
    before == after && !before.is_empty()
}

/// What passes from one group to another in both states.
fn flows(atlases: &[Atlas<'_>; 2], from: &Node, to: &Node) -> Both {
    [0, 1].map(|bundle| {
        let pair = atlases.get(bundle).zip(places(from, to, bundle));
        pair.map(|(atlas, (a, b))| Flows::of(&atlas.spans(&a, &b))).unwrap_or_default()
    })
}

/// Ordered pairs of two groups of workloads; nobody is a pair with itself.
fn pairs(from: &Node, to: &Node) -> u64 {
    let there: FxHashSet<&str> = to.members.iter().filter_map(Party::owner).collect();
    let owners = from.members.iter().filter_map(Party::owner);
    let selves = owners.filter(|owner| there.contains(owner)).count();
    (from.members.len() * to.members.len()).saturating_sub(selves) as u64
}
