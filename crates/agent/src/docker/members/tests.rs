//! Members find their ports in the order in which Docker makes them, and nobody takes another's over.

use super::*;

fn member(n: u8) -> Member {
    Member {
        container: format!("{n:064x}"),
        endpoint: format!("{:064x}", u32::from(n) + 256),
        mac: [2, 0x42, 0, 0, 0, n],
        addresses: vec![std::net::IpAddr::from([172, 18, 0, n])],
    }
}

fn port(index: u32, far: Option<u8>, is_far_away: bool) -> BridgePort {
    let far_mac = far.map(|n| Mac([2, 0x42, 0, 0, 0, n]));
    BridgePort { index, name: format!("veth{index}"), far_mac, is_far_away }
}

fn told(memory: &mut Memory, members: &[Member], ports: &[BridgePort]) -> Vec<(u8, u32)> {
    let (matched, _) = memory.matched(members, ports);
    matched.iter().map(|(member, port)| (member.mac[5], port.index)).collect()
}

#[test]
fn a_container_is_known_before_its_link_is_inside() {
    let mut memory = Memory::default();
    let only = [member(2)];
    assert_eq!(told(&mut memory, &only, &[]), []);
    assert_eq!(told(&mut memory, &only, &[port(7, Some(99), false)]), [(2, 7)], "the only one");
    assert_eq!(told(&mut memory, &only, &[port(7, Some(2), true)]), [(2, 7)], "by its MAC");
    let (_, is_starting) = memory.matched(&only, &[port(7, Some(2), true)]);
    assert!(!is_starting);
}

#[test]
fn of_two_that_start_at_once_none_is_guessed() {
    let mut memory = Memory::default();
    let both = [member(2), member(3)];
    let before = [port(7, Some(98), false), port(8, Some(99), false)];
    assert_eq!(told(&mut memory, &both, &before), []);
    assert!(memory.matched(&both, &before).1, "look again soon");
    let first = [port(7, Some(98), false), port(8, Some(2), true)];
    assert_eq!(told(&mut memory, &both, &first), [(2, 8), (3, 7)], "one is left");
}

#[test]
fn whoever_takes_anothers_mac_takes_nothing_over() {
    let mut memory = Memory::default();
    assert_eq!(told(&mut memory, &[member(2)], &[port(7, Some(2), true)]), [(2, 7)]);
    // The first takes the MAC that the second, which starts, is to have.
    let both = [member(2), member(3)];
    let liar = [port(7, Some(3), true), port(8, Some(3), true)];
    assert_eq!(told(&mut memory, &both, &liar), [(2, 7), (3, 8)]);
    // A foreign port with a MAC that is spoken for is nobody's.
    let more = [port(7, Some(2), true), port(8, Some(3), true), port(9, Some(2), true)];
    assert_eq!(told(&mut memory, &both, &more), [(2, 7), (3, 8)]);
}

#[test]
fn a_restart_has_another_endpoint_and_another_port() {
    let mut memory = Memory::default();
    assert_eq!(told(&mut memory, &[member(2)], &[port(7, Some(2), true)]), [(2, 7)]);
    assert_eq!(told(&mut memory, &[], &[]), []);
    let again = Member { endpoint: "f".repeat(64), ..member(2) };
    assert_eq!(told(&mut memory, &[again], &[port(9, Some(2), true)]), [(2, 9)]);
    assert_eq!(memory.ports.len(), 1);
}

/// The network of one container, and the container that nothing leads to yet.
fn lone() -> (Place, Network, Container) {
    let place =
        Place { tenant: "shop".to_owned(), network: "lan".to_owned(), docker: "n".to_owned() };
    let network = Network {
        id: String::new(),
        name: "n".to_owned(),
        bridge: "br-n".to_owned(),
        subnets: Vec::new(),
        members: vec![member(2)],
        left_out: 0,
    };
    let container = Container {
        id: format!("{:064x}", 2),
        name: "renamed".to_owned(),
        image: String::new(),
        image_id: String::new(),
        labels: Vec::new(),
        image_labels: Vec::new(),
        ports: Vec::new(),
        settled: Vec::new(),
    };
    (place, network, container)
}

#[test]
fn what_leads_to_a_container_is_waited_for_once() {
    let (place, mut network, mut container) = lone();
    let port = |at: u16| Port {
        transport: Transport::Tcp,
        address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        public: at,
        private: 80,
    };
    let ports = [self::port(7, Some(2), true)];
    let mut memory = Memory::default();
    let mut told = |network: &Network, container: &Container, named: &[u16]| {
        let all = [(container.id.as_str(), container)].into();
        let named = named.iter().map(|port| (Transport::Tcp, *port)).collect();
        let (found, _) = memory.attachments(&place, network, &all, &ports, |_, _| false, &named);
        let publish: Vec<u16> = found[0].publish.iter().map(|publish| publish.port).collect();
        (publish, found[0].publish_pending)
    };
    container.ports = vec![port(8080)];
    assert_eq!(told(&network, &container, &[]), (vec![], false), "the file asks for nothing");
    assert_eq!(told(&network, &container, &[1]), (vec![], true), "whatever is named");
    container.settled = vec!["f".repeat(64), network.members[0].endpoint.clone()];
    assert_eq!(told(&network, &container, &[1]), (vec![8080], false));
    // Dockerd starts again, and says nothing of it yet.
    let silent = Container { ports: Vec::new(), settled: Vec::new(), ..container.clone() };
    assert_eq!(told(&network, &silent, &[1]), (vec![8080], false), "what was said holds");
    container.ports = vec![port(8081)];
    assert_eq!(told(&network, &container, &[1]), (vec![8081], false), "until something else is");
    // It starts again: another end, and the list is of before.
    network.members[0].endpoint = "e".repeat(64);
    assert_eq!(told(&network, &container, &[1]), (vec![], true));
}

#[test]
fn an_agent_that_starts_again_keeps_names_and_ports() {
    let (place, network, container) = lone();
    let containers: BTreeMap<&str, &Container> = [(container.id.as_str(), &container)].into();
    let ports = [port(7, Some(2), true)];
    let before = Attach {
        key: place.of(&container.id),
        tenant: "shop".to_owned(),
        network: "lan".to_owned(),
        segment: None,
        name: Some("web".to_owned()),
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        port: AttachPort::InPlace {
            interface: "veth7".to_owned(),
            mac: "02:42:00:00:00:02".to_owned(),
            dhcp: false,
        },
        publish: Vec::new(),
        publish_pending: false,
    };
    let mut memory = Memory::default();
    memory.recall(&place, &network, &ports, [&before].into_iter());
    assert_eq!(memory.held.len(), 1);
    let (all, _) =
        memory.attachments(&place, &network, &containers, &ports, |_, _| false, &BTreeSet::new());
    assert_eq!(all[0].name.as_deref(), Some("web"));
    assert_eq!(all[0].labels.get("container").map(String::as_str), Some("renamed"));
    assert_eq!(all[0].port, before.port);
}

/// What `held` has in force, for an agent that starts again.
fn restarted(held: &[(u8, u32)]) -> Memory {
    let held = held.iter().map(|(n, index)| (member(*n).endpoint, *index)).collect();
    Memory { held, ..Memory::default() }
}

#[test]
fn who_changes_its_mac_does_not_slip_off_its_policy_when_the_agent_starts_again() {
    let both = [member(2), member(3)];
    // Two of one tenant did it, so that none of them is the only one that is left.
    let changed = [port(7, Some(98), true), port(8, Some(99), true)];
    let mut memory = restarted(&[(2, 7), (3, 8)]);
    assert_eq!(told(&mut memory, &both, &changed), [(2, 7), (3, 8)]);
    // Or each has the other's.
    let swapped = [port(7, Some(3), true), port(8, Some(2), true)];
    let mut memory = restarted(&[(2, 7), (3, 8)]);
    assert_eq!(told(&mut memory, &both, &swapped), [(2, 7), (3, 8)]);
}

#[test]
fn who_has_the_mac_of_a_container_that_is_to_start_does_not_become_it() {
    let both = [member(2), member(3)];
    // The agent was started again; the first has taken the MAC that Docker will give to the next.
    let mut memory = restarted(&[(2, 7)]);
    let before = [port(7, Some(3), true), port(8, Some(99), false)];
    assert_eq!(told(&mut memory, &both, &before), [(2, 7), (3, 8)]);
    let inside = [port(7, Some(3), true), port(8, Some(3), true)];
    assert_eq!(told(&mut memory, &both, &inside), [(2, 7), (3, 8)]);
}

#[test]
fn a_stranger_on_the_bridge_with_the_mac_of_the_next_container_does_not_become_it() {
    let mut memory = Memory::default();
    let [mine, stranger] = [port(7, Some(2), true), port(9, Some(3), true)];
    for _ in 0..3 {
        let ports = [mine.clone(), stranger.clone()];
        assert_eq!(told(&mut memory, &[member(2)], &ports), [(2, 7)]);
    }
    // The next one's link has any MAC until it is inside.
    let both = [member(2), member(3)];
    let starting = [mine.clone(), port(8, Some(99), false), stranger.clone()];
    assert_eq!(told(&mut memory, &both, &starting), [(2, 7), (3, 8)]);
    let inside = [mine, port(8, Some(3), true), stranger];
    assert_eq!(told(&mut memory, &both, &inside), [(2, 7), (3, 8)]);
}

#[test]
fn members_that_a_restarted_dockerd_tells_of_late_are_found_all_the_same() {
    let mut memory = Memory::default();
    let ports = [port(7, Some(2), true), port(8, Some(3), true)];
    for _ in 0..3 {
        assert_eq!(told(&mut memory, &[], &ports), []);
    }
    assert_eq!(told(&mut memory, &[member(2), member(3)], &ports), [(2, 7), (3, 8)]);
}

#[test]
fn a_guess_that_was_wrong_and_in_force_is_put_right() {
    let mut memory = restarted(&[(2, 8)]);
    let both = [member(3), member(2)];
    let inside = [port(7, Some(2), true), port(8, Some(3), true)];
    assert_eq!(told(&mut memory, &both, &inside), [(3, 8), (2, 7)]);
}

#[test]
fn the_uplink_of_a_bridge_is_never_taken_for_a_container() {
    let mut memory = Memory::default();
    let uplink = BridgePort { name: "eth0".to_owned(), ..port(2, None, false) };
    // A member whose link is gone or not there yet, and nothing but the uplink on the bridge.
    assert_eq!(told(&mut memory, &[member(2)], std::slice::from_ref(&uplink)), []);
    assert_eq!(told(&mut memory, &[member(2)], &[uplink, port(7, Some(99), false)]), [(2, 7)]);
}
