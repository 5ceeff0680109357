//! A failure in the middle of an `up` leaves the policy before it in force; what others break is repaired; flows are
//! remembered over a restart.

use std::time::Duration;

use serde_json::Value;
use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{SOON, Stage, reaches, serve};

/// The drift timer is 10 s; a pass and a loaded machine take a while.
const REPAIRED: Duration = Duration::from_secs(40);

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";

fn file(a: &str, b: &str, port: u16, more: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [{A}], labels: {{ app: a }}, netns: {a} }}
      b: {{ address: [{B}], labels: {{ app: b }}, netns: {b} }}
{more}    policies:
      use: {{ from: app=a, to: app=b, allow: [{port}/tcp] }}
"
    )
}

/// The router of the only network.
fn router(stage: &Stage) -> Namespace {
    let path = stage.bulkhead.folders().run.join("netns/t.main.router");
    Namespace::open("router", &path).expect("the router")
}

#[test]
fn a_failure_in_the_middle_keeps_the_policy_before_it_root() {
    root_or_return!("a_failure_in_the_middle_keeps_the_policy_before_it_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    let (c, c_path) = stage.adopted("c");
    stage.bulkhead.up(&file(&a_path, &b_path, 80, "")).expect("applied");
    let _servers = serve(&b, B, &[80, 81]);
    let passes = || (reaches(&a, "10.0.1.20:80"), reaches(&a, "10.0.1.20:81"));
    assert_eq!(passes(), (true, false));

    // Something that passes for a link of ours has the name that the third workload's would get.
    c.ip("link add eth0 address 02:62:68:00:00:63 type veth peer name obstacle")
        .expect("an obstacle");
    let more = format!("      c: {{ address: [10.0.1.30], netns: {c_path} }}\n");
    let wanted = file(&a_path, &b_path, 81, &more);
    let path = stage.lab.dir().join("broken.yaml");
    std::fs::write(&path, &wanted).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let failed = stage.bulkhead.cli(&["up", path]).expect("up runs");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(failed.stderr.contains("BH0210"), "{}", failed.stderr);
    assert!(failed.stderr.contains("the step `network` failed"), "{}", failed.stderr);
    assert!(failed.stderr.contains("generation 1 is in force as before"), "{}", failed.stderr);
    assert_eq!(passes(), (true, false), "the policy before it is enforced");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert_eq!(status["agent"]["generation"], 1);
    assert_eq!(status["workloads"].as_array().map(Vec::len), Some(2), "{status}");
    router(&stage).check(&["ip", "link", "show", "bh1"]).expect("the links stay");

    c.ip("link del eth0").expect("the obstacle goes");
    let done = stage.bulkhead.cli(&["up", path]).expect("up runs");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(passes(), (false, true), "the new policy is enforced");
}

#[test]
fn what_others_remove_is_repaired_and_counted_root() {
    root_or_return!("what_others_remove_is_repaired_and_counted_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &b_path, 80, "")).expect("applied");
    let server = serve(&b, B, &[80]);
    assert!(reaches(&a, "10.0.1.20:80"));
    drop(server);

    stage.host.nft("delete table inet bulkhead").expect("our table goes");
    let table = || {
        let shown = stage.host.command(&["nft", "list", "table", "inet", "bulkhead"]);
        shown.is_ok_and(|shown| shown.status.success())
    };
    wait_until("the table of the host", REPAIRED, table).expect("repaired");
    let after_table = wait_for_repairs(&stage, 0);

    router(&stage).ip("link del bh2").expect("a link goes");
    let linked = || {
        b.command(&["ip", "-4", "addr", "show", "eth0"]).is_ok_and(|shown| shown.stdout.contains(B))
    };
    wait_until("the link of b", REPAIRED, linked).expect("repaired");
    wait_for_repairs(&stage, after_table);
    let _server = serve(&b, B, &[80, 81]);
    wait_until("the connection", SOON, || reaches(&a, "10.0.1.20:80")).expect("it works again");
    assert!(!reaches(&a, "10.0.1.20:81"), "and is enforced again");
}

/// The network reconciler's count of repairs, once it is above `known`.
fn wait_for_repairs(stage: &Stage, known: u64) -> u64 {
    let mut count = known;
    let counted = wait_until("the count of repairs", REPAIRED, || {
        let status = stage.bulkhead.cli_json(&["status"]).unwrap_or_default();
        count = repairs(&status).unwrap_or(known);
        count > known
    });
    counted.expect("the repair is counted");
    count
}

fn repairs(status: &Value) -> Option<u64> {
    let reconcilers = status["agent"]["reconcilers"].as_array()?;
    let network = reconcilers.iter().find(|each| each["name"] == "network")?;
    network["repairs"].as_u64()
}

#[test]
fn flows_are_remembered_over_a_restart_root() {
    root_or_return!("flows_are_remembered_over_a_restart_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &b_path, 80, "")).expect("applied");
    let _servers = serve(&b, B, &[80]);
    assert!(reaches(&a, "10.0.1.20:80") && !reaches(&a, "10.0.1.20:81"));
    let filter = ["--from", "t/a", "--to", "t/b", "--verdict", "drop"];
    let before = stage.flows(&filter);
    stage.bulkhead.stop_agent().expect("it ends");
    stage.bulkhead.start_agent().expect("it starts again");
    let after = stage.flows(&filter);
    assert_eq!(after.first().map(|flow| &flow["time"]), before.first().map(|flow| &flow["time"]));
    let seen = stage.why("t/a", "t/b", "tcp/81");
    assert!(seen["seen"]["count"].as_u64().is_some_and(|count| count > 0), "{seen}");
    stage.bulkhead.down_clean().expect("down --clean");
    for file in ["bulkhead.redb", "bulkhead-flows.redb"] {
        assert!(!stage.bulkhead.folders().state.join(file).exists(), "{file}");
    }
}
