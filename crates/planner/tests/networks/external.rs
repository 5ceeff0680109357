//! External networks: somebody else forwards, workloads are ports in place, everybody knows them by address.

use std::net::IpAddr;

use jiff::Timestamp;
use planner::{Allocations, Bundle, Compiler, Facts};
use policy::Source;
use verdict::abi::{Addr, Endpoint, HOST_IDENTITY, PeerKey, Posture, UNMANAGED_ENDPOINT};

use crate::{host, identity, load};

const FILE: &str = r#"bulkhead: 1
unmanaged: deny
tenants:
  t:
    networks:
      lan: { external: { bridge: virbr0 }, subnets: [192.168.122.0/24, "fd00:9::/64"] }
      main: { mode: routed, subnets: [10.0.1.0/24] }
    workloads:
      vm: { network: lan, port: { interface: vnet0, mac: "52:54:00:00:00:01", dhcp: true }, address: [192.168.122.10] }
      web: { network: main, netns: web }
    policies:
      in: { from: workload=web, to: workload=vm, allow: [22/tcp] }
"#;

fn facts() -> Facts {
    host(&["192.0.2.10", "192.168.122.1"])
}

fn made(text: &str) -> Bundle {
    crate::made(text, &facts())
}

#[test]
fn a_port_in_place_has_the_address_that_it_was_given_and_nothing_of_ours() {
    let bundle = made(FILE);
    let (router, at) = bundle.attachment("t.vm").expect("attached");
    assert!(router.external.is_some() && router.gateways.is_empty());
    assert_eq!(at.mac, [0x52, 0x54, 0, 0, 0, 1]);
    let addresses: Vec<String> = at.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.122.10/24"], "none of IPv6 was given, so none is made up");
    assert_eq!((at.gateway_v4, at.gateway_v6), (None, None));
    let entry = bundle.tables.endpoints[&u32::from(at.number)];
    assert_eq!(entry.flags, Endpoint::IN_PLACE | Endpoint::DHCP_CLIENT);
    assert_eq!(entry.mac, at.mac);
    let (_, ours) = bundle.attachment("t.web").expect("attached");
    assert_eq!(bundle.tables.endpoints[&u32::from(ours.number)].flags, 0);
}

#[test]
fn an_external_network_is_met_by_address_and_the_host_stands_in_it() {
    let bundle = made(FILE);
    let vm = bundle.workloads["t.vm"].identity;
    assert_eq!(identity(&bundle, "lan", "192.168.122.10"), vm);
    assert_eq!(identity(&bundle, "main", "192.168.122.10"), vm, "as a routed one is");
    for network in ["lan", "main"] {
        assert_eq!(identity(&bundle, network, "192.168.122.1"), HOST_IDENTITY, "{network}");
        let unmanaged = model::Identity::UNMANAGED.0;
        assert_eq!(identity(&bundle, network, "192.168.122.77"), unmanaged, "{network}");
    }
    let world = model::Identity::WORLD.0;
    assert_eq!(identity(&bundle, "lan", "203.0.113.1"), world);
}

#[test]
fn external_and_routed_networks_do_not_overlap() {
    let text = FILE.replace("10.0.1.0/24", "192.168.0.0/16");
    let source = Source { name: "f.yaml", text: &text };
    let found = policy::load(&source, &|_| None, &policy::Limits::default(), Timestamp::UNIX_EPOCH);
    let said = format!("{:?}", found.expect_err("refused"));
    assert!(said.contains("external network `t.lan`"), "{said}");
}

#[test]
fn a_port_that_changes_is_compiled_and_another_label_is_not_a_port() {
    let first = load(FILE);
    let mut compiler = Compiler::new(first, &Allocations::default(), &facts()).expect("compiles");
    let text = FILE.replace("52:54:00:00:00:01", "52:54:00:00:00:02");
    compiler.update(load(&text), &facts()).expect("updated");
    let (_, at) = compiler.bundle().attachment("t.vm").expect("attached");
    let entry = compiler.bundle().tables.endpoints[&u32::from(at.number)];
    assert_eq!((at.mac[5], entry.mac[5]), (2, 2));
    assert_eq!(*compiler.bundle(), made(&text));
}

#[test]
fn what_is_nobodys_has_the_posture_of_the_file_and_cannot_claim_what_is_somebodys() {
    let posture = |bundle: &Bundle| {
        let entry = bundle.tables.endpoints.get(&UNMANAGED_ENDPOINT)?;
        assert_eq!(entry.flags, Endpoint::UNMANAGED | Endpoint::IN_PLACE);
        Some(entry.posture[0])
    };
    let bundle = made(FILE);
    assert_eq!(posture(&bundle), Some([Posture::Deny as u8; 2]));
    let (router, at) = bundle.attachment("t.vm").expect("attached");
    let network = u32::from(router.number);
    let link_local: IpAddr = "fe80::5054:ff:fe00:1".parse().expect("an address");
    for addr in [Addr::of_mac(at.mac), Addr::from(link_local)] {
        let peer = bundle.tables.exact.get(&PeerKey { network, addr }).expect("it is known");
        assert_eq!(peer.endpoint, u32::from(at.number));
    }

    // Another posture is another bundle, and without a bridge of somebody else there is nobody.
    let mut compiler =
        Compiler::new(load(FILE), &Allocations::default(), &facts()).expect("compiles");
    let text = FILE.replace("unmanaged: deny\n", "");
    compiler.update(load(&text), &facts()).expect("updated");
    assert_eq!(posture(compiler.bundle()), Some([Posture::Audit as u8; 2]));
    let (counts, changes) = planner::objects(Some(&load(FILE)), &load(&text));
    assert!(counts.iter().any(|each| (each.kind, each.changed) == ("unmanaged", 1)), "{counts:?}");
    let told = changes.first().and_then(|change| change.detail.as_deref()).unwrap_or_default();
    assert!(told.starts_with("audit: "), "{changes:?}");
    let ours = FILE.replace("{ external: { bridge: virbr0 },", "{ mode: bridge,");
    let ours = ours
        .replace("port: { interface: vnet0, mac: \"52:54:00:00:00:01\", dhcp: true }", "netns: vm");
    assert_eq!(posture(&made(&ours)), None);
}
