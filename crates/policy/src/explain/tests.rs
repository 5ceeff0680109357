//! Near misses and suggestions, as `why` shows them.

use model::Labels;

use super::*;
use crate::document::Workload;
use crate::{Limits, Source};

const FILE: &str = "bulkhead: 1
tenants:
  shop:
    networks: { main: { mode: nat, subnets: [10.0.0.0/16] } }
    workloads:
      web: { labels: { app: web, tier: front }, netns: web }
      scanner: { labels: { app: scanner }, netns: scanner }
      db: { labels: { app: db }, netns: db }
      bare: { netns: bare }
    policies:
      web-to-db: { from: app=web, to: app=db, allow: [6379/tcp] }
      ping:      { from: any, to: app=db, allow: [icmp/echo-request], until: 2026-11-01 }
      ntp:       { from: app=scanner, to: world, allow: [123/udp], source-ports: [123] }
      other:     { from: 'app=web, tier=front', to: app=scanner, allow: [80/tcp, 443/tcp] }
  blog:
    networks: { main: { subnets: [10.0.0.0/16] } }
    workloads: { web: { labels: { app: web }, netns: blog } }
";

fn document() -> Document {
    let now = now();
    crate::load(&Source { name: "shop.yaml", text: FILE }, &|_| None, &Limits::default(), now)
        .unwrap_or_else(|found| panic!("{found}"))
        .document
}

fn now() -> Timestamp {
    "2026-11-22T06:00:00Z".parse().expect("a time")
}

fn end<'d>(document: &'d Document, text: &str) -> End<'d> {
    match text.parse::<IpAddr>() {
        Ok(address) => End::World(address),
        Err(_) if text == "host" => End::Host,
        Err(_) => {
            End::Workload(document.workload(text).map(Workload::subject).expect("a workload"))
        }
    }
}

fn explained(from: &str, to: &str, proto: Proto, port: u16, source_port: Option<u16>) -> String {
    let document = document();
    let flow =
        Flow { from: end(&document, from), to: end(&document, to), proto, port, source_port };
    let mut lines: Vec<String> = near_misses(&document, &flow, now(), 3)
        .into_iter()
        .map(|miss| format!("{}: {}", miss.rule, miss.sentence))
        .collect();
    lines
        .extend(suggestion(&document, &flow).map(|found| format!("{} {}", found.path, found.line)));
    lines.join("\n")
}

#[test]
fn near_misses_say_what_differs() {
    insta::assert_snapshot!(explained("shop.scanner", "shop.db", Proto::Tcp, 6379, None), @r"
    web-to-db shop.yaml:11:7: port and destination match; source wants app=web, this has app=scanner
    ping shop.yaml:12:7: source and destination match; port wants icmp/echo-request, this is 6379/tcp; it expired on 2026-11-02T00:00:00Z
    tenants.shop.policies scanner-to-db: { from: app=scanner, to: app=db, allow: [6379/tcp] }
    ");
    insta::assert_snapshot!(explained("shop.web", "shop.db", Proto::Tcp, 5432, None), @r"
    web-to-db shop.yaml:11:7: source and destination match; port wants 6379/tcp, this is 5432/tcp
    ping shop.yaml:12:7: source and destination match; port wants icmp/echo-request, this is 5432/tcp; it expired on 2026-11-02T00:00:00Z
    tenants.shop.policies web-to-db-2: { from: app=web, to: app=db, allow: [5432/tcp] }
    ");
    insta::assert_snapshot!(explained("shop.db", "shop.web", Proto::Tcp, 6379, None), @r"
    web-to-db shop.yaml:11:7: port matches; it is for the other direction, from app=web to app=db
    tenants.shop.policies db-to-web: { from: app=db, to: app=web, allow: [6379/tcp] }
    ");
    insta::assert_snapshot!(explained("shop.web", "shop.db", Proto::Icmp, 8 << 8, None), @r"
    web-to-db shop.yaml:11:7: source and destination match; port wants 6379/tcp, this is icmp/echo-request
    ping shop.yaml:12:7: source, destination and port match; it expired on 2026-11-02T00:00:00Z
    tenants.shop.policies web-to-db-2: { from: app=web, to: app=db, allow: [icmp/echo-request] }
    ");
    insta::assert_snapshot!(explained("shop.scanner", "192.0.2.1", Proto::Udp, 123, Some(4000)), @r"
    ntp shop.yaml:13:7: source, destination and port match; source port wants 123, this comes from 4000
    tenants.shop.policies scanner-to-world: { from: app=scanner, to: 192.0.2.1, allow: [123/udp] }
    ");
    insta::assert_snapshot!(explained("shop.bare", "shop.db", Proto::Sctp, 9, None), @r"
    ping shop.yaml:12:7: source and destination match; port wants icmp/echo-request, this is 9/sctp; it expired on 2026-11-02T00:00:00Z
    tenants.shop.policies bare-to-db: { from: workload=bare, to: app=db, allow: [9/sctp] }
    ");
}

#[test]
fn suggestions_fit_the_scope() {
    insta::assert_snapshot!(explained("blog.web", "shop.db", Proto::Tcp, 6379, None), @r#"
    web-to-db shop.yaml:11:7: port and destination match; source wants a workload of `shop`, this is blog.web
    policies web-to-db: { from: "tenant=blog, app=web", to: "tenant=shop, app=db", allow: [6379/tcp] }
    "#);
    insta::assert_snapshot!(explained("2001:db8::1", "shop.web", Proto::Icmp6, 0x9900, None), @r#"tenants.shop.policies world-to-web: { from: "2001:db8::1", to: app=web, allow: [icmp6/153/0] }"#);
    insta::assert_snapshot!(explained("shop.web", "host", Proto::Udp, 53, None), @"tenants.shop.policies web-to-host: { from: app=web, to: host, allow: [53/udp] }");
    assert_eq!(explained("host", "192.0.2.1", Proto::Tcp, 1, None), "");
}

#[test]
fn a_suggestion_loads_and_closes_the_gap() {
    let before = document();
    for (from, to) in
        [("shop.scanner", "shop.db"), ("shop.bare", "192.0.2.1"), ("198.51.100.7", "shop.web")]
    {
        let flow = Flow {
            from: end(&before, from),
            to: end(&before, to),
            proto: Proto::Tcp,
            port: 6379,
            source_port: None,
        };
        assert!(first_gap(&before, &flow, now()).is_some());
        let line = suggestion(&before, &flow).expect("a workload takes part").line;
        let text = FILE.replace("    policies:\n", &format!("    policies:\n      {line}\n"));
        let after =
            crate::load(&Source { name: "f", text: &text }, &|_| None, &Limits::default(), now())
                .unwrap_or_else(|found| panic!("{line}\n{found}"))
                .document;
        assert_eq!(first_gap(&after, &flow, now()), None, "{line}");
    }
}

#[test]
fn a_tenants_rule_never_matches_another_tenants_workload() {
    let document = document();
    let labels = Labels::new();
    let foreign = End::Workload(Subject {
        labels: &labels,
        ..document.workload("blog.web").expect("is there").subject()
    });
    let scope = Scope::Tenant(model::Name::new("shop").expect("a name"));
    assert!(!foreign.matches(&scope, &Peer::Any));
    assert!(foreign.matches(&Scope::Host, &Peer::Any));
}
