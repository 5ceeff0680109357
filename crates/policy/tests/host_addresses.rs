//! Addresses of the host in the file, `snat` and `address`: what is refused, and what a host makes of the rest.

mod refused;

use std::fmt::Write as _;

use policy::{Limits, Source};
use refused::with_tenant;

fn network(keys: &str) -> String {
    with_tenant(&format!("    networks: {{ main: {{ {keys} }} }}"))
}

const FILE: &str = r#"bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, "fd00:5::/48"]
        snat: [198.51.100.3, "2001:db8::3"]
      side: { mode: nat, subnets: [10.0.0.0/16], snat: 198.51.100.4 }
    workloads:
      web: { network: main, netns: web }
    publish:
      site: { port: 443/tcp, to: "web:443", address: 198.51.100.5, owner: web }
      own: { port: 444/tcp, to: "web:443", address: 127.0.0.1 }
    policies:
      in: { from: [world, host], to: workload=web, allow: [443/tcp] }
"#;

fn load() -> policy::Checked {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let source = Source { name: "f.yaml", text: FILE };
    policy::load(&source, &|_| None, &Limits::default(), now).expect("loads")
}

#[test]
fn a_network_leaves_with_the_addresses_that_it_names() {
    let document = load().document;
    let snat = |at: usize| {
        document.networks[at].snat.iter().map(|address| address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(snat(0), ["198.51.100.3", "2001:db8::3"]);
    assert_eq!(snat(1), ["198.51.100.4"]);
}

#[test]
fn a_router_tells_its_published_ports_apart_by_port_alone() {
    let published = |second: &str| {
        with_tenant(&format!(
            "    networks: {{ main: {{ subnets: [10.0.0.0/16, \"fd00:5::/48\"] }}, side: {{ subnets: [10.0.0.0/16] }} }}
    workloads:
      one: {{ network: main, netns: a }}
      two: {{ network: main, netns: b }}
      far: {{ network: side, netns: c }}
    publish:
      a: {{ port: 443/tcp, to: \"one:443\", address: 198.51.100.3 }}
      b: {{ port: 443/{second} }}
      wrong: {{ port: 80/tcp, to: \"nobody:80\" }}"
        ))
    };
    for second in ["to: \"two:443\"", "to: \"one:444\""] {
        let told = published(&format!("tcp, {second}, address: 198.51.100.4"));
        assert!(told.contains("443/tcp is published for two targets of one network"), "{told}");
    }
    for second in [
        "tcp, to: \"one:443\", address: 198.51.100.4",
        "tcp, to: \"far:443\", address: 198.51.100.4",
        "udp, to: \"two:443\", address: 198.51.100.4",
        "tcp, to: \"two:443\", address: \"2001:db8::4\"",
    ] {
        let told = published(second);
        assert!(!told.contains("BH0131"), "{second}: {told}");
    }
}

#[test]
fn only_mode_nat_has_addresses_to_leave_with() {
    insta::assert_snapshot!(network("subnets: [10.0.0.0/16], snat: 198.51.100.3"), @"
    error[BH0127]: a network of mode `bridge` has no `snat`
     --> f.yaml:4:55
      |
    4 |     networks: { main: { subnets: [10.0.0.0/16], snat: 198.51.100.3 } }
      |                                                       ^^^^^^^^^^^^
      |
      = hint: nothing of it leaves; remove this, or write `mode: nat`
    ");
    insta::assert_snapshot!(network("mode: routed, subnets: [10.0.0.0/16], snat: [198.51.100.3]"), @"
    error[BH0127]: a network of mode `routed` has no `snat`
     --> f.yaml:4:69
      |
    4 |     networks: { main: { mode: routed, subnets: [10.0.0.0/16], snat: [198.51.100.3] } }
      |                                                                     ^^^^^^^^^^^^^^
      |
      = hint: it leaves with its own addresses; remove this, or write `mode: nat`
    ");
    insta::assert_snapshot!(network("mode: nat, subnets: [10.0.0.0/16], snat: []"), @"
    error[BH0115]: an empty list says nothing
     --> f.yaml:4:66
      |
    4 |     networks: { main: { mode: nat, subnets: [10.0.0.0/16], snat: [] } }
      |                                                                  ^^
      |
      = hint: leave `snat` out to masquerade
    ");
}

#[test]
fn one_address_of_each_version_that_has_a_subnet() {
    let two = "mode: nat, subnets: [10.0.0.0/16], snat: [198.51.100.3, 198.51.100.4]";
    insta::assert_snapshot!(network(two), @"
    error[BH0137]: a network leaves with at most one IPv4 address
     --> f.yaml:4:81
      |
    4 |     networks: { main: { mode: nat, subnets: [10.0.0.0/16], snat: [198.51.100.3, 198.51.100.4] } }
      |                                                                                 ^^^^^^^^^^^^
      |
      = hint: workloads that are to have another one stand in a network of their own
    ");
    let none = "mode: nat, subnets: [10.0.0.0/16], snat: [198.51.100.3, \"2001:db8::3\"]";
    insta::assert_snapshot!(network(none), @r#"
    error[BH0137]: the network `main` has no IPv6 subnet
     --> f.yaml:4:81
      |
    4 |     networks: { main: { mode: nat, subnets: [10.0.0.0/16], snat: [198.51.100.3, "2001:db8::3"] } }
      |                                                                                 ^^^^^^^^^^^^^ nothing could leave with 2001:db8::3
      |
      = hint: add one to `subnets`, or remove this address
    "#);
}

#[test]
fn addresses_that_no_host_has() {
    let mut text = String::new();
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "169.254.64.3",
        "255.255.255.255",
        "\"::1\"",
        "\"::\"",
        "\"fe80::1\"",
        "\"ff02::1\"",
        "\"fd62:756c:6b68::3\"",
    ] {
        let keys = format!("mode: nat, subnets: [10.0.0.0/16, \"fd00::/48\"], snat: {address}");
        let found = network(&keys);
        let label = found.lines().find(|line| line.contains('^')).expect("a label");
        let label = label.trim_start_matches([' ', '|', '^']);
        writeln!(text, "{address}: {label}").expect("a string");
    }
    insta::assert_snapshot!(text, @r#"
    127.0.0.1: this is a loopback address
    0.0.0.0: this range means "this network"
    224.0.0.1: this is a multicast address
    169.254.64.3: link-local: the links between host and routers are there
    255.255.255.255: this address is reserved
    "::1": this is a loopback address
    "::": this address means "none"
    "fe80::1": this is a link-local address
    "ff02::1": this is a multicast address
    "fd62:756c:6b68::3": the links between host and routers are there
    "#);
    insta::assert_snapshot!(network("mode: nat, subnets: [10.0.0.0/16], snat: 127.0.0.1"), @"
    error[BH0137]: workloads cannot leave with 127.0.0.1
     --> f.yaml:4:66
      |
    4 |     networks: { main: { mode: nat, subnets: [10.0.0.0/16], snat: 127.0.0.1 } }
      |                                                                  ^^^^^^^^^ this is a loopback address
      |
      = hint: write an address of this host: ip address show
    ");
}

#[test]
fn addresses_to_publish_on() {
    let publish = |address: &str| {
        with_tenant(&format!(
            "    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads: {{ web: {{ netns: web }} }}
    publish:
      site:
        port: 443/tcp
        to: \"web:443\"
        address: {address}"
        ))
    };
    insta::assert_snapshot!(publish("0.0.0.0"), @r#"
    error[BH0137]: no port can be published on 0.0.0.0
      --> f.yaml:10:18
       |
    10 |         address: 0.0.0.0
       |                  ^^^^^^^ this range means "this network"
       |
       = hint: leave `address` out to publish on every address of the host
    "#);
    insta::assert_snapshot!(publish("169.254.64.3"), @"
    error[BH0137]: no port can be published on 169.254.64.3
      --> f.yaml:10:18
       |
    10 |         address: 169.254.64.3
       |                  ^^^^^^^^^^^^ link-local: the links between host and routers are there
       |
       = hint: write an address of this host: ip address show
    ");
}

#[test]
fn addresses_of_routed_workloads_are_not_the_hosts() {
    insta::assert_snapshot!(with_tenant(
        "    networks:
      main: { mode: nat, subnets: [10.0.0.0/16], snat: 192.0.2.10 }
      open: { mode: routed, subnets: [192.0.2.0/24] }
    workloads:
      web: { network: main, netns: web }
    publish:
      site: { port: 443/tcp, to: \"web:443\", address: 192.0.2.11 }"
    ), @r#"
    error[BH0137]: the network `shop.main` cannot leave with 192.0.2.10
     --> f.yaml:5:7
      |
    5 |       main: { mode: nat, subnets: [10.0.0.0/16], snat: 192.0.2.10 }
      |       ^^^^ this address is a workload's
    6 |       open: { mode: routed, subnets: [192.0.2.0/24] }
      |       ---- it lies in the routed network `shop.open`
      |
      = hint: write an address of this host: ip address show

    error[BH0137]: no port can be published on 192.0.2.11
      --> f.yaml:10:7
       |
     6 |       open: { mode: routed, subnets: [192.0.2.0/24] }
       |       ---- it lies in the routed network `shop.open`
    ...
    10 |       site: { port: 443/tcp, to: "web:443", address: 192.0.2.11 }
       |       ^^^^ this address is a workload's
       |
       = hint: write an address of this host: ip address show
    "#);
}

#[test]
fn what_a_host_lacks_is_a_warning() {
    let mut checked = load();
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let has = |addresses: &[&str]| {
        let own: Vec<_> =
            addresses.iter().map(|address| address.parse().expect("an address")).collect();
        policy::strays(&checked.document, &own)
    };
    let all = ["198.51.100.3", "2001:db8::3", "198.51.100.4", "198.51.100.5"];
    assert!(policy::names_addresses(&checked.document));
    assert_eq!(has(&all), []);
    assert_eq!(has(&all[1..]).len(), 1);
    let found = has(&all[..2]);
    checked.warnings.add(found);
    insta::assert_snapshot!(checked.warnings.render(false), @r#"
    warning[BH0160]: the network `shop.side` leaves with 198.51.100.4, which this host does not have
     --> f.yaml:9:7
      |
    9 |       side: { mode: nat, subnets: [10.0.0.0/16], snat: 198.51.100.4 }
      |       ^^^^ answers come back only if they are routed to this host
      |
      = hint: give it to the host: ip address add 198.51.100.4 dev LINK

    warning[BH0160]: `shop.site` is published on 198.51.100.5, which this host does not have
      --> f.yaml:13:7
       |
    13 |       site: { port: 443/tcp, to: "web:443", address: 198.51.100.5, owner: web }
       |       ^^^^ clients reach it only if the address is routed to this host
       |
       = hint: give it to the host: ip address add 198.51.100.5 dev LINK
    "#);
}
