//! `why` about recorded flows and live connections, and the way that a probe did not come.

use std::net::{IpAddr, UdpSocket};

use testkit::{Namespace, root_or_return, wait_for};

use crate::stage::{SOON, Stage, reaches, serve};

/// Opens a flow from each port that an address has.
fn open_all(space: &Namespace, from: &str, to: &str) {
    let from: IpAddr = from.parse().expect("an address");
    let opened = space.run(|| {
        // The address may have been given in this moment, and a port may be in use.
        let open = |port| UdpSocket::bind((from, port)).and_then(|socket| socket.send_to(b"x", to));
        (1..=u16::MAX).filter(|port| open(*port).is_ok()).count()
    });
    assert!(opened.expect("in the namespace") > 65_000, "flows of {from}");
}

#[test]
fn a_tenant_that_has_used_up_its_share_is_told_root() {
    root_or_return!("a_tenant_that_has_used_up_its_share_is_told_root");
    let mut stage = Stage::new();
    let policies =
        "    policies:\n      use: { from: app=a, to: app=b, allow: [80/tcp, 87/udp] }\n";
    let [a, b] = stage.tenant(
        "mode: bridge, subnets: [10.0.1.0/24, fd01::/64]",
        [
            ("a", "address: [10.0.1.10, fd01::10], labels: { app: a }"),
            ("b", "address: [10.0.1.20, fd01::20], labels: { app: b }"),
        ],
        policies,
    );
    let _server = serve(&b, "10.0.1.20", &[80]);
    assert!(stage.why("t/a", "t/b", "tcp/80")["walk"]["fault"].is_null());

    // One share is 65,536 flows.
    open_all(&a, "10.0.1.10", "10.0.1.20:87");
    open_all(&a, "fd01::10", "[fd01::20]:87");
    assert!(!reaches(&a, "10.0.1.20:80"), "the share is used up");
    let why = stage.why("t/a", "t/b", "tcp/80");
    assert_eq!(why["walk"]["fault"], "BH-W052", "{why}");
}

#[test]
fn records_connections_and_probes_are_explained_root() {
    root_or_return!("records_connections_and_probes_are_explained_root");
    let mut stage = Stage::new();
    let policies = "    policies:\n      use: { from: app=a, to: app=b, allow: [80/tcp] }\n";
    let [a, b] = stage.tenant(
        "mode: bridge, subnets: [10.0.1.0/24]",
        [
            ("a", "address: [10.0.1.10], labels: { app: a }"),
            ("b", "address: [10.0.1.20], labels: { app: b }"),
        ],
        policies,
    );
    let _server = serve(&b, "10.0.1.20", &[80]);
    assert!(!reaches(&a, "10.0.1.20:81"), "nothing allows it");
    let dropped = stage.flows(&["--verdict", "drop", "--from", "t/a"]);
    let number =
        dropped.last().expect("a drop")["number"].as_u64().expect("its number").to_string();

    // The record of a drop, with what would be decided now.
    let why = stage.bulkhead.cli_json(&["why", "--flow", &number]).expect("why answers");
    assert_eq!((&why["verdict"], &why["recorded"]["verdict"]), (&"drop".into(), &"drop".into()));
    assert_eq!(why["service"]["port"], 81, "{why}");
    assert_eq!(why["service"]["source_port"], why["recorded"]["source"]["port"], "{why}");
    assert_eq!(why["walk"]["fault"], "BH-D002", "{why}");
    let shown = stage.bulkhead.cli(&["why", "--flow", &number]).expect("text");
    assert!(shown.stdout.contains(&format!("#{number}")), "{}", shown.stdout);
    let listed = stage.bulkhead.cli(&["observe"]).expect("lines");
    assert!(listed.stdout.lines().any(|line| line.ends_with(&format!("#{number}"))), "{listed:?}");

    // A live connection is found by its ports.
    let held = a.run(|| std::net::TcpStream::connect("10.0.1.20:80")).expect("in the namespace");
    let held = held.expect("allowed");
    let port = held.local_addr().expect("its address").port().to_string();
    let asked = ["why", "t/a", "t/b", "tcp/80", "--source-port", &port];
    let live = wait_for("the connection", SOON, || {
        let why = stage.bulkhead.cli_json(&asked).ok()?;
        (why["connection"]["state"] == "established").then_some(why)
    });
    let live = live.expect("a live connection");
    assert_eq!(live["connection"]["is_current"], true, "{live}");
    assert_eq!(live["connection"]["rule"]["name"], "use", "{live}");
    drop(held);

    // A probe that gets no answer says what stopped it.
    b.nft("table inet guard { chain inputs { type filter hook input priority 0; tcp dport 80 drop; }; }")
        .expect("a foreign firewall");
    let probed = stage.bulkhead.cli_json(&["probe", "t/a", "t/b", "tcp/80", "--timeout", "300"]);
    let probed = probed.or_else(|_| {
        stage
            .bulkhead
            .cli(&["--json", "probe", "t/a", "t/b", "tcp/80", "--timeout", "300"])
            .and_then(|done| Ok(serde_json::from_str(&done.stdout)?))
    });
    let probed = probed.expect("a probe");
    assert_eq!(probed["why"]["walk"]["fault"], "BH-W050", "{probed}");

    let refused = stage.bulkhead.cli(&["why", "--flow", "999999"]).expect("an answer");
    assert!(refused.stderr.contains("BH0240"), "{refused:?}");
}
