//! Tables that have lost entries: what was established goes on, nothing begins that a policy has not been asked about.

use testkit::packet::{Frame, SYN, ip};

use super::place::Came;
use super::unmanaged::{STRANGER, STRANGER_MAC, says, street};
use super::uplink::{SECOND, USUAL, comes_in, enters, forwarded, goes_out, host, leaves};
use super::*;
use crate::abi::{HOST_ENDPOINT, HOST_NETWORK, Posture, UNMANAGED_ENDPOINT};

/// What is lost, and how.
type Loss = (&'static str, fn(&mut Tables));

/// A host's tables without what `lose` takes away.
fn without(lose: impl FnOnce(&mut Tables)) -> Tables {
    let mut tables = host(USUAL);
    lose(&mut tables);
    tables
}

fn endpoints(tables: &mut Tables) {
    for number in tables.endpoints.keys().copied().collect::<Vec<_>>() {
        tables.endpoints.insert(number, Endpoint::default());
    }
}

fn addresses(tables: &mut Tables) {
    for key in tables.exact.keys().copied().collect::<Vec<_>>() {
        tables.exact.remove(&key);
    }
}

fn prefixes(tables: &mut Tables) {
    for key in tables.prefixes.iter().map(|(key, _)| *key).collect::<Vec<_>>() {
        tables.prefixes.remove(&key);
    }
}

fn peers(tables: &mut Tables) {
    for key in tables.exact.keys().copied().collect::<Vec<_>>() {
        tables.exact.insert(key, Peer::default());
    }
    for key in tables.prefixes.iter().map(|(key, _)| *key).collect::<Vec<_>>() {
        tables.prefixes.insert(key, Peer::default());
    }
}

fn everything(tables: &mut Tables) {
    endpoints(tables);
    addresses(tables);
    prefixes(tables);
}

#[test]
fn at_an_uplink_nothing_begins_and_what_was_established_goes_on() {
    let whole = host(USUAL);
    let loses: [Loss; 5] = [
        ("endpoints", endpoints),
        ("addresses", addresses),
        ("prefixes", prefixes),
        ("peers", peers),
        ("everything", everything),
    ];
    for (what, lose) in loses {
        let lost = without(lose);
        let simulation = Simulation::new(&whole);
        let asks = |port| comes_in(SECOND).udp(40_000, port).bytes();
        assert_eq!(enters(&simulation, &asks(53)), Action::Pass, "{what}");
        let simulation = simulation.with_tables(&lost);
        assert_eq!(enters(&simulation, &asks(53)), Action::Pass, "{what}: what was established");
        let answer = Frame::new([0; 6], [0; 6]).ip(ip(SECOND), ip(OUTSIDE)).udp(53, 40_000).bytes();
        assert_eq!(leaves(&simulation, &answer), Action::Pass, "{what}: and its answer");
        for port in [22, 80] {
            let begins = comes_in(SECOND).tcp(40_000, port, SYN).bytes();
            let action = enters(&simulation, &begins);
            assert!(matches!(action, Action::Drop(_)), "{what}: {action:?}");
        }
        let out = goes_out(OUTSIDE).udp(5000, 5001).bytes();
        assert!(matches!(leaves(&simulation, &out), Action::Drop(_)), "{what}: what begins here");
    }
}

#[test]
fn a_configuration_that_is_lost_does_not_open_an_uplink() {
    let lost = without(|tables| {
        endpoints(tables);
        tables.config = Config::default();
    });
    let simulation = Simulation::new(&lost);
    let begins = comes_in(SECOND).tcp(40_000, 22, SYN).bytes();
    assert!(matches!(enters(&simulation, &begins), Action::Drop(_)));
}

#[test]
fn what_is_forwarded_waits_only_when_nobody_knows_who_the_host_is() {
    let foreign = Frame::new([0; 6], [0; 6]).ip(ip("10.55.0.1"), ip(OUTSIDE)).udp(9, 9).bytes();
    let loses: [Loss; 4] = [
        ("endpoints", endpoints),
        ("prefixes", prefixes),
        ("addresses", addresses),
        ("everything", everything),
    ];
    for ((what, lose), passes) in loses.into_iter().zip([true, true, false, false]) {
        let lost = without(lose);
        let simulation = Simulation::new(&lost);
        let action = enters(&simulation, &foreign);
        assert_eq!(action == Action::Pass, passes, "{what}: {action:?}");
    }
    // Without a policy of the host there is nothing that could be lost.
    let mut nothing = Tables::default();
    nothing.config.timeouts = [TIMEOUT; 8];
    let simulation = Simulation::new(&nothing);
    assert_eq!(enters(&simulation, &foreign), Action::Pass);
    assert_eq!(forwarded(&simulation, &foreign), Action::Pass);
}

#[test]
fn one_address_of_the_host_that_is_lost_is_asked_about_when_nothing_else_is_there() {
    let key = PeerKey { network: HOST_NETWORK, addr: Addr::from(ip(SECOND)) };
    let lost = without(|tables| {
        tables.exact.insert(key, Peer::default());
    });
    let simulation = Simulation::new(&lost);
    let syn = comes_in(SECOND).tcp(40_000, 80, SYN).bytes();
    assert_eq!(enters(&simulation, &syn), dropped(Reason::UnknownPeer));
    assert_eq!(last_event(&simulation).endpoint, HOST_ENDPOINT);
}

#[test]
fn a_receiver_that_its_sender_did_not_find_takes_nothing() {
    let mut tables = tables();
    // A may talk to the world, and to the tables B is the world.
    allow(&mut tables, 10, WORLD_CLASS);
    for address in [B_V4, B_V6] {
        tables.exact.remove(&key(address));
    }
    let simulation = Simulation::new(&tables);
    let syn = a_to_b().tcp(4000, 80, SYN).bytes();
    assert_eq!(sent(&simulation, A, &syn), Action::Pass);
    assert_eq!(received(&simulation, B, &syn), dropped(Reason::UnknownPeer));
}

#[test]
fn who_was_nobodys_and_is_a_workload_now_goes_on_by_the_policy_alone() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    let begins =
        |port| Frame::new(STRANGER_MAC, GATEWAY_MAC).ip(ip(STRANGER), ip(OUTSIDE)).udp(9, port);
    let frame = begins(53).bytes();
    assert_eq!(says(&simulation, &frame), Action::Pass);
    let mut adopted = tables.clone();
    let endpoint = *adopted.endpoints.get(&A).expect("an endpoint");
    let (number, address) = (3, Addr::from(ip(STRANGER)));
    let entry = Endpoint { v4: address, mac: STRANGER_MAC, ..endpoint };
    adopted.endpoints.insert(number, entry);
    let peer = Peer { class: [104; 2], identity: [1003; 2], endpoint: number, pad: 0 };
    adopted.exact.insert(key(STRANGER), peer);
    for epoch in [2, 4] {
        adopted.config.epoch = epoch;
        let simulation = Simulation::new(&tables);
        assert_eq!(says(&simulation, &frame), Action::Pass);
        let simulation = simulation.with_tables(&adopted);
        assert_eq!(sent(&simulation, number, &frame), dropped(Reason::DefaultDeny), "{epoch}");
        assert!(simulation.flows.borrow().is_empty());
    }
    // The other way: a flow that a port of nobody's began with whom the tables did not know then.
    let mut unknown = tables.clone();
    unknown.exact.remove(&key(B_V4));
    let simulation = Simulation::new(&unknown);
    let to_b = Frame::new(STRANGER_MAC, B_MAC).ip(ip(STRANGER), ip(B_V4)).tcp(9, 81, SYN).bytes();
    assert_eq!(says(&simulation, &to_b), Action::Pass);
    let arrives = |simulation: &Simulation<'_>| {
        to_endpoint(simulation, &Came(&to_b, UNMANAGED_ENDPOINT), B, &mut Work::default())
    };
    assert!(matches!(arrives(&simulation), Action::Drop(_)));
    let simulation = simulation.with_tables(&tables);
    assert_eq!(arrives(&simulation), dropped(Reason::DefaultDeny));
}
