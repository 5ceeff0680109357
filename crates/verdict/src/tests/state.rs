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

#[test]
fn sctp_opens_with_init_and_follows_its_chunks() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let chunk = |kind: u8| [kind, 0, 0, 4];
    let data = a_to_b().sctp(4000, 36412, 1, &chunk(0)).bytes();
    assert_eq!(sent(&simulation, A, &data), dropped(Reason::StraySctp));
    let steps = [
        (A, a_to_b().sctp(4000, 36412, 0, &chunk(1)), FlowState::Opening),
        (B, b_to_a().sctp(36412, 4000, 1, &chunk(2)), FlowState::Answered),
        (A, a_to_b().sctp(4000, 36412, 1, &chunk(10)), FlowState::Answered),
        (B, b_to_a().sctp(36412, 4000, 1, &chunk(11)), FlowState::Established),
        (A, a_to_b().sctp(4000, 36412, 1, &chunk(0)), FlowState::Established),
        (A, a_to_b().sctp(4000, 36412, 1, &chunk(7)), FlowState::Closing),
        (A, a_to_b().sctp(4000, 36412, 1, &chunk(14)), FlowState::Closed),
    ];
    for (endpoint, frame, expected) in steps {
        assert!(matches!(sent(&simulation, endpoint, &frame.bytes()), Action::Deliver(_)));
        assert_eq!(state(&simulation), expected);
    }
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
