//! Every warning as people see it.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use policy::{Limits, Source};

fn warned(text: &str) -> String {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let checked =
        policy::load(&Source { name: "f.yaml", text }, &|_| None, &Limits::default(), now)
            .unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(checked.warnings.errors(), 0);
    checked.warnings.render(false)
}

fn with_policies(policies: &str) -> String {
    warned(&format!(
        "bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        segments: {{ front: {{ subnet: 10.0.1.0/24 }}, data: {{ subnet: 10.0.2.0/24, profile: sealed }} }}
      side: {{ subnets: [10.0.0.0/16] }}
    workloads:
      web: {{ segment: front, labels: {{ app: web, tier: front }}, netns: web }}
      db: {{ segment: data, labels: {{ app: db, tier: back }}, netns: db }}
      far: {{ network: side, labels: {{ app: far }}, netns: far }}
    policies:
{policies}
"
    ))
}

#[test]
fn rules_without_effect() {
    insta::assert_snapshot!(with_policies("      p: { from: 'app=web, tier=back', to: app=db, allow: [80/tcp] }"), @r#"
    warning[BH0102]: the policy `p` can never match
      --> f.yaml:15:19
       |
    15 |       p: { from: 'app=web, tier=back', to: app=db, allow: [80/tcp] }
       |                   ^^^^^^^^^^^^^^^^^^ `from` selects no workload
       |
       = hint: no workload is selected by `app=web, tier=back`
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [80/tcp, 81/tcp] }
      d: { from: segment=front, to: any, deny: [1-1024/tcp] }"), @r#"
    warning[BH0150]: the allow of the policy `a` has no effect
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp, 81/tcp] }
       |       ^ 80/tcp, 81/tcp is denied
    16 |       d: { from: segment=front, to: any, deny: [1-1024/tcp] }
       |       - denied by this policy
       |
       = hint: remove the allow, or make the deny narrower
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [80/tcp, 8080/tcp], deny: [80/tcp] }"), @r#"
    warning[BH0152]: the policy `a` allows what is denied for the same peers
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp, 8080/tcp], deny: [80/tcp] }
       |       ^ 80/tcp has no effect: a deny beats an allow
       |
       = hint: remove the allow, or make the deny narrower
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [tcp] }
      exception: { from: app=web, to: app=db, deny: [22/tcp] }"), @"");
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [80/tcp] }
      b: { from: workload=web, to: 'tier=back', allow: [80/tcp] }
      c: { from: 'app in (web, db)', to: app=db, allow: [1-1024/tcp, icmp] }
      d: { from: 'app in (web, db)', to: app=db, allow: [1-1024/tcp], until: 2026-12-01 }"), @r#"
    warning[BH0151]: the policy `a` is covered by `c`
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp] }
       |       ^
    16 |       b: { from: workload=web, to: 'tier=back', allow: [80/tcp] }
    17 |       c: { from: 'app in (web, db)', to: app=db, allow: [1-1024/tcp, icmp] }
       |       - covers it
       |
       = hint: remove it: no verdict changes

    warning[BH0151]: the policy `b` says the same as `a`
      --> f.yaml:16:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp] }
       |       - the same
    16 |       b: { from: workload=web, to: 'tier=back', allow: [80/tcp] }
       |       ^
       |
       = hint: remove it: no verdict changes

    warning[BH0151]: the policy `d` is covered by `c`
      --> f.yaml:18:7
       |
    17 |       c: { from: 'app in (web, db)', to: app=db, allow: [1-1024/tcp, icmp] }
       |       - covers it
    18 |       d: { from: 'app in (web, db)', to: app=db, allow: [1-1024/tcp], until: 2026-12-01 }
       |       ^
       |
       = hint: remove it: no verdict changes
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [80/tcp, 80/tcp], until: 2026-11-21 }"), @r#"
    warning[BH0153]: the policy `a` has expired
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp, 80/tcp], until: 2026-11-21 }
       |       ^ since 2026-11-22T00:00:00Z
       |
       = hint: remove it, or give it a later `until`

    warning[BH0136]: `80/tcp` stands here twice
      --> f.yaml:15:55
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp, 80/tcp], until: 2026-11-21 }
       |                                                       ^^^^^^
    "#);
}

#[test]
fn peers_and_networks() {
    insta::assert_snapshot!(with_policies("      a: { from: 10.0.0.0/8, to: app=db, allow: [80/tcp] }
      b: { from: [192.0.2.0/24, 10.1.0.0/16], to: app=db, allow: [80/tcp] }"), @r#"
    warning[BH0154]: 10.0.0.0/8 matches no workload
      --> f.yaml:15:18
       |
    15 |       a: { from: 10.0.0.0/8, to: app=db, allow: [80/tcp] }
       |                  ^^^^^^^^^^ it covers 10.0.0.0/16 of the network `shop.side`
       |
       = hint: select workloads by labels, segment or network; write `world` for everything outside
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=far, allow: [80/tcp] }
      b: { from: app=far, to: world, allow: [80/tcp] }"), @r#"
    warning[BH0157]: no packet can take the way of the policy `a`
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=far, allow: [80/tcp] }
       |       ^ no route leads from `shop.main` to `shop.side`
       |
       = hint: put both into one network, use mode `routed` for both, or publish the port

    warning[BH0157]: no packet can take the way of the policy `b`
      --> f.yaml:16:7
       |
    16 |       b: { from: app=far, to: world, allow: [80/tcp] }
       |       ^ nothing leaves `shop.side` (mode bridge)
       |
       = hint: put both into one network, use mode `routed` for both, or publish the port
    "#);
    insta::assert_snapshot!(with_policies("      a: { from: app=web, to: app=db, allow: [80/tcp], mode: audit }
      b: { from: any, to: app=web, deny: [icmp] }"), @r#"
    warning[BH0156]: the policy `a` audits a sealed segment
      --> f.yaml:15:7
       |
    15 |       a: { from: app=web, to: app=db, allow: [80/tcp], mode: audit }
       |       ^ `db` is in the sealed segment `data`
       |
       = hint: there it allows what its `allow` names and drops the rest; audit does not open sealed segments

    note[BH0158]: the policy `b` denies all of icmp
      --> f.yaml:16:7
       |
    16 |       b: { from: any, to: app=web, deny: [icmp] }
       |       ^
       |
       = hint: errors that belong to an allowed flow and neighbour discovery still pass, so path MTU discovery works
    "#);
}

#[test]
fn publishing() {
    let written = |owner: &str, policies: &str| {
        format!(
            "bulkhead: 1
tenants:
  shop:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads: {{ web: {{ netns: web }} }}
    publish: {{ https: {{ port: 443/tcp, to: web:8443{owner} }}, ssh: {{ port: 22/tcp, to: web:22, from: 198.51.100.0/24 }} }}
    policies: {{ {policies} }}
"
        )
    };
    let text = |policies: &str| written(", owner: web", policies);
    insta::assert_snapshot!(warned(&text("")), @r"
    warning[BH0155]: no policy allows the published port `shop.https`
     --> f.yaml:6:16
      |
    6 |     publish: { https: { port: 443/tcp, to: web:8443, owner: web }, ssh: { port: 22/tcp, to: web:22, from: 198.51.100.0/24 } }
      |                ^^^^^ connections will be dropped
      |
      = hint: add a policy: web-in: { from: world, to: workload=web, allow: [8443/tcp] }

    warning[BH0155]: no policy allows the published port `shop.ssh`
     --> f.yaml:6:68
      |
    6 |     publish: { https: { port: 443/tcp, to: web:8443, owner: web }, ssh: { port: 22/tcp, to: web:22, from: 198.51.100.0/24 } }
      |                                                                    ^^^ connections will be dropped
      |
      = hint: add a policy: web-in: { from: 198.51.100.0/24, to: workload=web, allow: [22/tcp] }
    ");
    insta::assert_snapshot!(warned(&text("a: { from: world, to: workload=web, allow: [443/tcp] }, b: { from: 198.51.100.7, to: any, allow: [22/tcp] }")), @r"
    warning[BH0155]: no policy allows the published port `shop.https`
     --> f.yaml:6:16
      |
    6 |     publish: { https: { port: 443/tcp, to: web:8443, owner: web }, ssh: { port: 22/tcp, to: web:22, from: 198.51.100.0/24 } }
      |                ^^^^^ connections will be dropped
      |
      = hint: add a policy: web-in: { from: world, to: workload=web, allow: [8443/tcp] }
    ");
    let allowed = "a: { from: any, to: workload=web, allow: [22/tcp, 8443/tcp] }";
    assert_eq!(warned(&text(allowed)), "");
    assert_eq!(warned(&written(", until: 2099-12-31", allowed)), "");
    insta::assert_snapshot!(warned(&written("", allowed)), @r"
    warning[BH0162]: `shop.https` is published for the whole world, without an end and without an owner
     --> f.yaml:6:16
      |
    6 |     publish: { https: { port: 443/tcp, to: web:8443 }, ssh: { port: 22/tcp, to: web:22, from: 198.51.100.0/24 } }
      |                ^^^^^
      |
      = hint: write who answers for it, or when it ends: owner: web team, until: 2026-12-31
    ");
    insta::assert_snapshot!(warned(&written(", until: 2020-12-31", allowed)), @r"
    warning[BH0153]: the published port `https` has expired
     --> f.yaml:6:16
      |
    6 |     publish: { https: { port: 443/tcp, to: web:8443, until: 2020-12-31 }, ssh: { port: 22/tcp, to: web:22, from: 198.51.100.0/24 } }
      |                ^^^^^ since 2021-01-01T00:00:00Z
      |
      = hint: remove it, or give it a later `until`
    ");
}

#[test]
fn unused_definitions() {
    insta::assert_snapshot!(warned("bulkhead: 1\nports: { web: 80/tcp }\n"), @r#"
    warning[BH0159]: no policy uses the port name `web`
     --> f.yaml:2:10
      |
    2 | ports: { web: 80/tcp }
      |          ^^^
    "#);
}

/// Four workloads in two segments, with this of the network, the first segment and the tenant.
fn designed(mode: &str, front: &str, rest: &str) -> String {
    warned(&format!(
        "bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: {mode}
        subnets: [10.0.0.0/16]
        segments:
          front: {{ subnet: 10.0.1.0/24{front} }}
          data: {{ subnet: 10.0.2.0/24 }}
    workloads:
      web: {{ segment: front, labels: {{ app: web }}, netns: web }}
      proxy: {{ segment: front, labels: {{ app: proxy }}, netns: proxy }}
      db: {{ segment: data, labels: {{ app: db }}, netns: db }}
      cache: {{ segment: data, labels: {{ app: cache }}, netns: cache }}
{rest}
"
    ))
}

#[test]
fn the_design_as_a_whole() {
    let postures = |ingress: &str, egress: &str| {
        format!(", posture: {{ ingress: {ingress}, egress: {egress} }}")
    };
    insta::assert_snapshot!(designed("nat", &postures("allow", "allow"), ""), @r"
    warning[BH0170]: the segment `front` has no walls inside
     --> f.yaml:9:11
      |
    9 |           front: { subnet: 10.0.1.0/24, posture: { ingress: allow, egress: allow } }
      |           ^^^^^ each of its 2 workloads reaches every other
      |
      = hint: take the posture out and allow what is needed; `audit` instead of `allow` shows what that is

    warning[BH0171]: the segment `front` may reach the whole world
     --> f.yaml:9:11
      |
    9 |           front: { subnet: 10.0.1.0/24, posture: { ingress: allow, egress: allow } }
      |           ^^^^^ its posture lets everything out
      |
      = hint: name what is needed: { from: .., to: world, allow: [443/tcp] }
    ");
    insta::assert_snapshot!(designed("bridge", &postures("deny", "allow"), ""), @"");
    insta::assert_snapshot!(designed("nat", &postures("audit", "audit"), ""), @"");
    insta::assert_snapshot!(designed("nat", "", "    policies: { all: { from: segment=front, to: any, allow: [any] } }"), @r"
    warning[BH0170]: the policy `all` leaves no walls in the segment `front`
      --> f.yaml:16:17
       |
    16 |     policies: { all: { from: segment=front, to: any, allow: [any] } }
       |                 ^^^ each of the 2 workloads there reaches every other, with everything
       |
       = hint: name who needs whom, and the ports

    warning[BH0171]: the policy `all` lets everything out to the whole world
      --> f.yaml:16:17
       |
    16 |     policies: { all: { from: segment=front, to: any, allow: [any] } }
       |                 ^^^ 2 workloads may reach any address there is, at any port
       |
       = hint: name the ports, and the addresses if they are known: what is taken over calls home
    ");
    insta::assert_snapshot!(designed("nat", "", "    policies: { out: { from: app=web, to: world, allow: [tcp] } }"), @r"
    warning[BH0171]: the policy `out` lets everything out to the whole world
      --> f.yaml:16:17
       |
    16 |     policies: { out: { from: app=web, to: world, allow: [tcp] } }
       |                 ^^^ 1 workload may reach any address there is, at any port
       |
       = hint: name the ports, and the addresses if they are known: what is taken over calls home
    ");
    insta::assert_snapshot!(designed("nat", "", "    policies: { out: { from: app=web, to: world, allow: [443/tcp, udp] } }"), @"");
    let through = "    policies:
      in: { from: app=web, to: app=proxy, allow: [80/tcp] }
      db: { from: app=proxy, to: app=db, allow: [6379/tcp] }
      cache: { from: app=proxy, to: app=cache, allow: [11211/tcp] }";
    insta::assert_snapshot!(designed("nat", "", through), @r"
    note[BH0172]: everything from `front` to `data` goes through `proxy`
      --> f.yaml:13:7
       |
    13 |       proxy: { segment: front, labels: { app: proxy }, netns: proxy }
       |       ^^^^^ when this one stops, nobody there has a way
       |
       = hint: give it a second one beside it, with the same labels, if the way must not break
    ");
    let beside =
        format!("{through}\n      web: {{ from: app=web, to: app=cache, allow: [11211/tcp] }}");
    insta::assert_snapshot!(designed("nat", "", &beside), @"");
    let claims = "    assert:
      - never: \"app=web, segment=data -> app=db\"
      - isolated: segment data
      - always: app=web -> app=db";
    insta::assert_snapshot!(designed("nat", "", claims), @r#"
    warning[BH0173]: the assertion `app=web, segment=data -> app=db` speaks of nobody
      --> f.yaml:17:16
       |
    17 |       - never: "app=web, segment=data -> app=db"
       |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ it says nothing about any flow
       |
       = hint: no workload is selected by `app=web, segment=data`
    "#);
}

#[test]
fn the_example_has_no_warnings() {
    let text = include_str!("../../../examples/shop.yaml");
    assert_eq!(warned(text), "");
}
