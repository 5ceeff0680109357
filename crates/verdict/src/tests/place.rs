//! Ports in place: somebody else's bridge carries the packets, both hooks look at them, and DHCP clients are served.

use testkit::packet::{Frame, SYN, dhcp, ip};

use super::*;
use crate::Packet;

/// A frame that came by the port of an endpoint in place, 0 for any other way.
pub(super) struct Came<'a>(pub(super) &'a [u8], pub(super) u32);

impl Packet for Came<'_> {
    fn len(&self) -> u32 {
        Packet::len(self.0)
    }

    fn entered(&self) -> u32 {
        self.1
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.0.copy(offset, len, to)
    }
}

/// The usual tables with both endpoints flagged.
fn flagged(flags: u16) -> Tables {
    let mut tables = tables();
    for number in [A, B] {
        let endpoint = Endpoint { flags, ..tables.endpoints[&number] };
        tables.endpoints.insert(number, endpoint);
    }
    tables
}

fn arrives(simulation: &Simulation<'_>, number: u32, frame: &[u8], by: u32) -> Action {
    to_endpoint(simulation, &Came(frame, by), number, &mut Work::default())
}

#[test]
fn the_second_hook_finds_what_the_first_one_entered_and_counts_nothing_twice() {
    let tables = flagged(Endpoint::IN_PLACE);
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().udp(4000, 53).bytes();
    for _ in 0..3 {
        assert_eq!(sent(&simulation, A, &frame), Action::Pass, "nothing is delivered directly");
        assert_eq!(arrives(&simulation, B, &frame, A), Action::Pass);
    }
    let answer = b_to_a().udp(53, 4000).bytes();
    assert_eq!(sent(&simulation, B, &answer), Action::Pass);
    assert_eq!(arrives(&simulation, A, &answer, B), Action::Pass);
    let flows = simulation.flows.borrow();
    let entry = flows.values().next().expect("a flow");
    assert_eq!((entry.counts[0].packets, entry.counts[1].packets), (3, 1));
    assert_eq!(simulation.counts.borrow()[&B], [1, 3], "each hook counts for its own endpoint");
    assert_eq!(simulation.events.borrow().len(), 1, "opened once");
}

#[test]
fn what_claims_to_be_from_a_port_in_place_must_have_come_by_it() {
    let tables = flagged(Endpoint::IN_PLACE);
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().udp(4000, 53).bytes();
    // Neither opens a flow nor joins one: a neighbour that knows both addresses is still somebody else.
    assert_eq!(arrives(&simulation, B, &frame, 0), dropped(Reason::SpoofedAddress));
    assert_eq!(sent(&simulation, A, &frame), Action::Pass);
    for by in [0, B, 9] {
        assert_eq!(arrives(&simulation, B, &frame, by), dropped(Reason::SpoofedAddress), "by {by}");
    }
    assert_eq!(arrives(&simulation, B, &frame, A), Action::Pass);
    let forged = b_to_a().udp(53, 4000).bytes();
    assert_eq!(arrives(&simulation, A, &forged, 0), dropped(Reason::SpoofedAddress));
    let entry = *simulation.flows.borrow().values().next().expect("a flow");
    assert_eq!(entry.counts[1].packets, 0);
}

#[test]
fn a_policy_that_changes_between_the_hooks_ends_the_flow() {
    let before = flagged(Endpoint::IN_PLACE);
    let simulation = Simulation::new(&before);
    let frame = a_to_b().udp(4000, 53).bytes();
    assert_eq!(sent(&simulation, A, &frame), Action::Pass);
    let mut after = before.clone();
    after.config.epoch += 1;
    after.rows = crate::native::Shards::default();
    let simulation = simulation.with_tables(&after);
    assert_eq!(arrives(&simulation, B, &frame, A), dropped(Reason::DefaultDeny));
    assert!(simulation.flows.borrow().is_empty());
}

#[test]
fn nothing_is_delivered_to_a_port_in_place() {
    let mut tables = tables();
    let endpoint = Endpoint { flags: Endpoint::IN_PLACE, ..tables.endpoints[&B] };
    tables.endpoints.insert(B, endpoint);
    let frame = a_to_b().tcp(4000, 80, SYN).bytes();
    assert_eq!(sent(&Simulation::new(&tables), A, &frame), Action::Pass);
}

fn asks(flags: u16, frame: &[u8]) -> Action {
    let tables = flagged(flags);
    sent(&Simulation::new(&tables), A, frame)
}

#[test]
fn a_dhcp_client_asks_and_is_answered_and_nobody_else_is() {
    let discover = dhcp::discover(A_MAC, 1);
    assert_eq!(asks(0, &discover), dropped(Reason::LocalScope));
    assert_eq!(asks(Endpoint::DHCP_CLIENT, &discover), Action::Pass);
    let solicit = Frame::new(A_MAC, [0x33, 0x33, 0, 1, 0, 2])
        .ip(ip("fe80::1"), ip("ff02::1:2"))
        .udp(546, 547)
        .bytes();
    assert_eq!(asks(0, &solicit), dropped(Reason::LocalScope));
    assert_eq!(asks(Endpoint::DHCP_CLIENT, &solicit), Action::Pass);
    let offer = |to: &str| Frame::new(GATEWAY_MAC, A_MAC).ip(ip("10.0.1.1"), ip(to)).udp(67, 68);
    let told = Frame::new(GATEWAY_MAC, A_MAC).ip(ip("fe80::9"), ip("fe80::1")).udp(547, 546);
    for (flags, wanted) in [(0, false), (Endpoint::DHCP_CLIENT, true)] {
        let tables = flagged(flags);
        let simulation = Simulation::new(&tables);
        for frame in [offer("255.255.255.255"), offer("10.0.1.77"), told.clone()] {
            let passes = received(&simulation, A, &frame.bytes()) == Action::Pass;
            assert_eq!(passes, wanted);
        }
        assert!(simulation.flows.borrow().is_empty(), "no flow is made of it");
    }
}

#[test]
fn a_dhcp_client_asks_for_itself_alone_and_nothing_else() {
    let ask = |source: &str, target: &str, ports: (u16, u16)| {
        let frame = Frame::new(A_MAC, [0xff; 6]).ip(ip(source), ip(target));
        asks(Endpoint::DHCP_CLIENT, &frame.udp(ports.0, ports.1).bytes())
    };
    let everybody = "255.255.255.255";
    assert_eq!(ask(A_V4, everybody, (68, 67)), Action::Pass);
    assert_eq!(ask("0.0.0.0", everybody, (68, 68)), dropped(Reason::LocalScope));
    assert_eq!(ask("0.0.0.0", everybody, (67, 67)), dropped(Reason::LocalScope));
    assert_eq!(ask("0.0.0.0", "224.0.0.1", (68, 67)), dropped(Reason::LocalScope));
    assert_eq!(ask("0.0.0.0", B_V4, (68, 67)), dropped(Reason::SpoofedAddress));
    assert_eq!(ask(B_V4, everybody, (68, 67)), dropped(Reason::SpoofedAddress));
    assert_eq!(ask("fe80::2", "ff02::1:2", (546, 547)), dropped(Reason::SpoofedAddress));
    assert_eq!(ask("fe80::1", "ff02::1", (546, 547)), dropped(Reason::LocalScope));
    let mut frame = dhcp::discover(B_MAC, 1);
    assert_eq!(asks(Endpoint::DHCP_CLIENT, &frame), dropped(Reason::SpoofedMac));
    frame = dhcp::offer(A_MAC, v4(A_V4), B_MAC, v4(B_V4), 1);
    assert_eq!(asks(Endpoint::DHCP_CLIENT, &frame), dropped(Reason::RogueDhcp));
}

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().expect("an IPv4 address")
}
