//! Networks of every kind as the planner makes them: whose the addresses are, what the endpoints have, and what a change makes.

mod external;
mod hosted;
mod on_lan;
mod several;
mod terms;

use std::net::IpAddr;

use jiff::Timestamp;
use planner::{Allocations, Bundle, Facts, Limits, compile};
use policy::{Document, Source};
use verdict::abi::PeerKey;

fn load(text: &str) -> Document {
    let source = Source { name: "f.yaml", text };
    let limits = policy::Limits::default();
    let checked = policy::load(&source, &|_| None, &limits, Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|problems| panic!("{problems:?}")).document
}

/// A host with these addresses.
fn host(addresses: &[&str]) -> Facts {
    let addresses = addresses.iter().map(|each| address(each)).collect();
    Facts { addresses, now: Timestamp::UNIX_EPOCH, jiffies_per_second: 250 }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What a fresh compilation makes of a file; it refers to nothing that is not there.
fn made(text: &str, facts: &Facts) -> Bundle {
    let bundle = compile(&load(text), &Allocations::default(), facts).expect("compiles");
    sound(&bundle);
    bundle
}

fn sound(bundle: &Bundle) {
    let many = 1 << 20;
    let limits = Limits { exact: many, prefixes: many, rows: many, ports: many, limits: many };
    assert_eq!(planner::check(bundle, &limits), []);
}

/// Whom an address of a packet is taken for in a network.
fn identity(bundle: &Bundle, network: &str, text: &str) -> u64 {
    let router = bundle.routers.iter().find(|each| each.name == network).expect("a network");
    let key = PeerKey { network: router.number.into(), addr: address(text).into() };
    let tables = &bundle.tables;
    let peer = tables.exact.get(&key).or_else(|| tables.prefixes.longest(&key));
    peer.expect("everybody is somebody").identity[0]
}
