//! The network of a host, built in a real kernel and taken away again.

use std::time::Duration;

use crate::lab::{
    CLIENT_V4, CLIENT_V6, HOST_V4, HOST_V6, Lab, PATIENCE, ask, on_host, serve, twins,
};
use host::network::{
    Desired, Mode, NoPrograms, Outcome, Place, PublishDesired, Transport, reconcile, teardown,
};

/// How long a connection that must not come about is waited for.
const REFUSED: Duration = Duration::from_millis(400);

fn publish(port: u16, target_port: u16) -> PublishDesired {
    PublishDesired {
        name: "https".to_owned(),
        transport: Transport::Tcp,
        ports: (port, port),
        target_port,
        target_v4: Some([10, 0, 1, 10].into()),
        target_v6: Some("fd00:5:0:1::a".parse().expect("v6")),
        address: None,
        from: Vec::new(),
    }
}

fn pass(lab: &Lab, desired: &Desired) -> Outcome {
    let outcome = on_host(lab, |linux| reconcile(linux, &mut NoPrograms, desired));
    let outcome = outcome.expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    outcome
}

fn down(lab: &Lab) -> Outcome {
    let outcome = on_host(lab, |linux| teardown(linux, &mut NoPrograms)).expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    outcome
}

#[test]
fn two_tenants_with_one_subnet_never_meet_root() {
    if !crate::lab::is_root("two_tenants_with_one_subnet_never_meet_root") {
        return;
    }
    let lab = Lab::new();
    let before = crate::lab::picture(&lab.host);
    let desired = twins(Mode::Nat);
    pass(&lab, &desired);
    let again = pass(&lab, &desired);
    assert!(again.is_quiet(), "{again:#?}");

    let (shop, bank) = (lab.workload("shop.web"), lab.workload("bank.web"));
    let _a = serve(&lab.workload("shop.db"), "[::]:80");
    let _b = serve(&lab.workload("bank.db"), "[::]:81");
    for (ns, open, closed) in [(&shop, 80, 81), (&bank, 81, 80)] {
        assert_eq!(ask(ns, &format!("10.0.1.11:{open}"), PATIENCE), Ok("10.0.1.10".to_owned()));
        let v6 = ask(ns, &format!("[fd00:5:0:1::b]:{open}"), PATIENCE);
        assert_eq!(v6, Ok("fd00:5:0:1::a".to_owned()));
        assert!(ask(ns, &format!("10.0.1.11:{closed}"), REFUSED).is_err());
    }

    let _world = serve(&lab.client, "[::]:8080");
    assert_eq!(ask(&shop, &format!("{CLIENT_V4}:8080"), PATIENCE), Ok(HOST_V4.to_owned()));
    assert_eq!(ask(&bank, &format!("[{CLIENT_V6}]:8080"), PATIENCE), Ok(HOST_V6.to_owned()));

    down(&lab);
    assert!(down(&lab).is_quiet());
    assert_eq!(crate::lab::picture(&lab.host), before);
}

#[test]
fn a_published_port_keeps_the_clients_address_root() {
    if !crate::lab::is_root("a_published_port_keeps_the_clients_address_root") {
        return;
    }
    let lab = Lab::new();
    let before = crate::lab::picture(&lab.host);
    for mode in [Mode::Nat, Mode::Bridge] {
        let mut desired = twins(mode);
        desired.routers[0].publishes = vec![publish(443, 8443)];
        pass(&lab, &desired);
        assert!(pass(&lab, &desired).is_quiet());
        let server = serve(&lab.workload("shop.web"), "[::]:8443");
        let (v4, v6) = (format!("{HOST_V4}:443"), format!("[{HOST_V6}]:443"));

        // From outside: the server sees the client itself.
        assert_eq!(ask(&lab.client, &v4, PATIENCE), Ok(CLIENT_V4.to_owned()));
        assert_eq!(ask(&lab.client, &v6, PATIENCE), Ok(CLIENT_V6.to_owned()));
        assert!(ask(&lab.client, &format!("{HOST_V4}:8443"), REFUSED).is_err());
        // From the host itself, by its address and by loopback.
        assert_eq!(ask(&lab.host, &v4, PATIENCE), Ok(HOST_V4.to_owned()));
        assert_eq!(ask(&lab.host, &v6, PATIENCE), Ok(HOST_V6.to_owned()));
        assert_eq!(ask(&lab.host, "127.0.0.1:443", PATIENCE), Ok("169.254.64.0".to_owned()));
        // From the network itself, even from the server to itself.
        for name in ["shop.db", "shop.web"] {
            let seen = ask(&lab.workload(name), &v4, PATIENCE);
            assert_eq!(seen, Ok("169.254.64.1".to_owned()), "{name}");
            let seen = ask(&lab.workload(name), &v6, PATIENCE);
            assert_eq!(seen, Ok("fd62:756c:6b68::1".to_owned()), "{name}");
        }
        drop(server);
    }
    down(&lab);
    assert_eq!(crate::lab::picture(&lab.host), before);
}

#[test]
fn a_bridge_does_not_leave_and_a_routed_network_keeps_its_addresses_root() {
    if !crate::lab::is_root("a_bridge_does_not_leave_and_a_routed_network_keeps_its_addresses_root")
    {
        return;
    }
    let lab = Lab::new();
    let before = crate::lab::picture(&lab.host);
    let _world = serve(&lab.client, "[::]:8080");
    let mut desired = twins(Mode::Bridge);
    desired.routers.truncate(1);
    pass(&lab, &desired);
    assert!(ask(&lab.workload("shop.web"), &format!("{CLIENT_V4}:8080"), REFUSED).is_err());

    desired.routers[0].mode = Mode::Routed;
    pass(&lab, &desired);
    assert!(pass(&lab, &desired).is_quiet());
    lab.route_client("10.0.0.0/16", HOST_V4);
    lab.route_client("fd00:5::/48", HOST_V6);
    let web = lab.workload("shop.web");
    assert_eq!(ask(&web, &format!("{CLIENT_V4}:8080"), PATIENCE), Ok("10.0.1.10".to_owned()));
    assert_eq!(ask(&web, &format!("[{CLIENT_V6}]:8080"), PATIENCE), Ok("fd00:5:0:1::a".to_owned()));
    let _server = serve(&web, "[::]:80");
    assert_eq!(ask(&lab.client, "10.0.1.10:80", PATIENCE), Ok(CLIENT_V4.to_owned()));
    down(&lab);
    assert_eq!(crate::lab::picture(&lab.host), before);
}

#[test]
fn what_others_broke_is_mended_root() {
    if !crate::lab::is_root("what_others_broke_is_mended_root") {
        return;
    }
    let lab = Lab::new();
    let mut desired = twins(Mode::Nat);
    desired.routers[0].publishes = vec![publish(443, 8443)];
    pass(&lab, &desired);
    let good = lab.workload("shop.web");
    let picture = || {
        let router = lab.workload("shop.main.router");
        [crate::lab::picture_of_table(&lab.host), crate::lab::picture_of_table(&router)]
    };
    let before = picture();
    let router = lab.workload("shop.main.router");
    crate::lab::run(&router, "nft add rule inet bulkhead forward accept");
    crate::lab::run(&router, "ip neigh del 10.0.1.10 dev br0");
    crate::lab::run(&router, "ip link set bh2 nomaster");
    crate::lab::run(&lab.host, "nft flush table inet bulkhead");
    crate::lab::run(&lab.host, "ip link del bt1");
    crate::lab::run(&good, "ip addr flush dev eth0");
    let mended = pass(&lab, &desired);
    assert!(!mended.done.is_empty());
    let rest = pass(&lab, &desired);
    assert!(rest.is_quiet(), "{rest:#?} after {mended:#?}");
    assert_eq!(picture(), before);

    let _server = serve(&lab.workload("shop.db"), "[::]:80");
    assert_eq!(ask(&good, "10.0.1.11:80", PATIENCE), Ok("10.0.1.10".to_owned()));
    let _world = serve(&lab.client, "[::]:8080");
    let bank = lab.workload("bank.web");
    assert_eq!(ask(&bank, &format!("{CLIENT_V4}:8080"), PATIENCE), Ok(HOST_V4.to_owned()));
    down(&lab);
}

#[test]
fn an_adopted_namespace_gets_its_link_and_loses_it_again_root() {
    if !crate::lab::is_root("an_adopted_namespace_gets_its_link_and_loses_it_again_root") {
        return;
    }
    let lab = Lab::new();
    let ops = lab.foreign("ops");
    let before = (crate::lab::picture(&lab.host), crate::lab::picture(&ops));
    let mut desired = twins(Mode::Nat);
    desired.routers[0].endpoints[1].place = Place::At(lab.foreign_path("ops"));
    pass(&lab, &desired);
    assert!(pass(&lab, &desired).is_quiet());
    let _server = serve(&ops, "[::]:80");
    let seen = ask(&lab.workload("shop.web"), "[fd00:5:0:1::b]:80", PATIENCE);
    assert_eq!(seen, Ok("fd00:5:0:1::a".to_owned()));
    down(&lab);
    assert_eq!((crate::lab::picture(&lab.host), crate::lab::picture(&ops)), before);
}

#[test]
fn a_workload_cannot_reach_the_hosts_loopback_root() {
    if !crate::lab::is_root("a_workload_cannot_reach_the_hosts_loopback_root") {
        return;
    }
    let lab = Lab::new();
    let desired = twins(Mode::Nat);
    pass(&lab, &desired);
    let _local = serve(&lab.host, "127.0.0.1:6379");
    // The strongest position: the router itself, sending to 127.0.0.1 by way of the host.
    let router = lab.workload("shop.main.router");
    let martian = || host::linux::sysctl::write("net/ipv4/conf/up0/route_localnet", "1");
    router.run(martian).expect("entered").expect("written");
    crate::lab::run(&router, "ip addr del 127.0.0.1/8 dev lo");
    crate::lab::run(&router, "ip route add 127.0.0.1/32 via 169.254.64.0 dev up0");
    assert!(ask(&router, "127.0.0.1:6379", REFUSED).is_err());
    down(&lab);
}
