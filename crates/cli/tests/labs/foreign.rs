//! Another firewall of the host drops what it forwards: `doctor`, `status`, `why` and `probe` say so and what to do, and
//! what they say helps.

use serde_json::Value;
use testkit::root_or_return;

use crate::stage::{OUTSIDE, Stage, reaches, serve};

fn file(a: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [10.0.1.10], netns: {a} }}
    policies:
      out: {{ from: workload=a, to: world, allow: [80/tcp] }}
"
    )
}

/// The finding about chains that drop what is forwarded.
fn finding(stage: &Stage) -> Value {
    let doctor = stage.bulkhead.cli_json(&["doctor"]).expect("doctor");
    let findings = doctor["findings"].as_array().expect("a list");
    findings.iter().find(|each| each["code"] == "BH-H014").cloned().unwrap_or_default()
}

#[test]
fn a_firewall_that_drops_what_it_forwards_is_named_with_the_remedy_root() {
    root_or_return!("a_firewall_that_drops_what_it_forwards_is_named_with_the_remedy_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    stage.bulkhead.up(&file(&a_path)).expect("applied");
    let _web = serve(&stage.outside, OUTSIDE, &[80]);
    let target = format!("{OUTSIDE}:80");
    assert!(reaches(&a, &target));
    stage
        .host
        .nft(
            "table inet guard { chain forwards { type filter hook forward priority 0; policy drop; }; }",
        )
        .expect("a foreign firewall");
    assert!(!reaches(&a, &target), "it drops");

    let why = stage.why("t/a", OUTSIDE, "tcp/80");
    assert_eq!(why["verdict"], "allow", "Bulkhead would let it pass");
    let warning = why["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("inet guard forwards") && warning.contains("BH-H014"), "{why}");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert_eq!(status["agent"]["warnings"][0], why["warnings"][0], "{status}");
    let probed = stage.bulkhead.cli(&["probe", "t/a", OUTSIDE, "tcp/80"]).expect("a probe");
    assert_eq!(probed.status.code(), Some(3), "not what the policy says: {probed:?}");
    for words in
        ["Bulkhead let the packet through", "NOT what the policy says", "inet guard forwards"]
    {
        assert!(probed.stdout.contains(words), "{words}: {}", probed.stdout);
    }

    let found = finding(&stage);
    assert_eq!(found["level"], "warning", "{found}");
    let remedy = found["hint"].as_str().expect("what to do");
    stage.host.check(&["sh", "-c", remedy]).expect("the remedy runs as it is written");
    assert!(reaches(&a, &target), "and helps");
    assert_eq!(finding(&stage)["level"], "good", "doctor sees that it does");
}
