//! Connection state on the wire: strays, windows and ICMP errors between real stacks.

use std::time::Duration;

use testkit::packet::icmp::IcmpError;
use testkit::packet::{ACK, Frame, RST, SYN, ip};
use testkit::server::{Reached, UdpEcho, probe_udp};
use testkit::{Namespace, Wire, root_or_return, wait_until};

use crate::stage::{SILENCE, SOON, Stage, at, serve};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";

struct Pair {
    stage: Stage,
    a: Namespace,
    b: Namespace,
}

/// A may reach B on 80/tcp and 53/udp.
fn pair() -> Pair {
    let mut stage = Stage::new();
    let [a, b] = stage.tenant(
        "mode: bridge, subnets: [10.0.1.0/24]",
        [
            ("a", &format!("address: [{A}], labels: {{ app: a }}")),
            ("b", &format!("address: [{B}], labels: {{ app: b }}")),
        ],
        "    policies:
      use: { from: app=a, to: app=b, allow: [80/tcp, 53/udp] }
",
    );
    Pair { stage, a, b }
}

#[test]
fn stray_and_out_of_window_segments_are_dropped_root() {
    root_or_return!("stray_and_out_of_window_segments_are_dropped_root");
    let pair = pair();
    let (mac_a, mac_b) = (pair.a.mac("eth0").expect("a MAC"), pair.b.mac("eth0").expect("a MAC"));
    let (from_a, at_b) = (Wire::open(&pair.a, "eth0"), Wire::open(&pair.b, "eth0"));
    let (from_a, at_b) = (from_a.expect("a wire"), at_b.expect("a wire"));
    let segment = |flags, seq, ack| {
        Frame::new(mac_a, mac_b).ip(ip(A), ip(B)).tcp_segment(4000, 80, flags, seq, ack).bytes()
    };
    let is_tcp = |frame: &[u8]| frame.len() > 34 && frame[23] == 6;

    from_a.send(&segment(ACK, 1, 1)).expect("sent");
    assert!(at_b.next(SILENCE, is_tcp).expect("a watch").is_none(), "a stray ACK opens nothing");
    assert_eq!(pair.stage.drop_code("t/a", "t/b"), "BH-D030");

    // A by-hand handshake with B's real stack, so that the sequence numbers are known.
    let _server = serve(&pair.b, B, &[80]);
    // A's own stack must not answer B's SYN-ACK with a reset.
    pair.a
        .nft("table inet quiet { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }")
        .expect("nft");
    let at_a = Wire::open(&pair.a, "eth0").expect("a wire");
    from_a.send(&segment(SYN, 1000, 0)).expect("sent");
    let syn_ack = at_a
        .next(SOON, |frame| is_tcp(frame) && frame[26..30] == [10, 0, 1, 20])
        .expect("a watch")
        .expect("B answers");
    let server_seq = u32::from_be_bytes([syn_ack[38], syn_ack[39], syn_ack[40], syn_ack[41]]);
    from_a.send(&segment(ACK, 1001, server_seq.wrapping_add(1))).expect("sent");
    at_b.forget().expect("a watch");

    from_a.send(&segment(RST, 1001_u32.wrapping_add(1 << 30), 0)).expect("sent");
    let reset = |frame: &[u8]| is_tcp(frame) && frame[47] & RST != 0;
    assert!(at_b.next(SILENCE, reset).expect("a watch").is_none(), "a blind reset");
    let found = wait_until("BH-D031", SOON, || pair.stage.drop_code("t/a", "t/b") == "BH-D031");
    found.expect("the drop is explained");
    from_a.send(&segment(RST, 1001, 0)).expect("sent");
    assert!(at_b.next(SOON, reset).expect("a watch").is_some(), "the real reset arrives");
}

#[test]
fn icmp_errors_pass_for_live_flows_only_root() {
    root_or_return!("icmp_errors_pass_for_live_flows_only_root");
    let pair = pair();
    // Nothing listens on 53: B's stack answers "port unreachable", which A must hear.
    let answer = probe_udp(&pair.a, at("10.0.1.20:53"), Duration::from_secs(2)).expect("a probe");
    assert_eq!(answer, Reached::Refused);
    // The same error about a flow that never was is an attack.
    let (mac_a, mac_b) = (pair.a.mac("eth0").expect("a MAC"), pair.b.mac("eth0").expect("a MAC"));
    let never = Frame::new(mac_a, mac_b).ip(ip(A), ip(B)).udp(5555, 53).ip_bytes();
    let forged = Frame::new(mac_b, mac_a)
        .ip(ip(B), ip(A))
        .icmp_error(IcmpError::PortUnreachable, &never)
        .bytes();
    let watch = Wire::open(&pair.a, "eth0").expect("a wire");
    Wire::open(&pair.b, "eth0").expect("a wire").send(&forged).expect("sent");
    let arrived = watch.next(SILENCE, |frame| frame.len() > 34 && frame[23] == 1).expect("a watch");
    assert!(arrived.is_none());
    assert_eq!(pair.stage.drop_code("t/b", "t/a"), "BH-D033");
}

#[test]
fn replies_pass_and_the_other_direction_does_not_root() {
    root_or_return!("replies_pass_and_the_other_direction_does_not_root");
    let pair = pair();
    let b_server = UdpEcho::start(&pair.b, at("10.0.1.20:53")).expect("a server");
    let a_server = UdpEcho::start(&pair.a, at("10.0.1.10:53")).expect("a server");
    let there = probe_udp(&pair.a, b_server.address(), SILENCE).expect("a probe");
    assert_eq!(there, Reached::Answered);
    let back = probe_udp(&pair.b, a_server.address(), SILENCE).expect("a probe");
    assert_eq!((back, a_server.received()), (Reached::Silence, 0));
}
