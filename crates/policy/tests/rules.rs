//! Errors about selectors, ports, times and modes, as people see them.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

mod refused;

use refused::{refused, with_tenant};

/// A file with one network of two segments, two workloads and these policies.
fn with_policies(policies: &str) -> String {
    refused(&format!(
        "bulkhead: 1
ports: {{ postgres: 5432/tcp }}
tenants:
  shop:
    networks:
      main:
        subnets: [10.0.0.0/16, \"fd00:5::/48\"]
        segments: {{ front: {{ subnet: 10.0.1.0/24 }}, data: {{ subnet: 10.0.2.0/24 }} }}
    workloads:
      web: {{ segment: front, labels: {{ app: web, tier: front }}, netns: web }}
      db: {{ segment: data, labels: {{ app: db, tier: back }}, netns: db }}
    policies:
{policies}
  blog: {{}}
"
    ))
}

#[test]
fn selectors() {
    insta::assert_snapshot!(with_policies("      p: { from: { app: api, tier: front }, to: app=db, allow: [80/tcp] }"), @r#"
    error[BH0106]: expected a selector in one string, found a mapping
      --> f.yaml:13:18
       |
    13 |       p: { from: { app: api, tier: front }, to: app=db, allow: [80/tcp] }
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = hint: write "app=api, tier=front"
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=wbe, to: 'tier=front, aap=db', allow: [80/tcp] }"), @r#"
    error[BH0121]: no workload of `shop` has the label `app=wbe`
      --> f.yaml:13:22
       |
    13 |       p: { from: app=wbe, to: 'tier=front, aap=db', allow: [80/tcp] }
       |                      ^^^
       |
       = hint: did you mean `web`?

    error[BH0121]: no workload of `shop` has a label `aap`
      --> f.yaml:13:44
       |
    13 |       p: { from: app=wbe, to: 'tier=front, aap=db', allow: [80/tcp] }
       |                                            ^^^
       |
       = hint: did you mean `app`?
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app==web, to: \"segment=dtaa, app=db\", allow: [80/tcp] }"), @r#"
    error[BH0112]: `==` is not an operator
      --> f.yaml:13:21
       |
    13 |       p: { from: app==web, to: "segment=dtaa, app=db", allow: [80/tcp] }
       |                     ^^
       |
       = hint: write a single `=`: app=web

    error[BH0120]: there is no segment `dtaa`
      --> f.yaml:13:41
       |
    13 |       p: { from: app==web, to: "segment=dtaa, app=db", allow: [80/tcp] }
       |                                         ^^^^
       |
       = hint: did you mean `data`?
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }"), @r#"
    error[BH0114]: `10.0.0.1/8` has bits set after its prefix
      --> f.yaml:13:18
       |
    13 |       p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }
       |                  ^^^^^^^^^^
       |
       = hint: the network is 10.0.0.0/8

    error[BH0120]: there is no network `min`
      --> f.yaml:13:43
       |
    13 |       p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }
       |                                           ^^^
       |
       = hint: did you mean `main`?

    error[BH0120]: there is no workload `wep`
      --> f.yaml:13:57
       |
    13 |       p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }
       |                                                         ^^^
       |
       = hint: did you mean `web`?

    error[BH0120]: the tenant `blog` cannot be named here
      --> f.yaml:13:69
       |
    13 |       p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }
       |                                                                     ^^^^ entries of `shop` see only its own workloads
       |
       = hint: write the policy at the top level of the file: it is then host-wide

    error[BH0120]: there is no tenant `shopp`
      --> f.yaml:13:82
       |
    13 |       p: { from: 10.0.0.1/8, to: [network=min, workload=wep, tenant=blog, tenant=shopp], allow: [any] }
       |                                                                                  ^^^^^
       |
       = hint: did you mean `shop`?
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: [], to: any, allow: [] }"), @r#"
    error[BH0115]: an empty list says nothing
      --> f.yaml:13:18
       |
    13 |       p: { from: [], to: any, allow: [] }
       |                  ^^
       |
       = hint: write `any` if everything is meant

    error[BH0115]: an empty list says nothing
      --> f.yaml:13:38
       |
    13 |       p: { from: [], to: any, allow: [] }
       |                                      ^^
       |
       = hint: write `any` if everything is meant
    "#);
}

#[test]
fn places_without_their_word() {
    insta::assert_snapshot!(with_policies("      p: { from: front, to: db, allow: [any] }"), @r#"
    error[BH0121]: no workload of `shop` has a label `front`
      --> f.yaml:13:18
       |
    13 |       p: { from: front, to: db, allow: [any] }
       |                  ^^^^^
       |
       = hint: did you mean `segment=front`?

    error[BH0121]: no workload of `shop` has a label `db`
      --> f.yaml:13:29
       |
    13 |       p: { from: front, to: db, allow: [any] }
       |                             ^^
       |
       = hint: did you mean `workload=db`?
    "#);
}

#[test]
fn ports() {
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: [80, tcp/80, icmp/ping, postgers] }"), @r#"
    error[BH0113]: `80` is not a port
      --> f.yaml:13:47
       |
    13 |       p: { from: app=web, to: app=db, allow: [80, tcp/80, icmp/ping, postgers] }
       |                                               ^^
       |
       = hint: name the protocol: 80/tcp

    error[BH0113]: the port stands before the protocol
      --> f.yaml:13:51
       |
    13 |       p: { from: app=web, to: app=db, allow: [80, tcp/80, icmp/ping, postgers] }
       |                                                   ^^^^^^
       |
       = hint: write 80/tcp

    error[BH0113]: `ping` is not an icmp type
      --> f.yaml:13:64
       |
    13 |       p: { from: app=web, to: app=db, allow: [80, tcp/80, icmp/ping, postgers] }
       |                                                                ^^^^
       |
       = hint: known: echo-request, echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, redirect, router-solicitation, router-advertisement, neighbour-solicitation, neighbour-advertisement, timestamp-request, timestamp-reply, or a number such as icmp/3/4

    error[BH0122]: there is no port named `postgers`
      --> f.yaml:13:70
       |
    13 |       p: { from: app=web, to: app=db, allow: [80, tcp/80, icmp/ping, postgers] }
       |                                                                      ^^^^^^^^
       |
       = hint: did you mean `postgres`?
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: 80/tcp }"), @r#"
    error[BH0106]: expected a list, found a single value
      --> f.yaml:13:46
       |
    13 |       p: { from: app=web, to: app=db, allow: 80/tcp }
       |                                              ^^^^^^
       |
       = hint: write [80/tcp]
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: [icmp, any], source-ports: [80-, 1024] }"), @r#"
    error[BH0135]: icmp has no source ports
      --> f.yaml:13:47
       |
    13 |       p: { from: app=web, to: app=db, allow: [icmp, any], source-ports: [80-, 1024] }
       |                                               ^^^^
       |
       = hint: write the icmp part as a policy of its own, without `source-ports`

    error[BH0113]: a port is missing here
      --> f.yaml:13:77
       |
    13 |       p: { from: app=web, to: app=db, allow: [icmp, any], source-ports: [80-, 1024] }
       |                                                                             ^
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\nports: { tcp: 80/tcp, web: [80/tcp, http] }\n"), @r#"
    error[BH0110]: `tcp` is a word of the port language and cannot be a name
     --> f.yaml:2:10
      |
    2 | ports: { tcp: 80/tcp, web: [80/tcp, http] }
      |          ^^^
      |
      = hint: choose another name

    error[BH0113]: `http` is not a port
     --> f.yaml:2:37
      |
    2 | ports: { tcp: 80/tcp, web: [80/tcp, http] }
      |                                     ^^^^
      |
      = hint: a named port lists ports such as 80/tcp, not other names
    "#);
}

#[test]
fn times_and_modes() {
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: [any], until: tomorrow, mode: audti }"), @r#"
    error[BH0116]: `tomorrow` is not a date or time
      --> f.yaml:13:60
       |
    13 |       p: { from: app=web, to: app=db, allow: [any], until: tomorrow, mode: audti }
       |                                                            ^^^^^^^^
       |
       = hint: write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z

    error[BH0115]: `audti` is not a policy mode
      --> f.yaml:13:76
       |
    13 |       p: { from: app=web, to: app=db, allow: [any], until: tomorrow, mode: audti }
       |                                                                            ^^^^^
       |
       = hint: did you mean `audit`?
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: [any], until: 2026-02-30 }"), @r"
    error[BH0116]: 2026-02 has the days 01 to 28, this is 30
      --> f.yaml:13:68
       |
    13 |       p: { from: app=web, to: app=db, allow: [any], until: 2026-02-30 }
       |                                                                    ^^
       |
       = hint: write 2026-02-28 for the end of that month
    ");
    insta::assert_snapshot!(with_tenant("    networks: { main: { mode: maclan }, b: { mode: nta, subnets: [10.0.0.0/8] } }"), @r#"
    error[BH0127]: the network `main` has no subnet
     --> f.yaml:4:17
      |
    4 |     networks: { main: { mode: maclan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                 ^^^^
      |
      = hint: write for example `subnets: [10.0.0.0/16]`

    error[BH0115]: `maclan` is not a mode
     --> f.yaml:4:31
      |
    4 |     networks: { main: { mode: maclan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                               ^^^^^^
      |
      = hint: did you mean `macvlan`?

    error[BH0115]: `nta` is not a mode
     --> f.yaml:4:52
      |
    4 |     networks: { main: { mode: maclan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                                                    ^^^
      |
      = hint: did you mean `nat`?
    "#);
}
