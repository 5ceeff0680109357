//! Enforcement that is turned on step by step: a whole tenant under audit, one segment of it enforced, an end that comes by
//! itself, and what is said about it meanwhile.

use std::time::Duration;

use serde_json::Value;
use testkit::{root_or_return, wait_until};

use crate::stage::{SOON, Stage, reaches, serve};

/// Two workloads in segments of one tenant, a policy for one port and a deny of another, under these audits.
fn file(paths: &[String; 3], tenant: &str, front: &str) -> String {
    let [a, b, c] = paths;
    format!(
        "bulkhead: 1
tenants:
  t:
{tenant}
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        segments:
          front: {{ subnet: 10.0.1.0/24{front} }}
          data: {{ subnet: 10.0.2.0/24 }}
          vault: {{ subnet: 10.0.3.0/24, profile: sealed }}
    workloads:
      a: {{ segment: front, address: [10.0.1.10], netns: {a} }}
      b: {{ segment: data, address: [10.0.2.20], netns: {b} }}
      c: {{ segment: vault, address: [10.0.3.30], netns: {c} }}
    policies:
      web: {{ from: workload=a, to: workload=b, allow: [80/tcp], deny: [81/tcp] }}
"
    )
}

fn field(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_tenant_under_audit_passes_is_recorded_and_is_enforced_step_by_step_root() {
    root_or_return!("a_tenant_under_audit_passes_is_recorded_and_is_enforced_step_by_step_root");
    let mut stage = Stage::new();
    let [(a, path_a), (b, path_b), (c, path_c)] = ["a", "b", "c"].map(|name| stage.adopted(name));
    let paths = [path_a, path_b, path_c];
    let both = "    audit: { ingress: true, egress: true }";
    stage.bulkhead.up(&file(&paths, both, "")).expect("applied");
    let _servers = serve(&b, "10.0.2.20", &[80, 81, 82]);
    let _vault = serve(&c, "10.0.3.30", &[80]);
    assert!(reaches(&a, "10.0.2.20:80"), "allowed");
    assert!(reaches(&a, "10.0.2.20:81"), "denied by a rule, under audit");
    assert!(reaches(&a, "10.0.2.20:82"), "allowed by nobody, under audit");
    assert!(!reaches(&a, "10.0.3.30:80"), "a sealed segment takes no audit");

    // Everybody who is asked says the same, and names the scope.
    let denied = stage.why("t/a", "t/b", "tcp/81");
    assert_eq!(
        (field(&denied, "verdict"), field(&denied, "audit")),
        ("audit".into(), "tenant t".into())
    );
    assert_eq!(denied["rule"]["name"], "web");
    let unnamed = stage.why("t/a", "t/b", "tcp/82");
    assert!(field(&unnamed, "text").contains("the audit of tenant t lets it pass"), "{unnamed}");
    let flows = stage.flows(&["--from", "t/a", "--to", "t/b", "--verdict", "audit"]);
    assert!(flows.iter().all(|flow| flow["audit"] == "tenant t"), "{flows:?}");
    let because: Vec<String> = flows.iter().map(|flow| field(&flow["line"], "because")).collect();
    assert!(because.iter().any(|text| text.contains("(audit of tenant t)")), "{because:?}");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert_eq!(status["agent"]["audits"][0]["scope"], "tenant t", "{status}");

    // One segment is enforced: what the tenant says reaches the other end only.
    let front = ", audit: { egress: false }";
    stage.bulkhead.up(&file(&paths, both, front)).expect("applied");
    assert!(reaches(&a, "10.0.2.20:80"));
    assert!(!reaches(&a, "10.0.2.20:82") && !reaches(&a, "10.0.2.20:81"));

    // An end that comes by itself.
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let until = format!("    audit: {{ ingress: true, egress: true, until: \"{end:.0}\" }}");
    stage.bulkhead.up(&file(&paths, &until, "")).expect("applied");
    assert!(reaches(&a, "10.0.2.20:82"), "for a while");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert_eq!(status["agent"]["audits"][0]["ends_soon"], true, "{status}");
    let doctor = stage.bulkhead.cli(&["doctor"]).expect("doctor").stdout;
    assert!(doctor.contains("the audit of tenant t ends at"), "{doctor}");
    let ended = wait_until("the end of the audit", 3 * SOON, || !reaches(&a, "10.0.2.20:82"));
    ended.expect("it ends by itself");
    assert!(reaches(&a, "10.0.2.20:80"), "what is allowed stays");
    assert_eq!(stage.why("t/a", "t/b", "tcp/81")["verdict"], "drop");
    let logged = || stage.bulkhead.log().contains("the audit of tenant t ends at");
    wait_until("the notice", Duration::from_secs(1), logged).expect("the agent said so beforehand");
}
