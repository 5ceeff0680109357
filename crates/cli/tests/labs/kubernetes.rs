//! Kubernetes policies as they are, beside a native file: packets meet what upstream says, `why` names their lines, and what
//! is removed is revoked.

use std::path::PathBuf;

use testkit::server::{Reached, probe_tcp};
use testkit::{Namespace, root_or_return};

use crate::stage::{HOST, SILENCE, Stage, at, reaches, serve};

/// Two tenants whose networks are open both ways, as a cluster is, and can route to each other.
fn native(paths: &[(&str, String)]) -> String {
    let path = |name: &str| {
        let found = paths.iter().find(|(known, _)| *known == name);
        found.map(|(_, path)| path.clone()).expect("a namespace")
    };
    let open = "posture: { ingress: allow, egress: allow }";
    format!(
        "bulkhead: 1
ports: {{ metrics: 9100/tcp }}
tenants:
  shop:
    networks: {{ main: {{ mode: routed, subnets: [10.40.0.0/24], {open} }} }}
    workloads:
      web: {{ address: 10.40.0.10, labels: {{ app: web }}, netns: {} }}
      db: {{ address: 10.40.0.20, labels: {{ app: db }}, netns: {}, named-ports: {{ sql: 5432/tcp }} }}
      free: {{ address: 10.40.0.30, labels: {{ app: free }}, netns: {} }}
  ops:
    networks: {{ main: {{ mode: routed, subnets: [10.41.0.0/24], {open} }} }}
    workloads:
      probe: {{ address: 10.41.0.10, labels: {{ app: probe }}, netns: {} }}
",
        path("web"),
        path("db"),
        path("free"),
        path("probe"),
    )
}

const DENY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: shop
spec:
  podSelector:
    matchExpressions:
    - { key: app, operator: In, values: [web, db] }
  policyTypes: [Ingress, Egress]
";

const ALLOW: &str = "apiVersion: v1
kind: Namespace
metadata: { name: ops, labels: { team: ops } }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress:
  - from:
    - podSelector: { matchLabels: { app: web } }
    ports:
    - port: sql
  - from:
    - namespaceSelector: { matchLabels: { team: ops } }
    ports:
    - { port: 7000, endPort: 7002 }
  - from:
    - ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.128/25] }
    ports:
    - port: 5432
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web-out, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Egress]
  egress:
  - to:
    - podSelector: { matchLabels: { app: db } }
    ports:
    - { protocol: TCP, port: 5432 }
  - to:
    - ipBlock: { cidr: 203.0.113.0/24 }
    ports:
    - { protocol: TCP, port: 53 }
    - { protocol: UDP, port: 53 }
";

struct Shop {
    stage: Stage,
    web: Namespace,
    db: Namespace,
    free: Namespace,
    probe: Namespace,
    native: PathBuf,
    deny: PathBuf,
    allow: PathBuf,
}

impl Shop {
    fn new() -> Self {
        let mut stage = Stage::new();
        let mut paths = Vec::new();
        let [web, db, free, probe] = ["web", "db", "free", "probe"].map(|name| {
            let (space, path) = stage.adopted(name);
            paths.push((name, path));
            space
        });
        stage
            .outside
            .ip("route add 10.40.0.0/15 via 198.51.100.2\naddr add 203.0.113.200/32 dev lo")
            .expect("a route back");
        let native = stage.bulkhead.up(&native(&paths)).expect("applied");
        let file = |name: &str, text: &str| {
            let path = native.with_file_name(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let (deny, allow) = (file("deny.yaml", DENY), file("allow.yaml", ALLOW));
        Self { stage, web, db, free, probe, native, deny, allow }
    }

    fn run(&self, command: &str, manifests: &[&PathBuf]) -> testkit::Finished {
        let text = |path: &PathBuf| path.display().to_string();
        let files: Vec<String> =
            std::iter::once(&self.native).chain(manifests.iter().copied()).map(text).collect();
        let argv: Vec<&str> =
            [command].into_iter().chain(files.iter().map(String::as_str)).collect();
        self.stage.bulkhead.cli(&argv).expect("it runs")
    }

    fn up(&self, manifests: &[&PathBuf]) {
        self.run("up", manifests).success().expect("applied");
    }

    /// From an address of the internet.
    fn reached_from(&self, source: &str, to: &str) -> bool {
        self.stage
            .outside
            .ip(&format!("route replace 10.40.0.0/24 via {HOST} src {source}"))
            .expect("a source address");
        probe_tcp(&self.stage.outside, at(to), SILENCE).expect("the probe runs")
            == Reached::Answered
    }
}

#[test]
fn policies_of_a_cluster_hold_as_they_are_root() {
    root_or_return!("policies_of_a_cluster_hold_as_they_are_root");
    let shop = Shop::new();
    let (web, db, free, probe) = (&shop.web, &shop.db, &shop.free, &shop.probe);
    let mut servers = serve(db, "10.40.0.20", &[5432, 7000, 7002, 7003, 22]);
    servers.extend(serve(free, "10.40.0.30", &[80]));
    servers.extend(serve(&shop.stage.outside, "203.0.113.9", &[53, 80]));

    // Nothing selects anybody: all is open, as in a cluster without policies.
    shop.up(&[]);
    assert!(reaches(free, "10.40.0.20:22") && reaches(probe, "10.40.0.20:7003"));
    assert!(reaches(web, "10.40.0.30:80"));

    // What a policy selects is closed in its directions, and nothing else is.
    shop.up(&[&shop.deny]);
    assert!(!reaches(free, "10.40.0.20:22") && !reaches(web, "10.40.0.20:5432"));
    assert!(!reaches(web, "10.40.0.30:80"), "egress is closed too");
    assert!(reaches(probe, "10.40.0.30:80"), "no policy selects it");
    let why = shop.stage.why("shop/free", "shop/db", "tcp/22");
    assert_eq!(why["verdict"], "drop");
    let text = why["text"].as_str().unwrap_or_default();
    let place = format!("shop/default-deny {}:4:9 selects", shop.deny.display());
    assert!(text.contains(&place), "{text}");

    // Rules open what they name: a named port, a range of ports to a namespace, a block without a part of it, DNS.
    let plan = shop.run("plan", &[&shop.deny, &shop.allow]);
    assert_eq!(plan.code(), Some(3), "{}", plan.stderr);
    assert!(
        plan.stdout.contains("shop/db") && plan.stdout.contains("allow.yaml:11"),
        "{}",
        plan.stdout
    );
    assert!(plan.stdout.contains("+ policy shop/web-out"), "{}", plan.stdout);
    shop.up(&[&shop.deny, &shop.allow]);
    assert!(reaches(web, "10.40.0.20:5432"));
    assert!(!reaches(free, "10.40.0.20:5432") && !reaches(web, "10.40.0.20:22"));
    for (port, passes) in [(7000, true), (7002, true), (7003, false), (5432, false)] {
        assert_eq!(reaches(probe, &format!("10.40.0.20:{port}")), passes, "{port}");
    }
    assert!(shop.reached_from("203.0.113.9", "10.40.0.20:5432"));
    assert!(!shop.reached_from("203.0.113.200", "10.40.0.20:5432"), "it is excepted");
    assert!(!shop.reached_from("192.0.2.77", "10.40.0.20:5432"));
    assert!(reaches(web, "203.0.113.9:53") && !reaches(web, "203.0.113.9:80"));
    let why = shop.stage.why("ops/probe", "shop/db", "tcp/7001");
    assert_eq!(
        (&why["verdict"], &why["rule"]["name"]),
        (&"allow".into(), &"shop/db".into()),
        "{why}"
    );
    assert_eq!(why["rule"]["line"], 15, "{why}");
    assert!(why["rule"]["file"].as_str().unwrap_or_default().ends_with("allow.yaml"));

    // A file that is removed is revoked; what was remembered holds after a restart.
    shop.up(&[&shop.deny]);
    assert!(!reaches(web, "10.40.0.20:5432") && !reaches(probe, "10.40.0.20:7000"));
    shop.up(&[&shop.deny, &shop.allow]);
    let mut shop = shop;
    shop.stage.bulkhead.stop_agent().expect("it ends");
    shop.stage.bulkhead.start_agent().expect("it starts again");
    assert!(reaches(&shop.web, "10.40.0.20:5432") && !reaches(&shop.free, "10.40.0.20:5432"));
    let why = shop.stage.why("shop/web", "shop/db", "tcp/5432");
    assert_eq!(why["ingress_rule"]["line"], 11, "{why}");
    assert_eq!(shop.run("plan", &[&shop.deny, &shop.allow]).code(), Some(0), "nothing changes");
}

#[test]
fn a_mistake_in_one_file_changes_nothing_root() {
    root_or_return!("a_mistake_in_one_file_changes_nothing_root");
    let shop = Shop::new();
    let _servers = serve(&shop.db, "10.40.0.20", &[22]);
    shop.up(&[&shop.deny]);
    std::fs::write(&shop.allow, ALLOW.replace("endPort: 7002", "endPort: 6000")).expect("a file");
    let done = shop.run("up", &[&shop.allow]);
    assert_eq!(done.code(), Some(1));
    assert!(
        done.stderr.contains("allow.yaml:18:") && done.stderr.contains("BH0180"),
        "{}",
        done.stderr
    );
    assert!(!reaches(&shop.free, "10.40.0.20:22"), "the old policy holds");
    let done = shop.run("up", &[&shop.native]);
    // The native file is there twice.
    assert!(done.code() == Some(1) && done.stderr.contains("neither"), "{}", done.stderr);
    let folder = shop.native.with_file_name("folder");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(&shop.deny, folder.join("a.yml")).expect("a file");
    assert_eq!(shop.run("plan", &[&folder]).code(), Some(0), "a folder is the files in it");
}
