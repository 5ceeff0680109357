//! Endpoints that share the host's stack: who is at an end is told by sockets, the rest is as ever.

use testkit::packet::{ACK, FIN, Frame, SYN, ip};

use super::*;
use crate::abi::EventKind;
use crate::packet::protocol;
use crate::{Call, Packet, Socket, at_bind, at_cgroup, at_connect};

const HOST: &str = "198.51.100.2";
const LOOPBACK: &str = "127.0.0.1";
const HOST_CLASS: u64 = 104;

/// A packet at a cgroup. Whose the socket at its other end is, when it stays on this host.
struct At<'a>(&'a [u8], Far);

/// Who is at the other end of a packet.
#[derive(Clone, Copy, PartialEq)]
enum Far {
    /// Nobody of this host.
    Away,
    /// A socket of the host's.
    Host,
    /// One of this endpoint.
    Endpoint(u32),
}

impl Packet for At<'_> {
    fn len(&self) -> u32 {
        Packet::len(self.0)
    }

    fn stays(&self) -> bool {
        self.1 != Far::Away
    }

    fn holder(&self, _near: Socket, _far: Socket, _protocol: u8) -> Option<u32> {
        match self.1 {
            Far::Endpoint(number) => Some(number),
            Far::Away | Far::Host => None,
        }
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.0.copy(offset, len, to)
    }
}

/// A and B share the host's stack. A may reach B, the world and nobody else on 80/tcp, 53/udp; the world may reach B there.
fn hosted() -> Tables {
    let mut tables = tables();
    for (number, class) in [(A, A_CLASS), (B, B_CLASS)] {
        let endpoint = tables.endpoints.get_mut(&number).expect("an endpoint");
        (endpoint.v4, endpoint.v6) = (Addr::UNSPECIFIED, Addr::hosted(number));
        endpoint.flags = Endpoint::HOSTED | Endpoint::IN_PLACE;
        let peer = Peer {
            class: [class; 2],
            identity: [u64::from(number) + 1000; 2],
            endpoint: number,
            pad: 0,
        };
        let len = 32 + u32::from(Endpoint::HOSTED_BITS);
        let key = PeerKey { network: NETWORK, addr: Addr::hosted(number) };
        tables.prefixes.insert(PrefixKey { len, key }, peer);
    }
    for address in [A_V4, A_V6, B_V4, B_V6] {
        tables.exact.remove(&key(address));
    }
    let host = Peer { class: [HOST_CLASS; 2], identity: [1; 2], endpoint: 0, pad: 0 };
    for address in [HOST, LOOPBACK] {
        tables.exact.insert(key(address), host);
    }
    for (slot, class) in [(10, WORLD_CLASS), (21, WORLD_CLASS)] {
        allow(&mut tables, slot, class);
    }
    tables
}

fn flow(source: &str, target: &str) -> Frame {
    Frame::new([0; 6], [0; 6]).ip(ip(source), ip(target))
}

fn syn(source: (&str, u16), target: (&str, u16)) -> Vec<u8> {
    flow(source.0, target.0).tcp(source.1, target.1, SYN).bytes()
}

fn leaves(simulation: &Simulation<'_>, number: u32, packet: &At<'_>) -> Action {
    at_cgroup(simulation, packet, number, true, &mut Work::default())
}

fn enters(simulation: &Simulation<'_>, number: u32, packet: &At<'_>) -> Action {
    at_cgroup(simulation, packet, number, false, &mut Work::default())
}

#[test]
fn sockets_tell_who_is_at_both_ends_of_a_flow_within_the_host() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    let open = syn((LOOPBACK, 40_000), (LOOPBACK, 80));
    assert_eq!(leaves(&simulation, A, &At(&open, Far::Endpoint(B))), Action::Pass);
    let event = last_event(&simulation);
    assert_eq!((event.source_identity, event.target_identity), (1001, 1002));
    assert_eq!(event.source.host_of(), Some((A, Some([127, 0, 0, 1]))));
    assert_eq!(enters(&simulation, B, &At(&open, Far::Endpoint(A))), Action::Pass);
    assert_eq!(simulation.flows.borrow().len(), 1, "it was judged where it was sent");
    let answer = flow(LOOPBACK, LOOPBACK).tcp_segment(80, 40_000, SYN | ACK, 0, 1).bytes();
    assert_eq!(leaves(&simulation, B, &At(&answer, Far::Endpoint(A))), Action::Pass);
    assert_eq!(enters(&simulation, A, &At(&answer, Far::Endpoint(B))), Action::Pass);
    // The same from a process of the host: nobody's socket.
    let other = syn((LOOPBACK, 40_001), (LOOPBACK, 80));
    assert_eq!(enters(&simulation, B, &At(&other, Far::Endpoint(0))), dropped(Reason::DefaultDeny));
    // Nobody has opened this one: A's hook would have.
    let unseen = syn((LOOPBACK, 40_002), (LOOPBACK, 80));
    let refused = enters(&simulation, B, &At(&unseen, Far::Endpoint(A)));
    assert_eq!(refused, dropped(Reason::SpoofedAddress));
    assert_eq!(
        leaves(&simulation, B, &At(&syn((HOST, 1), (HOST, 80)), Far::Endpoint(A))),
        dropped(Reason::DefaultDeny)
    );
}

#[test]
fn a_workload_speaks_to_itself_unasked() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    let open = syn((LOOPBACK, 40_000), (LOOPBACK, 9999));
    assert_eq!(leaves(&simulation, A, &At(&open, Far::Endpoint(A))), Action::Pass);
    assert_eq!(enters(&simulation, A, &At(&open, Far::Endpoint(A))), Action::Pass);
    assert!(simulation.events.borrow().is_empty() && simulation.flows.borrow().is_empty());
}

#[test]
fn a_closed_sockets_last_words_belong_to_its_flow() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    let open = syn((HOST, 40_000), (HOST, 80));
    assert_eq!(leaves(&simulation, A, &At(&open, Far::Endpoint(B))), Action::Pass);
    let answer = flow(HOST, HOST).tcp_segment(80, 40_000, SYN | ACK, 0, 1).bytes();
    assert_eq!(leaves(&simulation, B, &At(&answer, Far::Endpoint(A))), Action::Pass);
    // B's socket is closed and waits; what A sends finds no socket.
    let end = flow(HOST, HOST).tcp_segment(40_000, 80, FIN | ACK, 1, 1).bytes();
    assert_eq!(leaves(&simulation, A, &At(&end, Far::Host)), Action::Pass);
    // A port that another socket of the host has taken since is that socket's.
    let late = flow(HOST, HOST).tcp_segment(40_000, 80, ACK, 2, 1).bytes();
    assert_eq!(leaves(&simulation, A, &At(&late, Far::Endpoint(0))), dropped(Reason::StrayTcp));
}

#[test]
fn flows_that_differ_in_the_hosts_address_are_two() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    for address in [HOST, LOOPBACK] {
        let open = syn((address, 40_000), (address, 80));
        assert_eq!(leaves(&simulation, A, &At(&open, Far::Endpoint(B))), Action::Pass);
    }
    assert_eq!(simulation.flows.borrow().len(), 2);
    let v6 = syn(("::1", 40_000), ("2001:db8::7", 80));
    assert_eq!(leaves(&simulation, A, &At(&v6, Far::Away)), Action::Pass);
    assert_eq!(simulation.flows.borrow().len(), 3);
}

#[test]
fn addresses_that_stand_for_endpoints_are_on_no_wire() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    for number in [A, B] {
        let claimed = std::net::IpAddr::from(Addr::hosted(number)).to_string();
        let open = syn((&claimed, 40_000), ("2001:db8::2", 80));
        assert_eq!(enters(&simulation, B, &At(&open, Far::Away)), dropped(Reason::SpoofedAddress));
        let open = syn(("2001:db8::2", 40_000), (&claimed, 80));
        assert_eq!(leaves(&simulation, A, &At(&open, Far::Away)), dropped(Reason::SpoofedAddress));
    }
    for near in ["224.0.0.251", "255.255.255.255"] {
        let packet = flow(HOST, near).udp(5353, 5353).bytes();
        assert_eq!(leaves(&simulation, A, &At(&packet, Far::Away)), dropped(Reason::LocalScope));
    }
}

#[test]
fn a_hook_without_such_an_endpoint_drops() {
    let mut tables = hosted();
    tables.endpoints.get_mut(&A).expect("an endpoint").flags = 0;
    let simulation = Simulation::new(&tables);
    let open = syn((HOST, 40_000), (OUTSIDE, 80));
    for number in [0, A, 99] {
        assert_eq!(
            leaves(&simulation, number, &At(&open, Far::Away)),
            dropped(Reason::UnknownEndpoint)
        );
        assert_eq!(asked(&simulation, number, OUTSIDE, 80, 0), dropped(Reason::UnknownEndpoint));
        assert_eq!(bound(&simulation, number, 80), dropped(Reason::UnknownEndpoint));
    }
}

/// What becomes of a connection of TCP.
fn asked(simulation: &Simulation<'_>, number: u32, to: &str, port: u16, bound: u16) -> Action {
    let to = Socket { addr: Addr::from(ip(to)), port };
    let call = Call { to, bound, protocol: protocol::TCP };
    at_connect(simulation, [].as_slice(), number, &call, &mut Work::default())
}

fn bound(simulation: &Simulation<'_>, number: u32, port: u16) -> Action {
    let to = Socket { addr: Addr::v4([0; 4]), port };
    let call = Call { to, bound: 0, protocol: protocol::TCP };
    at_bind(simulation, [].as_slice(), number, &call, &mut Work::default())
}

#[test]
fn a_connection_is_refused_when_no_packet_of_it_could_pass() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    assert_eq!(asked(&simulation, A, OUTSIDE, 80, 0), Action::Pass);
    assert_eq!(asked(&simulation, A, OUTSIDE, 81, 0), dropped(Reason::DefaultDeny));
    let event = last_event(&simulation);
    assert_eq!((event.source_identity, event.target), (1001, Addr::from(ip(OUTSIDE))));
    assert_eq!((event.target_port, event.protocol), (81, protocol::TCP));
    // Who answers at an address of the host is not known yet.
    for to in [HOST, LOOPBACK, "0.0.0.0", "::"] {
        assert_eq!(asked(&simulation, A, to, 81, 0), Action::Pass, "{to}");
    }
    // A socket of UDP that has a port may answer somebody.
    let to = Socket { addr: Addr::from(ip(OUTSIDE)), port: 81 };
    let answers = Call { to, bound: 53, protocol: protocol::UDP };
    let work = &mut Work::default();
    assert_eq!(at_connect(&simulation, [].as_slice(), A, &answers, work), Action::Pass);
    let asks = Call { bound: 0, ..answers };
    let refused = at_connect(&simulation, [].as_slice(), A, &asks, work);
    assert_eq!(refused, dropped(Reason::DefaultDeny));
}

#[test]
fn a_rule_for_source_ports_is_no_reason_to_refuse_a_socket_without_one() {
    let mut tables = hosted();
    let sources = PortSet { id: 6, lengths: 1 << 2, pad: 0 };
    let narrow = PortKey { set: 6, port: 0xc000, len: 2, protocol: protocol::TCP, pad: 0 };
    let decision = Decision::new(Verdict::Allow, RULE);
    tables.ports.insert(narrow, PortEntry { sources: PortSet::default(), decision });
    let key = PortKey { set: 5, port: 80, len: 16, protocol: protocol::TCP, pad: 0 };
    let decision = Decision::new(Verdict::Drop, DENY_RULE);
    tables.ports.insert(key, PortEntry { sources, decision });
    let simulation = Simulation::new(&tables);
    assert_eq!(
        asked(&simulation, A, OUTSIDE, 80, 0),
        Action::Pass,
        "the kernel chooses from 49152 on"
    );
    assert_eq!(asked(&simulation, A, OUTSIDE, 80, 1024), dropped(Reason::PolicyDeny));
}

#[test]
fn ports_that_no_rule_opens_are_not_bound() {
    let mut tables = hosted();
    let row = Row { ports: PortSet { id: 5, lengths: 1 << 16, pad: 0 }, rest: Decision::default() };
    tables.rows.insert(Endpoint::bind_row(21), row);
    let simulation = Simulation::new(&tables);
    for (port, action) in
        [(0, Action::Pass), (80, Action::Pass), (81, dropped(Reason::PortNotOpen))]
    {
        assert_eq!(bound(&simulation, B, port), action, "{port}");
    }
    let event = last_event(&simulation);
    assert_eq!((event.target.host_of(), event.target_port), (Some((B, Some([0; 4]))), 81));
    assert_eq!(bound(&simulation, A, 80), dropped(Reason::PortNotOpen), "nobody is let in");
    drop(simulation);
    for posture in [1, 2] {
        let endpoint = tables.endpoints.get_mut(&B).expect("an endpoint");
        endpoint.posture = [[0, posture]; 2];
        assert_eq!(bound(&Simulation::new(&tables), B, 81), Action::Pass);
    }
}

#[test]
fn what_stands_for_an_address_is_told_from_every_other() {
    for number in [1, 77, 16_367] {
        let all = [LOOPBACK, HOST, "::1", "fe80::1", "2001:db8::1", "2001:db8::2"];
        let all: Vec<Addr> = all.map(|text| Addr::hosted_at(number, Addr::from(ip(text)))).into();
        for (at, one) in all.iter().enumerate() {
            assert!(one.is_hosted() && !one.is_v4() && !one.is_group() && !one.is_link_local());
            assert_eq!(one.host_of().map(|(number, _)| number), Some(number));
            assert!(all[at + 1..].iter().all(|other| other != one));
            assert_ne!(*one, Addr::hosted(number));
        }
    }
    assert_eq!(Addr::from(ip("10.0.0.1")).host_of(), None);
}

#[test]
fn a_port_is_used_again_though_the_other_ends_last_word_was_not_seen() {
    let tables = hosted();
    let simulation = Simulation::new(&tables);
    let world = "203.0.113.9";
    let far = Far::Away;
    let out = |flags, seq, ack| flow(HOST, world).tcp_segment(40_000, 80, flags, seq, ack).bytes();
    let back = |flags, seq, ack| flow(world, HOST).tcp_segment(80, 40_000, flags, seq, ack).bytes();
    let connect = |first: u32, second: u32| {
        let sent = [out(SYN, first, 0), out(ACK, first + 1, second + 1)];
        assert_eq!(leaves(&simulation, A, &At(&sent[0], far)), Action::Pass);
        let answer = back(SYN | ACK, second, first + 1);
        assert_eq!(enters(&simulation, A, &At(&answer, far)), Action::Pass);
        assert_eq!(leaves(&simulation, A, &At(&sent[1], far)), Action::Pass);
    };
    connect(100, 500);
    // In the middle of a connection, and when nobody has begun to end it, a SYN changes nothing.
    assert_eq!(leaves(&simulation, A, &At(&out(SYN, 9_000, 0), far)), Action::Pass);
    assert_eq!(simulation.flows.borrow().len(), 1);
    let end = out(FIN | ACK, 101, 501);
    assert_eq!(leaves(&simulation, A, &At(&end, far)), Action::Pass);
    simulation.events.borrow_mut().clear();
    // The other end's FIN and its acknowledgement belong to no socket of the workload's.
    connect(7_000_000, 9_000_000);
    let kinds: Vec<u8> = simulation.events.borrow().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Close as u8, EventKind::Open as u8]);
    assert_eq!(simulation.flows.borrow().len(), 1);
    // Policy is asked as of any other flow.
    let end = out(FIN | ACK, 7_000_001, 9_000_001);
    assert_eq!(leaves(&simulation, A, &At(&end, far)), Action::Pass);
    let mut narrow = hosted();
    narrow.rows.remove(&RowKey { slot: 10, class: WORLD_CLASS });
    let shut = Simulation::new(&narrow);
    shut.flows.borrow_mut().clone_from(&simulation.flows.borrow());
    let again = out(SYN, 8_000_000, 0);
    assert_eq!(leaves(&shut, A, &At(&again, far)), dropped(Reason::DefaultDeny));
}
