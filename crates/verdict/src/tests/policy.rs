//! What tables say, and what a change of them does to live flows.

use testkit::packet::{ACK, SYN, ip};

use super::*;

#[test]
fn an_allowed_pair_is_delivered_and_reported_with_its_rule() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    assert_eq!(sent(&simulation, A, &a_to_b().tcp(4000, 80, SYN).bytes()), Action::Deliver(B));
    let event = last_event(&simulation);
    assert_eq!((event.egress_rule, event.ingress_rule), (RULE, RULE));
    assert_eq!((event.source_identity, event.target_identity), (1001, 1002));
    assert_eq!(simulation.counts.borrow()[&B], [0, 1]);
}

#[test]
fn what_no_rule_names_is_dropped_at_the_source() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().tcp(4000, 81, SYN).bytes();
    assert_eq!(sent(&simulation, A, &frame), dropped(Reason::DefaultDeny));
    assert_eq!(last_event(&simulation).ingress, 0);
    assert!(simulation.flows.borrow().is_empty());
}

#[test]
fn the_target_has_a_say_of_its_own() {
    let mut tables = tables();
    tables.rows.remove(&RowKey { slot: 21, class: A_CLASS });
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().tcp(4000, 80, SYN).bytes();
    assert_eq!(sent(&simulation, A, &frame), dropped(Reason::DefaultDeny));
    assert_eq!(last_event(&simulation).ingress, 1);
}

#[test]
fn posture_decides_where_rules_are_silent() {
    let mut tables = tables();
    for endpoint in tables.endpoints.values_mut() {
        endpoint.posture = [[2, 2]; 2];
    }
    let simulation = Simulation::new(&tables);
    assert_eq!(sent(&simulation, A, &a_to_b().tcp(4000, 81, SYN).bytes()), Action::Deliver(B));
    for endpoint in tables.endpoints.values_mut() {
        endpoint.posture = [[1, 2]; 2];
    }
    let simulation = Simulation::new(&tables);
    assert_eq!(sent(&simulation, A, &a_to_b().tcp(4000, 81, SYN).bytes()), Action::Deliver(B));
    let event = last_event(&simulation);
    assert_eq!(event.verdict, Verdict::Audit as u8);
    assert_eq!(event.reason, Reason::DefaultDeny.code());
}

#[test]
fn source_ports_refine_a_rule() {
    let mut tables = tables();
    let sources = PortSet { id: 6, lengths: 1 << 6, pad: 0 };
    let decision = Decision::new(Verdict::Allow, RULE);
    let port = PortKey { set: 5, port: 80, len: 16, protocol: 6, pad: 0 };
    tables.ports.insert(port, PortEntry { sources, decision });
    let block = PortKey { set: 6, port: 0x0400, len: 6, protocol: 6, pad: 0 };
    let deny = Decision::new(Verdict::Drop, DENY_RULE);
    tables.ports.insert(block, PortEntry { sources: PortSet::default(), decision: deny });
    let simulation = Simulation::new(&tables);
    for (source_port, expected) in [
        (1023, Action::Deliver(B)),
        (1024, dropped(Reason::PolicyDeny)),
        (2047, dropped(Reason::PolicyDeny)),
        (2048, Action::Deliver(B)),
    ] {
        let frame = a_to_b().tcp(source_port, 80, SYN).bytes();
        assert_eq!(sent(&simulation, A, &frame), expected, "source port {source_port}");
    }
}

#[test]
fn the_client_address_decides_about_traffic_from_outside() {
    let mut tables = tables();
    let simulation = Simulation::new(&tables);
    let frame = outside_to_b(ip(OUTSIDE)).tcp(4000, 80, SYN).bytes();
    assert_eq!(received(&simulation, B, &frame), dropped(Reason::DefaultDeny));
    let office = Peer { class: [A_CLASS; 2], identity: [300; 2], endpoint: 0, pad: 0 };
    let prefix = PrefixKey { len: 32 + 96 + 24, key: key("203.0.113.0") };
    tables.prefixes.insert(prefix, office);
    let simulation = Simulation::new(&tables);
    assert_eq!(received(&simulation, B, &frame), Action::Pass);
    let other = outside_to_b(ip("203.0.114.9")).tcp(4000, 80, SYN).bytes();
    assert_eq!(received(&simulation, B, &other), dropped(Reason::DefaultDeny));
}

#[test]
fn a_packet_sees_the_version_of_the_epoch_only() {
    let mut tables = tables();
    for endpoint in tables.endpoints.values_mut() {
        endpoint.slots[1] = [900, 901];
    }
    let frame = a_to_b().tcp(4000, 80, SYN).bytes();
    assert_eq!(sent(&Simulation::new(&tables), A, &frame), Action::Deliver(B));
    tables.config.epoch = 3;
    assert_eq!(sent(&Simulation::new(&tables), A, &frame), dropped(Reason::DefaultDeny));
}

#[test]
fn a_new_deny_ends_a_live_flow_at_its_next_packet() {
    let before = tables();
    let simulation = Simulation::new(&before);
    sent(&simulation, A, &a_to_b().tcp_segment(4000, 80, SYN, 100, 0).bytes());
    sent(&simulation, B, &b_to_a().tcp_segment(80, 4000, SYN | ACK, 500, 101).bytes());
    let mut after = tables();
    after.config.epoch = 3;
    after.rows.clear();
    let simulation = simulation.with_tables(&after);
    let reply = b_to_a().tcp_segment(80, 4000, ACK, 501, 101).payload(b"secret").bytes();
    assert_eq!(sent(&simulation, B, &reply), dropped(Reason::DefaultDeny));
    assert!(simulation.flows.borrow().is_empty());
    let events = simulation.events.borrow();
    let [.., close, drop] = events.as_slice() else { panic!("two reports") };
    assert_eq!((close.kind, close.reason), (2, Reason::Revoked.code()));
    assert_eq!(close.source, Addr::from(ip(A_V4)), "the end is told from the originator's side");
    assert_eq!(drop.kind, 1);
}

#[test]
fn an_unrelated_change_keeps_live_flows_and_renews_their_rule() {
    let before = tables();
    let simulation = Simulation::new(&before);
    sent(&simulation, A, &a_to_b().udp(4000, 53).bytes());
    let mut after = tables();
    after.config.epoch = 3;
    for entry in after.ports.values_mut() {
        entry.decision.rule = 99;
    }
    let simulation = simulation.with_tables(&after);
    assert_eq!(sent(&simulation, B, &b_to_a().udp(53, 4000).bytes()), Action::Deliver(A));
    let flows = simulation.flows.borrow();
    let entry = flows.values().next().expect("still there");
    assert_eq!((entry.egress_rule, entry.epoch), (99, 3));
}

#[test]
fn a_full_table_drops_new_flows_and_keeps_old_ones() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    simulation.capacity.set(1);
    let first = a_to_b().udp(4000, 53).bytes();
    assert_eq!(sent(&simulation, A, &first), Action::Deliver(B));
    let second = a_to_b().udp(4001, 53).bytes();
    assert_eq!(sent(&simulation, A, &second), dropped(Reason::TableFull));
    assert_eq!(sent(&simulation, A, &first), Action::Deliver(B));
}

#[test]
fn the_last_hop_is_left_to_the_gateway() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let routed = Frame::new(A_MAC, GATEWAY_MAC).ip(ip(A_V4), ip(B_V4)).tcp(4000, 80, SYN);
    assert_eq!(sent(&simulation, A, &routed.clone().ttl(1).bytes()), Action::Pass);
    assert_eq!(sent(&simulation, A, &routed.ttl(2).bytes()), Action::Deliver(B));
}
