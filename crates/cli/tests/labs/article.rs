//! The requirements' own topologies, word for word.

use testkit::root_or_return;
use testkit::server::{Reached, UdpEcho, probe_udp};

use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SILENCE, Stage, at, reaches, serve};

/// Front end 10.0.1.0/24, database 10.0.2.0/24, management 10.0.9.0/24.
fn file(front: &str, db: &str, dba: &str, intern: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        segments:
          front: {{ subnet: 10.0.1.0/24 }}
          db: {{ subnet: 10.0.2.0/24, profile: sealed }}
          management: {{ subnet: 10.0.9.0/24 }}
    workloads:
      front: {{ segment: front, address: [10.0.1.10], labels: {{ app: web }}, netns: {front} }}
      db: {{ segment: db, address: [10.0.2.10], labels: {{ app: db }}, netns: {db} }}
      dba: {{ segment: management, address: [10.0.9.10], labels: {{ role: dba }}, netns: {dba} }}
      intern: {{ segment: management, address: [10.0.9.11], labels: {{ role: intern }}, netns: {intern} }}
    publish:
      https: {{ port: 443/tcp, to: \"front:443\" }}
    policies:
      r031-out: {{ from: segment=front, to: world, allow: [80/tcp, 443/tcp] }}
      r031-in: {{ from: world, to: segment=front, allow: [80/tcp, 443/tcp] }}
      r032: {{ from: role=dba, to: segment=db, allow: [3306/tcp] }}
"
    )
}

#[test]
fn r016_r031_r032_as_written_root() {
    root_or_return!("r016_r031_r032_as_written_root");
    let mut stage = Stage::new();
    let (front, front_path) = stage.adopted("front");
    let (db, db_path) = stage.adopted("db");
    let (dba, dba_path) = stage.adopted("dba");
    let (intern, intern_path) = stage.adopted("intern");
    stage.bulkhead.up(&file(&front_path, &db_path, &dba_path, &intern_path)).expect("applied");

    // the database port is for the management subnet's named workload alone.
    let _mysql = serve(&db, "10.0.2.10", &[3306, 22]);
    assert!(reaches(&dba, "10.0.2.10:3306"));
    assert!(!reaches(&dba, "10.0.2.10:22"), "only 3306");
    assert!(!reaches(&intern, "10.0.2.10:3306"), "only the named one of the management subnet");
    assert!(!reaches(&front, "10.0.2.10:3306"), "not the front end");
    assert_eq!(stage.drop_code("shop/front", "shop/db"), "BH-D002");

    // out to 80 and 443 only.
    let _web = serve(&stage.outside, OUTSIDE, &[80, 443, 25, 8080]);
    let dns = UdpEcho::start(&stage.outside, at(&format!("{OUTSIDE}:53"))).expect("a udp server");
    assert!(reaches(&front, &format!("{OUTSIDE}:80")));
    assert!(reaches(&front, &format!("{OUTSIDE}:443")));
    for port in [25, 8080] {
        assert!(!reaches(&front, &format!("{OUTSIDE}:{port}")), "port {port}");
    }
    let asked = probe_udp(&front, dns.address(), SILENCE).expect("the probe runs");
    assert_eq!((asked, dns.received()), (Reached::Silence, 0));
    assert!(!reaches(&db, &format!("{OUTSIDE}:443")), "the database goes nowhere");
    assert!(!reaches(&dba, &format!("{OUTSIDE}:443")), "nor does management");

    // R-031, the other direction: published, with the client's own address in the flow.
    let _site = serve(&front, "10.0.1.10", &[443]);
    assert!(reaches(&stage.outside, &format!("{HOST}:443")));
    let flows = stage.flows(&["--to", "shop/front", "--verdict", "allow"]);
    let seen = flows.iter().any(|flow| flow["source"]["address"] == "198.51.100.1");
    assert!(seen, "policy sees the client's address: {flows:?}");
    assert!(!reaches(&stage.outside, "10.0.1.10:443"), "no way in but the published port");
}

#[test]
fn r034_sealed_takes_named_traffic_only_root() {
    root_or_return!("r034_sealed_takes_named_traffic_only_root");
    let mut stage = Stage::new();
    let (vault, vault_path) = stage.adopted("vault");
    let (client, client_path) = stage.adopted("client");
    stage
        .bulkhead
        .up(&format!(
            "bulkhead: 1
tenants:
  bank:
    networks:
      main:
        mode: nat
        subnets: [10.3.0.0/16]
        segments:
          vault: {{ subnet: 10.3.1.0/24, profile: sealed }}
          desk: {{ subnet: 10.3.2.0/24, posture: {{ egress: allow, ingress: allow }} }}
    workloads:
      vault: {{ segment: vault, address: [10.3.1.10], netns: {vault_path} }}
      client: {{ segment: desk, address: [10.3.2.10], netns: {client_path} }}
    policies:
      web: {{ from: segment=desk, to: segment=vault, allow: [80/tcp, 443/tcp] }}
      look: {{ from: segment=desk, to: segment=vault, allow: [22/tcp], mode: audit }}
"
        ))
        .expect("applied");
    let _servers = serve(&vault, "10.3.1.10", &[80, 443, 22, 8080]);
    assert!(reaches(&client, "10.3.1.10:80"));
    assert!(reaches(&client, "10.3.1.10:443"));
    assert!(!reaches(&client, "10.3.1.10:8080"), "audit opens nothing in a sealed segment");
    let _outside = serve(&stage.outside, ELSEWHERE, &[443]);
    assert!(!reaches(&vault, &format!("{ELSEWHERE}:443")));
    assert!(reaches(&client, &format!("{ELSEWHERE}:443")), "the open desk may go out");
}
