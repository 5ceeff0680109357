//! External networks and ports in place: what goes together, and what is said of the rest.

use std::fmt::Write as _;

use jiff::Timestamp;
use policy::document::{External, Start};
use policy::{Limits, Source, load};

/// Messages with their line, labels and hints; "fine" without any.
fn told(networks: &str, workloads: &str) -> String {
    let text = format!(
        "bulkhead: 1\ntenants:\n  t:\n    networks:\n{networks}    workloads:\n{workloads}"
    );
    let source = Source { name: "f.yaml", text: &text };
    let found = load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    let list = match found {
        Ok(checked) => checked.warnings,
        Err(list) => *list,
    };
    let mut out = String::new();
    for each in &list.items {
        let line = each.span.map_or(0, |span| span.line);
        writeln!(out, "{} {line}: {}", each.code, each.message).expect("a string");
    }
    if out.is_empty() { "fine".to_owned() } else { out }
}

const LAN: &str = "      lan: { external: { bridge: br0 }, subnets: [192.168.1.0/24] }\n";
const VM: &str =
    "      vm: { port: { interface: tap0, mac: \"52:54:00:00:00:01\" }, address: [192.168.1.1] }\n";

#[test]
fn what_goes_together() {
    assert_eq!(told(LAN, VM), "fine");
    let docker = "      lan: { external: { docker: shop_default } }\n";
    assert_eq!(told(docker, VM), "fine", "the engine knows the subnets");
    let text = format!("bulkhead: 1\ntenants:\n  t:\n    networks:\n{docker}    workloads:\n{VM}");
    let source = Source { name: "f.yaml", text: &text };
    let found = load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    let document = found.expect("correct").document;
    let external = document.networks.first().and_then(|network| network.external.clone());
    assert_eq!(external, Some(External::Docker("shop_default".to_owned())));
    let workload = document.workload("t.vm").expect("there");
    let Start::Port(port) = &workload.start else { panic!("{:?}", workload.start) };
    assert_eq!((port.interface.as_str(), port.mac[0], port.dhcp), ("tap0", 0x52, false));
    assert_eq!(document.unmanaged_posture(), model::Posture::Audit);
}

#[test]
fn what_does_not_go_together() {
    let mode = "      lan: { mode: nat, external: { bridge: br0 }, subnets: [192.168.1.0/24] }\n";
    insta::assert_snapshot!(told(mode, VM), @"BH0108 5: `external` stands in the place of `mode`");
    let segments = "      lan: { external: { bridge: br0, docker: x }, subnets: [192.168.1.0/24], segments: { a: { subnet: 192.168.1.0/24 } } }\n";
    insta::assert_snapshot!(told(segments, VM), @r"
    BH0108 5: `bridge` and `docker` exclude each other
    BH0142 5: the external network `lan` cannot have segments
    ");
    insta::assert_snapshot!(told("      lan: { external: {}, subnets: [192.168.1.0/24] }\n", VM), @"BH0107 5: the external network `lan` names nothing");
    let ours = "      lan: { mode: nat, subnets: [192.168.1.0/24] }\n";
    insta::assert_snapshot!(told(ours, &VM.replace("192.168.1.1]", "192.168.1.2]")), @"BH0142 7: `vm` is a port in place, and its network is ours");
    let others = "      a: { netns: a }\n      b: { run: [x], port: { interface: tap0, mac: \"52:54:00:00:00:01\" }, user: nobody }\n      c: { port: { interface: tap0, mac: \"52:54:00:00:00:01\" }, address: [10.0.0.1] }\n      d: { port: { interface: a/b, mac: 1 } }\n";
    insta::assert_snapshot!(told(LAN, others), @r"
    BH0142 7: `a` cannot be put into an external network
    BH0107 8: the port of `b` has no address
    BH0108 8: `run` and `port` exclude each other
    BH0108 8: `user` is a setting of the built-in runtime
    BH0143 9: the interface `tap0` of `c` is another workload's
    BH0143 9: the MAC address of `c` is another workload's
    BH0128 9: `c` cannot have the address 10.0.0.1
    BH0115 10: `a/b` is not the name of an interface
    BH0115 10: `1` is not a MAC address
    ");
}
