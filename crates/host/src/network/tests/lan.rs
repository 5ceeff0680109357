//! Networks on a LAN: a leg for each kind of uplink, and a host that gets back what it had.

use super::*;
use crate::network::{LanDesired, LinkState, NsState};

/// A network on the LAN of `uplink`, with one endpoint.
fn on(uplink: &str, vlan: Option<u16>) -> Desired {
    let mut desired = shop();
    let router = &mut desired.routers[0];
    (router.mode, router.gateways, router.subnets) = (Mode::Bridge, Vec::new(), Vec::new());
    router.publishes.clear();
    router.endpoints.truncate(1);
    router.endpoints[0].mac = Mac([0x02, 0x62, 0x69, 0, 1, 10]);
    let gateways = vec![[10, 0, 1, 254].into()];
    router.lan = Some(LanDesired { uplink: uplink.to_owned(), vlan, gateways });
    desired
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    let mac = |last| Mac([0x52, 0x54, 0, 0, 0, last]);
    let link = |index, kind: &str, last, mtu| LinkState {
        index,
        kind: kind.to_owned(),
        mac: mac(last),
        mtu,
        up: true,
        master: None,
        peer: None,
        is_far: false,
        port: None,
        vlan: None,
    };
    let host = bench.kernel.namespaces.get_mut(&Ns::Host).expect("the host");
    host.links.insert("eth1".to_owned(), link(7, "", 7, 1400));
    host.links.insert("br-lan".to_owned(), link(8, "bridge", 8, 1500));
    bench
}

fn state<'b>(bench: &'b Bench, ns: &Ns) -> &'b NsState {
    &bench.kernel.namespaces[ns]
}

#[test]
fn every_kind_of_uplink_has_its_leg_and_teardown_takes_it_back() {
    for desired in [on("eth1", None), on("br-lan", None), on("eth1", Some(100))] {
        let mut bench = bench();
        let before = bench.kernel.to_string();
        let outcome = bench.pass(&desired);
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
        bench.quiet(&desired);
        let leg = &state(&bench, &router()).links["lan0"];
        assert!(leg.up && leg.port == Some(PortFlags::LAN));
        teardown(&mut bench.kernel, &mut bench.programs).expect("readable");
        assert_eq!(bench.kernel.to_string(), before);
    }
}

#[test]
fn a_nic_gets_a_table_and_the_macs_and_its_mtu_counts() {
    let mut bench = bench();
    bench.pass(&on("eth1", None));
    let host = state(&bench, &Ns::Host);
    assert_eq!(host.links["bl3"].index, 0x0030_0003);
    assert_eq!(host.unicast.iter().next().map(|(link, _)| link.as_str()), Some("eth1"));
    assert_eq!(state(&bench, &router()).links["br0"].mtu, 1400);
    assert_eq!(state(&bench, &workload("web")).links["eth0"].mtu, 1400);
    let tables = [&bench.kernel.edges[&Ns::Host].0, &bench.kernel.edges[&router()].0];
    assert_snapshot!(tables.map(ToString::to_string).join("\n"));
    // The MAC of the LAN's router is not ours to say.
    let routes = &state(&bench, &workload("web")).neighbours;
    assert!(routes.is_empty(), "{routes:?}");
}

#[test]
fn a_leg_changes_with_its_uplink_and_goes_without_one() {
    let mut bench = bench();
    bench.pass(&on("eth1", None));
    assert!(bench.pass(&on("br-lan", None)).failed.is_empty());
    bench.quiet(&on("br-lan", None));
    let host = state(&bench, &Ns::Host);
    assert_eq!(host.links["bl3"].master, Some(8));
    assert!(host.unicast.is_empty() && !bench.kernel.edges.contains_key(&Ns::Host));
    assert!(bench.pass(&on("eth1", Some(100))).failed.is_empty());
    bench.quiet(&on("eth1", Some(100)));
    let leg = &state(&bench, &router()).links["lan0"];
    assert_eq!((leg.vlan, leg.peer), (Some(100), Some(7)));
    assert!(!state(&bench, &Ns::Host).links.contains_key("bl3"));
    let mut internal = on("eth1", None);
    internal.routers[0].lan = None;
    assert!(bench.pass(&internal).failed.is_empty());
    bench.quiet(&internal);
    assert!(!state(&bench, &router()).links.contains_key("lan0"));
    assert!(bench.kernel.edges.is_empty());
}

#[test]
fn what_somebody_takes_from_an_edge_is_put_back() {
    let mut bench = bench();
    let desired = on("eth1", None);
    bench.pass(&desired);
    bench.kernel.edges.remove(&Ns::Host);
    bench.kernel.edges.get_mut(&router()).expect("a table").1 = false;
    let host = bench.kernel.namespaces.get_mut(&Ns::Host).expect("the host");
    host.unicast.clear();
    assert!(bench.pass(&desired).failed.is_empty());
    bench.quiet(&desired);
    assert_eq!(bench.kernel.edges.len(), 2);
    assert!(bench.kernel.edges.values().all(|(_, intact)| *intact));
}
