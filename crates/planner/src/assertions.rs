//! `assert:` of a document, checked exactly: a claim holds for every flow or has a counterexample.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Peer, Proto};
use policy::Document;
use policy::document::{Assertion, Claim, Scope};
use rustc_hash::FxHashMap;

use crate::bundle::Bundle;
use crate::nodes::{self, Party};
use crate::published;
use crate::reach::{Atlas, Place, Span};

/// What became of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// As written.
    pub text: String,
    /// `never` or `only`.
    pub claim: Claim,
    /// Where it stands in the file.
    pub line: u32,
    /// A flow that should not pass and does.
    pub broken: Option<Counterexample>,
}

/// One concrete flow that breaks an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// Who opens it.
    pub from: Party,
    /// With this address.
    pub source: IpAddr,
    /// To whom.
    pub to: Party,
    /// With this address.
    pub target: IpAddr,
    /// Protocol.
    pub protocol: Proto,
    /// Destination port; icmp: `type << 8 | code`.
    pub port: u16,
    /// The rule that lets it pass at the target or else at the source, 0 for the posture.
    pub rule: u32,
}

/// A workload or a piece of a network's address space, as assertions see it.
struct Spot {
    network: u32,
    party: Party,
    place: Place,
    /// Position in the document, for workloads.
    workload: Option<usize>,
    /// The piece, for addresses.
    net: Option<IpNet>,
    routed: bool,
}

/// All that assertions are checked against.
struct Ground<'a> {
    document: &'a Document,
    bundle: &'a Bundle,
    spots: Vec<Spot>,
    /// The pieces of each network's address space.
    nets: FxHashMap<u32, BTreeSet<IpNet>>,
    atlas: Atlas<'a>,
}

/// Checks every assertion of a document against its bundle.
pub(crate) fn check(document: &Document, bundle: &Bundle) -> Vec<Outcome> {
    if document.assertions.is_empty() {
        return Vec::new();
    }
    let atlas = Atlas::new(&bundle.tables);
    let spots = spots(document, bundle, &atlas);
    let mut nets: FxHashMap<u32, BTreeSet<IpNet>> = FxHashMap::default();
    for (network, net) in nodes::pieces(bundle) {
        nets.entry(network).or_default().insert(net);
    }
    let ground = Ground { document, bundle, spots, nets, atlas };
    let outcome = |assertion: &Assertion| Outcome {
        text: assertion.text.clone(),
        claim: assertion.claim,
        line: assertion.span.line,
        broken: counterexample(assertion, &ground),
    };
    document.assertions.iter().map(outcome).collect()
}

fn spots(document: &Document, bundle: &Bundle, atlas: &Atlas<'_>) -> Vec<Spot> {
    let positions: FxHashMap<String, usize> =
        document.workloads.iter().enumerate().map(|(at, each)| (each.id(), at)).collect();
    let mut out = Vec::new();
    for router in &bundle.routers {
        let network = u32::from(router.number);
        let routed = router.mode == model::Mode::Routed;
        for endpoint in &router.endpoints {
            let of = |v4: bool| {
                let mut all = endpoint.addresses.iter().map(IpNet::addr);
                all.find(|address| address.is_ipv4() == v4).map(Into::into)
            };
            out.push(Spot {
                network,
                party: Party::Workload(endpoint.workload.clone()),
                place: Place { network, v4: of(true), v6: of(false) },
                workload: positions.get(&*endpoint.workload).copied(),
                net: None,
                routed,
            });
        }
    }
    let mut pieces: Vec<(u32, IpNet)> = nodes::pieces(bundle).collect();
    pieces.sort_unstable();
    for (network, net) in pieces {
        let Some(peer) = atlas.peer(network, net.network().into()) else { continue };
        let mut named = None;
        if net.prefix_len() > 0 {
            named = Some(net);
        }
        // A longer piece may begin at the same address; the zone is that of this piece's own entry.
        let identity = own_identity(bundle, network, &net).unwrap_or(peer.identity[0]);
        let party = match model::Identity(identity) {
            model::Identity::HOST => Party::Host,
            model::Identity::UNMANAGED => Party::Unmanaged(named),
            _ => Party::World(named),
        };
        let place = Place::of(network, net.network());
        out.push(Spot { network, party, place, workload: None, net: Some(net), routed: false });
    }
    out
}

fn own_identity(bundle: &Bundle, network: u32, net: &IpNet) -> Option<u64> {
    let key = verdict::abi::PeerKey { network, addr: net.network().into() };
    if net.prefix_len() == net.max_prefix_len() {
        return bundle.tables.exact.get(&key).map(|peer| peer.identity[0]);
    }
    let len = 32 + crate::peers::bits(net);
    bundle.tables.prefixes.get(&verdict::abi::PrefixKey { len, key }).map(|peer| peer.identity[0])
}

fn counterexample(assertion: &Assertion, ground: &Ground<'_>) -> Option<Counterexample> {
    let Ground { document, spots, nets, .. } = ground;
    let scope = &assertion.scope;
    let find = |spot: &Spot, peers: &[Peer]| inside(spot, peers, scope, document, nets);
    let sources: Vec<(&Spot, Place)> = spots
        .iter()
        .filter_map(|spot| {
            let place = match assertion.claim {
                Claim::Never => find(spot, &assertion.from),
                Claim::Only => outside(spot, &assertion.from, scope, document, nets),
            };
            place.map(|place| (spot, place))
        })
        .collect();
    let targets: Vec<(&Spot, Place)> =
        spots.iter().filter_map(|spot| Some((spot, find(spot, &assertion.to)?))).collect();
    for (to, target) in &targets {
        for (from, source) in &sources {
            let spans = passing((from, source), (to, target), ground);
            if let Some((span, port)) = spans.iter().find_map(|span| hit(assertion, span)) {
                return example((from, source), (to, target), span, port);
            }
        }
    }
    None
}

/// What passes between two spots, directly or through published ports.
fn passing(
    (from, source): (&Spot, &Place),
    (to, target): (&Spot, &Place),
    ground: &Ground<'_>,
) -> Vec<Span> {
    if from.party == to.party {
        return Vec::new();
    }
    let same = from.network == to.network;
    let local = from.workload.is_some() || to.workload.is_some();
    let meet = same && local || !same && from.routed && to.routed;
    let mut spans = if meet { ground.atlas.spans(source, target) } else { Vec::new() };
    if let (Party::Workload(_), Party::Workload(workload)) = (&from.party, &to.party) {
        spans.extend(published::spans(&ground.atlas, ground.bundle, source, (workload, target)));
    }
    spans
}

fn example(
    (from, source): (&Spot, &Place),
    (to, target): (&Spot, &Place),
    span: &Span,
    port: u16,
) -> Option<Counterexample> {
    let v6 = span.protocol == Proto::Icmp6;
    let pair = if v6 { source.v6.zip(target.v6) } else { source.v4.zip(target.v4) };
    let (source, target) = pair.or(source.v6.zip(target.v6))?;
    Some(Counterexample {
        from: from.party.clone(),
        source: source.into(),
        to: to.party.clone(),
        target: target.into(),
        protocol: span.protocol,
        port,
        rule: if span.ingress_rule == 0 { span.egress_rule } else { span.ingress_rule },
    })
}

/// A port of the span that the assertion speaks of.
fn hit<'s>(assertion: &Assertion, span: &'s Span) -> Option<(&'s Span, u16)> {
    if assertion.ports.is_empty() {
        return Some((span, span.ports.0));
    }
    let matches =
        |port: &u16| assertion.ports.iter().any(|spec| spec.matches(span.protocol, *port));
    let mut candidates: Vec<u16> = vec![span.ports.0];
    candidates.extend(assertion.ports.iter().filter_map(|spec| match spec {
        model::PortSpec::Ports(_, range) => Some(range.first()),
        _ => None,
    }));
    candidates.extend(span.ports.0..=span.ports.1.min(span.ports.0.saturating_add(255)));
    let within = |port: &u16| span.ports.0 <= *port && *port <= span.ports.1;
    candidates.into_iter().filter(within).find(matches).map(|port| (span, port))
}

/// Where a spot is inside of one of the peers, if anywhere.
fn inside(
    spot: &Spot,
    peers: &[Peer],
    scope: &Scope,
    document: &Document,
    nets: &FxHashMap<u32, BTreeSet<IpNet>>,
) -> Option<Place> {
    if spot.workload.is_some() {
        return peers.iter().any(|peer| selects(spot, peer, scope, document)).then_some(spot.place);
    }
    let net = spot.net?;
    let all = nets.get(&spot.network)?;
    peers.iter().find_map(|peer| {
        let part = match peer {
            Peer::Cidr(range) if spot.party == Party::Host || !meets(range, &net) => return None,
            Peer::Cidr(range) if net.contains(range) => *range,
            Peer::Cidr(_) => net,
            word if is_word(word, &spot.party) => net,
            _ => return None,
        };
        // Addresses of the part that longer pieces do not hold.
        nodes::witness(&part, all, &[]).map(|address| Place::of(spot.network, address))
    })
}

/// Where a spot is outside of all peers, if anywhere.
fn outside(
    spot: &Spot,
    peers: &[Peer],
    scope: &Scope,
    document: &Document,
    nets: &FxHashMap<u32, BTreeSet<IpNet>>,
) -> Option<Place> {
    if spot.workload.is_some() {
        let named = peers.iter().any(|peer| selects(spot, peer, scope, document));
        return (!named).then_some(spot.place);
    }
    let net = spot.net?;
    if peers.iter().any(|peer| is_word(peer, &spot.party)) {
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
    let all = nets.get(&spot.network)?;
    nodes::witness(&net, all, &ranges).map(|address| Place::of(spot.network, address))
}

fn meets(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether a peer is the word for all of a zone.
fn is_word(peer: &Peer, party: &Party) -> bool {
    matches!(
        (peer, party),
        (Peer::Any, _)
            | (Peer::Host, Party::Host)
            | (Peer::World, Party::World(_))
            | (Peer::Unmanaged, Party::Unmanaged(_))
    )
}

fn selects(spot: &Spot, peer: &Peer, scope: &Scope, document: &Document) -> bool {
    let Some(workload) = spot.workload.and_then(|at| document.workloads.get(at)) else {
        return false;
    };
    scope.includes(&workload.tenant)
        && match peer {
            Peer::Selector(selector) => selector.matches(&workload.subject()),
            Peer::Any => true,
            _ => false,
        }
}
