//! Every error of the loader as people see it.

use policy::{Limits, Source};

/// The rendered findings of a file that is refused.
fn refused(text: &str) -> String {
    let variable = |name: &str| (name == "SET").then(|| "10.9.0.0/16".to_owned());
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let found = policy::load(&Source { name: "f.yaml", text }, &variable, &Limits::default(), now)
        .map(|checked| checked.document)
        .expect_err("is refused");
    assert!(found.errors() > 0);
    let records = serde_json::to_value(found.records()).expect("JSON");
    assert_eq!(records.as_array().expect("an array").len(), found.items.len());
    found.render(false)
}

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

/// A file with one tenant that has these keys.
fn with_tenant(tenant: &str) -> String {
    refused(&format!("bulkhead: 1\ntenants:\n  shop:\n{tenant}\n"))
}

#[test]
fn text_that_is_not_a_file() {
    insta::assert_snapshot!(refused(""), @r#"
    error[BH0107]: the file is empty
     --> f.yaml:1:1
      |
    1 |
      | ^
      |
      = hint: a file begins with `bulkhead: 1`
    "#);
    insta::assert_snapshot!(refused("- a\n- b\n"), @r#"
    error[BH0106]: expected a mapping for this file, found a list
     --> f.yaml:1:1
      |
    1 | - a
      | ^^^
      |
      = hint: known keys: bulkhead, $schema, vars, ports, tenants, policies, assert
    "#);
    insta::assert_snapshot!(refused("bulkhead: 2\n"), @r#"
    error[BH0109]: version 2 of the file format is not known
     --> f.yaml:1:11
      |
    1 | bulkhead: 2
      |           ^
      |
      = hint: write `bulkhead: 1`
    "#);
    insta::assert_snapshot!(refused("tenants: {}\n"), @r#"
    error[BH0107]: this file has no `bulkhead`
     --> f.yaml:1:1
      |
    1 | tenants: {}
      | ^^^^^^^^^^^ `bulkhead` is required
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: {\n"), @r#"
    error[BH0101]: this is not YAML: unclosed bracket '{'
     --> f.yaml:2:10
      |
    2 | tenants: {
      |          ^ reading stopped here
      |
      = hint: look at this line and the one before: a missing colon, quote or bracket, or wrong indentation
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants:\n\tshop: {}\n"), @r#"
    error[BH0101]: this is not YAML: tabs disallowed within this context (block indentation)
     --> f.yaml:3:2
      |
    3 |     shop: {}
      |     ^ reading stopped here
      |
      = hint: indent with spaces: YAML does not allow tabs there
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\nassert:\n  - only: [app=web, role=ops] -> app=db\n"), @r#"
    error[BH0101]: this is not YAML: while parsing a block mapping, did not find expected key
     --> f.yaml:3:31
      |
    3 |   - only: [app=web, role=ops] -> app=db
      |                               ^ reading stopped here
      |
      = hint: quote the whole text: "[app=web, role=ops] -> app=db"
    "#);
    insta::assert_snapshot!(refused(&"a".repeat(2 << 20)), @r#"
    error[BH0100]: the file has 2097152 bytes, at most 1048576 are read
     |
     = hint: larger files are read with --max-file-size, up to 64 MiB
    "#);
}

#[test]
fn yaml_that_is_not_used() {
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: &a {}\n"), @r#"
    error[BH0103]: an anchor is not accepted in this file
     --> f.yaml:2:13
      |
    2 | tenants: &a {}
      |             ^
      |
      = hint: write the value out where it is needed
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: !t {}\n"), @r#"
    error[BH0103]: a tag is not accepted in this file
     --> f.yaml:2:13
      |
    2 | tenants: !t {}
      |             ^
      |
      = hint: remove the word that begins with `!`; quote it if it is a value
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\n---\nbulkhead: 1\n"), @r#"
    error[BH0103]: a second document is not accepted in this file
     --> f.yaml:2:1
      |
    2 | ---
      | ^^^
      |
      = hint: use one file for each document
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\n[a, b]: c\n"), @r#"
    error[BH0106]: a key has to be a single word, not a list or mapping
     --> f.yaml:1:1
      |
    1 | bulkhead: 1
      | ^
    "#);
    insta::assert_snapshot!(refused(&format!("bulkhead: 1\ntenants: {}{}\n", "[".repeat(20), "]".repeat(20))), @r#"
    error[BH0100]: values are nested deeper than 16
     --> f.yaml:2:25
      |
    2 | tenants: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]
      |                         ^
    "#);
}

#[test]
fn keys() {
    insta::assert_snapshot!(refused("bulkhead: 1\ntenant: {}\nports: {}\nports: {}\n"), @r#"
    error[BH0105]: a file has no key `tenant`
     --> f.yaml:2:1
      |
    2 | tenant: {}
      | ^^^^^^
      |
      = hint: did you mean `tenants`?

    error[BH0104]: `ports` is given twice
     --> f.yaml:4:1
      |
    3 | ports: {}
      | ----- first here
    4 | ports: {}
      | ^^^^^ again here
      |
      = hint: rename one of them, or merge the two
    "#);
    insta::assert_snapshot!(with_policies("      p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }"), @r#"
    error[BH0107]: this policy has no `from`
      --> f.yaml:13:10
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `from` is required

    error[BH0105]: a policy has no key `form`
      --> f.yaml:13:12
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |            ^^^^
       |
       = hint: did you mean `from`?

    error[BH0105]: a policy has no key `action`
      --> f.yaml:13:56
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |                                                        ^^^^^^
       |
       = hint: a policy has `allow: [..]`, `deny: [..]`, or both
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db }\n      q:\n      r: [x]"), @r#"
    error[BH0107]: the policy `p` neither allows nor denies anything
      --> f.yaml:13:7
       |
    13 |       p: { from: app=web, to: app=db }
       |       ^
       |
       = hint: write allow: [80/tcp], deny: [22/tcp], or both; `any` is every port and protocol

    error[BH0106]: expected a mapping for this policy, but nothing stands here
      --> f.yaml:14:8
       |
    14 |       q:
       |        ^
       |
       = hint: known keys: from, to, allow, deny, source-ports, mode, until

    error[BH0106]: expected a mapping for this policy, found a list
      --> f.yaml:15:10
       |
    15 |       r: [x]
       |          ^^^
       |
       = hint: known keys: from, to, allow, deny, source-ports, mode, until
    "#);
    insta::assert_snapshot!(with_tenant("    workloads: { web: { replicas: 2, netns: a, run: [a] } }"), @r#"
    error[BH0123]: the tenant `shop` has no network for the workload `web`
     --> f.yaml:4:18
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                  ^^^
      |
      = hint: add one: `networks: { main: { subnets: [10.0.0.0/24] } }`

    error[BH0105]: a workload has no key `replicas`
     --> f.yaml:4:25
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                         ^^^^^^^^
      |
      = hint: replicas come in a later version: give each workload its own entry

    error[BH0108]: `run` and `netns` exclude each other
     --> f.yaml:4:45
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                                             ^
      |
      = hint: `run` starts a program in a new namespace, `netns` adopts an existing one
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: { Shop: {}, 9: {} }\n"), @r#"
    error[BH0110]: 'S' may not stand at position 1 of a name
     --> f.yaml:2:12
      |
    2 | tenants: { Shop: {}, 9: {} }
      |            ^
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0110]: '9' may not stand at position 1 of a name
     --> f.yaml:2:22
      |
    2 | tenants: { Shop: {}, 9: {} }
      |                      ^
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter
    "#);
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
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db, allow: [any], until: 2026-02-30 }"), @r#"
    error[BH0116]: `2026-02-30` is not a date or time
      --> f.yaml:13:60
       |
    13 |       p: { from: app=web, to: app=db, allow: [any], until: 2026-02-30 }
       |                                                            ^^^^^^^^^^
       |
       = hint: write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z
    "#);
    insta::assert_snapshot!(with_tenant("    networks: { main: { mode: macvlan }, b: { mode: nta, subnets: [10.0.0.0/8] } }"), @r#"
    error[BH0127]: the network `main` has no subnet
     --> f.yaml:4:17
      |
    4 |     networks: { main: { mode: macvlan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                 ^^^^
      |
      = hint: write for example `subnets: [10.0.0.0/16]`

    error[BH0115]: mode `macvlan` comes in a later version
     --> f.yaml:4:31
      |
    4 |     networks: { main: { mode: macvlan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                               ^^^^^^^
      |
      = hint: known: nat, bridge, routed, none

    error[BH0115]: `nta` is not a mode
     --> f.yaml:4:53
      |
    4 |     networks: { main: { mode: macvlan }, b: { mode: nta, subnets: [10.0.0.0/8] } }
      |                                                     ^^^
      |
      = hint: did you mean `nat`?
    "#);
}

#[test]
fn subnets() {
    insta::assert_snapshot!(with_tenant("    networks: { a: { mode: nat }, b: { mode: none, subnets: [10.0.0.0/8] }, c: { subnets: [10.0.0.0/16, 10.1.0.0/16] } }"), @r#"
    error[BH0127]: the network `a` has no subnet
     --> f.yaml:4:17
      |
    4 |     networks: { a: { mode: nat }, b: { mode: none, subnets: [10.0.0.0/8] }, c: { subnets: [10.0.0.0/16, 10.1.0.0/16] } }
      |                 ^
      |
      = hint: write for example `subnets: [10.0.0.0/16]`

    error[BH0127]: a network of mode `none` has no subnets and no segments
     --> f.yaml:4:61
      |
    4 |     networks: { a: { mode: nat }, b: { mode: none, subnets: [10.0.0.0/8] }, c: { subnets: [10.0.0.0/16, 10.1.0.0/16] } }
      |                                                             ^^^^^^^^^^^^
      |
      = hint: its workloads have loopback only; remove this, or choose another mode

    error[BH0126]: a network has at most one IPv4 subnet
     --> f.yaml:4:105
      |
    4 |     networks: { a: { mode: nat }, b: { mode: none, subnets: [10.0.0.0/8] }, c: { subnets: [10.0.0.0/16, 10.1.0.0/16] } }
      |                                                                                                         ^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(with_tenant("    networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0] } }"), @r#"
    error[BH0126]: 169.254.0.0/16 cannot be the subnet of a network
     --> f.yaml:4:32
      |
    4 |     networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0...
      |                                ^^^^^^^^^^^^^^ link-local: the links between host and routers are there

    error[BH0126]: 10.0.0.0/31 cannot be the subnet of a network
     --> f.yaml:4:66
      |
    4 |     networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0...
      |                                                                  ^^^^^^^^^^^ too small for a gateway and a workload

    error[BH0114]: `10.0.0.0` has no prefix length
     --> f.yaml:4:97
      |
    4 |     networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0...
      |                                                                                                 ^^^^^^^^
      |
      = hint: write a subnet such as 10.0.1.0/24

    error[BH0126]: 0.0.0.0/0 cannot be the subnet of a network
     --> f.yaml:4:125
      |
    4 | ...: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0] } }
      |                                              ^^^^^^^^^ larger than any network needs to be
    "#);
    insta::assert_snapshot!(with_tenant("    networks:
      main:
        subnets: [10.0.0.0/16]
        posture: { ingress: allow }
        segments:
          a: { subnet: 10.1.0.0/24 }
          b: { subnet: 10.0.2.0/23 }
          c: { subnet: 10.0.3.0/24, profile: sealed, posture: { egress: alow } }
          d: { subnet: \"fd00::/64\" }
          e: {}"), @r#"
    error[BH0108]: a network with segments has no posture of its own
     --> f.yaml:7:18
      |
    7 |         posture: { ingress: allow }
      |                  ^^^^^^^^^^^^^^^^^^
      |
      = hint: write the posture in each segment

    error[BH0125]: 10.1.0.0/24 is outside of the network
     --> f.yaml:9:24
      |
    9 |           a: { subnet: 10.1.0.0/24 }
      |                        ^^^^^^^^^^^ the network is 10.0.0.0/16

    error[BH0124]: segment `b` and segment `c` overlap
      --> f.yaml:11:24
       |
    10 |           b: { subnet: 10.0.2.0/23 }
       |                        ----------- first used here
    11 |           c: { subnet: 10.0.3.0/24, profile: sealed, posture: { egress: alow } }
       |                        ^^^^^^^^^^^ 10.0.3.0/24 meets 10.0.2.0/23

    error[BH0108]: a sealed segment has no posture of its own
      --> f.yaml:11:63
       |
    11 |           c: { subnet: 10.0.3.0/24, profile: sealed, posture: { egress: alow } }
       |                                              ------           ^^^^^^^^^^^^^^^^
       |                                              |
       |                                              sealed here
       |
       = hint: `profile: sealed` is deny both ways; keep one of the two

    error[BH0115]: `alow` is not a posture
      --> f.yaml:11:73
       |
    11 |           c: { subnet: 10.0.3.0/24, profile: sealed, posture: { egress: alow } }
       |                                                                         ^^^^
       |
       = hint: did you mean `allow`?

    error[BH0125]: the network has no IPv6 subnet that could hold fd00::/64
      --> f.yaml:12:24
       |
    12 |           d: { subnet: "fd00::/64" }
       |                        ^^^^^^^^^^^
       |
       = hint: add one to `subnets` of the network

    error[BH0107]: this segment has no `subnet`
      --> f.yaml:13:14
       |
    13 |           e: {}
       |              ^^ `subnet` is required
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1
tenants:
  a: { networks: { r: { mode: routed, subnets: [10.0.0.0/16] } } }
  b: { networks: { r: { mode: routed, subnets: [10.0.5.0/24] } } }
"), @r#"
    error[BH0124]: routed network `a.r` and routed network `b.r` overlap
     --> f.yaml:4:20
      |
    3 |   a: { networks: { r: { mode: routed, subnets: [10.0.0.0/16] } } }
      |                    - first used here
    4 |   b: { networks: { r: { mode: routed, subnets: [10.0.5.0/24] } } }
      |                    ^ 10.0.5.0/24 meets 10.0.0.0/16
    "#);
}

#[test]
fn workloads() {
    insta::assert_snapshot!(with_tenant("    networks: { main: { subnets: [10.0.0.0/30] } }
    workloads:
      a: { netns: one, address: 10.0.0.1 }
      b: { netns: one, address: 10.0.0.2 }
      c: { netns: three, address: [10.0.0.2, 10.0.1.2, \"::1\"] }
      d: {}
      e: { netns: ../x, user: 1000 }
      f: { netns: y, user: 1000, env: { A: b } }
      g: { run: [], labels: { app: , host: x, a: b c } }"), @r#"
    error[BH0130]: 4 workloads do not fit into this subnet
     --> f.yaml:4:17
      |
    4 |     networks: { main: { subnets: [10.0.0.0/30] } }
      |                 ^^^^ usable addresses: 1
      |
      = hint: use a larger subnet

    error[BH0128]: `a` cannot have the address 10.0.0.1
     --> f.yaml:6:33
      |
    6 |       a: { netns: one, address: 10.0.0.1 }
      |                                 ^^^^^^^^ this is the gateway's address

    error[BH0133]: the namespace `one` is adopted twice
     --> f.yaml:7:7
      |
    6 |       a: { netns: one, address: 10.0.0.1 }
      |       - by this workload
    7 |       b: { netns: one, address: 10.0.0.2 }
      |       ^ and by this workload

    error[BH0128]: `c` cannot have the address 10.0.1.2
     --> f.yaml:8:46
      |
    8 |       c: { netns: three, address: [10.0.0.2, 10.0.1.2, "::1"] }
      |                                              ^^^^^^^^ the subnet is 10.0.0.0/30

    error[BH0128]: a workload has at most one address of each IP version
     --> f.yaml:8:46
      |
    8 |       c: { netns: three, address: [10.0.0.2, 10.0.1.2, "::1"] }
      |                                              ^^^^^^^^

    error[BH0128]: `c` cannot have the address ::1
     --> f.yaml:8:56
      |
    8 |       c: { netns: three, address: [10.0.0.2, 10.0.1.2, "::1"] }
      |                                                        ^^^^^ there is no IPv6 subnet

    error[BH0107]: the workload `d` has neither `run` nor `netns`
     --> f.yaml:9:7
      |
    9 |       d: {}
      |       ^
      |
      = hint: write run: [program, argument], or netns: NAME for an existing namespace

    error[BH0115]: `../x` is not the name of a namespace
      --> f.yaml:10:19
       |
    10 |       e: { netns: ../x, user: 1000 }
       |                   ^^^^
       |
       = hint: write a name as `ip netns` shows it, or an absolute path

    error[BH0108]: `user` is a setting of the built-in runtime
      --> f.yaml:11:28
       |
    11 |       f: { netns: y, user: 1000, env: { A: b } }
       |                            ^^^^ without effect here
       |
       = hint: a workload with `netns:` was started by somebody else; remove the key

    error[BH0108]: `env` is a setting of the built-in runtime
      --> f.yaml:11:41
       |
    11 |       f: { netns: y, user: 1000, env: { A: b } }
       |                                         ^ without effect here
       |
       = hint: a workload with `netns:` was started by somebody else; remove the key

    error[BH0115]: `run` names no program
      --> f.yaml:12:17
       |
    12 |       g: { run: [], labels: { app: , host: x, a: b c } }
       |                 ^^
       |
       = hint: write for example run: [nginx, -g, daemon off;]

    error[BH0106]: expected a label value, but nothing stands here
      --> f.yaml:12:34
       |
    12 |       g: { run: [], labels: { app: , host: x, a: b c } }
       |                                  ^
       |
       = hint: write "" for an empty value

    error[BH0111]: "host" is a word of the selector language, not a label key
      --> f.yaml:12:38
       |
    12 |       g: { run: [], labels: { app: , host: x, a: b c } }
       |                                      ^^^^

    error[BH0111]: ' ' may not stand at position 2 of a label value
      --> f.yaml:12:51
       |
    12 |       g: { run: [], labels: { app: , host: x, a: b c } }
       |                                                   ^
    "#);
    insta::assert_snapshot!(with_tenant("    networks:
      one: { subnets: [10.0.0.0/16], segments: { a: { subnet: 10.0.0.0/24 }, b: { subnet: 10.0.1.0/24 } } }
      two: { subnets: [10.0.0.0/16], segments: { a: { subnet: 10.0.0.0/24 } } }
    workloads:
      a: { netns: a }
      b: { netns: b, network: one }
      c: { netns: c, segment: a }
      d: { netns: d, segment: two/b }
      e: { netns: e, network: two, segment: a }
      f: { netns: f, network: there }
      g: { netns: g, segment: bb }"), @r#"
    error[BH0123]: the workload `a` could stand in several networks
     --> f.yaml:8:7
      |
    8 |       a: { netns: a }
      |       ^
      |
      = hint: choose with `network:` or `segment:`; there are one, two

    error[BH0123]: the network `one` has several segments
     --> f.yaml:9:31
      |
    9 |       b: { netns: b, network: one }
      |                               ^^^
      |
      = hint: choose with `segment:`; there are a, b

    error[BH0123]: several networks have a segment `a`
      --> f.yaml:10:31
       |
    10 |       c: { netns: c, segment: a }
       |                               ^
       |
       = hint: write one of one/a, two/a

    error[BH0120]: there is no segment `b`
      --> f.yaml:11:31
       |
    11 |       d: { netns: d, segment: two/b }
       |                               ^^^^^
       |
       = hint: defined: a

    error[BH0108]: `segment` and `network` exclude each other
      --> f.yaml:12:45
       |
    12 |       e: { netns: e, network: two, segment: a }
       |                               ---           ^
       |                               |
       |                               given here
       |
       = hint: write `segment: two/a`

    error[BH0120]: there is no network `there`
      --> f.yaml:13:31
       |
    13 |       f: { netns: f, network: there }
       |                               ^^^^^
       |
       = hint: defined: one, two

    error[BH0120]: there is no segment `bb`
      --> f.yaml:14:31
       |
    14 |       g: { netns: g, segment: bb }
       |                               ^^
       |
       = hint: did you mean `b`?
    "#);
    insta::assert_snapshot!(with_tenant("    workloads: { a: { netns: a } }"), @r#"
    error[BH0123]: the tenant `shop` has no network for the workload `a`
     --> f.yaml:4:18
      |
    4 |     workloads: { a: { netns: a } }
      |                  ^
      |
      = hint: add one: `networks: { main: { subnets: [10.0.0.0/24] } }`
    "#);
}

#[test]
fn publishing() {
    insta::assert_snapshot!(with_tenant("    networks: { main: { subnets: [10.0.0.0/24] }, off: { mode: none } }
    workloads: { web: { netns: a, network: main }, job: { netns: b, network: off } }
    publish:
      a: { port: 443/tcp, to: web:8443 }
      b: { port: 443/tcp, to: web:8444, address: 192.0.2.1 }
      c: { port: 80/tcp, to: wbe:80 }
      d: { port: 81/tcp, to: job:80 }
      e: { port: 82-83/tcp, to: web }
      f: { port: 84/tcp, to: web:80, address: \"2001:db8::1\", from: [world, 10.0.0.0/8, app=web] }"), @r#"
    error[BH0131]: 443/tcp is published twice
     --> f.yaml:8:7
      |
    7 |       a: { port: 443/tcp, to: web:8443 }
      |       - here
    8 |       b: { port: 443/tcp, to: web:8444, address: 192.0.2.1 }
      |       ^ and here
      |
      = hint: use another port, or give both entries different addresses of the host with `address:`

    error[BH0120]: there is no workload `wbe`
     --> f.yaml:9:30
      |
    9 |       c: { port: 80/tcp, to: wbe:80 }
      |                              ^^^^^^
      |
      = hint: did you mean `web`?

    error[BH0132]: `job` cannot be published
      --> f.yaml:10:30
       |
    10 |       d: { port: 81/tcp, to: job:80 }
       |                              ^^^^^^ its network `off` has mode `none`

    error[BH0113]: exactly one port can be published
      --> f.yaml:11:18
       |
    11 |       e: { port: 82-83/tcp, to: web }
       |                  ^^^^^^^^^
       |
       = hint: write for example 443/tcp

    error[BH0113]: the port of the workload is missing
      --> f.yaml:11:33
       |
    11 |       e: { port: 82-83/tcp, to: web }
       |                                 ^^^
       |
       = hint: write web:8080

    error[BH0132]: `web` cannot be published
      --> f.yaml:12:30
       |
    12 |       f: { port: 84/tcp, to: web:80, address: "2001:db8::1", from: [world, 10.0.0.0/8, app=web] }
       |                              ^^^^^^ it has no IPv6 address

    error[BH0136]: `world` stands alone: it includes every CIDR
      --> f.yaml:12:69
       |
    12 |       f: { port: 84/tcp, to: web:80, address: "2001:db8::1", from: [world, 10.0.0.0/8, app=web] }
       |                                                                     ^^^^^

    error[BH0114]: a published port is limited to `world` or to CIDRs
      --> f.yaml:12:88
       |
    12 |       f: { port: 84/tcp, to: web:80, address: "2001:db8::1", from: [world, 10.0.0.0/8, app=web] }
       |                                                                                        ^^^^^^^
       |
       = hint: who may connect is decided by policies; this only narrows where the port exists
    "#);
}

#[test]
fn variables() {
    insta::assert_snapshot!(refused("bulkhead: 1
vars: [SET, UNSET, 1X]
policies:
  p: { from: \"${SET}\", to: any, deny: [any] }
  q: { from: \"${OTHER}\", to: \"${UNSET}\", deny: [any] }
  r: { from: any, to: \"${\", deny: [any] }
"), @r#"
    error[BH0117]: the variable `UNSET` is not set
     --> f.yaml:2:13
      |
    2 | vars: [SET, UNSET, 1X]
      |             ^^^^^
      |
      = hint: set it in the environment of this command, or remove it from `vars`

    error[BH0117]: the name of a variable has letters, digits and underscores
     --> f.yaml:2:20
      |
    2 | vars: [SET, UNSET, 1X]
      |                    ^^

    error[BH0117]: `${OTHER}` is not a listed variable
     --> f.yaml:5:15
      |
    5 |   q: { from: "${OTHER}", to: "${UNSET}", deny: [any] }
      |               ^^^^^^^
      |
      = hint: list it: `vars: [OTHER]`, or write $${OTHER} for the text itself

    error[BH0117]: `${}` is not a listed variable
     --> f.yaml:6:24
      |
    6 |   r: { from: any, to: "${", deny: [any] }
      |                        ^^
      |
      = hint: write $${ for the text ${
    "#);
}

#[test]
fn assertions() {
    insta::assert_snapshot!(refused("bulkhead: 1
assert:
  - never: world
  - { never: any -> any, only: any -> any }
  - only: \"[app=web -> any\"
  - never: any -> any:5432
  - never: app=web -> host
"), @r#"
    error[BH0134]: an assertion needs an arrow
     --> f.yaml:3:12
      |
    3 |   - never: world
      |            ^^^^^
      |
      = hint: write FROM -> TO, for example: world -> segment=data

    error[BH0108]: an assertion has one claim
     --> f.yaml:4:32
      |
    4 |   - { never: any -> any, only: any -> any }
      |                                ^^^^^^^^^^
      |
      = hint: write two entries of the list

    error[BH0134]: this list has no end
     --> f.yaml:5:12
      |
    5 |   - only: "[app=web -> any"
      |            ^^^^^^^^
      |
      = hint: a list of selectors ends with `]`

    error[BH0134]: `5432` is not a port
     --> f.yaml:6:23
      |
    6 |   - never: any -> any:5432
      |                       ^^^^
      |
      = hint: name the protocol: 5432/tcp

    error[BH0121]: no workload has a label `app`
     --> f.yaml:7:12
      |
    7 |   - never: app=web -> host
      |            ^^^
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\nassert:\n  - {}\n"), @r#"
    error[BH0107]: this assertion claims nothing
     --> f.yaml:3:5
      |
    3 |   - {}
      |     ^^
      |
      = hint: write `never: FROM -> TO` or `only: FROM -> TO`
    "#);
}

#[test]
fn findings_as_data() {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let source = Source { name: "f.yaml", text: "bulkhead: 1\ntenant: {}\n" };
    let found = policy::load(&source, &|_| None, &Limits::default(), now)
        .map(|_| ())
        .expect_err("is refused");
    insta::assert_snapshot!(serde_json::to_string_pretty(&found.records()).expect("JSON"), @r#"
    [
      {
        "code": "BH0105",
        "severity": "error",
        "message": "a file has no key `tenant`",
        "label": "",
        "file": "f.yaml",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 7,
        "hint": "did you mean `tenants`?"
      }
    ]
    "#);
}
