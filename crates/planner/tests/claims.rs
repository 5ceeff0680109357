//! What assertions claim, and the packets that break them.

use std::fmt::Write as _;

use jiff::Timestamp;
use planner::{Allocations, Counterexample, End, Facts, Why, compile, prove};
use policy::{Document, Limits, Source};

const TENANTS: &str = r#"
bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, "fd00:5::/48"]
        segments:
          front: { subnet: [10.0.1.0/24, "fd00:5:0:1::/64"] }
          data: { subnet: [10.0.2.0/24, "fd00:5:0:2::/64"], profile: sealed }
      side: { mode: bridge, subnets: ["fd00:6::/64"] }
    workloads:
      web: { segment: main/front, labels: { app: web }, netns: web }
      api: { segment: main/front, labels: { app: api }, netns: api }
      db: { segment: main/data, labels: { app: db }, netns: db }
      far: { network: side, labels: { app: far }, netns: far }
    publish:
      site: { port: 8080/tcp, to: "web:80" }
    policies:
      site-in: { from: [world, host], to: app=web, allow: [80/tcp] }
      web-to-api: { from: app=web, to: app=api, allow: [9000/tcp, icmp/echo-request] }
      api-to-db: { from: app=api, to: app=db, allow: [6379/tcp], source-ports: [1024-65535] }
      no-telnet: { from: any, to: any, deny: [23/tcp] }
      trial: { from: app=api, to: app=web, deny: [5000/tcp], allow: [4999-5001/tcp], mode: audit }
"#;

const BLOG: &str = r"
  blog:
    networks: { main: { mode: nat, subnets: [10.0.0.0/16] } }
    workloads: { web: { labels: { app: web }, netns: blog } }
";

fn load(text: &str) -> Document {
    let source = Source { name: "shop.yaml", text };
    let checked = policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|problems| panic!("{problems:?}")).document
}

fn end(word: &str, end: Option<&End>) -> String {
    end.map_or_else(String::new, |end| {
        let rule = if end.rule == 0 { "posture" } else { "rule" };
        format!("; {word} of {} {:?} by {rule}", end.workload, end.verdict)
    })
}

fn packet(broken: &Counterexample) -> String {
    let why = match broken.why {
        Why::Passes => "passes".to_owned(),
        Why::Dropped(reason) => format!("{reason:?}"),
        Why::NoWay => "no way".to_owned(),
    };
    let source_port = broken.source_port.map(|port| format!(":{port}")).unwrap_or_default();
    let through = broken.through.as_ref();
    let through =
        through.map(|at| format!(" through {} at {}:{}", at.publish, at.address, at.port));
    format!(
        "{} {}{source_port} → {} {} {}/{}{}: {why}{}{}",
        broken.from,
        broken.source,
        broken.to,
        broken.target,
        broken.port,
        broken.protocol,
        through.unwrap_or_default(),
        end("egress", broken.egress.as_ref()),
        end("ingress", broken.ingress.as_ref()),
    )
}

fn proven(text: &str) -> String {
    let document = load(text);
    let facts = Facts {
        addresses: vec!["192.0.2.10".parse().expect("address")],
        now: Timestamp::UNIX_EPOCH,
        jiffies_per_second: 250,
    };
    let bundle = compile(&document, &Allocations::default(), &facts).expect("compiles");
    let mut out = String::new();
    for outcome in prove(&document, &bundle) {
        let what = outcome.broken.as_ref().map_or_else(|| "holds".to_owned(), packet);
        let _ = writeln!(out, "{}: {}\n  {what}", outcome.claim.as_str(), outcome.text);
    }
    out
}

/// The lines of a list.
fn listed(assertions: &[&str], indent: &str) -> String {
    assertions.iter().fold(String::new(), |mut lines, each| {
        let _ = writeln!(lines, "{indent}- {each}");
        lines
    })
}

/// What becomes of assertions of the tenant.
fn of_tenant(assertions: &[&str]) -> String {
    let lines = listed(assertions, "      ");
    proven(&format!("{TENANTS}    assert:\n{lines}{BLOG}"))
}

/// What becomes of assertions at the top of the file, with more policies there.
fn of_host(policies: &str, assertions: &[&str]) -> String {
    let lines = listed(assertions, "  ");
    let policies =
        if policies.is_empty() { String::new() } else { format!("policies:\n  {policies}\n") };
    proven(&format!("{TENANTS}{BLOG}{policies}assert:\n{lines}"))
}

#[test]
fn always_holds_for_every_flow_that_is_named() {
    insta::assert_snapshot!(of_tenant(&[
        "always: app=web -> app=api:9000/tcp",
        "always: app=web -> app=api:icmp/echo-request",
        "always: world -> app=web:80/tcp",
        "always: \"[world, host] -> app=web:80/tcp\"",
        "always: app=api -> app=web:4000-6000/tcp",
    ]));
}

#[test]
fn always_names_the_flow_that_does_not_pass() {
    insta::assert_snapshot!(of_tenant(&[
        "always: app=web -> app=api:9000-9001/tcp",
        "always: app=web -> app=api",
        "always: app=api -> app=db:6379/tcp",
        "always: any -> app=web:80/tcp",
        "always: app=web -> app=far:80/tcp",
        "always: app=far -> app=web:80/tcp",
        "always: app=web -> world:443/tcp",
        "always: app=web -> app=api:22-24/tcp",
    ]));
}

#[test]
fn never_and_only_name_the_packet_and_both_ends() {
    insta::assert_snapshot!(of_tenant(&[
        "never: app=web -> app=api",
        "never: app=api -> segment=data",
        "never: world -> segment=front",
        "never: app=api -> app=web:5000/tcp",
        "never: world -> segment=data",
        "only: app=web -> app=db",
        "only: app=api -> app=db:6379/tcp",
        "only: world -> app=web:80/tcp",
    ]));
}

#[test]
fn isolated_speaks_of_both_directions_and_of_addresses_too() {
    insta::assert_snapshot!(of_tenant(&[
        "isolated: tenant shop",
        "isolated: tenant shop except [world, host]",
        "isolated: segment data",
        "isolated: segment data except app=api",
        "isolated: segment main/front except [world, host]",
        "isolated: network side",
    ]));
}

#[test]
fn a_range_that_begins_at_a_workload_has_other_addresses_too() {
    // The workload of the blog has the first of the two addresses.
    let out = "out: { from: tenant=blog, to: 10.0.0.2/31, allow: [80/tcp] }";
    let claims = ["never: tenant=blog -> 10.0.0.2/31", "never: tenant=blog -> unmanaged"];
    insta::assert_snapshot!(of_host(out, &claims));
}

/// A denied range is no part of the world around it: what was found out about one must not be taken for the other.
#[test]
fn a_range_of_a_rule_says_nothing_of_what_is_around_it() {
    let deny = "embargo: { from: [198.18.0.0/22, 203.0.113.0/24], to: app=web, deny: [any] }";
    let range = "never: 198.18.0.0/22 -> tenant=shop, app=web";
    let world = "never: world -> tenant=shop, app=web";
    let told = of_host(deny, &[range, world, "always: 192.0.2.128/25 -> app=web:80/tcp"]);
    assert!(told.starts_with(&format!("{range}\n  holds\n")), "{told}");
    assert!(told.contains(&format!("{world}\n  world ")), "the world reaches it: {told}");
    assert!(!told.contains("UnknownPeer"), "{told}");
}

#[test]
fn a_published_port_crosses_the_border_of_a_tenant() {
    let reach = "blog-out: { from: tenant=blog, to: host, allow: [8080/tcp] }";
    let enter = "blog-in: { from: unmanaged, to: \"tenant=shop, app=web\", allow: [80/tcp] }";
    let claims = [
        "isolated: tenant blog",
        "isolated: tenant shop except [world, host, unmanaged]",
        "isolated: tenant blog except host",
    ];
    insta::assert_snapshot!(of_host(&format!("{reach}\n  {enter}"), &claims));
    insta::assert_snapshot!(of_host("", &claims));
}

/// A range that an assertion names belongs to the piece that holds it, and to no shorter one.
#[test]
fn a_range_inside_of_a_range_that_rules_name() {
    let text = |assertions: &[&str]| {
        format!(
            "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      web: {{ labels: {{ app: web }}, netns: web }}
      db: {{ labels: {{ app: db }}, netns: db }}
    policies:
      eight: {{ from: app=web, to: 8.0.0.0/8, allow: [udp] }}
      out: {{ from: app=db, to: world, allow: [udp] }}
      not: {{ from: app=db, to: 9.9.9.0/24, deny: [udp] }}
    assert:
{}",
            listed(assertions, "      ")
        )
    };
    insta::assert_snapshot!(proven(&text(&[
        "always: app=web -> 8.8.8.8:77/udp",
        "always: app=web -> 8.8.8.0/24:77/udp",
        "always: app=web -> 8.0.0.0/8:77/udp",
        "always: app=web -> 8.0.0.0/7:77/udp",
        "never: app=db -> 9.9.9.9:77/udp",
        "never: app=db -> 9.9.9.0/24:77/udp",
        "never: app=db -> 9.9.0.0/16:77/udp",
        "always: app=db -> 9.0.0.0/8:77/udp",
    ])), @r"
    always: app=web -> 8.8.8.8:77/udp
      holds
    always: app=web -> 8.8.8.0/24:77/udp
      holds
    always: app=web -> 8.0.0.0/8:77/udp
      holds
    always: app=web -> 8.0.0.0/7:77/udp
      t.web 10.0.0.2:49152 → world 9.0.0.0 77/udp: DefaultDeny; egress of t.web Drop by posture
    never: app=db -> 9.9.9.9:77/udp
      holds
    never: app=db -> 9.9.9.0/24:77/udp
      holds
    never: app=db -> 9.9.0.0/16:77/udp
      t.db 10.0.0.3:49152 → world 9.9.0.0 77/udp: passes; egress of t.db Allow by rule
    always: app=db -> 9.0.0.0/8:77/udp
      t.db 10.0.0.3:49152 → 9.9.9.0/24 9.9.9.0 77/udp: PolicyDeny; egress of t.db Drop by rule
    ");
}
