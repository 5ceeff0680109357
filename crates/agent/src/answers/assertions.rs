//! Assertions of a document, proven over its tables before anything is applied.
//!
//! Every pair of workloads, host, and one address of every prefix that the tables tell apart is judged at every block of
//! ports, so a claim that holds here holds for every packet.

use std::net::IpAddr;

use api::AssertionResult;
use model::{IcmpCover, Identity, Peer, PortSpec, Proto};
use planner::{Bundle, Router};
use policy::Document;
use policy::document::{Assertion, Claim};
use policy::explain::End;
use verdict::abi::{Addr, PeerKey, PrefixKey};
use verdict::native::{Tables, masked};

use crate::force::Wanted;

use super::matrix::{self, Member};
use super::party;
use super::reach::{Reach, Span, words};

/// One end of a pair: what it is to selectors, what it is called, and where it is.
struct Side<'w> {
    end: End<'w>,
    name: String,
    place: Place<'w>,
}

enum Place<'w> {
    Member(Member<'w>),
    /// An address as a network sees it.
    Outside(&'w Router, IpAddr),
}

/// Every assertion of a document and whether it holds.
pub(crate) fn check(wanted: &Wanted) -> Vec<AssertionResult> {
    let (document, bundle) = (&wanted.document, &wanted.bundle);
    if document.assertions.is_empty() {
        return Vec::new();
    }
    let reach = Reach::new(&bundle.tables);
    let sides = sides(document, bundle);
    let checked = document.assertions.iter().map(|assertion| {
        let counterexample = broken(bundle, &reach, &sides, assertion);
        AssertionResult {
            text: format!("{}: {}", word(assertion.claim), assertion.text),
            file: document.file.to_string(),
            line: assertion.span.line,
            holds: counterexample.is_none(),
            counterexample,
        }
    });
    checked.collect()
}

fn word(claim: Claim) -> &'static str {
    match claim {
        Claim::Never => "never",
        Claim::Only => "only",
    }
}

/// The first flow that breaks an assertion.
fn broken(
    bundle: &Bundle,
    reach: &Reach<'_>,
    sides: &[Side<'_>],
    assertion: &Assertion,
) -> Option<String> {
    let matches = |side: &Side<'_>, peers: &[Peer]| {
        peers.iter().any(|peer| side.end.matches(&assertion.scope, peer))
    };
    let targets = sides.iter().filter(|side| matches(side, &assertion.to));
    for target in targets {
        let sources = sides.iter().filter(|side| {
            matches(side, &assertion.from) == (assertion.claim == Claim::Never)
        });
        for source in sources {
            let spans: Vec<Span> = between(bundle, reach, source, target)
                .into_iter()
                .filter(|span| concerns(&assertion.ports, span))
                .collect();
            if !spans.is_empty() {
                return Some(format!("{} → {} {}", source.name, target.name, words(&spans)));
            }
        }
    }
    None
}

fn between(bundle: &Bundle, reach: &Reach<'_>, source: &Side<'_>, target: &Side<'_>) -> Vec<Span> {
    let judged = |router: &Router, from: Option<IpAddr>, to: Option<IpAddr>| {
        let (Some(from), Some(to)) = (from, to) else { return Vec::new() };
        let spans = reach.spans(router.number.into(), from, to);
        spans.into_iter().filter(Span::passes).collect()
    };
    match (&source.place, &target.place) {
        (Place::Member(from), Place::Member(to)) => matrix::between(bundle, reach, from, to),
        (Place::Outside(network, address), Place::Member(Member::Endpoint(router, at)))
            if network.number == router.number =>
        {
            judged(router, Some(*address), party::address(at, address.is_ipv6()))
        }
        (Place::Member(Member::Endpoint(router, at)), Place::Outside(network, address))
            if network.number == router.number =>
        {
            judged(router, party::address(at, address.is_ipv6()), Some(*address))
        }
        _ => Vec::new(),
    }
}

/// Whether a block of ports is among those an assertion speaks of.
fn concerns(ports: &[PortSpec], span: &Span) -> bool {
    let proto = Proto::from_number(span.protocol);
    ports.is_empty()
        || ports.iter().any(|spec| match spec {
            PortSpec::Any => true,
            PortSpec::Ports(transport, range) => {
                Proto::from(*transport) == proto
                    && range.first() <= span.last
                    && span.first <= range.last()
            }
            PortSpec::Icmp(icmp) => {
                let cover = match proto {
                    Proto::Icmp => icmp.v4(),
                    Proto::Icmp6 => icmp.v6(),
                    _ => None,
                };
                cover.map(block).is_some_and(|(first, last)| first <= span.last && span.first <= last)
            }
        })
}

fn block(cover: IcmpCover) -> (u16, u16) {
    match cover {
        IcmpCover::All => (0, u16::MAX),
        IcmpCover::Type(kind) => (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, 255])),
        IcmpCover::Code(kind, code) => {
            let number = u16::from_be_bytes([kind, code]);
            (number, number)
        }
    }
}

/// Everybody that the tables tell apart.
fn sides<'w>(document: &'w Document, bundle: &'w Bundle) -> Vec<Side<'w>> {
    let mut sides = Vec::new();
    for member in matrix::members(bundle) {
        let end = match &member {
            Member::Endpoint(_, at) => match document.workload(&at.workload) {
                Some(workload) => End::Workload(workload.subject()),
                None => continue,
            },
            Member::Host => End::Host,
            // Prefixes below stand for everybody outside.
            Member::World => continue,
        };
        sides.push(Side { end, name: member.name(), place: Place::Member(member) });
    }
    for router in &bundle.routers {
        let outside = outsiders(&bundle.tables, router.number.into());
        sides.extend(outside.into_iter().map(|(end, address)| Side {
            end,
            name: address.to_string(),
            place: Place::Outside(router, address),
        }));
    }
    sides
}

/// An address of every prefix that a network's tables tell apart, but for the host's own.
fn outsiders(tables: &Tables, network: u32) -> Vec<(End<'static>, IpAddr)> {
    let prefixes = tables.prefixes.iter().filter(|(key, _)| key.key.network == network);
    let mut found: Vec<(End<'static>, IpAddr)> = prefixes
        .filter_map(|(key, _)| representative(tables, *key))
        .map(|address| match Identity(party::identity(tables, network, address)) {
            Identity::HOST => (End::Host, address),
            Identity::UNMANAGED => (End::Unmanaged(address), address),
            _ => (End::World(address), address),
        })
        .filter(|(end, _)| !matches!(end, End::Host))
        .collect();
    found.sort_by_key(|(_, address)| *address);
    found
}

/// An address that a prefix decides about: no longer prefix and no exact entry holds it.
fn representative(tables: &Tables, prefix: PrefixKey) -> Option<IpAddr> {
    let bits = prefix.len.saturating_sub(32);
    let base = u128::from_be_bytes(bytes(prefix.key.addr));
    let rest = u128::MAX.checked_shr(bits).unwrap_or(0);
    // Addresses spread over the prefix; for "everything" of IPv6 not those that stand for IPv4.
    let offsets = [rest, rest / 2 + 1, rest / 3, 1, 0, rest / 5, rest / 7];
    let addresses = offsets.into_iter().map(|offset| address(base | offset & rest));
    addresses.into_iter().find(|addr| {
        let key = PeerKey { network: prefix.key.network, addr: *addr };
        let decided = tables.prefixes.iter().filter(|(other, _)| masked(key, other.len) == **other);
        let longest = decided.map(|(other, _)| other.len).max();
        longest == Some(prefix.len) && !tables.exact.contains_key(&key)
    }).map(IpAddr::from)
}

fn bytes(addr: Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(addr.0) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn address(number: u128) -> Addr {
    Addr::v6(number.to_be_bytes())
}
