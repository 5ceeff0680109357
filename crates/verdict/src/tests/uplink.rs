//! The host at its uplinks: what is its own, what nobody can turn off, what others send through it, and connections older than the policy.

use testkit::packet::icmp::IcmpError;
use testkit::packet::{ACK, Frame, PSH, SYN, ip, neighbour};

use super::*;
use crate::abi::{FlowEntry, HOST_ENDPOINT, HOST_IDENTITY, HOST_NETWORK, HOST_TENANT, UPLINKS};
use crate::{Packet, account, at_uplink};

const HOST_V4: &str = "198.51.100.2";
const HOST_V6: &str = "2001:db8::2";
pub(super) const SECOND: &str = "198.51.100.3";
const LINK_LOCAL: &str = "fe80::9";
const WORLD_V6: &str = "2001:db8:1::9";
const ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 1];
const HOST_MAC: Mac = [2, 0, 0, 0, 0, 2];
const EGRESS: u64 = 71;
const INGRESS: u64 = 72;

/// A frame that leaves, with or without a socket of the host, and the account of that.
struct Leaving<'a>(&'a [u8], bool, u32);

impl Packet for Leaving<'_> {
    fn len(&self) -> u32 {
        Packet::len(self.0)
    }

    fn has_socket(&self) -> bool {
        self.1
    }

    fn account(&self) -> u32 {
        self.2
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.0.copy(offset, len, to)
    }
}

/// A host that takes 80/tcp, 53/udp and pings from the world, and has `posture` for the rest, egress first.
pub(super) fn host(posture: [u8; 2]) -> Tables {
    let mut tables = Tables::default();
    tables.config.epoch = 2;
    tables.config.timeouts = [TIMEOUT; 8];
    tables.config.flags = Config::HOST;
    for number in UPLINKS..=HOST_ENDPOINT {
        let endpoint = Endpoint {
            slots: [[EGRESS, INGRESS]; 2],
            posture: [posture; 2],
            v4: Addr::from(ip(HOST_V4)),
            v6: Addr::from(ip(HOST_V6)),
            network: HOST_NETWORK,
            tenant: HOST_TENANT,
            flags: Endpoint::UPLINK,
            ..Endpoint::default()
        };
        tables.endpoints.insert(number, endpoint);
    }
    let peer = |class, identity, endpoint| Peer {
        class: [class; 2],
        identity: [identity; 2],
        endpoint,
        pad: 0,
    };
    let key = |address: &str| PeerKey { network: HOST_NETWORK, addr: Addr::from(ip(address)) };
    for address in [HOST_V4, SECOND, HOST_V6, "0.0.0.0", "::"] {
        tables.exact.insert(key(address), peer(1, HOST_IDENTITY, HOST_ENDPOINT));
    }
    for (address, len) in [("0.0.0.0", 32 + 96), ("::", 32)] {
        tables.prefixes.insert(PrefixKey { len, key: key(address) }, peer(WORLD_CLASS, 2, 0));
    }
    allow(&mut tables, INGRESS, WORLD_CLASS);
    tables
}

pub(super) fn enters(simulation: &Simulation<'_>, frame: &[u8]) -> Action {
    at_uplink(simulation, frame, false, &mut Work::default())
}

pub(super) fn leaves(simulation: &Simulation<'_>, frame: &[u8]) -> Action {
    at_uplink(simulation, &Leaving(frame, true, 0), true, &mut Work::default())
}

/// Leaves for somebody else.
pub(super) fn forwarded(simulation: &Simulation<'_>, frame: &[u8]) -> Action {
    at_uplink(simulation, &Leaving(frame, false, 0), true, &mut Work::default())
}

pub(super) fn comes_in(to: &str) -> Frame {
    let from = if to.contains(':') { WORLD_V6 } else { OUTSIDE };
    Frame::new(ROUTER_MAC, HOST_MAC).ip(ip(from), ip(to))
}

pub(super) fn goes_out(to: &str) -> Frame {
    let from = if to.contains(':') { HOST_V6 } else { HOST_V4 };
    Frame::new(HOST_MAC, ROUTER_MAC).ip(ip(from), ip(to))
}

const CLOSED: [u8; 2] = [0, 0];
pub(super) const USUAL: [u8; 2] = [2, 0];

#[test]
fn the_host_takes_what_its_policy_says_on_every_address() {
    let tables = host(USUAL);
    let simulation = Simulation::new(&tables);
    for address in [HOST_V4, SECOND, HOST_V6, LINK_LOCAL] {
        let syn = |port| comes_in(address).tcp(40_000, port, SYN).bytes();
        assert_eq!(enters(&simulation, &syn(80)), Action::Pass, "{address}");
        assert_eq!(enters(&simulation, &syn(22)), dropped(Reason::DefaultDeny), "{address}");
    }
    assert_eq!(last_event(&simulation).endpoint, HOST_ENDPOINT);
    let everybody = comes_in("224.0.0.251").udp(5353, 5353).bytes();
    assert_eq!(enters(&simulation, &everybody), dropped(Reason::DefaultDeny));
    // To everybody on the link by its frame, whatever address it names.
    let broadcast = Frame::new(ROUTER_MAC, [0xff; 6]).ip(ip(OUTSIDE), ip("198.51.100.255"));
    assert_eq!(enters(&simulation, &broadcast.udp(137, 137).bytes()), dropped(Reason::DefaultDeny));
}

#[test]
fn answers_come_back_to_what_the_host_and_those_behind_it_have_sent() {
    let tables = host(USUAL);
    let simulation = Simulation::new(&tables);
    let answer = comes_in(HOST_V4).udp(53, 5000).bytes();
    assert_eq!(enters(&simulation, &answer), dropped(Reason::DefaultDeny));
    assert_eq!(leaves(&simulation, &goes_out(OUTSIDE).udp(5000, 53).bytes()), Action::Pass);
    assert_eq!(enters(&simulation, &answer), Action::Pass);
    // Masqueraded: it leaves with the host's address and has no socket.
    let tables = host(CLOSED);
    let simulation = Simulation::new(&tables);
    let question = goes_out(OUTSIDE).udp(6000, 53).bytes();
    assert_eq!(
        leaves(&simulation, &question),
        dropped(Reason::DefaultDeny),
        "the host itself may not"
    );
    assert_eq!(forwarded(&simulation, &question), Action::Pass);
    assert_eq!(enters(&simulation, &comes_in(HOST_V4).udp(53, 6000).bytes()), Action::Pass);
    let newer = Tables { config: Config { epoch: 3, ..tables.config }, ..tables.clone() };
    let simulation = simulation.with_tables(&newer);
    let again = comes_in(HOST_V4).udp(53, 6000).bytes();
    assert_eq!(
        enters(&simulation, &again),
        Action::Pass,
        "another policy of the host is not about it"
    );
}

#[test]
fn what_is_only_forwarded_is_not_judged() {
    let tables = host(CLOSED);
    let simulation = Simulation::new(&tables);
    let to_workload = comes_in("10.0.1.2").tcp(40_000, 22, SYN).bytes();
    assert_eq!(enters(&simulation, &to_workload), Action::Pass);
    let from_workload = Frame::new(HOST_MAC, ROUTER_MAC).ip(ip("10.0.1.2"), ip(OUTSIDE));
    assert_eq!(forwarded(&simulation, &from_workload.clone().udp(1, 2).bytes()), Action::Pass);
    let options = from_workload.ipv4_options(&[1, 1, 1, 0]).udp(1, 2).bytes();
    assert_eq!(forwarded(&simulation, &options), Action::Pass, "not ours to refuse");
    let options = comes_in(HOST_V4).ipv4_options(&[1, 1, 1, 0]).udp(1, 53).bytes();
    assert_eq!(enters(&simulation, &options), dropped(Reason::IpOptions));
    let tagged = comes_in(HOST_V4).vlan(5).tcp(1, 22, SYN).bytes();
    assert_eq!(enters(&simulation, &tagged), Action::Pass, "a link of its own");
    assert!(simulation.flows.borrow().is_empty());
}

#[test]
fn nobody_can_turn_off_address_resolution_path_mtu_and_dhcp() {
    let tables = host(CLOSED);
    let simulation = Simulation::new(&tables);
    let quoted = goes_out(OUTSIDE).tcp(80, 40_000, ACK).ip_bytes();
    let quoted6 = goes_out(WORLD_V6).tcp(80, 40_000, ACK).ip_bytes();
    for frame in [
        Frame::new(ROUTER_MAC, HOST_MAC).ethertype(0x0806, &[0; 28]).bytes(),
        neighbour::solicitation(
            ROUTER_MAC,
            "fe80::1".parse().expect("one"),
            HOST_V6.parse().expect("one"),
        ),
        neighbour::router_advertisement(
            ROUTER_MAC,
            "fe80::1".parse().expect("one"),
            HOST_V6.parse().expect("one"),
        ),
        comes_in(HOST_V4).icmp_error(IcmpError::TooBig(1300), &quoted).bytes(),
        comes_in(HOST_V6).icmp_error(IcmpError::TooBig(1300), &quoted6).bytes(),
        comes_in(HOST_V4).udp(67, 68).bytes(),
        comes_in("255.255.255.255").udp(67, 68).bytes(),
    ] {
        assert_eq!(enters(&simulation, &frame), Action::Pass, "{frame:x?}");
    }
    for frame in [
        neighbour::solicitation(
            HOST_MAC,
            HOST_V6.parse().expect("one"),
            "fe80::1".parse().expect("one"),
        ),
        Frame::new(HOST_MAC, [0xff; 6])
            .ip(ip("0.0.0.0"), ip("255.255.255.255"))
            .udp(68, 67)
            .bytes(),
        goes_out(OUTSIDE).icmp_error(IcmpError::PortUnreachable, &quoted).bytes(),
    ] {
        assert_eq!(leaves(&simulation, &frame), Action::Pass, "{frame:x?}");
    }
    // What merely looks like it is judged.
    let unreachable = comes_in(HOST_V4).icmp_error(IcmpError::PortUnreachable, &quoted).bytes();
    assert_eq!(enters(&simulation, &unreachable), dropped(Reason::UnrelatedIcmp));
    let from_afar = comes_in(HOST_V6).ttl(64).icmp(135, 0, [0; 4]).payload(&[0; 16]).bytes();
    assert_ne!(enters(&simulation, &from_afar), Action::Pass, "no neighbour is that far away");
    assert_ne!(enters(&simulation, &comes_in(HOST_V4).udp(67, 69).bytes()), Action::Pass);
}

#[test]
fn a_connection_older_than_the_policy_goes_on_if_the_policy_lets_it() {
    let tables = host(USUAL);
    let simulation = Simulation::new(&tables);
    let to_web = comes_in(HOST_V4).tcp(40_000, 80, ACK | PSH).bytes();
    assert_eq!(enters(&simulation, &to_web), Action::Pass);
    assert_eq!(leaves(&simulation, &goes_out(OUTSIDE).tcp(80, 40_000, ACK).bytes()), Action::Pass);
    // A session of a port that is closed now is cut both ways: the side with the lower port is the service.
    assert_eq!(
        enters(&simulation, &comes_in(HOST_V4).tcp(40_001, 22, ACK).bytes()),
        dropped(Reason::DefaultDeny)
    );
    let from_sshd = goes_out(OUTSIDE).tcp(22, 40_001, ACK | PSH).bytes();
    assert_eq!(leaves(&simulation, &from_sshd), dropped(Reason::DefaultDeny));
    // One that the host opened is known with what it sends.
    let answer = comes_in(HOST_V4).tcp(443, 50_000, ACK).bytes();
    assert_eq!(enters(&simulation, &answer), dropped(Reason::DefaultDeny));
    assert_eq!(leaves(&simulation, &goes_out(OUTSIDE).tcp(50_000, 443, ACK).bytes()), Action::Pass);
    assert_eq!(enters(&simulation, &answer), Action::Pass);
}

#[test]
fn a_flow_that_was_picked_up_by_its_answer_knows_who_began_it() {
    let tables = host(USUAL);
    let simulation = Simulation::new(&tables);
    assert_eq!(leaves(&simulation, &goes_out(OUTSIDE).tcp(80, 40_000, ACK).bytes()), Action::Pass);
    let flows = simulation.flows.borrow();
    let (key, entry) = flows.iter().next().expect("a flow");
    let outside_is_high = key.high == Addr::from(ip(OUTSIDE));
    let high_began = entry.flags & FlowEntry::HIGH_ORIGINATES != 0;
    assert_eq!(high_began, outside_is_high, "the outside began it");
    assert_eq!((entry.counts[0].packets, entry.counts[1].packets), (0, 1));
    assert_eq!((entry.source, entry.target), (0, HOST_ENDPOINT));
    drop(flows);
    tells_it_as_the_clients(&simulation, 80);
    // Also when it is refused, at once or later.
    leaves(&simulation, &goes_out(OUTSIDE).tcp(22, 40_000, ACK).bytes());
    tells_it_as_the_clients(&simulation, 22);
    let mut closed = host(CLOSED);
    closed.rows = crate::native::Shards::default();
    closed.config.epoch = 4;
    let simulation = simulation.with_tables(&closed);
    let answer = goes_out(OUTSIDE).tcp(80, 40_000, ACK).bytes();
    assert_eq!(leaves(&simulation, &answer), dropped(Reason::DefaultDeny));
    tells_it_as_the_clients(&simulation, 80);
}

/// The last report is of a flow that the world began with the host.
fn tells_it_as_the_clients(simulation: &Simulation<'_>, port: u16) {
    let event = last_event(simulation);
    assert_eq!((event.source, event.target), (Addr::from(ip(OUTSIDE)), Addr::from(ip(HOST_V4))));
    assert_eq!((event.source_port, event.target_port), (40_000, port));
    assert_eq!((event.source_identity, event.target_identity), (2, HOST_IDENTITY));
}

#[test]
fn the_host_is_not_impersonated_and_without_a_policy_all_passes() {
    let tables = host([2, 2]);
    let simulation = Simulation::new(&tables);
    let forged =
        Frame::new(ROUTER_MAC, HOST_MAC).ip(ip(SECOND), ip(HOST_V4)).tcp(1, 80, SYN).bytes();
    assert_eq!(enters(&simulation, &forged), dropped(Reason::SpoofedAddress));
    let mut nothing = Tables::default();
    nothing.config.timeouts = [TIMEOUT; 8];
    let simulation = Simulation::new(&nothing);
    assert_eq!(enters(&simulation, &comes_in(HOST_V4).tcp(1, 22, SYN).bytes()), Action::Pass);
}

/// The same host, on which `backup` may send nothing but pings.
fn host_with_account() -> (Tables, u32) {
    let (mut tables, backup) = (host(USUAL), account::number(3, 0));
    let entry = *tables.endpoints.get(&HOST_ENDPOINT).expect("the host");
    let told_apart = Endpoint { flags: entry.flags | Endpoint::ACCOUNTS, ..entry };
    for number in UPLINKS..=HOST_ENDPOINT {
        tables.endpoints.insert(number, told_apart);
    }
    tables.endpoints.insert(backup, Endpoint { posture: [CLOSED; 2], ..told_apart });
    let as_host = PeerKey { network: HOST_NETWORK, addr: Addr::UNSPECIFIED };
    let peer = Peer { endpoint: backup, ..*tables.exact.get(&as_host).expect("the host") };
    tables.exact.insert(PeerKey { network: HOST_NETWORK, addr: Addr::hosted(backup) }, peer);
    (tables, backup)
}

/// The same, with an account that may send what the host may.
fn host_with_open_account() -> (Tables, u32) {
    let (mut tables, backup) = host_with_account();
    let open = Endpoint { posture: [USUAL; 2], ..*tables.endpoints.get(&backup).expect("there") };
    tables.endpoints.insert(backup, open);
    (tables, backup)
}

#[test]
fn an_account_has_its_own_rules_and_nobody_elses_flows() {
    let (tables, backup) = host_with_account();
    let simulation = Simulation::new(&tables);
    let sends = |simulation: &Simulation<'_>, number: u32, frame: &[u8]| {
        at_uplink(simulation, &Leaving(frame, true, number), true, &mut Work::default())
    };
    let syn = goes_out(OUTSIDE).tcp(40_000, 443, SYN).bytes();
    assert_eq!(sends(&simulation, backup, &syn), dropped(Reason::DefaultDeny));
    assert_eq!(last_event(&simulation).endpoint, backup);
    assert_eq!(sends(&simulation, 0, &syn), Action::Pass);
    // An account that the tables do not know is the host as such.
    assert_eq!(
        sends(&simulation, account::number(9, 9), &goes_out(OUTSIDE).tcp(1, 2, SYN).bytes()),
        Action::Pass
    );
    // UDP ports that somebody left are taken by somebody else.
    let query = goes_out(OUTSIDE).udp(5000, 53).bytes();
    assert_eq!(sends(&simulation, 0, &query), Action::Pass);
    assert_eq!(sends(&simulation, backup, &query), dropped(Reason::DefaultDeny));
    // What the host is asked it answers, whoever serves.
    assert_eq!(enters(&simulation, &comes_in(HOST_V4).udp(777, 53).bytes()), Action::Pass);
    let answer = goes_out(OUTSIDE).udp(53, 777).bytes();
    assert_eq!(sends(&simulation, backup, &answer), Action::Pass);
    // Packets, flows and reports have the host's address.
    let flows = simulation.flows.borrow();
    assert!(flows.keys().all(|key| !key.low.is_hosted() && !key.high.is_hosted()));
}

#[test]
fn a_flow_of_an_account_is_judged_again_as_that_accounts() {
    let (closed, _) = host_with_account();
    let (tables, backup) = host_with_open_account();
    let simulation = Simulation::new(&tables);
    let query = goes_out(OUTSIDE).udp(5000, 53).bytes();
    let sent = at_uplink(&simulation, &Leaving(&query, true, backup), true, &mut Work::default());
    assert_eq!(sent, Action::Pass);
    let answer = comes_in(HOST_V4).udp(53, 5000).bytes();
    assert_eq!(enters(&simulation, &answer), Action::Pass);
    let newer = Tables { config: Config { epoch: 4, ..tables.config }, ..closed };
    let simulation = simulation.with_tables(&newer);
    assert_eq!(
        enters(&simulation, &answer),
        dropped(Reason::DefaultDeny),
        "its end was told: the flow is cut"
    );
}

#[test]
fn a_flow_of_an_account_that_no_rule_names_any_more_is_the_hosts() {
    let (tables, backup) = host_with_open_account();
    let simulation = Simulation::new(&tables);
    let query = goes_out(OUTSIDE).udp(5000, 53).bytes();
    let sent = at_uplink(&simulation, &Leaving(&query, true, backup), true, &mut Work::default());
    assert_eq!(sent, Action::Pass);
    let answer = comes_in(HOST_V4).udp(53, 5000).bytes();
    let later = |posture| {
        let (mut tables, _) = host_with_account();
        tables.endpoints.remove(&backup);
        tables.exact.remove(&PeerKey { network: HOST_NETWORK, addr: Addr::hosted(backup) });
        for number in UPLINKS..=HOST_ENDPOINT {
            let entry = *tables.endpoints.get(&number).expect("the host");
            tables.endpoints.insert(number, Endpoint { posture: [posture; 2], ..entry });
        }
        Tables { config: Config { epoch: 4, ..tables.config }, ..tables }
    };
    let usual = later(USUAL);
    let simulation = simulation.with_tables(&usual);
    assert_eq!(enters(&simulation, &answer), Action::Pass, "the host may send this");
    let mut closed = later(CLOSED);
    closed.config.epoch = 6;
    let simulation = simulation.with_tables(&closed);
    assert_eq!(enters(&simulation, &answer), dropped(Reason::DefaultDeny), "and now it may not");
}

#[test]
fn what_an_account_sends_to_the_host_itself_leaves_as_what_the_host_sends() {
    let (mut tables, backup) = host_with_open_account();
    let open = *tables.endpoints.get(&backup).expect("there");
    for number in UPLINKS..=HOST_ENDPOINT {
        tables.endpoints.insert(number, Endpoint { posture: [[2; 2]; 2], ..open });
    }
    tables.config.flags |= Config::DELIVER;
    let simulation = Simulation::new(&tables);
    let to_itself = Frame::new(HOST_MAC, ROUTER_MAC).ip(ip(HOST_V4), ip(SECOND));
    let query = to_itself.udp(5000, 53).bytes();
    for number in [0, backup] {
        let packet = Leaving(&query, true, number);
        let sent = at_uplink(&simulation, &packet, true, &mut Work::default());
        assert_eq!(sent, Action::Pass, "by {number}");
    }
}

#[test]
fn of_a_user_and_a_service_one_may_stay_alone() {
    let (mut tables, backup) = host_with_account();
    let pair = account::number(3, 5);
    let entry = *tables.endpoints.get(&backup).expect("there");
    let peer = tables.exact.get(&PeerKey { network: HOST_NETWORK, addr: Addr::hosted(backup) });
    let peer = Peer { endpoint: pair, ..*peer.expect("there") };
    tables.exact.insert(PeerKey { network: HOST_NETWORK, addr: Addr::hosted(pair) }, peer);
    tables.endpoints.insert(pair, Endpoint { posture: [USUAL; 2], ..entry });
    let simulation = Simulation::new(&tables);
    let query = goes_out(OUTSIDE).udp(5000, 53).bytes();
    let sent = at_uplink(&simulation, &Leaving(&query, true, pair), true, &mut Work::default());
    assert_eq!(sent, Action::Pass);
    // No rule names the service any more: what it sends and has sent is the user's, who may send nothing.
    let (mut newer, _) = host_with_account();
    newer.config.epoch = 4;
    let simulation = simulation.with_tables(&newer);
    let answer = comes_in(HOST_V4).udp(53, 5000).bytes();
    assert_eq!(enters(&simulation, &answer), dropped(Reason::DefaultDeny));
    let sent = at_uplink(&simulation, &Leaving(&query, true, pair), true, &mut Work::default());
    assert_eq!(sent, dropped(Reason::DefaultDeny));
}
