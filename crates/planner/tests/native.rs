//! What was added for policies of other kinds changes nothing for native files: their tables stay the same, byte for byte.

use jiff::Timestamp;
use model::digest::Digest64;
use planner::{Allocations, Facts, compile};
use policy::{Limits, Source, load};

/// The number of everything in the tables that packets are judged by.
fn digest(text: &str) -> String {
    let source = Source { name: "example.yaml", text };
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
    let checked = load(&source, &|_| None, &Limits::default(), now).expect("is correct");
    let addresses = vec!["192.0.2.1".parse().expect("an address")];
    let facts = Facts { addresses, now, jiffies_per_second: 250 };
    let bundle = compile(&checked.document, &Allocations::default(), &facts).expect("compiles");
    let tables = &bundle.tables;
    let mut rows: Vec<String> = Vec::new();
    rows.extend(tables.endpoints.iter().map(|entry| format!("{entry:?}")));
    rows.extend(tables.exact.iter().map(|entry| format!("{entry:?}")));
    rows.extend(tables.prefixes.iter().map(|entry| format!("{entry:?}")));
    rows.extend(tables.rows.iter().map(|entry| format!("{entry:?}")));
    rows.extend(tables.ports.iter().map(|entry| format!("{entry:?}")));
    rows.sort_unstable();
    let mut digest = Digest64::new("tables");
    digest.text(&rows.join("\n"));
    format!("{} entries, {:016x}", rows.len(), digest.finish())
}

/// The numbers are those of the compiler before it knew tiers (ADR 0016). A change of a layout or of a hash changes them too,
/// and is then a change that hosts have to agree on.
#[test]
fn native_files_compile_to_the_tables_of_before() {
    let shop = include_str!("../../../examples/shop.yaml");
    insta::assert_snapshot!(digest(shop), @"124 entries, 5befd26995420d7e");
    let kinds = "
bulkhead: 1
tenants:
  t:
    networks: { n: { mode: nat, subnets: [10.0.0.0/16, 'fd00:5::/48'], posture: { ingress: audit, egress: allow } } }
    workloads:
      a: { labels: { app: a }, netns: a }
      b: { labels: { app: b, tier: x }, netns: b }
      c: { labels: { app: c, tier: x }, netns: c }
    policies:
      one: { from: any, to: tier=x, allow: [80/tcp, 8000-8999/udp, icmp], deny: [22/tcp] }
      two: { from: [app=a, 10.0.0.0/8], to: [app=b, world], allow: [any], source-ports: [1000-2000] }
      three: { from: tier=x, to: '192.0.2.0/24', allow: [443/tcp], deny: [any], mode: audit }
policies:
  four: { from: 'app in (a, b)', to: '!tier', deny: [53/udp], until: 2030-01-01 }
";
    insta::assert_snapshot!(digest(kinds), @"185 entries, 47b645c1133ec5e1");
}
