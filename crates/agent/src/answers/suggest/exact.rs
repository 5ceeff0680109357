//! Flows to as few rectangles of sources, destinations and services as hold exactly these.
//!
//! Addresses outside beyond a bound become "all of them"; that is the only way in which a rectangle is wider, and it says so.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{End, Evidence, Flow, Service};

/// Addresses that one policy lists.
pub(super) const ADDRESSES: usize = 32;

/// Everybody in `from` opened every service at everybody in `to`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rectangle {
    pub(super) from: BTreeSet<End>,
    pub(super) to: BTreeSet<End>,
    pub(super) services: BTreeSet<Service>,
    pub(super) evidence: Evidence,
    /// How many addresses were seen where all of them are meant.
    pub(super) addresses: usize,
}

type Ends = BTreeSet<End>;

/// The rectangles of flows, sorted.
pub(super) fn rectangles(flows: &[Flow]) -> Vec<Rectangle> {
    let (outward, inward): (Vec<&Flow>, Vec<&Flow>) =
        flows.iter().partition(|((_, to, _), _)| !matches!(to, End::Workload(_)));
    let mut all = inner(&inward);
    all.extend(outer(&outward));
    all.sort_by(|a, b| (&a.from, &a.to, &a.services).cmp(&(&b.from, &b.to, &b.services)));
    all
}

/// To workloads: who speaks to each service of each, then what is alike.
fn inner(flows: &[&Flow]) -> Vec<Rectangle> {
    let mut sources: BTreeMap<(&End, Service), (Ends, Evidence)> = BTreeMap::new();
    for ((from, to, service), evidence) in flows {
        let entry = sources.entry((to, *service)).or_default();
        entry.0.insert(from.clone());
        entry.1.add(evidence);
    }
    let mut services: BTreeMap<(Ends, &End), Rectangle> = BTreeMap::new();
    for ((to, service), (from, evidence)) in sources {
        let (from, addresses) = bounded(from);
        let part = services.entry((from, to)).or_default();
        part.services.insert(service);
        part.evidence.add(&evidence);
        part.addresses = part.addresses.max(addresses);
    }
    let mut alike: BTreeMap<(Ends, BTreeSet<Service>), Rectangle> = BTreeMap::new();
    for ((from, to), part) in services {
        let whole = alike.entry((from.clone(), part.services.clone())).or_default();
        whole.to.insert(to.clone());
        whole.join(from, part);
    }
    alike.into_values().collect()
}

/// To addresses and the host: to whom each group of sources speaks, then what is alike.
fn outer(flows: &[&Flow]) -> Vec<Rectangle> {
    let mut sources: BTreeMap<(Service, &End), (Ends, Evidence)> = BTreeMap::new();
    for ((from, to, service), evidence) in flows {
        let entry = sources.entry((*service, to)).or_default();
        entry.0.insert(from.clone());
        entry.1.add(evidence);
    }
    // Who speaks to more addresses than are listed speaks to all of them, with one service: whoever else speaks to some.
    let mut targets: BTreeMap<(Service, Ends), Rectangle> = BTreeMap::new();
    for ((service, to), (from, evidence)) in sources {
        let part = targets.entry((service, from)).or_default();
        part.to.insert(to.clone());
        part.evidence.add(&evidence);
    }
    let mut alike: BTreeMap<(Ends, Ends), Rectangle> = BTreeMap::new();
    for ((service, from), part) in targets {
        let (to, addresses) = bounded(part.to.clone());
        let whole = alike.entry((from.clone(), to.clone())).or_default();
        whole.to = to;
        whole.services.insert(service);
        whole.join(from, Rectangle { addresses, ..part });
    }
    alike.into_values().collect()
}

impl Rectangle {
    fn join(&mut self, from: Ends, part: Rectangle) {
        self.from = from;
        self.services.extend(part.services);
        self.evidence.add(&part.evidence);
        self.addresses = self.addresses.max(part.addresses);
    }
}

/// Ends of which too many are addresses have all addresses instead; how many there were.
fn bounded(ends: Ends) -> (Ends, usize) {
    let is_address = |end: &&End| matches!(end, End::World(_) | End::Unmanaged(_));
    let addresses = ends.iter().filter(is_address).count();
    if addresses <= ADDRESSES {
        return (ends, 0);
    }
    let widened = ends.into_iter().map(|end| match end {
        End::World(_) => End::World(None),
        End::Unmanaged(_) => End::Unmanaged(None),
        other => other,
    });
    (widened.collect(), addresses)
}
