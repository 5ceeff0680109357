//! What falls if one workload is taken over: whom it can open flows to, and whom those can, hop by hop.
//!
//! A workload that can be spoken to by a service counts as taken over next; what stands outside (the host, the world, addresses
//! that nobody has) is told and not followed. Ways through published ports of the host count. Messages of icmp alone do not:
//! a ping reaches no service. What passes on trial passes. Whoever has a workload has all of its attachments: it is told once, at
//! the attachment that was reached first, and goes on from every one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::Proto;
use policy::document::owner;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::bundle::Bundle;
use crate::flows::Flows;
use crate::memo::Known;
use crate::nodes::{self, Party};
use crate::published::Gates;
use crate::reach::{Atlas, Place};
use crate::reachability::{Class, Reachability, reachability};

/// Somebody that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallen {
    /// Who.
    pub party: Party,
    /// How many flows after one another it takes, from 1.
    pub hop: u32,
    /// From whom: the workload itself at the first hop.
    pub from: Arc<str>,
    /// With which flows; of a way through a published port, as the target sees them.
    pub flows: Flows,
    /// Whether all of them pass on trial only.
    pub audit: bool,
    /// The rule at the source that lets the first of them pass, 0 for the posture.
    pub egress_rule: u32,
    /// The rule at the target, 0 for the posture and where no workload is.
    pub ingress_rule: u32,
    /// `<tenant>.<name>` of the published port that it takes, and the port of the host.
    pub through: Option<(String, u16)>,
}

/// Everybody that a workload reaches, by hop; within one in the order of parties. `None` when it has no network.
#[must_use]
pub fn radius(bundle: &Bundle, workload: &str) -> Option<Vec<Fallen>> {
    let (id, _) = bundle.workloads.get_key_value(owner(workload))?;
    bundle.attachment(id)?;
    let reach = reachability(bundle);
    let atlas = Atlas::new(&bundle.tables);
    let mut search = Search {
        bundle,
        spread: spread(&reach),
        groups: positions(&reach),
        reach: &reach,
        gates: Gates::new(&atlas, bundle),
        seen: FxHashSet::default(),
        expanded: FxHashSet::default(),
        waiting: VecDeque::new(),
        found: Vec::new(),
    };
    search.take(id, 0);
    while let Some((from, hop)) = search.waiting.pop_front() {
        search.expand(&atlas, &from, hop + 1);
    }
    let mut found = search.found;
    found.sort_by(|a, b| (a.hop, &a.party).cmp(&(b.hop, &b.party)));
    Some(found)
}

/// By group, the pairs that begin there.
fn spread(reach: &Reachability) -> FxHashMap<u32, Vec<usize>> {
    let mut spread: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
    for (at, pair) in reach.pairs().iter().enumerate() {
        spread.entry(pair.from).or_default().push(at);
    }
    spread
}

/// The group of each workload.
fn positions(reach: &Reachability) -> FxHashMap<Arc<str>, u32> {
    let mut positions = FxHashMap::default();
    for (at, group) in (0_u32..).zip(reach.groups()) {
        for party in &group.members {
            if let Party::Workload(id) = party {
                positions.insert(Arc::clone(id), at);
            }
        }
    }
    positions
}

struct Search<'a> {
    bundle: &'a Bundle,
    reach: &'a Reachability,
    spread: FxHashMap<u32, Vec<usize>>,
    groups: FxHashMap<Arc<str>, u32>,
    gates: Gates<'a, 'a>,
    seen: FxHashSet<Party>,
    /// Groups whose targets are all seen.
    expanded: FxHashSet<u32>,
    waiting: VecDeque<(Arc<str>, u32)>,
    found: Vec<Fallen>,
}

impl Search<'_> {
    /// Counts a workload as taken over: what hangs on any of its attachments can be spoken to from then on.
    fn take(&mut self, id: &str, hop: u32) {
        for (each, _) in self.bundle.attachments(id) {
            self.seen.insert(Party::Workload(Arc::clone(each)));
            self.waiting.push_back((Arc::clone(each), hop));
        }
    }

    /// Adds everybody that a workload reaches and that nobody reached before.
    fn expand(&mut self, atlas: &Atlas<'_>, from: &Arc<str>, hop: u32) {
        let Some(group) = self.groups.get(from).copied() else { return };
        if self.expanded.insert(group) {
            let reach = self.reach;
            for at in self.spread.get(&group).cloned().unwrap_or_default() {
                let Some(pair) = reach.pairs().get(at) else { continue };
                let Some(target) = reach.groups().get(pair.to as usize) else { continue };
                let Some(way) = Way::direct(reach, pair.spaces) else { continue };
                for party in &target.members {
                    self.add(party, from, hop, &way, None);
                }
            }
        }
        self.published(atlas, from, hop);
    }

    fn published(&mut self, atlas: &Atlas<'_>, from: &Arc<str>, hop: u32) {
        let Some((place, key)) = stand(self.bundle, atlas, from) else { return };
        let mut targets: Vec<&str> = self.gates.targets().collect();
        targets.sort_unstable();
        for target in targets {
            let Some((id, _)) = self.bundle.workloads.get_key_value(target) else { continue };
            let party = Party::Workload(Arc::clone(id));
            if self.seen.contains(&party) {
                continue;
            }
            // Both versions of IP are one way.
            let Some(passage) = self.gates.passages(&key, &place, target).into_iter().next() else {
                continue;
            };
            let span = passage.span;
            let way = Way {
                flows: Flows::of([&span]),
                audit: span.audit,
                rules: (span.egress_rule, span.ingress_rule),
            };
            let publish = passage.way.publish;
            let name = format!("{}.{}", passage.way.router.tenant, publish.name);
            self.add(&party, from, hop, &way, Some((name, publish.port)));
        }
    }

    fn add(
        &mut self,
        party: &Party,
        from: &Arc<str>,
        hop: u32,
        way: &Way,
        through: Option<(String, u16)>,
    ) {
        if !self.seen.insert(party.clone()) {
            return;
        }
        if let Party::Workload(id) = party {
            self.take(id, hop);
        }
        self.found.push(Fallen {
            party: party.clone(),
            hop,
            from: Arc::clone(from),
            flows: way.flows.clone(),
            audit: way.audit,
            egress_rule: way.rules.0,
            ingress_rule: way.rules.1,
            through,
        });
    }
}

/// With what one reaches another.
struct Way {
    flows: Flows,
    audit: bool,
    rules: (u32, u32),
}

impl Way {
    /// The flows of both versions of IP; `None` when there is nothing but icmp.
    fn direct(reach: &Reachability, spaces: [Option<u32>; 2]) -> Option<Self> {
        let speaks = |class: &&Class| {
            class.passes() && !matches!(class.protocol, Proto::Icmp | Proto::Icmp6)
        };
        let classes = spaces.into_iter().flatten().flat_map(|number| reach.space(number));
        let mut passing = classes.filter(speaks).peekable();
        let first = *passing.peek()?;
        // The rule that is told is that of the protocol that people know best.
        let mut best: BTreeMap<Proto, &Class> = BTreeMap::from([(first.protocol, first)]);
        let (mut flows, mut audit) = (Flows::default(), true);
        for class in passing {
            flows.add_from(class.protocol, class.ports, class.sources);
            audit &= class.verdict == verdict::abi::Verdict::Audit;
            best.entry(class.protocol).or_insert(class);
        }
        let (_, class) = best.pop_first()?;
        Some(Self { flows, audit, rules: (class.egress_rule, class.ingress_rule) })
    }
}

/// Where a workload is, and what the tables know of it.
fn stand(bundle: &Bundle, atlas: &Atlas<'_>, workload: &str) -> Option<(Place, Known)> {
    let (router, at) = bundle.attachment(workload)?;
    let place = nodes::place(u32::from(router.number), at);
    Some((place, nodes::key(atlas, &place)?))
}
