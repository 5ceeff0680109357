//! Networks on a LAN: their workloads have what the file says, the rest of the LAN is the world, and the port that a packet came by
//! is looked at.

use std::net::IpAddr;

use planner::{Allocations, Bundle, Compiler, Facts, compile};
use verdict::abi::{Endpoint, HOST_IDENTITY};

use crate::{address, host, identity, load};

const FILE: &str = r#"bulkhead: 1
tenants:
  t:
    networks:
      lan: { mode: bridge, uplink: eth1, subnets: [192.168.50.0/24, "fd00:50::/64"], gateway: [192.168.50.1, "fe80::1"] }
      main: { mode: nat, subnets: [10.0.1.0/24] }
    workloads:
      print: { network: lan, address: [192.168.50.10], run: [x] }
      scan: { network: lan, address: ["fd00:50::a:b0c"], run: [x] }
      web: { network: main, run: [x] }
    policies:
      in: { from: 192.168.50.20, to: workload=print, allow: [631/tcp] }
"#;

fn facts() -> Facts {
    host(&["192.0.2.10", "192.168.50.2"])
}

fn made(text: &str) -> Bundle {
    crate::made(text, &facts())
}

#[test]
fn workloads_have_what_the_file_says_and_no_more() {
    let bundle = made(FILE);
    let (router, print) = bundle.attachment("t.print").expect("attached");
    assert!(router.lan.is_some() && router.gateways.is_empty() && router.subnets.is_empty());
    let shown: Vec<String> = print.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.168.50.10/24"], "no address is given out");
    assert_eq!(print.gateway_v4.map(IpAddr::V4), Some(address("192.168.50.1")));
    assert_eq!(print.gateway_v6, None, "without an address there is no way");
    assert_eq!(print.mac, [0x02, 0x62, 0x69, 168, 50, 10]);
    let (_, scan) = bundle.attachment("t.scan").expect("attached");
    assert_eq!((scan.mac, scan.gateway_v4), ([0x02, 0x62, 0x69, 0x0a, 0x0b, 0x0c], None));
    assert_eq!(scan.gateway_v6.map(IpAddr::V6), Some(address("fe80::1")));
    let entry = |number: u16| bundle.tables.endpoints[&u32::from(number)];
    assert_eq!(entry(print.number).flags, Endpoint::IN_PLACE, "both ends judge");
    let (_, web) = bundle.attachment("t.web").expect("attached");
    assert_eq!(entry(web.number).flags, 0);
}

#[test]
fn the_rest_of_the_lan_is_the_world_and_the_host_is_the_host() {
    let bundle = made(FILE);
    let world = identity(&bundle, "lan", "203.0.113.9");
    assert_eq!(identity(&bundle, "lan", "192.168.50.20"), world);
    assert_eq!(identity(&bundle, "lan", "192.168.50.1"), world, "its router, too");
    assert_eq!(identity(&bundle, "lan", "192.168.50.2"), HOST_IDENTITY);
    assert_ne!(identity(&bundle, "lan", "192.168.50.10"), world);
    let outside = identity(&bundle, "main", "203.0.113.9");
    assert_eq!(identity(&bundle, "main", "192.168.50.10"), outside, "as anybody outside");
}

#[test]
fn a_change_is_compiled_as_the_whole_is() {
    let mut compiler =
        Compiler::new(load(FILE), &Allocations::default(), &facts()).expect("compiles");
    let more = FILE.replace(
        "      web:",
        "      fax: { network: lan, address: 192.168.50.11, run: [x] }\n      web:",
    );
    let moved = more.replace("uplink: eth1", "uplink: eth1, vlan: 7");
    for text in [&more, &moved, &FILE.to_owned()] {
        compiler.update(load(text), &facts()).expect("compiles");
        let kept = compiler.bundle().allocations.clone();
        assert_eq!(*compiler.bundle(), compile(&load(text), &kept, &facts()).expect("compiles"));
    }
}
