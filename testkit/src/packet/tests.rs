//! Built frames are read back by an independent parser, checksums included.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};

use super::icmp::IcmpError;
use super::*;

const A: Mac = [2, 0, 0, 0, 0, 1];
const B: Mac = [2, 0, 0, 0, 0, 2];

fn v4() -> Frame {
    Frame::new(A, B).ip(ip("10.0.0.1"), ip("10.0.0.2"))
}

fn v6() -> Frame {
    Frame::new(A, B).ip(ip("fd00::1"), ip("fd00::2"))
}

#[test]
fn tcp_over_both_families_has_right_checksums() {
    for frame in [v4(), v6()] {
        let bytes = frame.tcp_segment(1234, 80, SYN | ACK, 7, 8).payload(b"hello").bytes();
        let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
        let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("no TCP") };
        assert!(tcp.syn() && tcp.ack() && !tcp.fin());
        assert_eq!(
            (tcp.source_port(), tcp.destination_port(), tcp.sequence_number()),
            (1234, 80, 7)
        );
        let header = tcp.to_header();
        let wanted = match parsed.net.expect("a net layer") {
            NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), b"hello"),
            NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), b"hello"),
            NetSlice::Arp(_) => panic!("not ARP"),
        };
        assert_eq!(header.checksum, wanted.expect("short"));
    }
}

#[test]
fn udp_and_icmp_checksums_match_the_library() {
    let bytes = v4().udp(53, 5353).payload(b"x").bytes();
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let Some(TransportSlice::Udp(udp)) = parsed.transport else { panic!("no UDP") };
    assert_eq!(udp.length(), 9);
    let header = udp.to_header();
    let wanted = header.calc_checksum_ipv4_raw([10, 0, 0, 1], [10, 0, 0, 2], b"x");
    assert_eq!(header.checksum, wanted.expect("short"));

    let bytes = v6().echo_request(9, 1).payload(b"ping").bytes();
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let Some(TransportSlice::Icmpv6(icmp)) = parsed.transport else { panic!("no ICMPv6") };
    let NetSlice::Ipv6(ip) = parsed.net.expect("a net layer") else { panic!("no IPv6") };
    let (source, destination) = (ip.header().source(), ip.header().destination());
    assert!(icmp.is_checksum_valid(source, destination));
}

#[test]
fn a_wrong_checksum_is_wrong() {
    let good = v4().udp(1, 2).bytes();
    let bad = v4().udp(1, 2).wrong_checksum().bytes();
    assert_ne!(good, bad);
    assert_eq!(good.len(), bad.len());
}

#[test]
fn fragments_carry_all_bytes_in_order() {
    for frame in [v4(), v6()] {
        let whole = frame.udp(1, 2).payload(&[7; 100]);
        let parts = whole.fragments(48, 0x1234);
        assert_eq!(parts.len(), 3);
        let mut joined = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let parsed = SlicedPacket::from_ethernet(part).expect("a valid fragment");
            let payload = parsed.ip_payload().expect("a payload");
            assert!(payload.fragmented, "fragment {i} does not say so");
            joined.extend_from_slice(payload.payload);
        }
        assert_eq!(joined, v4_or_same(&whole));
    }
}

fn v4_or_same(frame: &Frame) -> Vec<u8> {
    frame.transport_bytes()
}

#[test]
fn ipv6_extension_headers_are_chained() {
    let bytes = v6()
        .extension(extension::HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0])
        .extension(extension::DESTINATION, &[0, 1, 4, 0, 0, 0, 0])
        .tcp(1, 2, SYN)
        .bytes();
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("no TCP") };
    assert_eq!(tcp.destination_port(), 2);
}

#[test]
fn sctp_has_the_crc_of_rfc_9260() {
    // Check value of CRC-32C: "123456789".
    assert_eq!(transport::crc32c(b"123456789"), 0xe306_9283);
    let bytes = v4().sctp_init(5000, 3868).bytes();
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let payload = parsed.ip_payload().expect("a payload");
    assert_eq!(payload.ip_number, IpNumber::SCTP);
    assert_eq!(payload.payload.len(), 32);
}

#[test]
fn an_icmp_error_quotes_the_packet() {
    let original = v4().udp(1000, 53).payload(b"q").ip_bytes();
    let bytes = Frame::new(B, A)
        .ip(ip("10.0.0.2"), ip("10.0.0.1"))
        .icmp_error(IcmpError::PortUnreachable, &original)
        .bytes();
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let Some(TransportSlice::Icmpv4(icmp)) = parsed.transport else { panic!("no ICMP") };
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 3));
    assert!(icmp.payload().ends_with(&original));
}

#[test]
fn arp_and_neighbour_discovery_parse() {
    let sender = arp::Party { mac: A, ip: Ipv4Addr::new(10, 0, 0, 1) };
    let bytes = arp::request(sender, Ipv4Addr::new(10, 0, 0, 2));
    let parsed = SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    let Some(NetSlice::Arp(arp)) = parsed.net else { panic!("no ARP") };
    assert_eq!(arp.sender_protocol_addr(), [10, 0, 0, 1]);

    let (source, prefix) = ("fe80::1".parse().expect("ok"), "fd00:bad::".parse().expect("ok"));
    for bytes in [
        neighbour::router_advertisement(A, source, prefix),
        neighbour::solicitation(A, source, prefix),
        neighbour::advertisement(A, B, source, source, source),
        dhcp::offer(A, Ipv4Addr::LOCALHOST, B, Ipv4Addr::LOCALHOST, 1),
        dhcp::discover(A, 1),
    ] {
        SlicedPacket::from_ethernet(&bytes).expect("a valid packet");
    }
}
