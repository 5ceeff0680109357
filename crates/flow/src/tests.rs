//! Events to records, merging, the ring and filters, with one small shop as the resolver.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::{Identity, RuleId, RuleKind, RuleRef};
use proptest::prelude::*;
use verdict::Reason;
use verdict::abi::{Addr, Count, Event, EventKind, Verdict};

use crate::{Aggregator, Clock, Decision, Decoder, Filter, Kind, Party, Record, Resolver, Ring};

/// Network 1 `shop.main`: endpoint 1 web 10.0.1.7, endpoint 2 db 10.0.2.5, endpoint 3 intruder 10.0.1.66.
pub(crate) struct Shop;

impl Shop {
    const ENDPOINTS: [(u32, &'static str, [u8; 4]); 3] = [
        (1, "shop.web", [10, 0, 1, 7]),
        (2, "shop.db", [10, 0, 2, 5]),
        (3, "shop.intruder", [10, 0, 1, 66]),
    ];
}

impl Resolver for Shop {
    fn network(&self, number: u32) -> Option<Arc<str>> {
        (number == 1).then(|| "shop.main".into())
    }

    fn endpoint(&self, number: u32) -> Option<Arc<str>> {
        Self::ENDPOINTS.iter().find(|each| each.0 == number).map(|each| each.1.into())
    }

    fn owner(&self, network: u32, address: IpAddr) -> Option<Arc<str>> {
        let owner = Self::ENDPOINTS.iter().find(|each| IpAddr::from(each.2) == address);
        owner.filter(|_| network == 1).map(|each| each.1.into())
    }

    fn identity(&self, identity: Identity) -> Option<Arc<str>> {
        (identity.0 == 0x1000).then(|| "app=web".into())
    }

    fn rule(&self, rule: RuleId) -> Option<RuleRef> {
        let (name, line, kind) = match rule.0 {
            77 => ("web-to-db", 24, RuleKind::Allow),
            78 => ("trial", 30, RuleKind::Audit),
            79 => ("no-telnet", 31, RuleKind::Deny),
            _ => return None,
        };
        Some(RuleRef {
            id: rule,
            path: format!("tenants.shop.policies.{name}").into(),
            file: "shop.yaml".into(),
            line,
            column: 7,
            kind,
        })
    }
}

pub(crate) fn clock() -> Clock {
    let wall = "2026-11-22T10:04:12.000Z".parse().expect("a time");
    Clock { jiffies: 1000, wall, per_second: 250 }
}

/// web:40012 → db:6379/tcp, allowed by `web-to-db`.
pub(crate) fn allowed() -> Event {
    Event {
        source: Addr::v4([10, 0, 1, 7]),
        target: Addr::v4([10, 0, 2, 5]),
        source_identity: 0x1000,
        network: 1,
        endpoint: 1,
        egress_rule: 77,
        ingress_rule: 77,
        at: 900,
        created: 900,
        repeats: 1,
        source_port: 40012,
        target_port: 6379,
        ethertype: verdict::packet::IPV4,
        kind: EventKind::Open as u8,
        verdict: Verdict::Allow as u8,
        protocol: 6,
        sent: 1,
        ..Event::default()
    }
}

/// intruder:51544 → db:6379/tcp, by default not allowed at db.
pub(crate) fn dropped() -> Event {
    Event {
        source: Addr::v4([10, 0, 1, 66]),
        endpoint: 3,
        egress_rule: 0,
        ingress_rule: 0,
        source_identity: 0,
        source_port: 51544,
        kind: EventKind::Drop as u8,
        verdict: Verdict::Drop as u8,
        reason: Reason::DefaultDeny as u8,
        ingress: 1,
        ..allowed()
    }
}

pub(crate) fn record(event: &Event) -> Record {
    Decoder { resolver: &Shop, clock: clock() }.decode(event)
}

#[test]
fn a_flow_names_its_ends_its_rule_and_its_time() {
    let record = record(&allowed());
    assert_eq!(record.kind, Kind::Open);
    assert_eq!(record.decision, Decision::Allow);
    assert_eq!(record.source.workload.as_deref(), Some("shop.web"));
    assert_eq!(record.source.identity_text.as_deref(), Some("app=web"));
    assert_eq!(record.target.workload.as_deref(), Some("shop.db"));
    assert_eq!(record.rule.as_ref().map(RuleRef::name), Some("web-to-db"));
    assert_eq!(record.at.to_string(), "2026-11-22T10:04:11.6Z");
    assert_eq!(record.service(), "6379/tcp");
}

#[test]
fn a_forged_source_is_the_sender_and_the_owner_is_named_beside_it() {
    let forged = Event { source: Addr::v4([10, 0, 1, 7]), ..dropped() };
    let record = record(&forged);
    assert_eq!(record.source.workload.as_deref(), Some("shop.intruder"));
    assert_eq!(record.source.owner.as_deref(), Some("shop.web"));
}

#[test]
fn what_an_audit_policy_lets_pass_is_denied_by_no_rule() {
    let audited = |egress_rule, ingress_rule, ingress| {
        let event = Event { egress_rule, ingress_rule, ingress, ..allowed() };
        Event { verdict: Verdict::Audit as u8, reason: Reason::PolicyDeny as u8, ..event }
    };
    let told = |event: &Event| {
        let record = record(event);
        (record.rule.map_or(0, |rule| rule.id.0), record.reason)
    };
    // The policy's own leftovers, at either side; the kernel says the same of both kinds of rules.
    assert_eq!(told(&audited(78, 77, 0)), (78, Reason::DefaultDeny));
    assert_eq!(told(&audited(77, 78, 1)), (78, Reason::DefaultDeny));
    // A deny of an audit policy.
    assert_eq!(told(&audited(77, 79, 1)), (79, Reason::PolicyDeny));
    // A rule that nobody knows any more is believed.
    assert_eq!(told(&audited(77, 5, 1)), (0, Reason::PolicyDeny));
}

#[test]
fn the_end_of_an_audited_flow_names_the_rule_that_audited() {
    let closed = |egress_rule, ingress_rule| {
        let kind = EventKind::Close as u8;
        let event = Event { egress_rule, ingress_rule, kind, ..allowed() };
        record(&Event { verdict: Verdict::Audit as u8, ..event }).rule_id
    };
    assert_eq!([closed(78, 77), closed(77, 78), closed(77, 79), closed(78, 79)], [78, 78, 79, 78]);
    assert_eq!(closed(77, 0), 0, "the posture did");
    assert_eq!(closed(0, 5), 5, "of a rule that nobody knows any more");
}

#[test]
fn unknown_numbers_are_left_out() {
    let record = record(&Event { network: 9, endpoint: 99, reason: 250, ..dropped() });
    assert_eq!(&*record.network, "network 9");
    assert_eq!(record.endpoint, None);
    assert_eq!(record.reason, Reason::Malformed);
}

#[test]
fn the_end_of_a_flow_carries_counts_and_its_age() {
    let counts = [Count { packets: 4, bytes: 400 }, Count { packets: 3, bytes: 5000 }];
    let event = Event { kind: EventKind::Close as u8, created: 400, counts, ..allowed() };
    let record = record(&event);
    assert_eq!(record.duration_ms, Some(2000));
    assert_eq!(record.counts, Some([[4, 400], [3, 5000]]));
}

#[test]
fn repeated_drops_become_one_record_and_no_event_is_lost() {
    let mut merger = Aggregator::new(8, SignedDuration::from_secs(1));
    let start = clock().wall;
    assert!(merger.push(record(&dropped()), start).is_some());
    for n in 0..9 {
        let again = Event { at: 901 + n, source_port: 51545, repeats: 2, ..dropped() };
        assert!(merger.push(record(&again), start).is_none());
    }
    assert!(merger.flush(start).is_empty());
    let later = start + SignedDuration::from_secs(1);
    let told = merger.flush(later);
    assert_eq!(told.iter().map(|record| record.repeats).collect::<Vec<_>>(), [18]);
    assert!(told[0].since.is_some_and(|since| since < told[0].at));
    assert!(merger.flush(later + SignedDuration::from_secs(1)).is_empty());
    assert!(merger.push(record(&dropped()), later).is_some(), "forgotten after silence");
}

#[test]
fn at_its_bound_the_aggregator_passes_on_and_counts() {
    let mut merger = Aggregator::new(1, SignedDuration::from_secs(1));
    let now = clock().wall;
    assert!(merger.push(record(&dropped()), now).is_some());
    for _ in 0..2 {
        let other = Event { target_port: 22, ..dropped() };
        assert!(merger.push(record(&other), now).is_some());
    }
    assert_eq!(merger.unmerged(), 2);
}

#[test]
fn the_ring_keeps_the_newest_and_counts_the_rest() {
    let mut ring = Ring::new(3);
    for _ in 0..5 {
        ring.push(record(&allowed()));
    }
    assert_eq!((ring.len(), ring.forgotten(), ring.last_number()), (3, 2, 5));
    let numbers = |records: Vec<Arc<Record>>| records.iter().map(|r| r.number).collect::<Vec<_>>();
    assert_eq!(numbers(ring.newest(&Filter::default(), 2)), [4, 5]);
    assert_eq!(numbers(ring.after(4, &Filter::default(), 9)), [5]);
    assert_eq!(numbers(ring.after(0, &Filter::default(), 9)), [3, 4, 5]);
    assert!(ring.after(5, &Filter::default(), 9).is_empty());
}

#[test]
fn seen_counts_repeats_and_leaves_ends_of_flows_out() {
    let mut ring = Ring::new(9);
    ring.push(record(&Event { repeats: 128, ..dropped() }));
    ring.push(record(&Event { at: 950, ..dropped() }));
    ring.push(record(&Event { kind: EventKind::Close as u8, ..allowed() }));
    let seen = ring.seen(|record| record.target.workload.as_deref() == Some("shop.db"));
    assert_eq!(seen.count, 129);
    assert!(seen.since < seen.last);
}

#[test]
fn filters_speak_the_words_of_people() {
    let allowed = record(&allowed());
    let matching = ["shop/web", "shop.web", "web", "10.0.1.0/24", "10.0.1.7"];
    for text in matching {
        let filter = Filter { from: Some(Party::parse(text)), ..Filter::default() };
        assert!(filter.matches(&allowed), "{text}");
    }
    for text in ["shop/db", "world", "10.0.2.0/24", "other/web"] {
        let filter = Filter { from: Some(Party::parse(text)), ..Filter::default() };
        assert!(!filter.matches(&allowed), "{text}");
    }
    let drops = Filter { decision: Some(Decision::Drop), ..Filter::default() };
    assert!(!drops.matches(&allowed));
}

#[test]
fn selectors_ask_the_labels_of_the_moment_and_today_s_members_for_the_rest() {
    let mut two = record(&allowed());
    two.source.identity_text = Some("app=web, tier=front".into());
    let mut forged = record(&allowed());
    (forged.source.identity, forged.source.identity_text) = (0, None);
    let mut bare = record(&allowed());
    bare.source.identity_text = Some("segment=front".into());
    let matches = |selector: &str, members: &[&str], record: &Record| {
        let selector = selector.parse().expect("a selector");
        let members = members.iter().map(|id| Arc::from(*id)).collect();
        Party::Labelled(crate::Labelled { selector, members }).matches(&record.source)
    };
    for selector in ["app=web", "tier=front", "tier=front, app=web", "app in (web, db)", "!env"] {
        assert!(matches(selector, &[], &two), "{selector}");
    }
    assert!(!matches("app=db", &["shop.web"], &two), "it had other labels then");
    assert!(!matches("app=web, tier=back", &[], &two));
    for (selector, record) in [("segment=front", &two), ("app=web", &forged), ("!app", &bare)] {
        assert!(matches(selector, &["shop.web"], record), "{selector}");
        assert!(!matches(selector, &["shop.db"], record), "{selector}");
    }
}

proptest! {
    #[test]
    fn merging_keeps_the_number_of_events(
        ports in prop::collection::vec((0_u16..4, 1_u32..5, 0_i64..3), 0..60),
    ) {
        let mut merger = Aggregator::new(2, SignedDuration::from_secs(1));
        let mut now: Timestamp = clock().wall;
        let (mut sent, mut told) = (0, 0);
        for (target_port, repeats, seconds) in ports {
            now += SignedDuration::from_secs(seconds);
            sent += u64::from(repeats);
            let one = merger.push(record(&Event { target_port, repeats, ..dropped() }), now);
            told += one.map_or(0, |record| record.repeats);
            told += merger.flush(now).iter().map(|record| record.repeats).sum::<u64>();
        }
        let end = now + SignedDuration::from_secs(2);
        told += merger.flush(end).iter().map(|record| record.repeats).sum::<u64>();
        prop_assert_eq!(sent, told);
    }

    #[test]
    fn any_bytes_of_an_event_decode(kind: u8, verdict: u8, reason: u8, ethertype: u16, protocol: u8) {
        let event = Event { kind, verdict, reason, ethertype, protocol, ..dropped() };
        let line = crate::Line::of(&record(&event)).to_string();
        prop_assert!(line.starts_with("10:04:11.600"));
    }
}

#[test]
fn chatter_of_ipv6_stacks_is_counted_and_makes_no_record() {
    let mut merger = Aggregator::new(8, SignedDuration::from_secs(1));
    let now = clock().wall;
    let dropped = |kind: u8, reason: Reason| Record {
        kind: Kind::Drop,
        decision: Decision::Drop,
        reason,
        protocol: crate::Protocol::Ip(58),
        icmp: Some([kind, 0]),
        ..record(&allowed())
    };
    for kind in [130, 131, 132, 133, 143] {
        assert!(merger.push(dropped(kind, Reason::LocalScope), now).is_none(), "{kind}");
    }
    assert_eq!(merger.chatter(), 5);
    // Who advertises routes, or asks for something else, is seen.
    assert!(merger.push(dropped(134, Reason::LocalScope), now).is_some());
    assert!(merger.push(dropped(133, Reason::SpoofedAddress), now).is_some());
    assert_eq!(merger.chatter(), 5);
}

#[test]
fn records_survive_storing() {
    let record = record(&allowed());
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
}

#[test]
fn tallies_survive_storing_and_go_on_counting() {
    let mut tally = crate::RuleTally::new(clock().wall);
    let audited = record(&Event { verdict: Verdict::Audit as u8, ..allowed() });
    tally.add(&audited);
    let text = serde_json::to_string(&tally).expect("JSON");
    let mut again: crate::RuleTally = serde_json::from_str(&text).expect("a tally");
    assert_eq!(again, tally);
    again.add(&audited);
    again.retain(|rule| rule == 77);
    assert_eq!((again.of(77).audits, again.of(77).last), (2, Some(audited.at)));
    assert_eq!(again.since(), Some(clock().wall));
}
