//! Ports that nobody in the file has: what they may not claim, what the posture says, and what is recorded.

use testkit::packet::icmp::IcmpError;
use testkit::packet::{ACK, Frame, SYN, arp, ip, neighbour};

use super::place::Came;
use super::*;
use crate::abi::{
    EventKind, FlowEntry, HOST_IDENTITY, HOST_NETWORK, Posture, Stray, UNMANAGED_ENDPOINT,
    UNMANAGED_IDENTITY, UNMANAGED_TENANT,
};
use crate::at_place;

const GATEWAY: &str = "10.0.1.1";
pub(super) const STRANGER: &str = "10.0.1.66";
const OTHER: &str = "10.0.1.67";
const STRANGER_V6: &str = "fd00:5::66";
pub(super) const STRANGER_MAC: Mac = [2, 0, 0, 0, 0, 66];
const OTHER_MAC: Mac = [2, 0, 0, 0, 0, 67];
const EVERYBODY: Mac = [0xff; 6];
const PORT: Stray = Stray::open(Stray::FIRST, 7, [true, true]);
const BRIDGE: Stray = Stray::bridge(Stray::FIRST + 1, 7, [true, true]);

/// The usual two workloads on a bridge of somebody else, whose other ports have a posture.
pub(super) fn street(posture: Posture) -> Tables {
    let mut tables = tables();
    let own = |identity: u64| Peer { class: [9; 2], identity: [identity; 2], endpoint: 0, pad: 0 };
    for (address, len) in [("10.0.1.0", 32 + 96 + 24), ("fd00:5::", 32 + 64)] {
        let prefix = PrefixKey { len, key: key(address) };
        tables.prefixes.insert(prefix, own(UNMANAGED_IDENTITY));
    }
    tables.exact.insert(key(GATEWAY), own(HOST_IDENTITY));
    for (number, mac, address) in [(A, A_MAC, A_V4), (B, B_MAC, B_V4)] {
        let peer = *tables.exact.get(&key(address)).expect("a workload");
        let link_local = format!("fe80::{number}");
        tables.exact.insert(key(&link_local), peer);
        tables.exact.insert(PeerKey { network: NETWORK, addr: Addr::of_mac(mac) }, peer);
        let mut endpoint = *tables.endpoints.get(&number).expect("an endpoint");
        endpoint.flags |= Endpoint::IN_PLACE;
        tables.endpoints.insert(number, endpoint);
    }
    let entry = Endpoint {
        network: HOST_NETWORK,
        tenant: UNMANAGED_TENANT,
        posture: [[posture as u8; 2]; 2],
        flags: Endpoint::UNMANAGED | Endpoint::IN_PLACE,
        ..Endpoint::default()
    };
    tables.endpoints.insert(UNMANAGED_ENDPOINT, entry);
    tables
}

pub(super) fn says(simulation: &Simulation<'_>, frame: &[u8]) -> Action {
    at_place(simulation, frame, PORT.value(), true, &mut Work::default())
}

fn hears(simulation: &Simulation<'_>, frame: &[u8], by: u32) -> Action {
    at_place(simulation, &Came(frame, by), PORT.value(), false, &mut Work::default())
}

/// The stranger asks who has `to`, as `from`.
fn asks(from: &str, to: &str) -> Vec<u8> {
    let of = |text: &str| text.parse().expect("an IPv4 address");
    arp::request(arp::Party { mac: STRANGER_MAC, ip: of(from) }, of(to))
}

/// The stranger tells B that it has `claimed`.
fn tells(claimed: &str) -> Vec<u8> {
    let of = |text: &str| text.parse().expect("an IPv6 address");
    neighbour::advertisement(STRANGER_MAC, B_MAC, of(STRANGER_V6), of(B_V6), of(claimed))
}

/// A frame from the stranger by the gateway.
fn stranger(from: &str, to: &str) -> Frame {
    Frame::new(STRANGER_MAC, GATEWAY_MAC).ip(ip(from), ip(to))
}

#[test]
fn what_it_exchanges_with_the_world_and_the_host_passes_and_is_recorded_once() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    for (to, identity) in [(OUTSIDE, 2), (GATEWAY, HOST_IDENTITY)] {
        for _ in 0..3 {
            let frame = stranger(STRANGER, to).udp(4000, 53);
            assert_eq!(says(&simulation, &frame.bytes()), Action::Pass);
        }
        let answer = Frame::new(GATEWAY_MAC, STRANGER_MAC).ip(ip(to), ip(STRANGER)).udp(53, 4000);
        assert_eq!(hears(&simulation, &answer.bytes(), 0), Action::Pass);
        let event = last_event(&simulation);
        let ends = (event.source_identity, event.target_identity, event.network);
        assert_eq!(ends, (UNMANAGED_IDENTITY, identity, NETWORK));
        assert_eq!((event.verdict, event.kind), (Verdict::Audit as u8, EventKind::Open as u8));
    }
    assert_eq!(simulation.events.borrow().len(), 2, "one record for each flow");
    // The other way.
    let syn =
        |from| Frame::new(GATEWAY_MAC, STRANGER_MAC).ip(ip(from), ip(STRANGER)).tcp(9, 80, SYN);
    assert_eq!(hears(&simulation, &syn(OUTSIDE).bytes(), 0), Action::Pass);
    let event = last_event(&simulation);
    assert_eq!((event.source_identity, event.target_identity), (2, UNMANAGED_IDENTITY));
    let flows = simulation.flows.borrow();
    assert!(flows.values().all(|flow| flow.tenant == UNMANAGED_TENANT));
    assert!(flows.values().all(|flow| flow.flags & FlowEntry::UNMANAGED != 0));
}

#[test]
fn the_posture_allow_records_without_a_reason_and_deny_closes_all_of_it() {
    let tables = street(Posture::Allow);
    let simulation = Simulation::new(&tables);
    let frame = stranger(STRANGER, OUTSIDE).udp(4000, 53).bytes();
    assert_eq!(says(&simulation, &frame), Action::Pass);
    assert_eq!(last_event(&simulation).verdict, Verdict::Allow as u8);

    let tables = street(Posture::Deny);
    let simulation = simulation.with_tables(&tables);
    assert_eq!(says(&simulation, &frame), dropped(Reason::DefaultDeny), "a live flow, too");
    let event = last_event(&simulation);
    assert_eq!((event.source_identity, event.target_identity), (UNMANAGED_IDENTITY, 2));
    assert_eq!(event.target_port, 53);
    for to in [A_V4, OTHER, GATEWAY] {
        let frame = stranger(STRANGER, to).tcp(9, 80, SYN).bytes();
        assert_eq!(says(&simulation, &frame), dropped(Reason::DefaultDeny), "{to}");
    }
    let answer = Frame::new(GATEWAY_MAC, STRANGER_MAC).ip(ip(OUTSIDE), ip(STRANGER)).udp(53, 4000);
    assert_eq!(hears(&simulation, &answer.bytes(), 0), dropped(Reason::DefaultDeny));
    // The noise of a link is not told.
    let before = simulation.events.borrow().len();
    let noise = asks(STRANGER, GATEWAY);
    assert_eq!(says(&simulation, &noise), dropped(Reason::UnknownEndpoint));
    assert_eq!(hears(&simulation, &noise, 0), dropped(Reason::UnknownEndpoint));
    assert_eq!(simulation.events.borrow().len(), before);
}

#[test]
fn nobody_speaks_for_a_workload_or_for_the_host_whatever_the_posture() {
    for posture in [Posture::Audit, Posture::Allow] {
        let tables = street(posture);
        let simulation = Simulation::new(&tables);
        let syn = |frame: Frame| frame.tcp(9, 80, SYN).bytes();
        let forged = syn(Frame::new(A_MAC, B_MAC).ip(ip(STRANGER), ip(B_V4)));
        assert_eq!(says(&simulation, &forged), dropped(Reason::SpoofedMac));
        for claimed in [A_V4, A_V6, "fe80::1", GATEWAY] {
            for to in [B_V4, B_V6, OUTSIDE, OTHER, STRANGER_V6] {
                if ip(claimed).is_ipv4() != ip(to).is_ipv4() {
                    continue;
                }
                let forged = syn(stranger(claimed, to));
                let told = dropped(Reason::SpoofedAddress);
                assert_eq!(says(&simulation, &forged), told, "{claimed} to {to}");
            }
        }
        let event = last_event(&simulation);
        assert_eq!(event.source_identity, UNMANAGED_IDENTITY, "not whom it claims to be");
        for claimed in [A_V4, GATEWAY] {
            let forged = asks(claimed, B_V4);
            assert_eq!(says(&simulation, &forged), dropped(Reason::SpoofedArp), "{claimed}");
        }
        for claimed in [A_V6, "fe80::1"] {
            let forged = tells(claimed);
            assert_eq!(says(&simulation, &forged), dropped(Reason::SpoofedNd), "{claimed}");
        }
        let own = tells(STRANGER_V6);
        assert_eq!(says(&simulation, &own), Action::Pass);
        assert_eq!(says(&simulation, &asks(STRANGER, A_V4)), Action::Pass);
    }
}

#[test]
fn an_address_that_is_not_of_the_network_is_nobody_to_workloads_and_to_the_host() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    for to in [A_V4, GATEWAY] {
        let forged = stranger(OUTSIDE, to).tcp(9, 80, SYN).bytes();
        assert_eq!(says(&simulation, &forged), dropped(Reason::SpoofedAddress), "{to}");
    }
    // Between its likes and with the world it is as the runtime had it: a container may route for others.
    for to in [OTHER, "198.51.100.1"] {
        let routed = stranger(OUTSIDE, to).tcp(9, 80, SYN).bytes();
        assert_eq!(says(&simulation, &routed), Action::Pass, "{to}");
        assert_eq!(last_event(&simulation).source_identity, UNMANAGED_IDENTITY);
    }
    // A network whose subnets nobody has told knows no others.
    let open = Stray::open(Stray::FIRST, 7, [false, false]).value();
    let frame = stranger(OUTSIDE, A_V4).tcp(9, 80, SYN).bytes();
    assert_eq!(at_place(&simulation, &frame[..], open, true, &mut Work::default()), Action::Pass);
}

#[test]
fn what_it_exchanges_with_a_workload_is_judged_at_the_workload() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    let to_b = Frame::new(STRANGER_MAC, B_MAC).ip(ip(STRANGER), ip(B_V4)).tcp(9, 80, SYN).bytes();
    assert_eq!(says(&simulation, &to_b), Action::Pass);
    assert!(simulation.flows.borrow().is_empty() && simulation.events.borrow().is_empty());
    let at_b = to_endpoint(&simulation, &Came(&to_b, UNMANAGED_ENDPOINT), B, &mut Work::default());
    assert_eq!(at_b, dropped(Reason::DefaultDeny));
    // What a workload sends was judged where it was sent; a flooded frame for one is not shown.
    let from_a = |to: Mac| Frame::new(A_MAC, to).ip(ip(A_V4), ip(STRANGER)).tcp(9, 80, SYN).bytes();
    assert_eq!(hears(&simulation, &from_a(STRANGER_MAC), A), Action::Pass);
    assert_eq!(hears(&simulation, &from_a(B_MAC), A), dropped(Reason::ForeignFrame));
    assert!(simulation.flows.borrow().is_empty(), "a flow of a workload is entered at its port");
}

#[test]
fn flows_between_two_of_them_are_counted_once() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    let frame = |source, target| Frame::new(STRANGER_MAC, OTHER_MAC).ip(ip(source), ip(target));
    let there = frame(STRANGER, OTHER).tcp(4000, 80, SYN).bytes();
    assert_eq!(says(&simulation, &there), Action::Pass);
    assert_eq!(hears(&simulation, &there, UNMANAGED_ENDPOINT), Action::Pass);
    let back = frame(OTHER, STRANGER).tcp(80, 4000, SYN | ACK).bytes();
    assert_eq!(says(&simulation, &back), Action::Pass);
    assert_eq!(hears(&simulation, &back, UNMANAGED_ENDPOINT), Action::Pass);
    let flows = simulation.flows.borrow();
    let flow = flows.values().next().expect("a flow");
    assert_eq!(flow.counts.map(|count| count.packets), [1, 1]);
    assert_eq!(simulation.events.borrow().len(), 1);
}

#[test]
fn what_is_older_than_the_programs_or_not_sound_goes_on() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    // The stranger is the service of a connection that nobody saw begin.
    let midway = stranger(STRANGER, OUTSIDE).tcp(80, 40_000, ACK).bytes();
    assert_eq!(says(&simulation, &midway), Action::Pass);
    let event = last_event(&simulation);
    assert_eq!((event.source, event.target_port), (Addr::from(ip(OUTSIDE)), 80));
    assert_eq!((event.source_identity, event.target_identity), (2, UNMANAGED_IDENTITY));
    let quoted = stranger(OUTSIDE, STRANGER).tcp(5, 6, SYN);
    let syn = quoted.bytes();
    let error = IcmpError::PortUnreachable;
    for frame in [
        stranger(STRANGER, OUTSIDE).icmp_error(error, &quoted.ip_bytes()).bytes(),
        stranger(STRANGER, OUTSIDE).vlan(5).bytes(),
        asks(STRANGER, STRANGER)[..20].to_vec(),
        syn[..30].to_vec(),
        Frame::new(STRANGER_MAC, EVERYBODY)
            .ip(ip("0.0.0.0"), ip("255.255.255.255"))
            .udp(68, 67)
            .bytes(),
    ] {
        assert_eq!(says(&simulation, &frame), Action::Pass);
    }
    assert_eq!(simulation.events.borrow().len(), 1);
}

#[test]
fn beyond_their_share_flows_pass_without_a_record() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    simulation.capacity.set(10);
    for port in 0..50 {
        let frame = stranger(STRANGER, OUTSIDE).udp(1000 + port, 53).bytes();
        assert_eq!(says(&simulation, &frame), Action::Pass);
    }
    assert_eq!(simulation.flows.borrow().len(), 10);
    assert_eq!(simulation.events.borrow().len(), 10);
}

#[test]
fn a_place_that_is_closed_or_changes_hands_lets_nothing_through() {
    let tables = street(Posture::Audit);
    let simulation = Simulation::new(&tables);
    let frame = stranger(STRANGER, OUTSIDE).udp(4000, 53).bytes();
    let closed = Stray::closed(Stray::FIRST).value();
    for place in [closed, A, B] {
        for sent in [true, false] {
            let action = at_place(&simulation, &frame[..], place, sent, &mut Work::default());
            assert_eq!(action, dropped(Reason::UnknownEndpoint), "{place:x}");
        }
    }
    // Without a policy of the host its uplinks let pass.
    let uplink = at_place(&simulation, &frame[..], crate::abi::UPLINKS, true, &mut Work::default());
    assert_eq!(uplink, Action::Pass);
}

#[test]
fn the_bridge_judges_what_came_by_a_port_without_programs() {
    for (posture, said) in
        [(Posture::Audit, Action::Pass), (Posture::Deny, dropped(Reason::DefaultDeny))]
    {
        let tables = street(posture);
        let simulation = Simulation::new(&tables);
        let at_bridge = |frame: &[u8], sent| {
            at_place(&simulation, frame, BRIDGE.value(), sent, &mut Work::default())
        };
        assert_eq!(at_bridge(&stranger(STRANGER, OUTSIDE).udp(9, 53).bytes(), true), said);
        assert_eq!(last_event(&simulation).source_identity, UNMANAGED_IDENTITY);
        // To whom the host sends is told by the frame: workloads are judged at their ports.
        let down =
            |to: Mac| Frame::new(GATEWAY_MAC, to).ip(ip(OUTSIDE), ip(A_V4)).udp(53, 9).bytes();
        assert_eq!(at_bridge(&down(A_MAC), false), Action::Pass);
        assert_eq!(at_bridge(&down(EVERYBODY), false), Action::Pass);
        assert_eq!(at_bridge(&down(STRANGER_MAC), false), said);
    }
}
