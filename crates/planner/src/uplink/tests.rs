//! What the host's plane says of flows at its uplinks, by the evaluator itself.

use std::net::IpAddr;

use jiff::Timestamp;
use policy::{Document, Limits, Source};
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_NETWORK, Ports, Verdict};
use verdict::native::Simulation;
use verdict::{Judgement, Question, judge};

use super::HostPlane;
use crate::allocate::Allocations;
use crate::bundle::{Bundle, Facts};

const HOST: &str = "198.51.100.2";

fn document(text: &str) -> Document {
    let source = Source { name: "host.yaml", text };
    let checked = policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    match checked {
        Ok(checked) => checked.document,
        Err(found) => panic!("{}", found.render(false)),
    }
}

fn bundle(text: &str) -> Bundle {
    let document = document(text);
    let addresses = vec![HOST.parse().expect("an address"), "2001:db8::2".parse().expect("one")];
    let facts = Facts { addresses, now: Timestamp::UNIX_EPOCH, jiffies_per_second: 100 };
    let mut bundle = crate::compile(&document, &Allocations::default(), &facts).expect("a bundle");
    let plane = HostPlane::new(&document, &bundle.routers, &document.publishes, &facts);
    if let Some(plane) = plane.expect("compiled") {
        plane.enter(&mut bundle);
    }
    let limits =
        crate::Limits { exact: 1000, prefixes: 1000, rows: 1000, ports: 1000, limits: 1000 };
    assert_eq!(crate::check(&bundle, &limits), []);
    bundle
}

/// The verdict for a TCP connection, and the rule of the end that decided.
fn asked(bundle: &Bundle, from: &str, to: &str, port: u16) -> (Verdict, String) {
    let addr = |text: &str| Addr::from(text.parse::<IpAddr>().expect("an address"));
    let question = Question {
        source: addr(from),
        target: addr(to),
        network: HOST_NETWORK,
        ports: Ports { source: 40_000, target: port },
        protocol: 6,
    };
    let mut out = Judgement::default();
    judge(&Simulation::new(&bundle.tables), &question, 0, &mut out);
    let rule = bundle.rules.get(&out.ingress_rule.max(out.egress_rule));
    assert!(out.source == HOST_ENDPOINT || out.target == HOST_ENDPOINT, "{out:?}");
    (out.verdict, rule.map(|rule| rule.path.to_string()).unwrap_or_default())
}

const FILE: &str = "bulkhead: 1
host: {}
policies:
  ssh: { from: 203.0.113.0/24, to: host, allow: [22/tcp] }
  not-there: { from: host, to: 192.0.2.0/24, deny: [25/tcp] }
tenants:
  shop:
    networks: { main: { mode: nat, subnets: [10.0.0.0/24] } }
    workloads: { web: { netns: web } }
    publish:
      https: { port: 443/tcp, to: web:8443 }
      admin: { port: 8080/tcp, to: web:80, from: 203.0.113.0/24 }
    policies:
      mine: { from: world, to: host, allow: [9999/tcp] }
";

#[test]
fn the_host_takes_what_policies_and_published_ports_say() {
    let bundle = bundle(FILE);
    let allowed = |rule: &str| (Verdict::Allow, rule.to_owned());
    let dropped = || (Verdict::Drop, String::new());
    assert_eq!(asked(&bundle, "203.0.113.9", HOST, 22), allowed("policies.ssh"));
    assert_eq!(asked(&bundle, "192.0.2.9", HOST, 22), dropped());
    assert_eq!(asked(&bundle, "192.0.2.9", HOST, 443), allowed("tenants.shop.publish.https"));
    assert_eq!(asked(&bundle, "203.0.113.9", HOST, 8080), allowed("tenants.shop.publish.admin"));
    assert_eq!(asked(&bundle, "192.0.2.9", HOST, 8080), dropped());
    assert_eq!(
        asked(&bundle, "192.0.2.9", HOST, 9999),
        dropped(),
        "a tenant's policy has no power"
    );
    assert_eq!(asked(&bundle, "2001:db8:1::9", "2001:db8::2", 22), dropped());
}

#[test]
fn the_host_sends_freely_but_for_what_is_denied() {
    let bundle = bundle(FILE);
    assert_eq!(asked(&bundle, HOST, "192.0.2.9", 443).0, Verdict::Allow);
    let denied = (Verdict::Drop, "policies.not-there".to_owned());
    assert_eq!(asked(&bundle, HOST, "192.0.2.9", 25), denied);
}

#[test]
fn what_is_audited_passes() {
    let bundle = bundle("bulkhead: 1\nhost: { audit: { ingress: true } }\n");
    assert_eq!(asked(&bundle, "192.0.2.9", HOST, 22).0, Verdict::Audit);
}

#[test]
fn without_a_host_part_there_is_no_plane() {
    let bundle = bundle("bulkhead: 1\n");
    assert!(bundle.tables.endpoints.is_empty());
}

#[test]
fn tables_of_networks_stay_as_they_are() {
    let without = bundle(&FILE.replace("host: {}\n", ""));
    let with = bundle(FILE);
    for (key, row) in &without.tables.rows {
        assert_eq!(with.tables.rows.get(key), Some(row));
    }
    assert!(with.tables.rows.len() > without.tables.rows.len());
    assert_eq!(with.routers, without.routers);
}
