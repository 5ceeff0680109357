//! Revocation is real: a changed policy ends live flows at their next packet, and only those.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{Stage, at, reaches, serve};

/// One live TCP connection.
fn connect(from: &Namespace, to: &str) -> TcpStream {
    let stream =
        from.run(|| TcpStream::connect(at(to))).expect("the namespace").expect("connected");
    stream.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
    stream
}

/// Whether the echo comes back.
fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

fn file(a: &str, c: &str, b: &str, sources: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [10.0.1.10], labels: {{ app: a }}, netns: {a} }}
      c: {{ address: [10.0.1.11], labels: {{ app: c }}, netns: {c} }}
      b: {{ address: [10.0.1.20], labels: {{ app: b }}, netns: {b} }}
    policies:
      use: {{ from: [{sources}], to: app=b, allow: [80/tcp] }}
"
    )
}

#[test]
fn a_removed_allow_cuts_its_live_flows_and_no_others_root() {
    root_or_return!("a_removed_allow_cuts_its_live_flows_and_no_others_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (c, c_path) = stage.adopted("c");
    let (b, b_path) = stage.adopted("b");
    let document = |sources| file(&a_path, &c_path, &b_path, sources);
    stage.bulkhead.up(&document("app=a, app=c")).expect("applied");
    let _server = serve(&b, "10.0.1.20", &[80]);
    let (mut from_a, mut from_c) = (connect(&a, "10.0.1.20:80"), connect(&c, "10.0.1.20:80"));
    assert!(echoes(&mut from_a) && echoes(&mut from_c));

    stage.bulkhead.up(&document("app=c")).expect("applied");
    assert!(!echoes(&mut from_a), "the revoked flow is dead");
    assert!(echoes(&mut from_c), "the other one lives");
    assert!(!reaches(&a, "10.0.1.20:80"));
    let flows = stage.flows(&["--from", "t/a", "-n", "1000"]);
    let revoked = flows.iter().any(|flow| flow["reason"]["code"] == "BH-D003");
    assert!(revoked, "the end is explained as revoked: {flows:?}");

    stage.bulkhead.up(&document("app=a, app=c")).expect("applied");
    assert!(reaches(&a, "10.0.1.20:80"), "and it can be allowed again");
    assert!(echoes(&mut from_c));
}

#[test]
fn a_label_change_takes_effect_at_once_root() {
    root_or_return!("a_label_change_takes_effect_at_once_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (_c, c_path) = stage.adopted("c");
    let (b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &c_path, &b_path, "app=a")).expect("applied");
    let _server = serve(&b, "10.0.1.20", &[80]);
    let mut live = connect(&a, "10.0.1.20:80");
    assert!(echoes(&mut live));
    stage.bulkhead.cli_json(&["workload", "label", "t/a", "app=quarantined"]).expect("relabelled");
    assert!(!echoes(&mut live));
    assert!(!reaches(&a, "10.0.1.20:80"));
    stage.bulkhead.cli_json(&["workload", "label", "t/a", "app=a"]).expect("relabelled");
    assert!(reaches(&a, "10.0.1.20:80"));
}

#[test]
fn a_policy_ends_by_itself_root() {
    root_or_return!("a_policy_ends_by_itself_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (c, c_path) = stage.adopted("c");
    let (b, b_path) = stage.adopted("b");
    let until = jiff::Timestamp::now() + Duration::from_secs(6);
    let document = file(&a_path, &c_path, &b_path, "app=a")
        + &format!("      visit: {{ from: app=c, to: app=b, allow: [80/tcp], until: {until} }}\n");
    stage.bulkhead.up(&document).expect("applied");
    let _server = serve(&b, "10.0.1.20", &[80]);
    let (mut from_a, mut from_c) = (connect(&a, "10.0.1.20:80"), connect(&c, "10.0.1.20:80"));
    assert!(echoes(&mut from_a) && echoes(&mut from_c));
    let cut = || !echoes(&mut from_c);
    wait_until("the end of the policy", Duration::from_secs(15), cut).expect("it ends by itself");
    let late = jiff::Timestamp::now().duration_since(until);
    assert!(late >= jiff::SignedDuration::ZERO, "not before its time: {late}");
    assert!(late < jiff::SignedDuration::from_secs(4), "soon after it: {late}");
    assert!(!reaches(&c, "10.0.1.20:80"), "nothing new either");
    assert!(echoes(&mut from_a), "the other policy goes on");
    let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
    assert_eq!(status["agent"]["generation"], 2, "one change, not one after another: {status}");
}
