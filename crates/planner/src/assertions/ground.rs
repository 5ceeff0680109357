//! Who assertions speak of: workloads, the host at its uplinks, and pieces of each network's address space, each with a witness.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{HostProcesses, Identity, Mode, Peer};
use policy::Document;
use policy::document::{Assertion, Scope};
use rustc_hash::FxHashMap;
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_NETWORK};

use crate::bundle::Bundle;
use crate::meet::{Slots, slots};
use crate::memo::{Known, Memo};
use crate::nodes::{self, Party};
use crate::reach::{Atlas, Place, Span};

use super::search::Seat;

/// A workload, processes of the host at its uplinks, or a piece of a network's address space.
pub(super) struct Spot {
    pub network: u32,
    pub party: Party,
    pub place: Place,
    /// What the tables know of it.
    pub key: Known,
    /// Position in the document, for workloads.
    pub workload: Option<usize>,
    /// Whether it is an endpoint of this node.
    pub local: bool,
    /// The accounts that processes of the host run under, as far as rules tell them apart.
    pub accounts: Vec<HostProcesses>,
    /// The piece, for addresses.
    pub net: Option<IpNet>,
    pub routed: bool,
}

/// All that assertions are checked against.
pub(super) struct Ground<'a> {
    pub document: &'a Document,
    pub bundle: &'a Bundle,
    /// Whether the host has no policy at its uplinks: what the bundle has for them lets everything pass. Then it is meant where it is named,
    /// and not by `any` or as one of all others: nobody has asked that it be enforced.
    pub left_alone: bool,
    pub spots: Vec<Spot>,
    /// The pieces of each network's address space, and the addresses of workloads.
    pub nets: FxHashMap<u32, BTreeSet<IpNet>>,
    pub atlas: Atlas<'a>,
    pub slots: Slots,
    pub memo: Memo,
    /// Of workloads with several attachments, by the workload's id.
    several: FxHashMap<String, Vec<usize>>,
}

impl Spot {
    /// Whether it is the host at its uplinks, or some processes of it.
    pub(super) fn is_host(&self) -> bool {
        self.local && self.network == HOST_NETWORK
    }
}

impl<'a> Ground<'a> {
    pub(super) fn new(document: &'a Document, bundle: &'a Bundle, left_alone: bool) -> Self {
        let atlas = Atlas::new(&bundle.tables);
        let mut nets: FxHashMap<u32, BTreeSet<IpNet>> = FxHashMap::default();
        for (network, net) in nodes::pieces(bundle).chain(nodes::taken(bundle)) {
            nets.entry(network).or_default().insert(net);
        }
        let mut spots = workloads(document, bundle, &atlas);
        spots.extend(processes(bundle, &atlas));
        spots.extend(addresses(bundle, &atlas));
        let said = slots(&atlas);
        let several = several(&spots);
        let memo = Memo::default();
        Self { document, bundle, left_alone, spots, nets, atlas, slots: said, memo, several }
    }

    /// All attachments of the workload that a spot is one of, if it has several.
    pub(super) fn attachments(&self, spot: usize) -> impl Iterator<Item = &Spot> {
        let owner = self.spots.get(spot).and_then(|spot| spot.party.owner());
        let known = owner.and_then(|owner| self.several.get(owner));
        known.into_iter().flatten().filter_map(|at| self.spots.get(*at))
    }

    /// What passes from one seat to another over other attachments of both: a workload reaches whom one of them reaches.
    pub(super) fn elsewhere(&self, source: &Seat, target: &Seat) -> Vec<Span> {
        let of = |seat: &Seat| -> Vec<(Place, bool)> {
            let all = self.attachments(seat.spot).map(|spot| (spot.place, spot.routed));
            all.collect()
        };
        let (sources, targets) = (of(source), of(target));
        let own = |seat: &Seat| {
            let spot = self.spots.get(seat.spot);
            let routed = spot.is_some_and(|spot| spot.routed);
            (seat.place, routed, spot.is_some_and(|spot| spot.workload.is_some()))
        };
        let one_of = |many: Vec<(Place, bool)>, seat: &Seat| {
            let (place, routed, is_workload) = own(seat);
            if many.is_empty() { (vec![(place, routed)], is_workload) } else { (many, true) }
        };
        if sources.is_empty() && targets.is_empty() {
            return Vec::new();
        }
        let (sources, is_source) = one_of(sources, source);
        let (targets, is_target) = one_of(targets, target);
        let mut spans = Vec::new();
        for (from, from_routed) in &sources {
            for (to, to_routed) in &targets {
                // What is no workload is seen by each network with the same address.
                let from = if is_source { *from } else { Place { network: to.network, ..*from } };
                let to = if is_target { *to } else { Place { network: from.network, ..*to } };
                if from.network == to.network || *from_routed && *to_routed {
                    spans.extend(self.atlas.spans(&from, &to));
                }
            }
        }
        spans
    }

    /// Where a spot is inside of one of the peers, if anywhere.
    pub(super) fn inside(&self, spot: &Spot, peers: &[Peer], scope: &Scope) -> Option<Place> {
        if spot.local {
            return peers.iter().any(|peer| self.selects(spot, peer, scope)).then_some(spot.place);
        }
        let net = spot.net?;
        let all = self.nets.get(&spot.network)?;
        peers.iter().find_map(|peer| {
            let part = match peer {
                Peer::Cidr(range) if spot.party == Party::Host || !meets(range, &net) => {
                    return None;
                }
                Peer::Cidr(range) if net.contains(range) => *range,
                Peer::Cidr(_) => net,
                word if is_word(word, &spot.party) => net,
                _ => return None,
            };
            if has_other_owner(&part, &net, all) {
                return None;
            }
            // Addresses of the part that longer pieces do not hold.
            witness(&part, all, &[]).map(|address| Place::of(spot.network, address))
        })
    }

    /// Where a spot is outside of all peers, if anywhere.
    pub(super) fn outside(&self, spot: &Spot, peers: &[Peer], scope: &Scope) -> Option<Place> {
        if self.left_alone && spot.is_host() {
            return None;
        }
        if spot.local {
            let named = peers.iter().any(|peer| match peer {
                // Of an account that no rule names nobody else is told apart, either.
                Peer::Processes(one) => spot.accounts.contains(one),
                _ => self.selects(spot, peer, scope),
            });
            return (!named).then_some(spot.place);
        }
        let net = spot.net?;
        // Towards workloads no process of the host is told apart from the others.
        let is_all = |peer: &&Peer| !matches!(peer, Peer::Processes(_));
        if peers.iter().filter(is_all).any(|peer| is_word(peer, &spot.party)) {
            return None;
        }
        let ranges: Vec<IpNet> = peers
            .iter()
            .filter(|_| spot.party != Party::Host)
            .filter_map(|peer| match peer {
                Peer::Cidr(range) if meets(range, &net) => Some(*range),
                _ => None,
            })
            .collect();
        let all = self.nets.get(&spot.network)?;
        witness(&net, all, &ranges).map(|address| Place::of(spot.network, address))
    }

    /// Whether a peer of a scope means a workload, or some of the host's processes.
    pub(super) fn selects(&self, spot: &Spot, peer: &Peer, scope: &Scope) -> bool {
        if spot.is_host() {
            return match peer {
                Peer::Host => true,
                Peer::Any => !self.left_alone,
                Peer::Processes(one) => self.is_of(spot, one),
                _ => false,
            };
        }
        let workload = spot.workload.and_then(|at| self.document.workloads.get(at));
        let Some(workload) = workload else { return false };
        scope.includes(&workload.tenant)
            && match peer {
                Peer::Selector(selector) => selector.matches(&workload.subject()),
                Peer::Any => true,
                _ => false,
            }
    }

    /// Whether some of these processes run under an account. One that no rule names is among everybody else of its kind.
    fn is_of(&self, spot: &Spot, one: &HostProcesses) -> bool {
        let mut own = spot.accounts.iter();
        if self.bundle.accounts.number(one).is_some() {
            return own.any(|account| account == one);
        }
        let kind = |of: &HostProcesses| std::mem::discriminant(&of.account);
        own.all(|account| kind(account) != kind(one))
    }

    /// Everybody inside of `from` of an assertion about a border, and everybody outside of that and of its exceptions.
    pub(super) fn border(&self, assertion: &Assertion) -> [Vec<(usize, Place)>; 2] {
        let Assertion { scope, from, to, .. } = assertion;
        let both: Vec<Peer> = from.iter().chain(to).cloned().collect();
        [
            self.pick(|spot| self.inside(spot, from, scope)),
            self.pick(|spot| self.outside(spot, &both, scope)),
        ]
    }

    /// The spots that have a place by this measure.
    pub(super) fn pick(&self, place: impl Fn(&Spot) -> Option<Place>) -> Vec<(usize, Place)> {
        let spots = self.spots.iter().enumerate();
        spots.filter_map(|(at, spot)| Some((at, place(spot)?))).collect()
    }
}

/// Whether all of a part of a piece belongs to a longer piece, which is a spot of its own.
fn has_other_owner(part: &IpNet, net: &IpNet, all: &BTreeSet<IpNet>) -> bool {
    (net.prefix_len() + 1..=part.prefix_len())
        .any(|len| IpNet::new(part.network(), len).is_ok_and(|piece| all.contains(&piece.trunc())))
}

/// The spots of workloads with more than one.
fn several(spots: &[Spot]) -> FxHashMap<String, Vec<usize>> {
    let mut all: FxHashMap<String, Vec<usize>> = FxHashMap::default();
    let further = spots.iter().filter_map(|spot| match &spot.party {
        Party::Workload(id) if id.contains('@') => spot.party.owner(),
        _ => None,
    });
    let owners: BTreeSet<&str> = further.collect();
    for (at, spot) in spots.iter().enumerate().filter(|_| !owners.is_empty()) {
        if let Some(owner) = spot.party.owner().filter(|owner| owners.contains(owner)) {
            all.entry(owner.to_owned()).or_default().push(at);
        }
    }
    all
}

fn workloads(document: &Document, bundle: &Bundle, atlas: &Atlas<'_>) -> Vec<Spot> {
    let positions: FxHashMap<String, usize> =
        document.workloads.iter().enumerate().map(|(at, each)| (each.id(), at)).collect();
    let mut out = Vec::new();
    for router in &bundle.routers {
        let network = u32::from(router.number);
        for endpoint in &router.endpoints {
            let place = nodes::place(network, endpoint);
            let Some(key) = nodes::key(atlas, &place) else { continue };
            out.push(Spot {
                network,
                party: Party::Workload(endpoint.workload.clone()),
                place,
                key,
                workload: positions.get(&*endpoint.workload).copied(),
                local: positions.contains_key(&*endpoint.workload),
                accounts: Vec::new(),
                net: None,
                routed: router.mode == Mode::Routed,
            });
        }
    }
    out
}

/// The host at its uplinks: as such, and its processes by account.
fn processes(bundle: &Bundle, atlas: &Atlas<'_>) -> Vec<Spot> {
    let own = bundle.tables.endpoints.get(&HOST_ENDPOINT);
    let own = own.map(|own| Place { network: HOST_NETWORK, v4: Some(own.v4), v6: Some(own.v6) });
    let as_such = own.map(|place| (place, Vec::new()));
    let told_apart = bundle.accounts.pairs().map(|(number, accounts)| {
        let addr = Some(Addr::hosted(number));
        (Place { network: HOST_NETWORK, v4: addr, v6: addr }, accounts)
    });
    let spot = |(place, accounts): (Place, Vec<&HostProcesses>)| {
        let names: Vec<String> = accounts.iter().map(ToString::to_string).collect();
        Some(Spot {
            network: place.network,
            party: match names.as_slice() {
                [] => Party::Host,
                names => Party::Processes(names.join(", ").into()),
            },
            key: nodes::key(atlas, &place)?,
            place,
            workload: None,
            local: true,
            accounts: accounts.into_iter().cloned().collect(),
            net: None,
            routed: false,
        })
    };
    as_such.into_iter().chain(told_apart).filter_map(spot).collect()
}

fn addresses(bundle: &Bundle, atlas: &Atlas<'_>) -> Vec<Spot> {
    let mut pieces: Vec<(u32, IpNet)> = nodes::pieces(bundle).collect();
    pieces.sort_unstable();
    let spot = |(network, net): (u32, IpNet)| {
        let peer = own_peer(bundle, network, &net)
            .or_else(|| atlas.peer(network, net.network().into()))?;
        let named = (net.prefix_len() > 0).then_some(net);
        let party = match Identity(peer.identity[0]) {
            Identity::HOST => Party::Host,
            Identity::UNMANAGED => Party::Unmanaged(named),
            _ => Party::World(named),
        };
        // At the uplinks the host is an endpoint, and there already.
        if network == HOST_NETWORK && party == Party::Host {
            return None;
        }
        let place = Place::of(network, net.network());
        let families = u64::from(place.v4.is_some()) << 1 | u64::from(place.v6.is_some());
        let key = [peer.class[0], 0, 0, 0, peer.identity[0], families];
        let net = Some(net);
        let (local, accounts) = (false, Vec::new());
        Some(Spot {
            network,
            party,
            place,
            key,
            workload: None,
            local,
            accounts,
            net,
            routed: false,
        })
    };
    pieces.into_iter().filter_map(spot).collect()
}

/// The entry of exactly this piece: a longer one may begin at the same address.
fn own_peer<'b>(bundle: &'b Bundle, network: u32, net: &IpNet) -> Option<&'b verdict::abi::Peer> {
    let key = verdict::abi::PeerKey { network, addr: net.network().into() };
    if net.prefix_len() == net.max_prefix_len() {
        return bundle.tables.exact.get(&key);
    }
    let len = 32 + crate::peers::bits(net);
    bundle.tables.prefixes.get(&verdict::abi::PrefixKey { len, key })
}

/// Addresses for examples (RFC 5737, RFC 3849).
const EXAMPLES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
];

/// An address of a prefix that lies in no longer one of `all` and in none of `outside`: one that reads as an example, if it
/// does, and one that packets can have, if there is one.
fn witness(net: &IpNet, all: &BTreeSet<IpNet>, outside: &[IpNet]) -> Option<IpAddr> {
    let holes = |address: &IpAddr| {
        let inner = all.range(net..).take_while(|other| net.contains(&other.network()));
        let mut holes = inner.filter(|other| *other != net).chain(outside);
        holes.any(|hole| hole.contains(address))
    };
    let example = EXAMPLES.iter().find(|address| net.contains(*address) && !holes(address));
    let lowest = |outside: &[IpNet]| nodes::witness(net, all, outside);
    let real = || {
        let mut unreal = outside.to_vec();
        let zero = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        unreal.extend(zero.into_iter().filter_map(|zero| IpNet::new(zero, 8).ok()));
        lowest(&unreal)
    };
    example.copied().or_else(real).or_else(|| lowest(outside))
}

fn meets(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether a peer is the word for all of a zone.
fn is_word(peer: &Peer, party: &Party) -> bool {
    matches!(
        (peer, party),
        (Peer::Any, _)
            | (Peer::Host | Peer::Processes(_), Party::Host)
            | (Peer::World, Party::World(_))
            | (Peer::Unmanaged, Party::Unmanaged(_))
    )
}
