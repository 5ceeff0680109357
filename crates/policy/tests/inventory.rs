//! Errors about networks, workloads and published ports, as people see them.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

mod refused;

use refused::{refused, with_tenant};

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
    insta::assert_snapshot!(with_tenant("    networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0] } }"), @r"
    error[BH0126]: 169.254.0.0/16 cannot be the subnet of a network
     --> f.yaml:4:32
      |
    4 |     networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0...
      |                                ^^^^^^^^^^^^^^ link-local: the links between host and routers are there
      |
      = hint: choose from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16

    error[BH0126]: 10.0.0.0/31 cannot be the subnet of a network
     --> f.yaml:4:66
      |
    4 |     networks: { a: { subnets: [169.254.0.0/16] }, b: { subnets: [10.0.0.0/31] }, c: { subnets: [10.0.0.0] }, d: { subnets: [0.0.0.0/0...
      |                                                                  ^^^^^^^^^^^ too small for a gateway and a workload
      |
      = hint: the smallest has room for one workload: 10.0.0.0/30

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
      |
      = hint: choose from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16
    ");
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
fn empty_lists() {
    insta::assert_snapshot!(with_tenant("    networks: { main: { subnets: [10.0.0.0/16], segments: { a: { subnet: [] } } } }
    workloads: { web: { netns: web } }
    publish: { a: { port: 1/tcp, to: web:1, from: [] } }"), @r#"
    error[BH0115]: an empty list says nothing
     --> f.yaml:4:74
      |
    4 |     networks: { main: { subnets: [10.0.0.0/16], segments: { a: { subnet: [] } } } }
      |                                                                          ^^
      |
      = hint: write for example 10.0.1.0/24

    error[BH0115]: an empty list says nothing
     --> f.yaml:6:51
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, from: [] } }
      |                                                   ^^
      |
      = hint: leave `from` out if everybody is meant
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

    error[BH0107]: the workload `d` has neither `run` nor `netns` nor `port`
     --> f.yaml:9:7
      |
    9 |       d: {}
      |       ^
      |
      = hint: write run: [program, argument], netns: NAME for an existing namespace, or port: {interface: tap0, mac: ...} for an interface that somebody else made

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
fn terms_of_published_ports() {
    let text = |keys: &str| {
        format!(
            "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads: {{ web: {{ netns: web }} }}
    publish: {{ a: {{ port: 1/tcp, to: web:1, {keys} }}, b: {{ port: 2/tcp, to: web:1, limit: 5/s per source }} }}
"
        )
    };
    insta::assert_snapshot!(refused(&text("limit: [5/s, 6/s]")), @r"
    error[BH0136]: two limits for all sources
     --> f.yaml:6:58
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: [5/s, 6/s] }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                                                          ^^^
      |
      = hint: write one rate per source and one for all: [20/s per source, 500/s]

    error[BH0131]: web:1 is published with two limits
     --> f.yaml:6:66
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: [5/s, 6/s] }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                - here                                            ^ and here
      |
      = hint: give all entries of one port of a workload the same `limit`: what begins there is counted together
    ");
    insta::assert_snapshot!(refused(&text("limit: 5/day, owner: ''")), @r"
    error[BH0115]: `day` is no unit of time
     --> f.yaml:6:54
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: 5/day, owner: '' }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                                                      ^^^
      |
      = hint: write 20/s per source for each source, 500/s for all of them; s, min or h

    error[BH0115]: nobody is named, or the name begins or ends with a space
     --> f.yaml:6:67
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: 5/day, owner: '' }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                                                                   ^
      |
      = hint: write a person, a team or a ticket: owner: web team <web@example.org>

    error[BH0131]: web:1 is published with two limits
     --> f.yaml:6:72
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: 5/day, owner: '' }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                - here                                                  ^ and here
      |
      = hint: give all entries of one port of a workload the same `limit`: what begins there is counted together
    ");
    insta::assert_snapshot!(refused(&text("limit: 7/s per source")), @r"
    error[BH0131]: web:1 is published with two limits
     --> f.yaml:6:70
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, limit: 7/s per source }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                - here                                                ^ and here
      |
      = hint: give all entries of one port of a workload the same `limit`: what begins there is counted together
    ");
    insta::assert_snapshot!(refused(&text("rate: 5")), @r"
    error[BH0105]: a publish entry has no key `rate`
     --> f.yaml:6:45
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, rate: 5 }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                                             ^^^^
      |
      = hint: write limit: [20/s per source, 500/s]

    error[BH0131]: web:1 is published with two limits
     --> f.yaml:6:56
      |
    6 |     publish: { a: { port: 1/tcp, to: web:1, rate: 5 }, b: { port: 2/tcp, to: web:1, limit: 5/s per source } }
      |                - here                                  ^ and here
      |
      = hint: give all entries of one port of a workload the same `limit`: what begins there is counted together
    ");
}
