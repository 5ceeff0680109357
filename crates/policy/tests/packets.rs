//! Warnings about rules that no packet can meet.

use policy::{Limits, Source};

/// The rendered warnings of a file with a tenant of three segments: IPv4, IPv6 and both.
fn warned(policies: &str) -> String {
    let text = format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      n:
        mode: nat
        subnets: [10.0.0.0/16, \"fd00:5::/48\"]
        segments:
          four: {{ subnet: 10.0.4.0/24 }}
          six: {{ subnet: \"fd00:5:0:6::/64\" }}
          both: {{ subnet: [10.0.46.0/24, \"fd00:5:0:46::/64\"] }}
    workloads:
      four: {{ segment: four, netns: four }}
      six: {{ segment: six, netns: six }}
      both: {{ segment: both, netns: both }}
    policies:
{policies}
"
    );
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let source = Source { name: "f.yaml", text: &text };
    policy::load(&source, &|_| None, &Limits::default(), now)
        .unwrap_or_else(|found| panic!("{found}"))
        .warnings
        .render(false)
}

#[test]
fn addresses_that_are_never_carried() {
    insta::assert_snapshot!(warned("      a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, \"ff02::fb\", \"fe80::/10\"], allow: [5353/udp] }"), @r#"
    warning[BH0102]: 224.0.0.0/4 in `to` of the policy `a` can never match
      --> f.yaml:17:37
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                     ^^^^^^^^^^^ multicast is never carried
       |
       = hint: remove it: such packets are dropped whatever a policy says

    warning[BH0102]: 239.1.2.3 in `to` of the policy `a` can never match
      --> f.yaml:17:50
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                                  ^^^^^^^^^ multicast is never carried
       |
       = hint: remove it: such packets are dropped whatever a policy says

    warning[BH0102]: 255.255.255.255 in `to` of the policy `a` can never match
      --> f.yaml:17:61
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                                             ^^^^^^^^^^^^^^^ broadcast is never carried
       |
       = hint: remove it: such packets are dropped whatever a policy says

    warning[BH0102]: 0.0.0.0 in `to` of the policy `a` can never match
      --> f.yaml:17:78
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                                                              ^^^^^^^ this is no address of anybody
       |
       = hint: remove it: such packets are dropped whatever a policy says

    warning[BH0102]: ff02::fb in `to` of the policy `a` can never match
      --> f.yaml:17:88
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                                                                        ^^^^^^^^ multicast is never carried
       |
       = hint: remove it: such packets are dropped whatever a policy says

    warning[BH0102]: fe80::/10 in `to` of the policy `a` can never match
      --> f.yaml:17:100
       |
    17 |       a: { from: segment=both, to: [224.0.0.0/4, 239.1.2.3, 255.255.255.255, 0.0.0.0, "ff02::fb", "fe80::/10"], allow: [5353/udp] }
       |                                                                                                    ^^^^^^^^^ link-local packets are never carried
       |
       = hint: remove it: such packets are dropped whatever a policy says
    "#);
    insta::assert_snapshot!(warned("      a: { from: 127.0.0.1, to: segment=both, deny: [any] }
      b: { from: segment=both, to: [127.0.0.0/8, \"::1\"], deny: [any] }"), @r#"
    warning[BH0102]: 127.0.0.1 in `from` of the policy `a` can never match
      --> f.yaml:17:18
       |
    17 |       a: { from: 127.0.0.1, to: segment=both, deny: [any] }
       |                  ^^^^^^^^^ loopback never leaves its machine
       |
       = hint: remove it: a workload's own loopback is not judged, and the host's is out of reach

    warning[BH0102]: 127.0.0.0/8 in `to` of the policy `b` can never match
      --> f.yaml:18:37
       |
    18 |       b: { from: segment=both, to: [127.0.0.0/8, "::1"], deny: [any] }
       |                                     ^^^^^^^^^^^ loopback never leaves its machine
       |
       = hint: remove it: a workload's own loopback is not judged, and the host's is out of reach

    warning[BH0102]: ::1 in `to` of the policy `b` can never match
      --> f.yaml:18:51
       |
    18 |       b: { from: segment=both, to: [127.0.0.0/8, "::1"], deny: [any] }
       |                                                   ^^^ loopback never leaves its machine
       |
       = hint: remove it: a workload's own loopback is not judged, and the host's is out of reach
    "#);
}

#[test]
fn addresses_that_are_carried() {
    assert_eq!(
        warned(
            "      a: { from: segment=both, to: [128.0.0.0/1, 169.254.169.254, 240.0.0.0/5, \"2000::/3\", \"fd00:6::/32\"], deny: [any] }"
        ),
        ""
    );
    assert_eq!(warned("      a: { from: 192.0.2.0/24, to: any, deny: [any] }"), "");
    assert_eq!(warned("      a: { from: any, to: \"2001:db8::/32\", deny: [any] }"), "");
}

#[test]
fn ip_versions_that_the_other_side_does_not_have() {
    insta::assert_snapshot!(warned("      a: { from: segment=four, to: [192.0.2.0/24, \"2001:db8::/32\"], allow: [443/tcp] }
      b: { from: 192.0.2.7, to: segment=six, allow: [443/tcp] }
      c: { from: segment=four, to: segment=six, allow: [443/tcp] }"), @r#"
    warning[BH0102]: 2001:db8::/32 in `to` of the policy `a` can never match
      --> f.yaml:17:52
       |
    17 |       a: { from: segment=four, to: [192.0.2.0/24, "2001:db8::/32"], allow: [443/tcp] }
       |                                                    ^^^^^^^^^^^^^ the workloads of `from` have only IPv4 addresses
       |
       = hint: remove it, or give their network a subnet of this IP version

    warning[BH0102]: 192.0.2.7 in `from` of the policy `b` can never match
      --> f.yaml:18:18
       |
    18 |       b: { from: 192.0.2.7, to: segment=six, allow: [443/tcp] }
       |                  ^^^^^^^^^ the workloads of `to` have only IPv6 addresses
       |
       = hint: remove it, or give their network a subnet of this IP version

    warning[BH0157]: no packet can take the way of the policy `c`
      --> f.yaml:19:7
       |
    19 |       c: { from: segment=four, to: segment=six, allow: [443/tcp] }
       |       ^ `from` has only IPv4 addresses, `to` only IPv6
       |
       = hint: give both segments a subnet of the same IP version
    "#);
    assert_eq!(
        warned(
            "      a: { from: [segment=four, segment=six], to: [192.0.2.0/24, \"2001:db8::/32\"], allow: [443/tcp] }
      b: { from: segment=four, to: [segment=both, segment=six], allow: [443/tcp] }
      c: { from: segment=six, to: world, allow: [443/tcp] }"
        ),
        ""
    );
}

#[test]
fn icmp_messages_that_open_no_flow() {
    insta::assert_snapshot!(warned("      a: { from: segment=both, to: world, allow: [icmp/echo-reply] }
      b: { from: any, to: any, deny: [icmp/redirect, 22/tcp, icmp/destination-unreachable, icmp6/134] }
      c: { from: segment=four, to: segment=both, allow: [icmp6/128] }
      d: { from: world, to: segment=both, allow: [icmp/3/4, icmp/echo-request] }"), @r"
    warning[BH0161]: the policy `a` names icmp messages that it never decides about
      --> f.yaml:17:7
       |
    17 |       a: { from: segment=both, to: world, allow: [icmp/echo-reply] }
       |       ^ no flow begins with icmp/echo-reply
       |
       = hint: replies and errors pass with the flow that they belong to, and only so: name what opens it, icmp/echo-request

    warning[BH0161]: the policy `b` names icmp messages that it never decides about
      --> f.yaml:18:7
       |
    18 |       b: { from: any, to: any, deny: [icmp/redirect, 22/tcp, icmp/destination-unreachable, icmp6/134] }
       |       ^ no flow begins with icmp/redirect, icmp/destination-unreachable, icmp6/134
       |
       = hint: replies and errors pass with the flow that they belong to, and only so: name what opens it, icmp/echo-request

    warning[BH0161]: the policy `c` names icmp messages that it never decides about
      --> f.yaml:19:7
       |
    19 |       c: { from: segment=four, to: segment=both, allow: [icmp6/128] }
       |       ^ the two sides have only IPv4 in common
       |
       = hint: write icmp/echo-request: it is about both versions

    warning[BH0152]: the policy `d` allows what is denied for the same peers
      --> f.yaml:20:7
       |
    18 |       b: { from: any, to: any, deny: [icmp/redirect, 22/tcp, icmp/destination-unreachable, icmp6/134] }
       |       - denied by this policy
    19 |       c: { from: segment=four, to: segment=both, allow: [icmp6/128] }
    20 |       d: { from: world, to: segment=both, allow: [icmp/3/4, icmp/echo-request] }
       |       ^ icmp/3/4 has no effect: a deny beats an allow
       |
       = hint: remove the allow, or make the deny narrower

    warning[BH0161]: the policy `d` names icmp messages that it never decides about
      --> f.yaml:20:7
       |
    20 |       d: { from: world, to: segment=both, allow: [icmp/3/4, icmp/echo-request] }
       |       ^ no flow begins with icmp/3/4
       |
       = hint: replies and errors pass with the flow that they belong to, and only so: name what opens it, icmp/echo-request
    ");
    assert_eq!(
        warned(
            "      a: { from: segment=four, to: segment=both, allow: [icmp/echo-request, icmp/8/0, icmp/timestamp-request] }
      b: { from: segment=both, to: world, allow: [icmp6/128, icmp/13] }"
        ),
        ""
    );
}
