//! The network of a host, built in a real kernel and taken away again.

mod lab;

use std::time::Duration;

use host::network::{
    Desired, Mode, NoPrograms, Outcome, PublishDesired, Transport, reconcile, teardown,
};
use lab::{CLIENT_V4, CLIENT_V6, HOST_V4, HOST_V6, Lab, PATIENCE, ask, on_host, serve, twins};

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
    if !lab::is_root("two_tenants_with_one_subnet_never_meet_root") {
        return;
    }
    let lab = Lab::new();
    let before = lab::picture(&lab.host);
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
    assert_eq!(lab::picture(&lab.host), before);
}

#[test]
fn a_published_port_keeps_the_clients_address_root() {
    if !lab::is_root("a_published_port_keeps_the_clients_address_root") {
        return;
    }
    let lab = Lab::new();
    let before = lab::picture(&lab.host);
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
    assert_eq!(lab::picture(&lab.host), before);
}
