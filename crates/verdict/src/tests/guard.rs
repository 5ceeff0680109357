//! Nobody speaks with an address that is not theirs.

use testkit::packet::{Frame, SYN, arp, dhcp, extension, ip, neighbour};

use super::*;

fn v6(text: &str) -> std::net::Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

fn verdict_on(frame: &[u8]) -> Action {
    let tables = tables();
    sent(&Simulation::new(&tables), A, frame)
}

#[test]
fn a_foreign_mac_is_stopped() {
    let frame = Frame::new(B_MAC, B_MAC).ip(ip(A_V4), ip(B_V4)).tcp(1, 80, SYN).bytes();
    assert_eq!(verdict_on(&frame), dropped(Reason::SpoofedMac));
}

#[test]
fn a_foreign_address_is_stopped() {
    for source in ["10.0.1.9", B_V4, OUTSIDE, "0.0.0.0", "127.0.0.1"] {
        let frame = Frame::new(A_MAC, B_MAC).ip(ip(source), ip(B_V4)).tcp(1, 80, SYN).bytes();
        assert_eq!(verdict_on(&frame), dropped(Reason::SpoofedAddress), "{source}");
    }
    for source in [B_V6, "fe80::2", "2001:db8::1"] {
        let frame = Frame::new(A_MAC, B_MAC).ip(ip(source), ip(B_V6)).tcp(1, 80, SYN).bytes();
        assert_eq!(verdict_on(&frame), dropped(Reason::SpoofedAddress), "{source}");
    }
}

#[test]
fn ipv6_packets_cannot_pass_for_ipv4_ones() {
    for (source, target) in [("::ffff:10.0.1.2", B_V6), (A_V6, "::ffff:10.0.1.3")] {
        let frame = Frame::new(A_MAC, B_MAC).ip(ip(source), ip(target)).tcp(1, 80, SYN).bytes();
        assert_eq!(verdict_on(&frame), dropped(Reason::Malformed), "{source} to {target}");
    }
}

#[test]
fn arp_speaks_only_for_itself() {
    let own = arp::Party { mac: A_MAC, ip: v4(A_V4) };
    let stolen = arp::Party { mac: A_MAC, ip: v4(B_V4) };
    let foreign = arp::Party { mac: B_MAC, ip: v4(A_V4) };
    assert_eq!(verdict_on(&arp::request(own, v4(B_V4))), Action::Pass);
    assert_eq!(verdict_on(&arp::gratuitous(own)), Action::Pass);
    assert_eq!(verdict_on(&arp::gratuitous(stolen)), dropped(Reason::SpoofedArp));
    assert_eq!(verdict_on(&arp::reply(stolen, own)), dropped(Reason::SpoofedArp));
    let inner_mac = arp::packet(A_MAC, [0xff; 6], 2, foreign, own);
    assert_eq!(verdict_on(&inner_mac), dropped(Reason::SpoofedArp));
}

#[test]
fn an_arp_report_names_the_claimed_address() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let stolen = arp::Party { mac: A_MAC, ip: v4(B_V4) };
    sent(&simulation, A, &arp::gratuitous(stolen));
    let event = last_event(&simulation);
    assert_eq!(event.source, Addr::from(ip(B_V4)));
    assert_eq!((event.ethertype, event.reason), (0x0806, Reason::SpoofedArp.code()));
}

#[test]
fn neighbour_discovery_speaks_only_for_itself() {
    let ask = neighbour::solicitation(A_MAC, v6(A_V6), v6(B_V6));
    assert_eq!(verdict_on(&ask), Action::Pass);
    let probe = neighbour::solicitation(A_MAC, v6("fe80::1"), v6(B_V6));
    assert_eq!(verdict_on(&probe), Action::Pass);
    let honest = neighbour::advertisement(A_MAC, B_MAC, v6(A_V6), v6(B_V6), v6(A_V6));
    assert_eq!(verdict_on(&honest), Action::Pass);
    let stolen = neighbour::advertisement(A_MAC, B_MAC, v6(A_V6), v6(B_V6), v6(B_V6));
    assert_eq!(verdict_on(&stolen), dropped(Reason::SpoofedNd));
    let foreign = neighbour::solicitation(A_MAC, v6("fd00:5::99"), v6(B_V6));
    assert_eq!(verdict_on(&foreign), dropped(Reason::SpoofedNd));
    let mut option = neighbour::advertisement(A_MAC, B_MAC, v6(A_V6), v6(B_V6), v6(A_V6));
    let last = option.len() - 1;
    option[last] ^= 0xff;
    assert_eq!(verdict_on(&option), dropped(Reason::SpoofedNd));
}

#[test]
fn discovery_from_afar_or_in_fragments_is_stopped() {
    let body = [&v6(A_V6).octets()[..], &[2, 1], &A_MAC].concat();
    let advert = Frame::new(A_MAC, B_MAC)
        .ip(ip(A_V6), ip(B_V6))
        .icmp(136, 0, [0x60, 0, 0, 0])
        .payload(&body);
    assert_eq!(verdict_on(&advert.clone().ttl(64).bytes()), dropped(Reason::Malformed));
    let first = advert.ttl(255).fragments(16, 9).remove(0);
    assert_eq!(verdict_on(&first), dropped(Reason::Malformed));
}

#[test]
fn address_resolution_carries_nothing_else() {
    let own = arp::Party { mac: A_MAC, ip: v4(A_V4) };
    let mut long = arp::request(own, v4(B_V4));
    long.resize(60, 0);
    assert_eq!(verdict_on(&long), Action::Pass);
    long.push(0);
    assert_eq!(verdict_on(&long), dropped(Reason::Malformed));
    let ask = |target: &str, option: &[u8]| {
        let body = [&v6(B_V6).octets()[..], option].concat();
        let frame = Frame::new(A_MAC, GATEWAY_MAC).ip(ip(A_V6), ip(target));
        verdict_on(&frame.icmp(135, 0, [0; 4]).ttl(255).payload(&body).bytes())
    };
    let link = [&[1, 1][..], &A_MAC].concat();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    for target in [B_V6, "ff02::1:ff00:3", "fe80::2"] {
        assert_eq!(ask(target, &[&link[..], &nonce].concat()), Action::Pass, "{target}");
    }
    assert_eq!(ask("2001:db8::1", &link), dropped(Reason::Malformed));
    assert_eq!(ask(B_V6, &[99, 1, 0, 0, 0, 0, 0, 0]), dropped(Reason::Malformed));
    assert_eq!(ask(B_V6, &[[1, 2].to_vec(), vec![0; 14]].concat()), dropped(Reason::Malformed));
}

#[test]
fn nobody_probes_for_the_addresses_of_others() {
    let nobody = arp::Party { mac: A_MAC, ip: v4("0.0.0.0") };
    assert_eq!(verdict_on(&arp::request(nobody, v4(A_V4))), Action::Pass);
    assert_eq!(verdict_on(&arp::request(nobody, v4(B_V4))), dropped(Reason::SpoofedArp));
    let ask = |target| verdict_on(&neighbour::solicitation(A_MAC, v6("::"), v6(target)));
    for (target, expected) in [
        (A_V6, Action::Pass),
        ("fe80::1", Action::Pass),
        (B_V6, dropped(Reason::SpoofedNd)),
        ("fe80::2", dropped(Reason::SpoofedNd)),
    ] {
        // The address option does not go with an unspecified source, and is not needed here.
        assert_eq!(ask(target), expected, "{target}");
    }
}

#[test]
fn group_reports_before_there_is_an_address_are_no_attack() {
    let mut tables = tables();
    tables.endpoints.get_mut(&A).expect("A").v6 = Addr::UNSPECIFIED;
    let report = Frame::new(A_MAC, [0x33, 0x33, 0, 0, 0, 0x16])
        .ip(ip("::"), ip("ff02::16"))
        .icmp(143, 0, [0; 4])
        .bytes();
    let simulation = Simulation::new(&tables);
    assert_eq!(sent(&simulation, A, &report), dropped(Reason::LocalScope));
    let discover =
        Frame::new(A_MAC, [0xff; 6]).ip(ip("0.0.0.0"), ip("255.255.255.255")).udp(68, 67).bytes();
    assert_eq!(sent(&simulation, A, &discover), dropped(Reason::LocalScope));
    let global = Frame::new(A_MAC, B_MAC).ip(ip("::"), ip(B_V6)).udp(1, 53).bytes();
    assert_eq!(sent(&simulation, A, &global), dropped(Reason::SpoofedAddress));
}

#[test]
fn the_address_of_an_endpoint_does_not_come_from_elsewhere() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let forged = Frame::new(GATEWAY_MAC, B_MAC).ip(ip(A_V4), ip(B_V4)).udp(4000, 53).bytes();
    assert_eq!(received(&simulation, B, &forged), dropped(Reason::SpoofedAddress));
    assert!(last_event(&simulation).ingress != 0);
}

#[test]
fn no_workload_is_a_router_or_a_dhcp_server() {
    let ra = neighbour::router_advertisement(A_MAC, v6("fe80::1"), v6("2001:db8::"));
    assert_eq!(verdict_on(&ra), dropped(Reason::RogueRouter));
    let redirect =
        neighbour::redirect(A_MAC, (B_MAC, v6(B_V6)), v6("fe80::1"), v6(A_V6), v6("2001:db8::1"));
    assert_eq!(verdict_on(&redirect), dropped(Reason::RogueRouter));
    let offer = dhcp::offer(A_MAC, v4(A_V4), B_MAC, v4(B_V4), 1);
    assert_eq!(verdict_on(&offer), dropped(Reason::RogueDhcp));
    let advertise = dhcp::advertise_v6(A_MAC, (B_MAC, v6(B_V6)), v6(A_V6), 1);
    assert_eq!(verdict_on(&advertise), dropped(Reason::RogueDhcp));
}

#[test]
fn a_rogue_router_behind_the_gateway_is_stopped_too() {
    let tables = tables();
    let ra = neighbour::router_advertisement(GATEWAY_MAC, v6("fe80::9"), v6("2001:db8::"));
    assert_eq!(received(&Simulation::new(&tables), B, &ra), dropped(Reason::RogueRouter));
}

#[test]
fn tags_unknown_protocols_and_runts_are_stopped() {
    let tagged = a_to_b().tcp(1, 80, SYN).vlan(5).bytes();
    assert_eq!(verdict_on(&tagged), dropped(Reason::VlanTag));
    let lldp = Frame::new(A_MAC, B_MAC).ethertype(0x88cc, &[0; 40]).bytes();
    assert_eq!(verdict_on(&lldp), dropped(Reason::UnknownEtherType));
    let whole = a_to_b().tcp(1, 80, SYN).bytes();
    for len in 0..whole.len() {
        assert!(matches!(verdict_on(&whole[..len]), Action::Drop(_)), "{len} bytes");
    }
}

#[test]
fn options_and_extension_headers_are_refused_by_name() {
    let source_route = a_to_b().ipv4_options(&[131, 7, 4, 10, 0, 0, 1, 0]).tcp(1, 80, SYN).bytes();
    assert_eq!(verdict_on(&source_route), dropped(Reason::IpOptions));
    let v6_frame = || Frame::new(A_MAC, B_MAC).ip(ip(A_V6), ip(B_V6)).tcp(1, 80, SYN);
    let routing = v6_frame().extension(extension::ROUTING, &[0; 7]).bytes();
    assert_eq!(verdict_on(&routing), dropped(Reason::ExtensionHeader));
    let fine = v6_frame()
        .extension(extension::HOP_BY_HOP, &[0; 7])
        .extension(extension::DESTINATION, &[0; 7])
        .bytes();
    assert_eq!(verdict_on(&fine), Action::Deliver(B));
    let mut many = v6_frame();
    for _ in 0..8 {
        many = many.extension(extension::DESTINATION, &[0; 7]);
    }
    assert_eq!(verdict_on(&many.bytes()), dropped(Reason::ExtensionHeader));
}

#[test]
fn multicast_and_link_local_stay_at_home() {
    for target in ["224.0.0.251", "255.255.255.255"] {
        let frame = Frame::new(A_MAC, [0xff; 6]).ip(ip(A_V4), ip(target)).udp(5353, 5353).bytes();
        assert_eq!(verdict_on(&frame), dropped(Reason::LocalScope), "{target}");
    }
    let local = Frame::new(A_MAC, B_MAC).ip(ip("fe80::1"), ip("fe80::2")).tcp(1, 80, SYN).bytes();
    assert_eq!(verdict_on(&local), dropped(Reason::LocalScope));
}

#[test]
fn frames_for_others_do_not_reach_an_endpoint() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let flooded = a_to_b().tcp(1, 80, SYN).bytes();
    assert_eq!(received(&simulation, A, &flooded), dropped(Reason::ForeignFrame));
    let wrong_ip = Frame::new(A_MAC, B_MAC).ip(ip(A_V4), ip("10.0.1.77")).tcp(1, 80, SYN).bytes();
    assert_eq!(received(&simulation, B, &wrong_ip), dropped(Reason::ForeignFrame));
}

#[test]
fn a_hook_without_an_endpoint_lets_nothing_through() {
    let tables = tables();
    let simulation = Simulation::new(&tables);
    let frame = a_to_b().tcp(1, 80, SYN).bytes();
    assert_eq!(sent(&simulation, 9, &frame), dropped(Reason::UnknownEndpoint));
    assert_eq!(received(&simulation, 9, &frame), dropped(Reason::UnknownEndpoint));
}
