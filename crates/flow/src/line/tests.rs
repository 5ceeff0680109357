//! What a person sees of each kind of record.

use verdict::abi::{Addr, Count, Event, EventKind, Verdict};

use super::*;
use crate::tests::{allowed, dropped, record};

#[test]
fn lines_read_like_a_log() {
    let arp = Event {
        reason: Reason::SpoofedArp as u8,
        source: Addr::v4([10, 0, 1, 7]),
        target: Addr::v4([10, 0, 1, 7]),
        ethertype: verdict::packet::ARP,
        ingress: 0,
        ..dropped()
    };
    let world = Event {
        source_identity: 2,
        source: Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        ethertype: verdict::packet::IPV6,
        endpoint: 2,
        sent: 0,
        ..dropped()
    };
    let closed = Event {
        kind: EventKind::Close as u8,
        created: 400,
        counts: [Count { packets: 400, bytes: 40_000 }, Count { packets: 900, bytes: 5_000_000 }],
        ..allowed()
    };
    let ping = Event { protocol: 1, target_port: 8 << 8, ..dropped() };
    let audit = Event { verdict: Verdict::Audit as u8, reason: 2, egress_rule: 0, ..allowed() };
    let rest = Event { verdict: Verdict::Audit as u8, reason: 1, egress_rule: 78, ..allowed() };
    let events =
        [Event { repeats: 128, ..dropped() }, allowed(), arp, world, closed, ping, audit, rest];
    let text: Vec<_> = events.iter().map(|event| Line::of(&record(event)).to_string()).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    10:04:11.600  drop   shop/intruder:51544  → shop/db:6379/tcp            default deny            BH-D002  ×128
    10:04:11.600  allow  shop/web:40012       → shop/db:6379/tcp            web-to-db shop.yaml:24:7
    10:04:11.600  drop   shop/intruder        → shop/web   arp              spoofed: 10.0.1.7 belongs to shop/web  BH-D013
    10:04:11.600  drop   [2001:db8::9]:51544  → shop/db:6379/tcp            default deny            BH-D002
    10:04:11.600  close  shop/web:40012       → shop/db:6379/tcp            1300 packets, 4.8 MiB in 2.0 s
    10:04:11.600  drop   shop/intruder        → shop/db   icmp/echo-request  default deny            BH-D002
    10:04:11.600  audit  shop/web:40012       → shop/db:6379/tcp            default deny            BH-D002
    10:04:11.600  audit  shop/web:40012       → shop/db:6379/tcp            not in trial shop.yaml:30:7  BH-D002
    ");
}
