//! Parsing, printing, matching and covering of port specs.

use proptest::prelude::*;

use super::*;

fn spec(text: &str) -> PortSpec {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
}

#[test]
fn documented_forms_print_as_written() {
    for text in [
        "80/tcp",
        "8000-8999/tcp",
        "53/udp",
        "3868/sctp",
        "icmp/echo-request",
        "icmp/3/4",
        "icmp/3",
        "icmp6/2/0",
        "icmp",
        "tcp",
        "udp",
        "sctp",
        "any",
    ] {
        assert_eq!(spec(text).to_string(), text);
    }
    assert_eq!(spec("0-65535/tcp").to_string(), "tcp");
    assert_eq!(spec("80-80/tcp").to_string(), "80/tcp");
}

#[test]
fn errors_name_the_part_and_the_way_out() {
    let shown = |text: &str| {
        let error = text.parse::<PortSpec>().expect_err(text);
        format!(
            "{text}: {}..{} {}{}\n",
            error.at.start,
            error.at.end,
            error.message,
            error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
        )
    };
    let all: String = [
        "80",
        "web",
        "tcp/80",
        "80/http",
        "90-80/tcp",
        "70000/tcp",
        "+1/tcp",
        "icmp/ping",
        "icmp/300",
        "icmp6/1/x",
        "/tcp",
    ]
    .into_iter()
    .map(shown)
    .collect();
    insta::assert_snapshot!(all, @r#"
    80: 0..2 `80` is not a port (name the protocol: 80/tcp)
    web: 0..3 `web` is not a port (a port is 80/tcp, 8000-8999/udp, icmp/echo-request, tcp, any, or a name from `ports:`)
    tcp/80: 0..6 the port stands before the protocol (write 80/tcp)
    80/http: 3..7 `http` is not a protocol with ports (protocols with ports are tcp, udp and sctp)
    90-80/tcp: 0..5 the range 90-80 is empty (did you mean 80-90?)
    70000/tcp: 0..5 `70000` is not a port from 0 to 65535
    +1/tcp: 0..2 `+1` is not a port from 0 to 65535
    icmp/ping: 5..9 `ping` is not an icmp type (known: echo-request, echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, redirect, router-solicitation, router-advertisement, neighbour-solicitation, neighbour-advertisement, timestamp-request, timestamp-reply, or a number such as icmp/3/4)
    icmp/300: 5..8 `300` is not an icmp type from 0 to 255
    icmp6/1/x: 8..9 `x` is not an icmp code from 0 to 255
    /tcp: 0..0 a port is missing here
    "#);
}

#[test]
fn icmp_names_mean_both_versions() {
    let echo = spec("icmp/echo-request");
    assert!(echo.matches(Proto::Icmp, 8 << 8));
    assert!(echo.matches(Proto::Icmp6, 128 << 8));
    assert!(!echo.matches(Proto::Icmp6, 8 << 8));
    assert!(!echo.matches(Proto::Tcp, 8 << 8));
    assert!(spec("icmp/3").covers(&spec("icmp/3/4")));
    assert!(!spec("icmp/3").covers(&spec("icmp/packet-too-big")), "the name covers IPv6 as well");
    assert!(spec("icmp/3").overlaps(&spec("icmp/packet-too-big")));
    assert!(!spec("icmp/3/1").overlaps(&spec("icmp/3/4")));
}

pub(crate) fn any_port_spec() -> impl Strategy<Value = PortSpec> {
    let transport = prop::sample::select(Transport::ALL.to_vec());
    let range = (any::<u16>(), any::<u16>())
        .prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("ordered"));
    prop_oneof![
        Just(PortSpec::Any),
        (transport, range).prop_map(|(transport, range)| PortSpec::Ports(transport, range)),
        Just(PortSpec::Icmp(IcmpMatch::All)),
        prop::sample::select(IcmpName::ALL.to_vec())
            .prop_map(|name| PortSpec::Icmp(IcmpMatch::Named(name))),
        any::<(u8, Option<u8>)>()
            .prop_map(|(kind, code)| PortSpec::Icmp(IcmpMatch::V4(kind, code))),
        any::<(u8, Option<u8>)>()
            .prop_map(|(kind, code)| PortSpec::Icmp(IcmpMatch::V6(kind, code))),
    ]
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(one in any_port_spec()) {
        prop_assert_eq!(spec(&one.to_string()), one);
    }

    #[test]
    fn covers_and_overlaps_agree_with_matches(one in any_port_spec(), two in any_port_spec(), number: u8, port: u16) {
        let proto = Proto::from_number(number);
        let (first, second) = (one.matches(proto, port), two.matches(proto, port));
        prop_assert!(!one.covers(&two) || !second || first);
        prop_assert!(one.overlaps(&two) || !(first && second));
    }

    #[test]
    fn any_text_parses_or_fails_inside_of_itself(text in "\\PC{0,20}|[0-9/tcpim-]{0,12}") {
        if let Err(error) = text.parse::<PortSpec>() {
            prop_assert!(text.get(error.at).is_some());
        }
    }
}
