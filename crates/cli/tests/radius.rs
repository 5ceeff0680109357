//! `policy blast-radius` as a user runs it without an agent: what goes to which stream, and the exit codes.

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
      web-2: { segment: front, labels: { app: web }, netns: web2 }
      api: { segment: front, labels: { app: api }, netns: api }
      db: { segment: data, labels: { app: db }, netns: db }
      safe: { segment: data, labels: { app: safe }, netns: safe }
    publish:
      site: { port: 80/tcp, to: "web:8080" }
    policies:
      web-in: { from: [world, unmanaged], to: app=web, allow: [8080/tcp] }
      web-to-api: { from: app=web, to: app=api, allow: [9000/tcp] }
      api-to-db: { from: app=api, to: app=db, allow: [6379/tcp] }
      ping: { from: app=web, to: app=safe, allow: [icmp/echo-request] }
      updates: { from: app=api, to: [198.51.100.0/24, host], allow: [443/tcp], mode: audit }
  blog:
    networks: { main: { mode: nat, subnets: [10.0.0.0/16], posture: { egress: allow } } }
    workloads: { web: { labels: { app: web }, netns: blog } }
"#;

fn radius(workload: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("shop.yaml"), FILE).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(&folder).env("BULKHEAD_RUN_DIR", folder.path());
    command.args(["policy", "blast-radius", workload, "--file", "shop.yaml"]).args(more);
    command.output().expect("runs")
}

/// Everything that a person sees.
fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    format!("{}--- {code} ---\n{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_goes_on_from_one_to_the_next() {
    assert_snapshot!(seen(&radius("shop/web", &["--offline"])));
    assert_snapshot!(seen(&radius("safe", &[])));
}

#[test]
fn it_takes_published_ports_and_tells_what_stands_outside() {
    assert_snapshot!(seen(&radius("blog/web", &["--offline"])));
    assert_snapshot!(seen(&radius("api", &["--offline", "--json"])));
}

#[test]
fn who_is_not_there_is_told() {
    assert_snapshot!(seen(&radius("web", &["--offline"])));
    assert_snapshot!(seen(&radius("nobody", &["--offline"])));
}
