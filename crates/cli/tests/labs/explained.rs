//! What is decided is explained the same everywhere: audit policies in `why`, flow records and counts, over a restart.

use serde_json::Value;
use testkit::{root_or_return, wait_for};

use crate::stage::{SOON, Stage, reaches, serve};

/// a may reach b on 80; `trial` would allow 81 and tells what else it sees; an audited deny tells of 80.
fn file(a: &str, b: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: bridge, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [10.0.1.10], labels: {{ app: a }}, netns: {a} }}
      b: {{ address: [10.0.1.20], labels: {{ app: b }}, netns: {b} }}
    policies:
      use: {{ from: app=a, to: app=b, allow: [80/tcp] }}
      trial: {{ from: app=a, to: app=b, allow: [81/tcp], mode: audit }}
      doubt: {{ from: app=a, to: app=b, deny: [80/tcp], mode: audit }}
"
    )
}

/// The counts of a policy's rule of this kind, and since when they are.
fn counts(stage: &Stage, policy: &str, kind: &str) -> (Value, u64) {
    let rules = stage.bulkhead.cli_json(&["policy", "rules"]).expect("rules");
    let all = rules["rules"].as_array().expect("a list");
    let is_it = |each: &&Value| each["rule"]["name"] == policy && each["rule"]["kind"] == kind;
    let found = all.iter().find(is_it).unwrap_or_else(|| panic!("{policy} {kind}: {rules}"));
    (rules["since"].clone(), found["audits"].as_u64().unwrap_or_default())
}

#[test]
fn why_observe_and_counts_agree_about_audits_root() {
    root_or_return!("why_observe_and_counts_agree_about_audits_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &b_path)).expect("applied");
    let _servers = serve(&b, "10.0.1.20", &[80, 81, 82]);
    for (port, code, rule) in
        [(80, Some("BH-D001"), "doubt"), (81, None, "trial"), (82, Some("BH-D002"), "trial")]
    {
        assert!(reaches(&a, &format!("10.0.1.20:{port}")), "audit lets {port} pass");
        let why = stage.why("t/a", "t/b", &format!("tcp/{port}"));
        assert_eq!(why["reason"]["code"].as_str(), code, "{why}");
        assert_eq!(why["rule"]["name"], rule, "{why}");
        let is_it = |flow: &Value| flow["target"]["port"] == port && flow["kind"] == "open";
        let seen = wait_for("the record", SOON, || {
            let flows = stage.flows(&["--from", "t/a", "--to", "t/b"]);
            flows.into_iter().rev().find(is_it)
        });
        let seen = seen.expect("a record");
        assert_eq!(
            (&seen["verdict"], &seen["reason"]),
            (&why["verdict"], &why["reason"]),
            "{seen}"
        );
        assert_eq!(seen["rule"], why["rule"]);
    }
    let text = stage.why("t/a", "t/b", "tcp/82")["text"].as_str().unwrap_or_default().to_owned();
    assert!(text.contains("`mode: audit` of trial") && text.contains("records it"), "{text}");

    // Counts do not begin anew with the agent.
    let before = (counts(&stage, "trial", "audit"), counts(&stage, "doubt", "deny"));
    assert_eq!((before.0.1, before.1.1), (1, 1), "{before:?}");
    stage.bulkhead.stop_agent().expect("it ends");
    stage.bulkhead.start_agent().expect("it starts again");
    assert_eq!((counts(&stage, "trial", "audit"), counts(&stage, "doubt", "deny")), before);
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert_eq!(status["agent"]["counted_since"], before.0.0);
    assert!(reaches(&a, "10.0.1.20:82"));
    let more = wait_for("another audit", SOON, || {
        Some(counts(&stage, "trial", "audit").1).filter(|count| *count > 1)
    });
    assert_eq!(more.expect("it goes on counting"), 2);
}
