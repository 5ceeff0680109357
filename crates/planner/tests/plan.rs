//! Plans as people see them.

use std::fmt::Write as _;

use jiff::Timestamp;
use model::Proto;
use planner::{Allocations, Bundle, ChangeKind, Facts, Party, PlanReport, compile, diff, matrix};
use policy::{Document, Limits, Source};

const SHOP: &str = r#"
bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, "fd00:5::/48"]
        segments:
          front: { subnet: 10.0.1.0/24, posture: { ingress: deny, egress: allow } }
          data: { subnet: 10.0.2.0/24, profile: sealed }
    workloads:
      web: { segment: front, labels: { app: web }, netns: web }
      db: { segment: data, labels: { app: db }, netns: db }
    policies:
      web-in: { from: world, to: app=web, allow: [8443/tcp] }
    assert:
      - never: world -> segment=data
"#;

fn facts() -> Facts {
    let addresses = vec!["192.0.2.10".parse().expect("address")];
    Facts { addresses, now: Timestamp::UNIX_EPOCH, jiffies_per_second: 250 }
}

fn load(text: &str) -> Document {
    let source = Source { name: "shop.yaml", text };
    let checked = policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|problems| panic!("{problems:?}")).document
}

fn bundle(document: &Document) -> Bundle {
    compile(document, &Allocations::default(), &facts()).expect("compiles")
}

fn show(report: &PlanReport) -> String {
    let mut out = String::new();
    for change in &report.connections {
        let rule = change.rule.as_ref().map_or_else(|| "open".to_owned(), ToString::to_string);
        let cause = change.cause.as_ref().map_or(String::new(), |cause| format!(" by {cause}"));
        let (sign, from, to, flows) = (change.kind.sign(), &change.from, &change.to, &change.flows);
        let _ = writeln!(out, "{sign} {from} → {to}  {flows}  {rule}{cause}  ({})", change.pairs);
    }
    for outcome in &report.assertions {
        let broken = outcome.broken.as_ref().map(|broken| {
            format!("{} → {} {}/{}", broken.from, broken.to, broken.port, broken.protocol)
        });
        let _ = writeln!(out, "{}: {}", outcome.text, broken.unwrap_or_else(|| "holds".to_owned()));
    }
    for each in &report.objects {
        let (a, c, r, u) = (each.added, each.changed, each.removed, each.unchanged);
        let _ = write!(out, "{} +{a} ~{c} -{r} ={u}; ", each.kind);
    }
    out
}

#[test]
fn a_first_plan_tells_everything_that_opens() {
    let shop = load(SHOP);
    insta::assert_snapshot!(show(&diff(None, (&shop, &bundle(&shop)))));
}

#[test]
fn a_change_is_told_under_the_policy_that_makes_it() {
    let (old, new) = (
        load(SHOP),
        load(&format!(
            "{}{}",
            SHOP.trim_end().split("    assert").next().expect("head"),
            r"
      web-to-db: { from: app=web, to: app=db, allow: [6379/tcp] }
      updates: { from: segment=front, to: world, deny: [25/tcp] }
      oops: { from: world, to: app=db, allow: [6000-7000/tcp] }
    assert:
      - never: world -> segment=data
      - only: app=web -> app=db:22/tcp
"
        )),
    );
    let (before, after) = (bundle(&old), bundle(&new));
    insta::assert_snapshot!(show(&diff(Some((&old, &before)), (&new, &after))));
    let same = diff(Some((&new, &after)), (&new, &after));
    assert!(same.is_empty(), "{}", show(&same));
}

#[test]
fn the_matrix_has_only_what_passes() {
    let shop = load(SHOP);
    let mut out = String::new();
    for cell in matrix(&bundle(&shop)) {
        let flows = planner::Flows::of(&cell.spans);
        let _ = writeln!(out, "{} → {}  {flows}", cell.from, cell.to);
    }
    insta::assert_snapshot!(out);
}

#[test]
fn tenants_with_the_same_policies_are_told_apart() {
    let tenant = |name: &str| {
        format!(
            "  {name}:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      web: {{ labels: {{ app: web }}, netns: {name}-web }}
      db: {{ labels: {{ app: db }}, netns: {name}-db }}
    policies:
      ping: {{ from: app=web, to: app=db, allow: [icmp/echo-request] }}
      out: {{ from: app=web, to: world, allow: [443/tcp] }}
"
        )
    };
    let both = format!("bulkhead: 1\ntenants:\n{}{}", tenant("blue"), tenant("red"));
    let document = load(&both);
    let report = diff(None, (&document, &bundle(&document)));
    let lines = show(&report);
    let told: Vec<&str> = lines.lines().filter(|line| line.starts_with('+')).collect();
    assert_eq!(
        told,
        [
            "+ blue/app=web → blue/app=db  icmp/echo-request  ping shop.yaml:9:7  (1)",
            "+ blue/app=web → world  443/tcp  out shop.yaml:10:7  (1)",
            "+ red/app=web → red/app=db  icmp/echo-request  ping shop.yaml:17:7  (1)",
            "+ red/app=web → world  443/tcp  out shop.yaml:18:7  (1)",
        ]
    );
}

/// Two networks, a published port and what policies say of both ways to it.
fn meeting(mode: &str, egress: &str, policy: &str) -> String {
    format!(
        r#"
bulkhead: 1
tenants:
  u:
    networks:
      n: {{ mode: {mode}, subnets: [10.60.0.0/24], posture: {{ egress: {egress}, ingress: deny }} }}
    workloads:
      a: {{ labels: {{ app: a }}, netns: a }}
  t:
    networks:
      m: {{ mode: nat, subnets: [10.61.0.0/24] }}
    workloads:
      x: {{ labels: {{ app: x }}, netns: x }}
    publish:
      site: {{ port: 8080/tcp, to: "x:80" }}
    policies:
      in: {{ {policy}, to: app=x, allow: [80/tcp] }}
assert:
  - never: tenant=u -> tenant=t
"#
    )
}

#[test]
fn assertions_know_the_way_through_a_published_port() {
    let holds = |text: &str| {
        let document = load(text);
        let report = diff(None, (&document, &bundle(&document)));
        report.assertions.iter().all(|outcome| outcome.broken.is_none())
    };
    assert!(!holds(&meeting("nat", "allow", "from: unmanaged")), "seen as nobody's");
    assert!(!holds(&meeting("nat", "allow", "from: any")));
    assert!(holds(&meeting("nat", "deny", "from: any")), "it cannot go to the host");
    assert!(holds(&meeting("bridge", "allow", "from: any")), "nothing leaves");
    assert!(holds(&meeting("nat", "allow", "from: world")), "it is not the world");
    assert!(holds(&meeting("routed", "allow", "from: unmanaged")), "it is itself");
}

/// What [`planner::unchanged`] counts, by the matrices of both states.
fn unchanged_pairs(old: &Bundle, new: &Bundle) -> u64 {
    let all = |bundle: &Bundle| {
        let mut pairs = std::collections::BTreeMap::<_, planner::Flows>::new();
        for cell in matrix(bundle) {
            let flows = planner::Flows::of(&cell.spans);
            pairs.entry((cell.from, cell.to)).or_default().extend(&flows);
        }
        pairs
    };
    let before = all(old);
    all(new).iter().filter(|(pair, flows)| before.get(*pair) == Some(*flows)).count() as u64
}

#[test]
fn pairs_that_stay_as_they_are_are_counted_as_the_matrix_has_them() {
    let many = |count: usize, rule: &str| {
        let mut text = SHOP.split("      web: {").next().expect("head").to_owned();
        for at in 0..count {
            let _ = writeln!(
                text,
                "      w{at}: {{ segment: front, labels: {{ app: web }}, netns: w{at} }}"
            );
        }
        text + "      db: { segment: data, labels: { app: db }, netns: db }\n    policies:\n"
            + "      web-in: { from: world, to: app=web, allow: [8443/tcp] }\n"
            + rule
    };
    let to_db = "      to-db: { from: app=web, to: app=db, allow: [6379/tcp] }\n";
    let peers = "      peers: { from: app=web, to: app=web, allow: [80/tcp] }\n";
    let odd = "      odd: { from: workload=w1, to: workload=w2, allow: [81/tcp] }\n";
    let host = "      host: { from: host, to: app=web, allow: [22/tcp] }\n";
    let texts = [
        many(3, ""),
        many(4, ""),
        many(4, &[to_db, peers].concat()),
        many(6, &[to_db, peers, odd, host].concat()),
        many(5, &[peers, host].concat()),
    ];
    let bundles: Vec<Bundle> = texts.iter().map(|text| bundle(&load(text))).collect();
    for (at, old) in bundles.iter().enumerate() {
        for (to, new) in bundles.iter().enumerate() {
            let expected = unchanged_pairs(old, new);
            assert_eq!(planner::unchanged(old, new), expected, "from {at} to {to}");
        }
    }
    assert!(unchanged_pairs(&bundles[3], &bundles[4]) > 10, "the test compares something");
}

/// A tenant with two segments and these workloads, postures and policies.
fn crowd(workloads: &[(&str, &str, &str)], egress: &str, policies: &str) -> Document {
    let mut text = format!(
        "bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        segments:
          front: {{ subnet: 10.0.1.0/24, posture: {{ ingress: deny, egress: {egress} }} }}
          data: {{ subnet: 10.0.2.0/24 }}
    workloads:
"
    );
    for (name, segment, app) in workloads {
        let _ = writeln!(
            text,
            "      {name}: {{ segment: {segment}, labels: {{ app: {app} }}, netns: {name} }}"
        );
    }
    load(&(text + "    policies:\n" + policies))
}

const CROWD: [(&str, &str, &str); 6] = [
    ("a", "front", "web"),
    ("b", "front", "web"),
    ("c", "front", "job"),
    ("d", "data", "db"),
    ("e", "data", "db"),
    ("f", "data", "log"),
];
const TO_DB: &str = "      to-db: { from: app=web, to: app=db, allow: [6379/tcp] }\n";

/// Crowds that differ in postures, labels, members and rules.
fn crowds() -> Vec<Document> {
    let moved =
        CROWD.map(|(name, segment, app)| (name, segment, if name == "b" { "job" } else { app }));
    let grown = [CROWD.as_slice(), &[("g", "front", "web"), ("h", "data", "db")]].concat();
    let mesh = "      mesh: { from: segment=front, to: segment=front, allow: [80-90/tcp] }\n";
    let wide = "      wide: { from: any, to: any, allow: [443/tcp, 80/tcp] }\n";
    let range = "      range: { from: app=job, to: [192.0.2.0/24, host], allow: [443/tcp] }\n";
    let deny = "      deny: { from: app=web, to: [app=log, world], deny: [80/tcp] }\n";
    let narrow = "      to-db: { from: app=web, to: app=db, allow: [6379/tcp, 79-81/tcp], source-ports: [1024-2047, 4000] }\n";
    let hole = "      hole: { from: app=web, to: app=db, deny: [80/tcp], source-ports: [1500] }\n";
    vec![
        crowd(&CROWD, "deny", TO_DB),
        crowd(&CROWD, "allow", TO_DB),
        crowd(&CROWD, "audit", &[TO_DB, range].concat()),
        crowd(&moved, "deny", &[TO_DB, mesh].concat()),
        crowd(&grown, "deny", &[TO_DB, wide, deny].concat()),
        crowd(&grown, "allow", &[mesh, range, deny].concat()),
        crowd(&CROWD, "deny", narrow),
        crowd(&grown, "deny", &[narrow, hole].concat()),
    ]
}

#[test]
fn lines_hold_for_every_pair_of_their_sides_and_nothing_is_left_out() {
    let ports = [22_u16, 79, 80, 81, 90, 91, 443, 6379];
    let sources = [0_u16, 1023, 1024, 1499, 1500, 1501, 2047, 2048, 3999, 4000, 4001, u16::MAX];
    let range = Party::World("192.0.2.0/24".parse().ok());
    let is_named = |document: &Document| {
        let mut policies = document.policies.iter();
        policies.any(|policy| policy.name.as_str() == "range")
    };
    let has = |flows: &planner::Flows, (port, source): (u16, u16)| {
        let within = |range: &(u16, u16), port: u16| range.0 <= port && port <= range.1;
        let mut limited = flows.limited(Proto::Tcp).iter();
        flows.of_protocol(Proto::Tcp).iter().any(|range| within(range, port))
            || limited.any(|part| {
                within(&part.ports, port) && part.sources.iter().any(|range| within(range, source))
            })
    };
    // A range that no rule of the document names is the world.
    let passes = |(document, bundle): (&Document, &Bundle), from: &Party, to: &Party| {
        let in_it = |party: &Party| match party {
            Party::World(Some(_)) if !is_named(document) => Party::World(None),
            known => known.clone(),
        };
        planner::between(bundle, &in_it(from), &in_it(to))
    };
    let passes_at = |spans: &[planner::Span], (port, source): (u16, u16)| {
        spans.iter().any(|span| {
            let sources = span.sources.unwrap_or((0, u16::MAX));
            span.protocol == Proto::Tcp
                && (span.ports.0..=span.ports.1).contains(&port)
                && (sources.0..=sources.1).contains(&source)
        })
    };
    let all = crowds();
    let bundles: Vec<Bundle> = all.iter().map(bundle).collect();
    let mut parties: Vec<Party> =
        "abcdefgh".chars().map(|name| Party::Workload(format!("shop.{name}").into())).collect();
    parties.extend([Party::Host, Party::World(None), range.clone()]);
    let mut told = 0;
    for (old, before) in all.iter().zip(&bundles) {
        for (new, after) in all.iter().zip(&bundles) {
            let report = diff(Some((old, before)), (new, after));
            for (from, to) in parties.iter().flat_map(|a| parties.iter().map(move |b| (a, b))) {
                let is_workload = |party: &Party| matches!(party, Party::Workload(_));
                let is_nobody = [from, to].contains(&&range) && !is_named(old) && !is_named(new);
                if from == to || is_nobody || !is_workload(from) && !is_workload(to) {
                    continue;
                }
                let [was, is] = [(old, before), (new, after)].map(|of| passes(of, from, to));
                let lines: Vec<&planner::Change> = report
                    .connections
                    .iter()
                    .filter(|line| line.sides[0].contains(from) && line.sides[1].contains(to))
                    .collect();
                for at in ports.into_iter().flat_map(|port| sources.map(|source| (port, source))) {
                    let told_as = |kind: ChangeKind| {
                        lines.iter().any(|line| line.kind == kind && has(&line.flows, at))
                    };
                    let (was, is) = (passes_at(&was, at), passes_at(&is, at));
                    let what = format!("{from} → {to} {at:?}\n{}", show(&report));
                    assert_eq!(told_as(ChangeKind::Gained), is && !was, "gained: {what}");
                    assert_eq!(told_as(ChangeKind::Lost), was && !is, "lost: {what}");
                    told += usize::from(was != is);
                }
            }
        }
    }
    assert!(told > 500, "the test compares something: {told}");
}

#[test]
fn few_lines_tell_what_many_pairs_change() {
    let all = crowds();
    let bundles: Vec<Bundle> = all.iter().map(bundle).collect();
    let told = |old: usize, new: usize| {
        let report = diff(Some((&all[old], &bundles[old])), (&all[new], &bundles[new]));
        let shown = show(&report);
        let lines = shown.lines().filter(|line| line.starts_with(['+', '-', '~']));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(told(1, 0), @"- segment=front → [host, world, unmanaged]  everything  open  (9)");
    insta::assert_snapshot!(told(0, 2), @r"
    + app=web → [host, world, unmanaged]  everything  open  (8)
    + shop/c → [host, 192.0.2.0/24]  everything but 443/tcp  open  (2)
    + shop/c → [world, unmanaged]  everything  open  (2)
    + app=job → [192.0.2.0/24, host]  443/tcp  range shop.yaml:20:7  (2)
    ");
    insta::assert_snapshot!(told(0, 3), @r"
    + segment=front → segment=front  80-90/tcp  mesh shop.yaml:20:7  (6)
    - shop/b → app=db  6379/tcp  to-db shop.yaml:19:7  (2)
    ");
    insta::assert_snapshot!(told(0, 4), @r"
    + [shop/a, shop/b] → shop/h  6379/tcp  to-db shop.yaml:21:7  (2)
    + shop/g → app=db  6379/tcp  to-db shop.yaml:21:7  (3)
    + [host, world, unmanaged] → tenant=shop  80,443/tcp  wide shop.yaml:22:7  (24)
    + [segment=data, shop/c] → any  80,443/tcp  wide shop.yaml:22:7  (50)
    + app=web → [segment=front, app=db, host, unmanaged]  80,443/tcp  wide shop.yaml:22:7  (24)
    + app=web → [shop/f, world]  443/tcp  wide shop.yaml:22:7  (6)
    ");
    insta::assert_snapshot!(told(4, 0), @r"
    - [shop/a, shop/b] → shop/h  6379/tcp  to-db shop.yaml:21:7  (2)
    - shop/g → app=db  6379/tcp  to-db shop.yaml:21:7  (3)
    - [host, world, unmanaged] → tenant=shop  80,443/tcp  wide shop.yaml:22:7  (24)
    - [segment=data, shop/c] → any  80,443/tcp  wide shop.yaml:22:7  (50)
    - app=web → [segment=front, app=db, host, unmanaged]  80,443/tcp  wide shop.yaml:22:7  (24)
    - app=web → [shop/f, world]  443/tcp  wide shop.yaml:22:7  (6)
    ");
}

#[test]
fn narrowed_source_ports_are_told_as_exactly_what_is_lost() {
    let rule = |sources: &str| {
        format!("      to-db: {{ from: app=web, to: app=db, allow: [6379/tcp]{sources} }}\n")
    };
    let told = |old: &str, new: &str| {
        let (old, new) = (crowd(&CROWD, "deny", &rule(old)), crowd(&CROWD, "deny", &rule(new)));
        let shown = show(&diff(Some((&old, &bundle(&old))), (&new, &bundle(&new))));
        let lines = shown.lines().filter(|line| line.starts_with(['+', '-', '~']));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (wide, narrow) = (", source-ports: [1024-65535]", ", source-ports: [1024-2047, 4000]");
    insta::assert_snapshot!(told("", wide), @"- app=web → app=db  6379/tcp (source ports 0-1023)  to-db shop.yaml:19:7  (4)");
    insta::assert_snapshot!(told(wide, narrow), @"- app=web → app=db  6379/tcp (source ports 2048-3999,4001-65535)  to-db shop.yaml:19:7  (4)");
    insta::assert_snapshot!(told(narrow, ""), @"+ app=web → app=db  6379/tcp (all source ports but 1024-2047,4000)  to-db shop.yaml:19:7  (4)");
}
