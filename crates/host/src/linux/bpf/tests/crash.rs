//! An agent that is killed in the middle of an update leaves one policy version in force, whole; the next agent repairs the
//! rest, and no packet sees a mixture meanwhile.
//!
//! An update prepares the silent halves, moves the epoch, and finishes: the other halves, and what is not needed any more. The
//! two moments between are made as they are found after a kill: the last write of the preparation is refused, then done by
//! hand; then the epoch is moved by hand.

use std::sync::atomic::{AtomicBool, Ordering};

use verdict::abi::{Addr, Peer, PeerKey, PrefixKey};
use verdict::native::Tables;

use super::*;
use crate::linux::bpf::Events;

/// Where the agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Everything new is written, nobody sees it.
    Prepared,
    /// The new version is in force, the halves of the old one are still there.
    Switched,
}

/// Two versions that differ in every kind of entry: rules, slots, classes, and a prefix that only one of them has.
fn versions() -> [Tables; 2] {
    let (one, mut two) = (tables(5, 50), tables(6, 60));
    let other = |class: u64| class + 1_000;
    let addresses: Vec<(PeerKey, Peer)> =
        two.exact.iter().map(|(key, peer)| (*key, *peer)).collect();
    for (key, peer) in addresses {
        two.exact.insert(key, Peer { class: peer.class.map(other), ..peer });
    }
    let rows: Vec<_> = two.rows.iter().map(|(key, row)| (*key, *row)).collect();
    for (key, row) in rows {
        two.rows.remove(&key);
        two.rows.insert(RowKey { class: other(key.class), ..key }, row);
    }
    [with_prefix(one, "192.0.2.0", 104), with_prefix(two, "198.51.100.0", 105)]
}

/// A block of the world with an identity of its own.
fn with_prefix(mut tables: Tables, address: &str, identity: u64) -> Tables {
    let (class, identity) = ([identity; 2], [identity; 2]);
    tables.prefixes.insert(block(address), Peer { class, identity, endpoint: 0, pad: 0 });
    tables
}

fn block(address: &str) -> PrefixKey {
    PrefixKey { len: 32 + 96 + 24, key: bench::key(address) }
}

/// Begins an update to `tables` and leaves it where `cut` says. The block of `tables` is what is written last.
fn killed(datapath: &mut Datapath, tables: &Tables, added: &str, cut: Cut) {
    // Somebody fills the table of prefixes, so that the last write of the preparation is refused.
    let room = datapath.prefixes.capacity();
    let held = datapath.read_state().expect("readable").prefixes.len();
    let junk: Vec<PrefixKey> = (held..room)
        .map(|n| {
            let [_, a, b, c] = u32::try_from(n).expect("small").to_be_bytes();
            let key = PeerKey { network: 4_000, addr: Addr::v4([100, a, b, c]) };
            PrefixKey { len: 32 + 128, key }
        })
        .collect();
    datapath.prefixes.insert_all(&junk, &vec![0; junk.len()]).expect("room for junk");
    let refused = datapath.apply(tables).expect_err("there is no room for the last write");
    assert!(matches!(refused, crate::linux::bpf::Error::Write { .. }), "{refused}");
    datapath.prefixes.remove_all(&junk).expect("the junk goes");
    // The peer behind the block is written: the refused write only leads to it.
    let wanted = tables.prefixes.get(&block(added)).expect("it has the block");
    let half = usize::from(datapath.epoch() & 1 == 0);
    let written = |number: &u32| datapath.peers.get(*number).identity[half] == wanted.identity[0];
    let numbers = u32::try_from(datapath.peers.len()).expect("few");
    let number = (0..numbers).find(written).expect("the peer is there");
    datapath.prefixes.insert(&block(added), &number).expect("the last write");
    if cut == Cut::Switched {
        let epoch = datapath.config.word(0, 0).expect("the epoch");
        epoch.fetch_add(1, Ordering::SeqCst);
    }
}

/// The rules that a new flow from A to B is reported with.
fn judged(datapath: &Datapath, reports: &mut Events, port: u16) -> (u32, u32) {
    let mut seen = Vec::new();
    reports.drain(&mut seen, usize::MAX);
    seen.clear();
    send(datapath, A, &from_a().udp(port, 53));
    reports.drain(&mut seen, usize::MAX);
    let opened = seen.iter().find(|event| event.kind == EventKind::Open as u8);
    opened.map(|event| (event.egress_rule, event.ingress_rule)).expect("a report")
}

/// Brings `tables` into force while flows are opened all the time; every one is judged by one of the two versions.
fn repaired(
    datapath: &mut Datapath,
    judge: &Datapath,
    reports: &mut Events,
    tables: &Tables,
    ports: std::ops::Range<u16>,
) {
    let done = AtomicBool::new(false);
    let here = NetNs::current().expect("this namespace");
    std::thread::scope(|scope| {
        let repair = scope.spawn(|| {
            let outcome = datapath.apply(tables);
            done.store(true, Ordering::Relaxed);
            outcome.expect("repaired")
        });
        let mut seen = Vec::new();
        here.run(|| {
            for port in ports {
                send(judge, A, &from_a().udp(port, 53));
                reports.drain(&mut seen, usize::MAX);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
        .expect("the namespace");
        repair.join().expect("no panic");
        let rules = |event: &Event| (event.egress_rule, event.ingress_rule);
        let mixed = seen.iter().find(|event| !matches!(rules(event), (50, 50) | (60, 60)));
        assert_eq!(mixed, None);
        assert!(!seen.is_empty(), "packets were judged meanwhile");
    });
}

/// Whether the maps hold `tables` and nothing else, in both halves.
fn holds(datapath: &mut Datapath, tables: &Tables) {
    let outcome = datapath.verify(tables).expect("readable");
    assert!(outcome.is_unchanged() && outcome.drift == 0, "{outcome:?}");
    let state = datapath.read_state().expect("readable");
    assert_eq!(state.rows.len(), tables.rows.len());
    assert_eq!(state.ports.len(), tables.ports.len());
    assert_eq!(state.exact.len(), tables.exact.len());
    assert_eq!(state.prefixes.len(), tables.prefixes.len());
    for endpoint in state.endpoints.values() {
        assert_eq!(endpoint.slots[0], endpoint.slots[1]);
    }
    for number in state.exact.values().chain(state.prefixes.values()) {
        let peer = state.peer(*number);
        assert!(peer.class[0] == peer.class[1] && peer.identity[0] == peer.identity[1], "{peer:?}");
    }
}

#[test]
fn a_kill_between_the_halves_of_an_update_leaves_one_version_root() {
    testkit::root_or_return!("a_kill_between_the_halves_of_an_update_leaves_one_version_root");
    let bench = Bench::new();
    let versions = versions();
    let (rules, blocks) = ([50, 60], ["192.0.2.0", "198.51.100.0"]);
    let mut datapath = bench.open();
    datapath.apply(&versions[0]).expect("a first policy");
    let judge = bench.open();
    let mut reports = judge.events().expect("reports");
    let mut now = 0;
    // Killed at either moment, and the next agent wants the new version, or the old one again.
    for (turn, (cut, goes_on)) in (0_u16..).zip([
        (Cut::Prepared, true),
        (Cut::Switched, true),
        (Cut::Prepared, false),
        (Cut::Switched, false),
    ]) {
        let next = 1 - now;
        killed(&mut datapath, &versions[next], blocks[next], cut);
        drop(datapath);

        datapath = bench.open();
        assert_eq!(datapath.origin(), Origin::Adopted);
        let found = if cut == Cut::Switched { next } else { now };
        let rule = rules[found];
        assert_eq!(judged(&judge, &mut reports, 1_000 + turn), (rule, rule), "{cut:?}");
        let wanted = if goes_on { next } else { now };
        // Source ports that nobody has used: known flows are not reported again.
        let first = 4_000 + turn * 14_000;
        let ports = first..first + 14_000;
        repaired(&mut datapath, &judge, &mut reports, &versions[wanted], ports);
        let rule = rules[wanted];
        assert_eq!(judged(&judge, &mut reports, 1_100 + turn), (rule, rule), "{cut:?} {goes_on}");
        holds(&mut datapath, &versions[wanted]);
        now = wanted;
    }
}
