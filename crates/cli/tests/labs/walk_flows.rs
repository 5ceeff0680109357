//! `why` about recorded flows and live connections, and the way that a probe did not come.

use testkit::{root_or_return, wait_for};

use crate::stage::{SOON, Stage, reaches, serve};

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
