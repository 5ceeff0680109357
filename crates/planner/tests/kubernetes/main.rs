//! Kubernetes policies: random clusters against an oracle that knows nothing of the product, and small scenarios.

mod model;
mod oracle;
mod rng;
mod scenarios;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use model::{Cluster, PROTOCOLS};
use planner::kubernetes::{End, compare, connections};
use policy::kubernetes::{lower, read};
use policy::{Limits, Source};
use proptest::prelude::*;

/// By source and target: what passes, as the product says it.
type Answers = BTreeMap<(String, String), Vec<(&'static str, u16, u16)>>;

/// Ports around every number that the generator uses.
const PORTS: [u16; 14] = [1, 52, 53, 54, 79, 80, 81, 82, 8079, 8080, 8081, 8999, 9000, u16::MAX];

/// Addresses inside and outside of every block that the generator uses.
const ADDRESSES: [Ipv4Addr; 7] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::new(169, 254, 64, 2),
    Ipv4Addr::new(192, 168, 1, 1),
    Ipv4Addr::BROADCAST,
];

fn answers(text: &str) -> (Answers, Vec<(Ipv4Addr, Ipv4Addr, String)>) {
    let source = Source { name: "cluster.yaml", text };
    let limits = Limits { depth: 64, ..Limits::default() };
    let cluster = read(&[source], &limits).unwrap_or_else(|found| panic!("{found:?}\n{text}"));
    let lowered = lower(&cluster);
    let mut out = Answers::new();
    let mut ranges = Vec::new();
    connections(&lowered, false, &mut |connection| {
        for end in [connection.source, connection.target] {
            if let End::External(range) = end
                && let (std::net::IpAddr::V4(first), std::net::IpAddr::V4(last)) =
                    (range.first, range.last)
            {
                ranges.push((first, last, end.to_string()));
            }
        }
        let allowed = connection.allowed.protocols();
        let allowed = allowed.flat_map(|(word, all)| all.iter().map(move |(a, b)| (word, *a, *b)));
        let key = (connection.source.to_string(), connection.target.to_string());
        assert!(out.insert(key, allowed.collect()).is_none(), "a pair comes once");
    })
    .expect("compiles");
    (out, ranges)
}

fn passes(answers: &Answers, from: &str, to: &str, protocol: &str, port: u16) -> bool {
    let all = answers.get(&(from.to_owned(), to.to_owned()));
    all.into_iter()
        .flatten()
        .any(|(word, first, last)| *word == protocol && (*first..=*last).contains(&port))
}

fn agrees(cluster: &Cluster) -> Result<(), TestCaseError> {
    let text = cluster.to_string();
    let (answers, ranges) = answers(&text);
    let name = |at: usize| cluster.pods[at].display();
    for (protocol, port) in PROTOCOLS.into_iter().flat_map(|p| PORTS.map(|port| (p, port))) {
        for from in 0..cluster.pods.len() {
            for to in (0..cluster.pods.len()).filter(|to| *to != from) {
                let wanted = oracle::between(cluster, from, to, protocol, port);
                let found = passes(&answers, &name(from), &name(to), protocol, port);
                let pair = format!("{} => {} {protocol} {port}", name(from), name(to));
                prop_assert_eq!(found, wanted, "{}\n{}", pair, text);
            }
            for address in ADDRESSES {
                let inside = |(first, last, _): &&(Ipv4Addr, Ipv4Addr, String)| {
                    (*first..=*last).contains(&address)
                };
                let names = || ranges.iter().filter(inside).map(|(_, _, name)| name.as_str());
                for (opens, wanted) in [
                    (true, oracle::from_outside(cluster, address, from, protocol, port)),
                    (false, oracle::to_outside(cluster, from, address, protocol, port)),
                ] {
                    let found = names().any(|range| {
                        let own = name(from);
                        let (a, b) = if opens { (range, &*own) } else { (&*own, range) };
                        passes(&answers, a, b, protocol, port)
                    });
                    let pair = format!("{} {address} {opens} {protocol} {port}", name(from));
                    prop_assert_eq!(found, wanted, "{}\n{}", pair, text);
                }
            }
        }
    }
    Ok(())
}

/// What one end of a line says of an address: its name, or that of the range which holds it.
fn holds(end: End<'_>, wanted: &str) -> bool {
    match (end, wanted.parse::<std::net::IpAddr>()) {
        (End::External(range), Ok(address)) => (range.first..=range.last).contains(&address),
        (end, _) => end.to_string() == wanted,
    }
}

/// The differences are those of the two lists, and each is told once.
fn differs_alike(old: &Cluster, new: &Cluster) -> Result<(), TestCaseError> {
    let limits = Limits { depth: 64, ..Limits::default() };
    let texts = [old.to_string(), new.to_string()];
    let [old, new] = texts.each_ref().map(|text| {
        let cluster = read(&[Source { name: "cluster.yaml", text }], &limits).expect("is correct");
        lower(&cluster)
    });
    let differences = compare(&old, &new, false).expect("compiles");
    let mut names: Vec<String> = ADDRESSES.iter().map(ToString::to_string).collect();
    let nodes = old.nodes.iter().chain(&new.nodes);
    names.extend(nodes.map(|node| node.name.to_string()));
    names.sort_unstable();
    names.dedup();
    let allowed = |cluster| {
        let mut all: BTreeMap<(String, String), String> = BTreeMap::new();
        connections(cluster, false, &mut |each| {
            for from in names.iter().filter(|name| holds(each.source, name)) {
                for to in names.iter().filter(|name| holds(each.target, name)) {
                    all.insert((from.clone(), to.clone()), each.allowed.to_string());
                }
            }
        })
        .expect("compiles");
        all
    };
    let lists = [allowed(&old), allowed(&new)];
    for pair in names.iter().flat_map(|from| names.iter().map(move |to| (from, to))) {
        let key = (pair.0.clone(), pair.1.clone());
        let [a, b] = lists
            .each_ref()
            .map(|list| list.get(&key).map_or("No Connections", String::as_str).to_owned());
        let found: Vec<_> = differences
            .iter()
            .filter(|each| holds(each.source.0, pair.0) && holds(each.target.0, pair.1))
            .map(|each| (each.old.to_string(), each.new.to_string()))
            .collect();
        let wanted = if a == b { Vec::new() } else { vec![(a, b)] };
        prop_assert_eq!(found, wanted, "{:?}\n{}\n{}", pair, texts[0], texts[1]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_the_api_reference(seed in any::<u64>()) {
        agrees(&Cluster::random(&mut rng::Rng::new(seed)))?;
    }

    #[test]
    fn differences_are_those_of_the_lists(one in any::<u64>(), other in any::<u64>(), same in any::<bool>()) {
        let old = Cluster::random(&mut rng::Rng::new(one));
        let new = Cluster::random(&mut rng::Rng::new(other));
        let pods = if same { old.pods.clone() } else { new.pods.clone() };
        differs_alike(&old, &Cluster { pods, ..new })?;
    }
}
