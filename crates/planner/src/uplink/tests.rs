//! What the host's plane says of flows at its uplinks, by the evaluator itself.

use std::net::IpAddr;

use jiff::Timestamp;
use policy::{Document, Limits, Source};
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_IDENTITY, HOST_NETWORK, Ports, Verdict};
use verdict::native::Simulation;
use verdict::{Judgement, Question, account, judge};

use super::{Accounts, HostPlane};
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

const ACCOUNTS: &str = "bulkhead: 1
host: { confined: [host service-account=sync] }
policies:
  sync: { from: host service-account=sync, to: 192.0.2.7, allow: [873/tcp] }
  not-mail: { from: host user=backup, to: world, deny: [25/tcp] }
  all: { from: host, to: 192.0.2.0/24, allow: [25/tcp] }
";

#[test]
fn accounts_send_what_their_rules_and_the_hosts_say() {
    let bundle = bundle(ACCOUNTS);
    let number = |text: &str| bundle.accounts.number(&text.parse().expect("an account"));
    let (user, service) = (number("host user=backup"), number("host service-account=sync"));
    let (user, service) = (user.expect("a user"), service.expect("a service"));
    assert_eq!(number("host user=root"), None);
    let (place, other) =
        ((user - account::ACCOUNTS) / account::EACH, (service - account::ACCOUNTS) % account::EACH);
    let both = account::number(place, other);
    assert_eq!(
        bundle.accounts.name(both).as_deref(),
        Some("host user=backup, host service-account=sync")
    );
    let asked = |number: u32, to: &str, port: u16| {
        let question = Question {
            source: if number == 0 {
                Addr::from(HOST.parse::<IpAddr>().expect("one"))
            } else {
                Addr::hosted(number)
            },
            target: Addr::from(to.parse::<IpAddr>().expect("an address")),
            network: HOST_NETWORK,
            ports: Ports { source: 40_000, target: port },
            protocol: 6,
        };
        let mut out = Judgement::default();
        judge(&Simulation::new(&bundle.tables), &question, 0, &mut out);
        assert_eq!(out.source, if number == 0 { HOST_ENDPOINT } else { number });
        assert_eq!(out.source_identity, HOST_IDENTITY);
        out.verdict
    };
    for (who, to, port, expected) in [
        (0, "192.0.2.7", 25, Verdict::Allow),
        (0, "203.0.113.1", 1, Verdict::Allow),
        (user, "192.0.2.7", 25, Verdict::Drop),
        (user, "203.0.113.1", 25, Verdict::Drop),
        (user, "203.0.113.1", 26, Verdict::Allow),
        (service, "192.0.2.7", 873, Verdict::Allow),
        (service, "192.0.2.8", 873, Verdict::Drop),
        // What every process of the host may.
        (service, "192.0.2.7", 25, Verdict::Allow),
        (both, "192.0.2.7", 873, Verdict::Allow),
        (both, "192.0.2.7", 25, Verdict::Drop),
        (both, "203.0.113.1", 26, Verdict::Drop),
    ] {
        assert_eq!(asked(who, to, port), expected, "{who} {to} {port}");
    }
}

#[test]
fn an_accounts_place_is_its_own() {
    let names: Vec<String> = (0..15).map(|uid| format!("host user={uid}")).collect();
    let confined = |names: &[String]| {
        document(&format!("bulkhead: 1\nhost: {{ confined: [{}] }}\n", names.join(", "))).accounts()
    };
    let all = Accounts::new(confined(&names));
    let mut places: Vec<u32> = all.iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(1..16), "each has one");
    assert_eq!(all.pairs().count(), 15);
    // Others do not move the only one of its kind.
    let one = Accounts::new(confined(&names[3..4]));
    let with = Accounts::new(confined(&[names[3].clone(), "host service-account=a".to_owned()]));
    let three = "host user=3".parse().expect("an account");
    assert_eq!(one.number(&three), with.number(&three));
}

/// What a plan says of connections of the host, a line each: sign, sides, flows, rule.
fn told(old: Option<&str>, new: &str) -> Vec<String> {
    let old = old.map(|text| (document(text), bundle(text)));
    let (new, new_bundle) = (document(new), bundle(new));
    let before = old.as_ref().map(|(document, bundle)| (document, bundle));
    let found = crate::diff(before, (&new, &new_bundle));
    let line = |change: &crate::Change| {
        let rule = change.rule.as_ref().map(|rule| rule.path.to_string()).unwrap_or_default();
        let line = format!(
            "{} {} -> {} {} {rule}",
            change.kind.sign(),
            change.from,
            change.to,
            change.flows
        );
        line.trim_end().to_owned()
    };
    found.connections.iter().map(line).collect()
}

/// Nobody is let out, so that what is told is what is written.
const CLOSED: &str = "bulkhead: 1
host: { posture: { ingress: deny, egress: deny } }
policies:
  manage: { from: world, to: host, allow: [22/tcp] }
  names: { from: host, to: 192.0.2.53, allow: [53/udp] }
";

#[test]
fn plan_tells_what_the_host_takes_and_sends_as_connections() {
    assert_eq!(
        told(None, CLOSED),
        ["+ world -> host 22/tcp policies.manage", "+ host -> 192.0.2.53 53/udp policies.names"]
    );
    let other = CLOSED.replace("22/tcp", "443/tcp");
    assert_eq!(
        told(Some(CLOSED), &other),
        ["+ world -> host 443/tcp policies.manage", "- world -> host 22/tcp policies.manage"]
    );
    assert_eq!(told(Some(CLOSED), CLOSED), Vec::<String>::new());
}

#[test]
fn the_matrix_has_the_host_at_its_uplinks() {
    let cells = crate::matrix(&bundle(CLOSED));
    let shown: Vec<String> = cells
        .iter()
        .map(|cell| format!("{} -> {} {}", cell.from, cell.to, crate::Flows::of(&cell.spans)))
        .collect();
    assert!(shown.contains(&"world -> host 22/tcp".to_owned()), "{shown:?}");
    assert!(!shown.iter().any(|cell| cell.contains("host -> host")), "{shown:?}");
    assert_eq!(crate::matrix(&bundle("bulkhead: 1\n")), []);
}
