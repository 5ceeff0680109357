//! Who may reach whom, as the tables say it: the declared half of "declared vs observed".

use model::Identity;
use verdict::native::Tables;

use crate::bundle::Bundle;
use crate::meet::Meetings;
use crate::nodes::{Node, Party, nodes};
use crate::reach::{Atlas, Place, Span};

/// Everything that passes from one party to another; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who opens the flows.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// What passes.
    pub spans: Vec<Span>,
}

/// Every workload against every workload, the host, the world and what stands unmanaged.
///
/// The world is what no rule names; ranges that rules name are left out. Pairs that are not listed
/// reach each other with nothing. Ordered by the two parties.
#[must_use]
pub fn matrix(bundle: &Bundle) -> Vec<Cell> {
    let atlas = Atlas::new(&bundle.tables);
    let all = nodes(&[(Some(bundle), Some(&atlas))]);
    let mut cells = Vec::new();
    Meetings::new(&all, &[Some(&atlas)]).visit(|one, others, _, opens| {
        if one.members.iter().any(is_shown) {
            for other in others {
                let (from, to) = if opens { (one, other) } else { (other, one) };
                enter(&atlas, from, to, &mut cells);
            }
        }
    });
    cells.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    cells.dedup();
    cells
}

/// Adds a cell for each pair of parties of two groups.
fn enter(atlas: &Atlas<'_>, from: &Node, to: &Node, cells: &mut Vec<Cell>) {
    let shown = |node: &'_ Node| node.members.iter().any(is_shown);
    let Some((source, target)) = places(from, to, 0).filter(|_| shown(from) && shown(to)) else {
        return;
    };
    let spans = atlas.spans(&source, &target);
    if spans.is_empty() {
        return;
    }
    for source in from.members.iter().filter(|party| is_shown(party)) {
        for target in to.members.iter().filter(|party| is_shown(party)) {
            let is_self = from.local && source.is_same(target);
            if !is_self {
                let (from, to) = (source.clone(), target.clone());
                cells.push(Cell { from, to, spans: spans.clone() });
            }
        }
    }
}

/// What passes between two parties, by workload id or one of the words `host` and `world`.
#[must_use]
pub fn between(bundle: &Bundle, from: &Party, to: &Party) -> Vec<Span> {
    let atlas = Atlas::new(&bundle.tables);
    let all = nodes(&[(Some(bundle), Some(&atlas))]);
    let mut spans = Vec::new();
    let holding = |party: &Party| all.iter().filter(|node| node.members.contains(party)).collect();
    let (sources, targets): (Vec<&Node>, Vec<&Node>) = (holding(from), holding(to));
    for source in sources {
        for target in targets.iter().filter(|target| can_meet(source, target)) {
            if let Some((a, b)) = places(source, target, 0) {
                spans.extend(atlas.spans(&a, &b));
            }
        }
    }
    spans
}

/// The identity behind an address of a network, as the tables have it.
#[must_use]
pub fn identity_at(tables: &Tables, network: u16, address: std::net::IpAddr) -> Option<Identity> {
    let key = verdict::abi::PeerKey { network: u32::from(network), addr: address.into() };
    let peer = tables.exact.get(&key).or_else(|| tables.prefixes.longest(&key))?;
    Some(Identity(peer.identity[usize::from(tables.config.epoch & 1 != 0)]))
}

/// Single addresses and ranges have no row of their own in the matrix.
pub(crate) fn is_shown(party: &Party) -> bool {
    !matches!(party, Party::World(Some(_)) | Party::Unmanaged(Some(_)))
}

/// Whether packets go between two groups: in one network, or as workloads of two routed networks.
fn can_meet(from: &Node, to: &Node) -> bool {
    let same = from.network == to.network;
    same && (from.local || to.local) || !same && from.routed && to.routed
}

/// Where two groups are in one of the compared bundles.
pub(crate) fn places(from: &Node, to: &Node, bundle: usize) -> Option<(Place, Place)> {
    let place = |node: &Node| *node.places.get(bundle)?;
    Some((place(from)?, place(to)?))
}
