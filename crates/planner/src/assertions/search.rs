//! Finding a flow that breaks a claim: groups that nothing tells apart are asked about once, and only those that can meet.

use std::collections::BTreeMap;

use model::{IcmpCover, PortSpec, Proto};
use policy::document::owner;
use rustc_hash::FxHashMap;
use verdict::abi::HOST_NETWORK;

use super::ground::{Ground, Spot};
use crate::meet::posture;
use crate::memo::{Known, Stand};
use crate::nodes::Party;
use crate::published::{self, Passage};
use crate::reach::{PROTOCOLS, Place, Span, domain};
use crate::report::split;

/// A spot of a claim, and where in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub spot: usize,
    pub place: Place,
}

/// Spots of one network that nothing tells apart.
pub(super) struct Group {
    pub network: u32,
    pub key: Known,
    pub local: bool,
    pub routed: bool,
    /// At least one, in order.
    pub seats: Vec<Seat>,
}

impl Group {
    /// Whether they are workloads, and not the host at its uplinks.
    fn are_workloads(&self) -> bool {
        self.local && self.network != HOST_NETWORK
    }
}

/// One side of a claim.
pub(super) struct Side {
    /// In the order of their first seats.
    pub groups: Vec<Group>,
    by_class: FxHashMap<(u32, u64), Vec<usize>>,
    by_network: FxHashMap<u32, Vec<usize>>,
}

/// What passes, directly or through a published port.
pub(super) enum Way<'b> {
    Direct(Span),
    Published(Passage<'b>),
}

impl Way<'_> {
    /// The flows, as the target sees them.
    pub(super) fn span(&self) -> &Span {
        match self {
            Self::Direct(span) => span,
            Self::Published(passage) => &passage.span,
        }
    }
}

impl Side {
    pub(super) fn new(ground: &Ground<'_>, spots: Vec<(usize, Place)>) -> Self {
        let mut groups: BTreeMap<(u32, bool, Known), Group> = BTreeMap::new();
        for (at, place) in spots {
            let Some(spot) = ground.spots.get(at) else { continue };
            let (local, seat) = (spot.local, Seat { spot: at, place });
            let group = groups.entry((spot.network, local, spot.key)).or_insert_with(|| Group {
                network: spot.network,
                key: spot.key,
                local,
                routed: spot.routed,
                seats: Vec::new(),
            });
            group.seats.push(seat);
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by_key(|group| group.seats.first().map(|seat| seat.spot));
        let mut by_class: FxHashMap<(u32, u64), Vec<usize>> = FxHashMap::default();
        let mut by_network: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
        for (at, group) in groups.iter().enumerate() {
            by_class.entry((group.network, group.key[0])).or_default().push(at);
            by_network.entry(group.network).or_default().push(at);
        }
        Self { groups, by_class, by_network }
    }

    /// The groups here that an endpoint lets in (direction 1) or goes to (direction 0), in order.
    fn met_by(&self, ground: &Ground<'_>, one: &Group, direction: usize) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        if posture(&one.key, direction) == 0 {
            let slot = if direction == 0 { one.key[1] } else { one.key[2] };
            for class in ground.slots.get(&slot).into_iter().flatten() {
                found.extend(self.by_class.get(&(one.network, *class)).into_iter().flatten());
            }
        } else {
            found.extend(self.by_network.get(&one.network).into_iter().flatten());
        }
        if one.routed {
            let far = |at: &usize| {
                let group = self.groups.get(*at);
                group.is_some_and(|group| group.routed && group.network != one.network)
            };
            found.extend((0..self.groups.len()).filter(far));
        }
        found.sort_unstable();
        found
    }
}

/// The first flow from one side to the other that `breaks`, in the order of targets, then sources. `breaks` tells a port.
pub(super) fn passing<'a>(
    ground: &Ground<'a>,
    sources: &Side,
    targets: &Side,
    breaks: impl Fn(&Span) -> Option<u16>,
) -> Option<(Seat, Seat, Way<'a>, u16)> {
    let found = |from: &Group, to: &Group| {
        let (source, target) = distinct(ground, from, to)?;
        let spans = direct(ground, (from, &source), (to, &target));
        let breaking = spans.iter().filter_map(|span| Some((span, breaks(span)?)));
        // The one that people know best.
        let (span, port) = breaking.min_by_key(|(span, _)| span.protocol)?;
        Some((source, target, Way::Direct(*span), port))
    };
    for to in targets.groups.iter().filter(|group| group.local) {
        for at in sources.met_by(ground, to, 1) {
            if let Some(example) = sources.groups.get(at).and_then(|from| found(from, to)) {
                return Some(example);
            }
        }
    }
    for from in sources.groups.iter().filter(|group| group.local) {
        for at in targets.met_by(ground, from, 0) {
            let to = targets.groups.get(at).filter(|group| !group.local);
            if let Some(example) = to.and_then(|to| found(from, to)) {
                return Some(example);
            }
        }
    }
    through_ports(ground, sources, targets, breaks)
}

/// The same through published ports.
fn through_ports<'a>(
    ground: &Ground<'a>,
    sources: &Side,
    targets: &Side,
    breaks: impl Fn(&Span) -> Option<u16>,
) -> Option<(Seat, Seat, Way<'a>, u16)> {
    let mut gates = published::Gates::new(&ground.atlas, ground.bundle);
    let targets = targets.groups.iter().filter(|group| group.local);
    for target in targets.flat_map(|group| &group.seats) {
        let id = match ground.spots.get(target.spot) {
            Some(Spot { party: Party::Workload(id), .. }) if gates.lead_to(id) => id,
            _ => continue,
        };
        for from in sources.groups.iter().filter(|group| group.are_workloads()) {
            for source in from.seats.iter().filter(|source| differ(ground, source, target)) {
                for passage in gates.passages(&from.key, &source.place, id) {
                    if let Some(port) = breaks(&passage.span) {
                        return Some((*source, *target, Way::Published(passage), port));
                    }
                }
            }
        }
    }
    None
}

/// Two seats that are not the same party.
pub(super) fn distinct(ground: &Ground<'_>, from: &Group, to: &Group) -> Option<(Seat, Seat)> {
    let differ = |(a, b): &(&Seat, &Seat)| differ(ground, a, b);
    let first = from.seats.first().zip(to.seats.first()).filter(differ);
    let second = || from.seats.first().zip(to.seats.get(1)).filter(differ);
    let third = || from.seats.get(1).zip(to.seats.first()).filter(differ);
    first.or_else(second).or_else(third).map(|(a, b)| (*a, *b))
}

/// Whether two seats are not of the same party, be it at two attachments.
fn differ(ground: &Ground<'_>, one: &Seat, other: &Seat) -> bool {
    let parties = ground.spots.get(one.spot).zip(ground.spots.get(other.spot));
    parties.is_some_and(|(one, other)| !one.party.is_same(&other.party))
}

/// What passes directly between two groups that may meet.
pub(super) fn direct(
    ground: &Ground<'_>,
    (from, source): (&Group, &Seat),
    (to, target): (&Group, &Seat),
) -> std::rc::Rc<[Span]> {
    if !can_meet(from, to) {
        return std::rc::Rc::from([]);
    }
    let from = Stand { place: &source.place, key: &from.key, local: from.local };
    let to = Stand { place: &target.place, key: &to.key, local: to.local };
    ground.memo.spans(&ground.atlas, from, to)
}

/// Whether packets go between two groups at all: in one network, or as workloads of two routed ones.
pub(super) fn can_meet(from: &Group, to: &Group) -> bool {
    let same = from.network == to.network;
    same && (from.local || to.local) || !same && from.routed && to.routed
}

/// The first flow of `ports` from one side to the other that does not pass, with both ends and the part of the space that
/// is missing. A pair that shares no network and no version of IP has no way, which is as if everything was missing.
pub(super) fn failing(
    ground: &Ground<'_>,
    sources: &Side,
    targets: &Side,
    ports: &[PortSpec],
) -> Option<(Seat, Seat, Span)> {
    let mut gates = published::Gates::new(&ground.atlas, ground.bundle);
    for to in &targets.groups {
        for from in &sources.groups {
            // What is no endpoint is seen by each network for itself.
            let both = from.are_workloads() && to.are_workloads();
            let is_asked = both || (from.network == to.network && (from.local || to.local));
            let families = from.key[5] & to.key[5];
            if !is_asked || (families == 0 && !both) {
                continue;
            }
            let Some((source, target)) = distinct(ground, from, to) else { continue };
            let wanted = wanted(ports, if families == 0 { from.key[5] } else { families });
            let passing = direct(ground, (from, &source), (to, &target));
            if missing(&wanted, &passing).is_none() {
                continue;
            }
            let found = without_ports(ground, &mut gates, (from, to), (&wanted, &passing));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// The first pair of seats of two groups for which published ports do not make up for what is missing.
fn without_ports(
    ground: &Ground<'_>,
    gates: &mut published::Gates<'_, '_>,
    (from, to): (&Group, &Group),
    (wanted, passing): (&[Span], &[Span]),
) -> Option<(Seat, Seat, Span)> {
    for target in &to.seats {
        for source in from.seats.iter().filter(|source| differ(ground, source, target)) {
            let mut spans = passing.to_vec();
            spans.extend(ground.elsewhere(source, target));
            if let Some(Spot { party: Party::Workload(id), .. }) = ground.spots.get(target.spot)
                && from.are_workloads()
            {
                let others = ground.attachments(source.spot).map(|one| (&one.key, &one.place));
                for (key, place) in [(&from.key, &source.place)].into_iter().chain(others) {
                    let passages = gates.passages(key, place, owner(id));
                    spans.extend(passages.into_iter().map(|passage| passage.span));
                }
            }
            if let Some(part) = missing(wanted, &spans) {
                return Some((*source, *target, part));
            }
        }
    }
    None
}

/// The flows that some of the specs mean between ends with these versions of IP; of no specs, every flow.
fn wanted(ports: &[PortSpec], families: u64) -> Vec<Span> {
    let has = [families & 2 != 0, families & 1 != 0];
    let mut all = Vec::new();
    for number in PROTOCOLS {
        if number == 1 && !has[0] || number == 58 && !has[1] {
            continue;
        }
        let protocol = Proto::from_number(number);
        for within in domain(number) {
            let whole = [PortSpec::Any];
            let specs = if ports.is_empty() { &whole[..] } else { ports };
            all.extend(specs.iter().filter_map(|spec| {
                let (first, last) = meant(*spec, protocol)?;
                let ports = (first.max(within.0), last.min(within.1));
                let (audit, egress_rule, ingress_rule) = (false, 0, 0);
                let span =
                    Span { protocol, ports, sources: None, audit, egress_rule, ingress_rule };
                (ports.0 <= ports.1).then_some(span)
            }));
        }
    }
    // What people know best comes first.
    all.sort_by_key(|span| span.protocol);
    all
}

/// The destination ports of a protocol that a spec means.
fn meant(spec: PortSpec, protocol: Proto) -> Option<(u16, u16)> {
    match spec {
        PortSpec::Any => Some((0, u16::MAX)),
        PortSpec::Ports(transport, range) => {
            (Proto::from(transport) == protocol).then_some((range.first(), range.last()))
        }
        PortSpec::Icmp(icmp) => {
            let cover = match protocol {
                Proto::Icmp => icmp.v4(),
                Proto::Icmp6 => icmp.v6(),
                _ => None,
            };
            Some(match cover? {
                IcmpCover::All => (0, u16::MAX),
                IcmpCover::Type(kind) => (u16::from(kind) << 8, u16::from(kind) << 8 | 255),
                IcmpCover::Code(kind, code) => {
                    let both = u16::from_be_bytes([kind, code]);
                    (both, both)
                }
            })
        }
    }
}

/// The first part of what is wanted that none of the others holds.
fn missing(wanted: &[Span], passing: &[Span]) -> Option<Span> {
    wanted.iter().find_map(|span| {
        let parts = split(span, passing).into_iter();
        parts.filter(|(_, holding)| holding.is_none()).map(|(part, _)| part).next()
    })
}
