//! The rules as `nft list table` shows them.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::network::{NetworkNumber, NsName};

use super::*;

fn network(number: u16, tenant: &str, snat: &[&str]) -> RouterDesired {
    RouterDesired {
        number: NetworkNumber::new(number).expect("in range"),
        name: NsName::router(tenant, "main").expect("a name"),
        mode: Mode::Nat,
        gateways: Vec::new(),
        subnets: vec!["10.0.0.0/16".parse().expect("v4")],
        snat: snat.iter().map(|address| address.parse().expect("an address")).collect(),
        lan: None,
        mtu: 1500,
        endpoints: Vec::new(),
        publishes: Vec::new(),
    }
}

fn published(transport: Transport, ports: (u16, u16), address: Option<&str>) -> PublishDesired {
    PublishDesired {
        name: "site".to_owned(),
        transport,
        ports,
        target_port: ports.0,
        target_v4: Some([10, 0, 1, 10].into()),
        target_v6: None,
        address: address.map(|address| address.parse().expect("an address")),
        from: Vec::new(),
    }
}

fn words(rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        writeln!(text, "{rule}").expect("a string");
    }
    text
}

#[test]
fn r004_each_network_leaves_with_its_own_addresses() {
    let routers = [
        network(0, "shop", &["198.51.100.3", "2001:db8::3"]),
        network(1, "bank", &["198.51.100.4"]),
        network(2, "blog", &["198.51.100.3"]),
        network(3, "plain", &[]),
    ];
    assert_snapshot!(words(&host(&routers)), @r#"
    ip saddr { 169.254.64.1, 169.254.64.5 } oifname != "bt*" meta l4proto tcp snat ip to 198.51.100.3:32768-65535 comment "snat"
    ip saddr { 169.254.64.1, 169.254.64.5 } oifname != "bt*" meta l4proto udp snat ip to 198.51.100.3:32768-65535 comment "snat"
    ip saddr { 169.254.64.1, 169.254.64.5 } oifname != "bt*" meta l4proto sctp snat ip to 198.51.100.3:32768-65535 comment "snat"
    ip saddr { 169.254.64.1, 169.254.64.5 } oifname != "bt*" snat ip to 198.51.100.3 comment "snat"
    ip saddr 169.254.64.3 oifname != "bt*" meta l4proto tcp snat ip to 198.51.100.4:32768-65535 comment "snat"
    ip saddr 169.254.64.3 oifname != "bt*" meta l4proto udp snat ip to 198.51.100.4:32768-65535 comment "snat"
    ip saddr 169.254.64.3 oifname != "bt*" meta l4proto sctp snat ip to 198.51.100.4:32768-65535 comment "snat"
    ip saddr 169.254.64.3 oifname != "bt*" snat ip to 198.51.100.4 comment "snat"
    ip6 saddr fd62:756c:6b68::1 oifname != "bt*" meta l4proto tcp snat ip6 to [2001:db8::3]:32768-65535 comment "snat"
    ip6 saddr fd62:756c:6b68::1 oifname != "bt*" meta l4proto udp snat ip6 to [2001:db8::3]:32768-65535 comment "snat"
    ip6 saddr fd62:756c:6b68::1 oifname != "bt*" meta l4proto sctp snat ip6 to [2001:db8::3]:32768-65535 comment "snat"
    ip6 saddr fd62:756c:6b68::1 oifname != "bt*" snat ip6 to 2001:db8::3 comment "snat"
    ip saddr 169.254.64.0/19 oifname != "bt*" meta l4proto tcp masquerade to :32768-65535
    ip saddr 169.254.64.0/19 oifname != "bt*" meta l4proto udp masquerade to :32768-65535
    ip saddr 169.254.64.0/19 oifname != "bt*" meta l4proto sctp masquerade to :32768-65535
    ip saddr 169.254.64.0/19 oifname != "bt*" masquerade
    ip6 saddr fd62:756c:6b68::/64 oifname != "bt*" meta l4proto tcp masquerade to :32768-65535
    ip6 saddr fd62:756c:6b68::/64 oifname != "bt*" meta l4proto udp masquerade to :32768-65535
    ip6 saddr fd62:756c:6b68::/64 oifname != "bt*" meta l4proto sctp masquerade to :32768-65535
    ip6 saddr fd62:756c:6b68::/64 oifname != "bt*" masquerade
    "#);
    assert_snapshot!(words(&router(&routers[0])), @r#"
    iifname "br0" oifname "up0" meta l4proto tcp masquerade to :32768-65535
    iifname "br0" oifname "up0" meta l4proto udp masquerade to :32768-65535
    iifname "br0" oifname "up0" meta l4proto sctp masquerade to :32768-65535
    iifname "br0" oifname "up0" masquerade
    "#);
}

#[test]
fn only_mode_nat_leaves_translated() {
    for mode in [Mode::Bridge, Mode::Routed] {
        let mut other = network(0, "shop", &["198.51.100.3"]);
        other.mode = mode;
        assert_eq!(router(&other), []);
        assert!(!words(&host(&[other])).contains("snat"));
    }
}

#[test]
fn r004_nothing_leaves_from_a_published_port() {
    let mut shop = network(0, "shop", &["198.51.100.3"]);
    let mut bank = network(1, "bank", &["198.51.100.4"]);
    shop.publishes = vec![published(Transport::Udp, (51_820, 51_820), Some("198.51.100.4"))];
    bank.publishes = vec![published(Transport::Udp, (40_000, 40_000), None)];
    let of = |address: &str| {
        let rules = words(&host(&[shop.clone(), bank.clone()]));
        let udp = |line: &&str| line.contains("l4proto udp") && line.contains(address);
        rules.lines().find(udp).map(str::to_owned).expect("a rule")
    };
    assert!(of("198.51.100.3").contains(":40001-65535"), "51820 is another address's");
    assert!(of("198.51.100.4").contains(":51821-65535"));
    assert!(of("169.254.64.0/19").contains(":51821-65535"), "it may be any address");
    assert!(words(&router(&shop)).contains("udp masquerade to :32768-51819"), "its own alone");
}

#[test]
fn r004_a_published_service_speaks_from_its_own_port_where_it_is_its_own() {
    let mut shop = network(0, "shop", &["198.51.100.3"]);
    let mut bank = network(1, "bank", &[]);
    let publish = |port, address| published(Transport::Udp, (port, port), address);
    shop.publishes = vec![publish(5060, None), publish(53, Some("198.51.100.4"))];
    bank.publishes = vec![publish(123, None), publish(53, Some("198.51.100.5"))];
    bank.publishes.push(published(Transport::Tcp, (179, 179), None));
    for publish in shop.publishes.iter_mut().chain(&mut bank.publishes) {
        publish.target_port += 1000;
    }
    let own = |rules: Vec<Rule>| {
        let mut rules = rules;
        rules.retain(|rule| rule.matches.iter().any(|it| matches!(it, Match::SourcePort(..))));
        words(&rules)
    };
    assert_snapshot!(own(router(&shop)), @r#"
    iifname "br0" oifname "up0" ip saddr 10.0.1.10 udp sport 6060 snat ip to 169.254.64.1:5060 comment "from site"
    iifname "br0" oifname "up0" ip saddr 10.0.1.10 udp sport 1053 snat ip to 169.254.64.1:53 comment "from site"
    "#);
    assert_snapshot!(own(host(&[shop, bank])), @r#"
    ip saddr 169.254.64.1 oifname != "bt*" udp sport 5060 snat ip to 198.51.100.3:5060 comment "from site"
    ip saddr 169.254.64.3 oifname != "bt*" udp sport 123 masquerade to :123 comment "from site"
    "#);
}

#[test]
fn the_longest_run_of_free_ports_is_taken() {
    let free = |ports: &[(u16, u16)]| {
        let all: Vec<PublishDesired> =
            ports.iter().map(|ports| published(Transport::Tcp, *ports, None)).collect();
        free_ports(Transport::Tcp, &all.iter().collect::<Vec<_>>())
    };
    assert_eq!(free(&[]), PORTS);
    assert_eq!(free(&[(80, 80), (443, 443), (8080, 8080)]), PORTS);
    assert_eq!(free(&[(32_768, 32_768)]), (32_769, u16::MAX));
    assert_eq!(free(&[(65_535, 65_535)]), (32_768, 65_534));
    assert_eq!(free(&[(30_000, 33_000), (32_900, 32_950)]), (33_001, u16::MAX));
    assert_eq!(free(&[(60_000, 60_000), (40_000, 40_000)]), (40_001, 59_999));
    assert_eq!(free(&[(32_769, u16::MAX)]), (32_768, 32_768));
    assert_eq!(free(&[(1, u16::MAX)]), PORTS, "none is free");
}
