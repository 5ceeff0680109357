//! What the world may send to workloads, for the world as a whole and for each range of it that rules tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::bundle::Bundle;
use crate::matrix::places;
use crate::nodes::{Node, Party, nodes};
use crate::reach::{Atlas, Span};

/// From where, `None` for the world without its named ranges, and what passes; never empty.
pub type Ways = Vec<(Option<IpNet>, Vec<Span>)>;

/// What passes from outside to some workloads, by workload id. A workload that nothing of the world reaches is left out.
#[must_use]
pub fn from_world(bundle: &Bundle, to: &BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Ways> {
    let atlas = Atlas::new(&bundle.tables);
    let all = nodes(&[(Some(bundle), Some(&atlas))]);
    let is_world = |node: &&Node| node.members.iter().any(|it| matches!(it, Party::World(_)));
    let sources: Vec<&Node> = all.iter().filter(is_world).collect();
    let mut found: BTreeMap<Arc<str>, Ways> = BTreeMap::new();
    for target in &all {
        let wanted = target.members.iter().filter_map(|party| match party {
            Party::Workload(id) if to.contains(id) => Some(id),
            _ => None,
        });
        let wanted: Vec<&Arc<str>> = wanted.collect();
        for source in sources.iter().filter(|it| it.network == target.network && !wanted.is_empty())
        {
            let Some((from, at)) = places(source, target, 0) else { continue };
            let spans = atlas.spans(&from, &at);
            let ranges = source.members.iter().filter_map(|party| match party {
                Party::World(range) => Some(*range),
                _ => None,
            });
            for range in ranges.filter(|_| !spans.is_empty()) {
                for id in &wanted {
                    found.entry(Arc::clone(id)).or_default().push((range, spans.clone()));
                }
            }
        }
    }
    found
}
