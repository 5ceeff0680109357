//! `policy prove` as a user runs it: what goes to which stream, the packets that break assertions, and the exit codes.

use std::fs;
use std::process::{Command, Output};

use insta::assert_snapshot;

const FILE: &str = r#"bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, "fd00:5::/48"]
        segments:
          front: { subnet: [10.0.1.0/24, "fd00:5:0:1::/64"] }
          data: { subnet: [10.0.2.0/24, "fd00:5:0:2::/64"], profile: sealed }
    workloads:
      web: { segment: front, labels: { app: web }, netns: web }
      db: { segment: data, labels: { app: db }, netns: db }
    publish:
      site: { port: 80/tcp, to: "web:8080" }
    policies:
      web-in: { from: [world, unmanaged], to: app=web, allow: [8080/tcp] }
      web-to-db: { from: app=web, to: app=db, allow: [6379/tcp, icmp/echo-request] }
      probes: { from: app=db, to: app=web, deny: [9100/tcp], mode: audit }
  blog:
    networks: { main: { mode: nat, subnets: [10.0.0.0/16] } }
    workloads: { web: { labels: { app: web }, netns: blog } }
    policies: { out: { from: any, to: host, allow: [80/tcp] } }
"#;

/// Assertions that hold, and those that do not.
const HOLDING: &str = "assert:
  - never: world -> tenant=shop, app=db
  - always: tenant=shop, app=web -> tenant=shop, app=db:6379/tcp
";
const BROKEN: &str = "  - always: tenant=shop, app=web -> tenant=shop, app=db:6379-6380/tcp
  - never: any -> tenant=shop, app=db:icmp/echo-request
  - isolated: tenant shop except [world, unmanaged]
  - always: tenant=blog -> tenant=shop, app=db:6379/tcp
  - never: tenant=shop, app=db -> tenant=shop, app=web:9100/tcp
";

fn prove(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("shop.yaml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(&folder).args(["policy", "prove", "shop.yaml"]).args(more);
    command.output().expect("runs")
}

/// Everything that a person sees.
fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    format!("{}--- {code} ---\n{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_holds_is_told() {
    assert_snapshot!(seen(&prove(&format!("{FILE}{HOLDING}"), &[])));
    assert_snapshot!(seen(&prove(FILE, &[])));
}

#[test]
fn what_does_not_hold_has_a_packet_and_the_rules_of_both_ends() {
    let file = format!("{FILE}{HOLDING}{BROKEN}");
    assert_snapshot!(seen(&prove(&file, &[])));
    assert_snapshot!(seen(&prove(&file, &["--json"])));
}

#[test]
fn a_file_with_mistakes_is_refused() {
    let claims = "assert:
  - isolated: tenant=shop
  - isolated: segment data
  - isolated: tenant shpo
  - forbid: world -> app=db
  - { never: world -> app=db, always: world -> app=db }
";
    assert_snapshot!(seen(&prove(&format!("{FILE}{claims}"), &[])));
}

const HOST: &str = "bulkhead: 1
host:
  interfaces: [eth0]
  posture: { egress: deny }
  confined: [host user=backup]
policies:
  manage: { from: 198.51.100.0/24, to: host, allow: [22/tcp] }
  out: { from: host, to: world, allow: [443/tcp] }
  copies: { from: host user=backup, to: 203.0.113.7, allow: [873/tcp] }
";
const OF_HOST: &str = "assert:
  - only: 198.51.100.0/24 -> host:22/tcp
  - never: world -> host:22
  - always: 198.51.100.0/24 -> host:22/tcp
  - never: host -> world:25/tcp
  - never: host -> 203.0.113.7:873/tcp
  - always: host -> world:443/tcp
  - never: any -> host:23
";

#[test]
fn the_host_is_proven_at_its_uplinks_and_left_alone_without_a_policy() {
    assert_snapshot!(seen(&prove(&format!("{HOST}{OF_HOST}"), &[])));
    assert_snapshot!(seen(&prove(&format!("bulkhead: 1\n{OF_HOST}"), &[])));
    assert_snapshot!(seen(&prove(
        &format!("{FILE}assert:\n  - never: world -> host:22\n"),
        &["--json"]
    )));
}

#[test]
fn an_audited_host_lets_pass_until_its_audit_ends() {
    let audited = HOST.replace("host:\n", "host:\n  audit: { ingress: true }\n");
    assert_snapshot!(seen(&prove(
        &format!("{audited}assert:\n  - never: world -> host:23/tcp\n"),
        &[]
    )));
}
