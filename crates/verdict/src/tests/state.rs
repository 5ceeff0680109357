//! Connection tracking: what opens, what continues, what ends a flow.

use testkit::packet::{ACK, FIN, PSH, RST, SYN};

use super::*;
use crate::abi::{FlowEntry, FlowState};

fn state(simulation: &Simulation<'_>) -> FlowState {
    let flows = simulation.flows.borrow();
    FlowState::from_number(flows.values().next().expect("one flow").state)
}

fn entry(simulation: &Simulation<'_>) -> FlowEntry {
    *simulation.flows.borrow().values().next().expect("one flow")
}

/// SYN, SYN-ACK, ACK with sequence numbers 100 and 500.
fn handshake(simulation: &Simulation<'_>) {
    let steps = [
        (A, a_to_b().tcp_segment(4000, 80, SYN, 100, 0)),
        (B, b_to_a().tcp_segment(80, 4000, SYN | ACK, 500, 101)),
        (A, a_to_b().tcp_segment(4000, 80, ACK, 101, 501)),
    ];
    for (endpoint, frame) in steps {
        assert!(matches!(sent(simulation, endpoint, &frame.bytes()), Action::Deliver(_)));
    }
    assert_eq!(state(simulation), FlowState::Established);
}

#[test]
fn only_a_syn_opens_a_tcp_flow() {
    let tables = tables();
    for flags in [0, ACK, FIN, RST, PSH, SYN | ACK, SYN | FIN, SYN | RST, FIN | ACK, 0x3f] {
        let simulation = Simulation::new(&tables);
        let frame = a_to_b().tcp(4000, 80, flags).bytes();
        assert_eq!(sent(&simulation, A, &frame), dropped(Reason::StrayTcp), "{flags:#x}");
        assert!(simulation.flows.borrow().is_empty());
    }
}

#[test]
fn a_flow_lives_from_handshake_to_fin_and_is_reported_twice() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    let steps = [
        (A, a_to_b().tcp_segment(4000, 80, PSH | ACK, 101, 501).payload(b"hello")),
        (B, b_to_a().tcp_segment(80, 4000, FIN | ACK, 501, 106)),
        (A, a_to_b().tcp_segment(4000, 80, FIN | ACK, 106, 502)),
        (B, b_to_a().tcp_segment(80, 4000, ACK, 502, 107)),
    ];
    for (endpoint, frame) in steps {
        assert!(matches!(sent(&simulation, endpoint, &frame.bytes()), Action::Deliver(_)));
    }
    assert_eq!(state(&simulation), FlowState::Closed);
    let kinds: Vec<u8> = simulation.events.borrow().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [0, 2]);
    assert_eq!(last_event(&simulation).counts[0].packets, 4);
    assert_eq!(entry(&simulation).counts[1].packets, 3);
}

#[test]
fn replies_need_no_rule_but_a_flow() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let syn_ack = b_to_a().tcp_segment(80, 4000, SYN | ACK, 500, 101).bytes();
    assert_eq!(sent(&simulation, B, &syn_ack), dropped(Reason::StrayTcp));
    let udp = b_to_a().udp(53, 4000).bytes();
    assert_eq!(sent(&simulation, B, &udp), dropped(Reason::DefaultDeny));
    sent(&simulation, A, &a_to_b().udp(4000, 53).bytes());
    assert_eq!(sent(&simulation, B, &udp), Action::Deliver(A));
    assert_eq!(state(&simulation), FlowState::TwoWay);
}

#[test]
fn segments_outside_of_the_window_are_stopped_and_change_nothing() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    let before = entry(&simulation);
    for (flags, seq, ack) in [
        (ACK, 101 + 70_000_u32, 501_u32),
        (RST, 101_u32.wrapping_sub(200_000), 0),
        (RST | ACK, 0x8000_0000, 501),
        (ACK, 101, 501 + 5000),
        (FIN | ACK, 101 + 70_000, 501),
    ] {
        let frame = a_to_b().tcp_segment(4000, 80, flags, seq, ack).payload(b"x").bytes();
        assert_eq!(sent(&simulation, A, &frame), dropped(Reason::OutOfWindow), "{flags:#x} {seq}");
        assert_eq!(entry(&simulation), before);
    }
}

#[test]
fn a_reset_in_the_window_closes() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    let frame = b_to_a().tcp_segment(80, 4000, RST | ACK, 501, 101).bytes();
    assert_eq!(sent(&simulation, B, &frame), Action::Deliver(A));
    assert_eq!(state(&simulation), FlowState::Closed);
}

#[test]
fn a_refused_connection_closes_only_by_the_right_reset() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    sent(&simulation, A, &a_to_b().tcp_segment(4000, 80, SYN, 100, 0).bytes());
    let wrong = b_to_a().tcp_segment(80, 4000, RST | ACK, 0, 999).bytes();
    assert_eq!(sent(&simulation, B, &wrong), dropped(Reason::OutOfWindow));
    let right = b_to_a().tcp_segment(80, 4000, RST | ACK, 0, 101).bytes();
    assert_eq!(sent(&simulation, B, &right), Action::Deliver(A));
    assert_eq!(state(&simulation), FlowState::Closed);
}

#[test]
fn a_closed_flow_is_reopened_by_a_syn_alone() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    sent(&simulation, A, &a_to_b().tcp_segment(4000, 80, RST, 101, 0).bytes());
    assert_eq!(state(&simulation), FlowState::Closed);
    let again = a_to_b().tcp_segment(4000, 80, SYN, 9000, 0).bytes();
    assert_eq!(sent(&simulation, A, &again), Action::Deliver(B));
    assert_eq!(state(&simulation), FlowState::Opening);
    assert_eq!(entry(&simulation).counts[0].packets, 1);
}

#[test]
fn a_silent_flow_times_out_and_must_open_again() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    simulation.now.set(TIMEOUT);
    let data = a_to_b().tcp_segment(4000, 80, ACK, 101, 501).bytes();
    assert_eq!(sent(&simulation, A, &data), Action::Deliver(B));
    simulation.now.set(2 * TIMEOUT + 1);
    assert_eq!(sent(&simulation, A, &data), dropped(Reason::StrayTcp));
    assert!(simulation.flows.borrow().is_empty());
}

#[test]
fn the_clock_may_wrap() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    simulation.now.set(u32::MAX - 10);
    sent(&simulation, A, &a_to_b().udp(4000, 53).bytes());
    simulation.now.set(20);
    assert_eq!(sent(&simulation, B, &b_to_a().udp(53, 4000).bytes()), Action::Deliver(A));
}

/// Tags that A and B ask for.
const A_TAG: u32 = 0xa1;
const B_TAG: u32 = 0xb1;

/// A chunk; INIT and INIT ACK name a tag.
fn chunk(kind: u8, flags: u8, tag: u32) -> Vec<u8> {
    [&[kind, flags, 0, 8][..], &tag.to_be_bytes()].concat()
}

fn sctp_from_a(kind: u8, tag: u32) -> Vec<u8> {
    a_to_b().sctp(4000, 36412, tag, &chunk(kind, 0, A_TAG)).bytes()
}

fn sctp_from_b(kind: u8, tag: u32) -> Vec<u8> {
    b_to_a().sctp(36412, 4000, tag, &chunk(kind, 0, B_TAG)).bytes()
}

/// INIT, INIT ACK, COOKIE ECHO, COOKIE ACK.
fn associate(simulation: &Simulation<'_>) {
    let steps = [
        (A, sctp_from_a(1, 0), FlowState::Opening),
        (B, sctp_from_b(2, A_TAG), FlowState::Answered),
        (A, sctp_from_a(10, B_TAG), FlowState::Answered),
        (B, sctp_from_b(11, A_TAG), FlowState::Established),
    ];
    for (endpoint, frame, expected) in steps {
        assert!(matches!(sent(simulation, endpoint, &frame), Action::Deliver(_)));
        assert_eq!(state(simulation), expected);
    }
}

#[test]
fn sctp_opens_with_init_and_follows_its_chunks() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    assert_eq!(sent(&simulation, A, &sctp_from_a(0, B_TAG)), dropped(Reason::StraySctp));
    associate(&simulation);
    let steps = [
        (sctp_from_a(0, B_TAG), FlowState::Established),
        (sctp_from_a(7, B_TAG), FlowState::Closing),
        (sctp_from_a(14, B_TAG), FlowState::Closed),
    ];
    for (frame, expected) in steps {
        assert!(matches!(sent(&simulation, A, &frame), Action::Deliver(_)));
        assert_eq!(state(&simulation), expected);
    }
}

#[test]
fn an_association_is_ended_by_those_who_know_its_tags() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    associate(&simulation);
    for (kind, tag) in [(6, 0), (6, A_TAG), (14, 77), (0, 0)] {
        let frame = sctp_from_a(kind, tag);
        assert_eq!(sent(&simulation, A, &frame), dropped(Reason::OutOfWindow), "{kind} {tag}");
    }
    assert_eq!(state(&simulation), FlowState::Established);
    // With the T bit the tag is the sender's own (RFC 9260 §8.5.1).
    let reflected = a_to_b().sctp(4000, 36412, A_TAG, &chunk(6, 1, 0)).bytes();
    assert_eq!(sent(&simulation, A, &reflected), Action::Deliver(B));
    assert_eq!(state(&simulation), FlowState::Closed);
}

#[test]
fn a_restart_keeps_the_association_and_brings_a_tag() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    associate(&simulation);
    let again = a_to_b().sctp(4000, 36412, 0, &chunk(1, 0, 0xa2)).bytes();
    assert_eq!(sent(&simulation, A, &again), Action::Deliver(B));
    assert_eq!(state(&simulation), FlowState::Established);
    for tag in [A_TAG, 0xa2] {
        assert_eq!(sent(&simulation, B, &sctp_from_b(0, tag)), Action::Deliver(A));
    }
}

#[test]
fn a_responder_opens_nothing_on_a_flow_that_was_opened_to_it() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    associate(&simulation);
    assert_eq!(sent(&simulation, B, &sctp_from_b(1, 0)), dropped(Reason::StraySctp));
    let simulation = Simulation::new(&tables);
    handshake(&simulation);
    let syn = b_to_a().tcp_segment(80, 4000, SYN, 9_000_000, 0).bytes();
    assert_eq!(sent(&simulation, B, &syn), dropped(Reason::StrayTcp));
    // A reset in fragments would close the socket and leave the table behind.
    let reset = b_to_a().tcp_segment(80, 4000, RST | ACK, 501, 101).payload(&[7; 36]);
    let first = reset.fragment(0, true, 5, &reset.transport_bytes()[..24]);
    assert_eq!(sent(&simulation, B, &first), dropped(Reason::StrayTcp));
    assert_eq!(state(&simulation), FlowState::Established);
    let data = b_to_a().tcp_segment(80, 4000, ACK, 501, 101).payload(&[7; 36]);
    let first = data.fragment(0, true, 6, &data.transport_bytes()[..24]);
    assert_eq!(sent(&simulation, B, &first), Action::Deliver(A));
}

#[test]
fn a_syn_in_fragments_opens_nothing() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let syn = a_to_b().tcp_segment(4000, 80, SYN, 100, 0).payload(&[7; 36]);
    let first = syn.fragment(0, true, 5, &syn.transport_bytes()[..24]);
    assert_eq!(sent(&simulation, A, &first), dropped(Reason::StrayTcp));
}

#[test]
fn both_hooks_share_one_entry() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().udp(4000, 53).bytes();
    sent(&simulation, A, &frame);
    assert_eq!(received(&simulation, B, &frame), Action::Pass);
    assert_eq!(simulation.flows.borrow().len(), 1);
}
