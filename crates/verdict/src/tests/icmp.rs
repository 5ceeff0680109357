//! ICMP: queries are flows, errors belong to flows. And fragments.

use testkit::packet::icmp::IcmpError;
use testkit::packet::{SYN, extension, ip};

use super::*;
use crate::abi::HOST_IDENTITY;

const GATEWAY: &str = "10.0.1.1";
const HOST_CLASS: u64 = 104;

#[test]
fn a_ping_opens_a_flow_that_only_its_reply_fits() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let request = a_to_b().echo_request(9, 1).bytes();
    let reply = b_to_a().echo_reply(9, 1).bytes();
    assert_eq!(sent(&simulation, B, &reply), dropped(Reason::StrayIcmp));
    assert_eq!(sent(&simulation, A, &request), Action::Deliver(B));
    assert_eq!(sent(&simulation, B, &reply), Action::Deliver(A));
    let other = b_to_a().echo_reply(10, 1).bytes();
    assert_eq!(sent(&simulation, B, &other), dropped(Reason::StrayIcmp));
    let reverse = b_to_a().echo_request(9, 1).bytes();
    assert_eq!(sent(&simulation, B, &reverse), dropped(Reason::DefaultDeny));
}

#[test]
fn ping_works_over_ipv6_too() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let request = Frame::new(A_MAC, B_MAC).ip(ip(A_V6), ip(B_V6)).echo_request(9, 1).bytes();
    let reply = Frame::new(B_MAC, A_MAC).ip(ip(B_V6), ip(A_V6)).echo_reply(9, 1).bytes();
    assert_eq!(sent(&simulation, A, &request), Action::Deliver(B));
    assert_eq!(sent(&simulation, B, &reply), Action::Deliver(A));
}

#[test]
fn an_error_passes_only_for_a_live_flow_and_only_to_its_sender() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let packet = a_to_b().udp(4000, 53);
    let error = b_to_a().icmp_error(IcmpError::PortUnreachable, &packet.clone().ip_bytes()).bytes();
    assert_eq!(sent(&simulation, B, &error), dropped(Reason::UnrelatedIcmp));
    sent(&simulation, A, &packet.bytes());
    assert_eq!(sent(&simulation, B, &error), Action::Pass);
    assert_eq!(received(&simulation, A, &error), Action::Pass);
    let about_another = a_to_b().udp(4001, 53).ip_bytes();
    let forged = b_to_a().icmp_error(IcmpError::PortUnreachable, &about_another).bytes();
    assert_eq!(sent(&simulation, B, &forged), dropped(Reason::UnrelatedIcmp));
    let own_words = b_to_a().udp(53, 4000).ip_bytes();
    let reflected = b_to_a().icmp_error(IcmpError::PortUnreachable, &own_words).bytes();
    assert_eq!(sent(&simulation, B, &reflected), dropped(Reason::UnrelatedIcmp));
}

#[test]
fn path_mtu_discovery_works_from_a_router_outside() {
    let mut tables = tables();
    tables.endpoints.get_mut(&A).expect("A").posture = [[2, 0]; 2];
    let simulation = Simulation::new(&tables);
    let out = Frame::new(A_MAC, GATEWAY_MAC).ip(ip(A_V4), ip(OUTSIDE)).tcp(4000, 443, SYN);
    assert_eq!(sent(&simulation, A, &out.clone().bytes()), Action::Pass);
    let error = Frame::new(GATEWAY_MAC, A_MAC)
        .ip(ip("198.51.100.1"), ip(A_V4))
        .icmp_error(IcmpError::TooBig(1400), &out.ip_bytes())
        .bytes();
    assert_eq!(received(&simulation, A, &error), Action::Pass);
}

#[test]
fn an_error_comes_from_where_the_flow_goes() {
    let mut tables = tables();
    tables.prefixes.insert(
        PrefixKey { len: 32 + 96 + 32, key: key(GATEWAY) },
        Peer { class: [HOST_CLASS; 2], identity: [HOST_IDENTITY; 2], endpoint: 0, pad: 0 },
    );
    let simulation = Simulation::new(&tables);
    let packet = a_to_b().udp(4000, 53);
    sent(&simulation, A, &packet.clone().bytes());
    let error = |source: &str| {
        Frame::new(GATEWAY_MAC, A_MAC)
            .ip(ip(source), ip(A_V4))
            .icmp_error(IcmpError::PortUnreachable, &packet.clone().ip_bytes())
            .bytes()
    };
    // The flow stays on this node: nobody outside can know of it, but a gateway can.
    assert_eq!(received(&simulation, A, &error(OUTSIDE)), dropped(Reason::UnrelatedIcmp));
    assert_eq!(received(&simulation, A, &error(GATEWAY)), Action::Pass);
    // A third endpoint speaks of what was sent to itself and of nothing else.
    let other = Frame::new(B_MAC, GATEWAY_MAC)
        .ip(ip(B_V4), ip(OUTSIDE))
        .icmp_error(
            IcmpError::PortUnreachable,
            &Frame::new(GATEWAY_MAC, A_MAC).ip(ip(OUTSIDE), ip(A_V4)).udp(1, 2).ip_bytes(),
        )
        .bytes();
    assert_eq!(sent(&simulation, B, &other), dropped(Reason::UnrelatedIcmp));
}

#[test]
fn an_error_about_a_flow_that_has_timed_out_is_stopped() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let packet = a_to_b().udp(4000, 53);
    sent(&simulation, A, &packet.clone().bytes());
    let error = b_to_a().icmp_error(IcmpError::PortUnreachable, &packet.ip_bytes()).bytes();
    simulation.now.set(simulation.now.get() + TIMEOUT + 1);
    assert_eq!(sent(&simulation, B, &error), dropped(Reason::UnrelatedIcmp));
}

#[test]
fn an_error_about_a_revoked_flow_is_stopped() {
    let before = tables();
    let simulation = Simulation::new(&before);
    let packet = a_to_b().udp(4000, 53);
    sent(&simulation, A, &packet.clone().bytes());
    let mut after = tables();
    after.config.epoch = 3;
    after.rows.clear();
    let simulation = simulation.with_tables(&after);
    let error = b_to_a().icmp_error(IcmpError::PortUnreachable, &packet.ip_bytes()).bytes();
    assert_eq!(sent(&simulation, B, &error), dropped(Reason::UnrelatedIcmp));
}

#[test]
fn fragments_follow_their_first_one() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let parts = a_to_b().udp(4000, 53).payload(&[7; 3000]).fragments(1480, 42);
    assert_eq!(parts.len(), 3);
    assert_eq!(sent(&simulation, A, &parts[1]), dropped(Reason::OrphanFragment));
    for part in &parts {
        assert_eq!(sent(&simulation, A, part), Action::Deliver(B));
    }
    let others = a_to_b().udp(4000, 53).payload(&[7; 3000]).fragments(1480, 43);
    assert_eq!(sent(&simulation, A, &others[2]), dropped(Reason::OrphanFragment));
}

#[test]
fn fragments_of_a_refused_datagram_stay_refused() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let parts = a_to_b().udp(4000, 54).payload(&[7; 3000]).fragments(1480, 42);
    assert_eq!(sent(&simulation, A, &parts[0]), dropped(Reason::DefaultDeny));
    assert_eq!(sent(&simulation, A, &parts[1]), dropped(Reason::OrphanFragment));
}

#[test]
fn ipv6_fragments_follow_their_first_one() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let parts = Frame::new(A_MAC, B_MAC)
        .ip(ip(A_V6), ip(B_V6))
        .udp(4000, 53)
        .payload(&[7; 3000])
        .fragments(1400, 42);
    for part in &parts {
        assert_eq!(sent(&simulation, A, part), Action::Deliver(B));
    }
}

#[test]
fn options_behind_a_fragment_header_are_refused() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let frame = Frame::new(A_MAC, B_MAC)
        .ip(ip(A_V6), ip(B_V6))
        .udp(4000, 53)
        .extension(extension::FRAGMENT, &[0, 0, 1, 0, 0, 0, 9])
        .extension(extension::DESTINATION, &[0; 7])
        .bytes();
    assert_eq!(sent(&simulation, A, &frame), dropped(Reason::ExtensionHeader));
}

#[test]
fn tiny_and_overlapping_fragments_are_stopped() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let segment = a_to_b().tcp(4000, 80, SYN);
    let tiny = segment.fragment(0, true, 5, &segment.transport_bytes()[..8]);
    assert_eq!(sent(&simulation, A, &tiny), dropped(Reason::TinyFragment));
    let overlap = segment.fragment(8, false, 5, &[0; 12]);
    assert_eq!(sent(&simulation, A, &overlap), dropped(Reason::TinyFragment));
}
