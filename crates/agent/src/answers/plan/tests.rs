//! What a line of a plan says, over the shop's compiled tables.

use flow::Decoder;
use verdict::abi::{Addr, Event, EventKind};

use super::*;
use crate::tests::{SHOP, wanted};

/// What a document gains over the shop, and whether that is recorded.
fn gains(text: &str) -> Vec<(String, bool)> {
    let (old, new) = (wanted(SHOP), wanted(text));
    let diff = planner::diff(Some((&old.document, &old.bundle)), (&new.document, &new.bundle));
    let lines = diff.connections.iter().map(|change| shown(change, &new.bundle));
    let gained = lines.filter(|line| line.change == Change::Add);
    gained.map(|line| (line.service, line.audit)).collect()
}

#[test]
fn gains_that_are_recorded_say_so() {
    let rule = |mode: &str| {
        let line = format!("scan: {{ from: app=scanner, to: app=web, allow: [80/tcp]{mode} }}");
        SHOP.replace("      web-in:", &format!("      {line}\n      web-in:"))
    };
    assert_eq!(gains(&rule("")), [("80/tcp".to_owned(), false)]);
    let tried = gains(&rule(", mode: audit"));
    assert!(tried.len() > 1, "what the rule does not name is let through on trial: {tried:?}");
    assert!(tried.iter().all(|(service, audit)| *audit == (service != "80/tcp")), "{tried:?}");
    for (posture, audited) in [("allow", false), ("audit", true)] {
        let open =
            format!("front: {{ posture: {{ ingress: {posture}, egress: {posture} }}, subnet:");
        let told = gains(&SHOP.replace("front: { subnet:", &open));
        assert!(told.iter().any(|(_, audit)| *audit == audited), "{posture}: {told:?}");
        assert!(audited || told.iter().all(|(_, audit)| !audit), "{posture}: {told:?}");
    }
}

#[test]
fn only_flows_that_go_on_can_be_cut() {
    let entry = |state: FlowState| FlowEntry { state: state as u8, ..FlowEntry::default() };
    for state in [FlowState::Opening, FlowState::Established, FlowState::Closing, FlowState::TwoWay]
    {
        assert!(is_open(&entry(state)), "{state:?}");
    }
    assert!(!is_open(&entry(FlowState::Closed)));
}

#[test]
fn workloads_have_a_slash_in_their_names_and_prefixes_none_but_their_own() {
    assert_eq!(name(&Party::Workload("shop.db".into())), "shop/db");
    let net = "192.0.2.0/24".parse().ok();
    assert_eq!(name(&Party::World(net)), Party::World(net).to_string());
}

/// The record of a flow to a port, as the kernel reports it.
fn record(names: &Names, kind: EventKind, ends: [&str; 2], port: u16, at: u32) -> Record {
    let [source, target] = ends.map(|end| end.parse::<IpAddr>().expect("an address"));
    let event = Event {
        source: Addr::from(source),
        target: Addr::from(target),
        network: 1,
        source_port: 40_000,
        target_port: port,
        ethertype: verdict::packet::IPV4,
        kind: kind as u8,
        verdict: Verdict::Allow as u8,
        protocol: 6,
        at,
        ..Event::default()
    };
    let wall = "2026-11-22T10:04:12Z".parse().expect("a time");
    let clock = flow::Clock { jiffies: 10_000, wall, per_second: 250 };
    Decoder { resolver: names, clock }.decode(&event)
}

#[test]
fn recorded_flows_are_counted_under_the_line_that_ends_them() {
    let open = SHOP.replace("scanner: {", "late: { segment: main/front, address: [10.0.1.67], labels: { app: web }, run: [x] }\n      scanner: {");
    let (old, new) = (
        wanted(&open),
        wanted(&open.replace("allow: [6379/tcp, icmp/echo-request]", "allow: [80/tcp]")),
    );
    let names = Names::new(&old.bundle, None);
    let (web, late, db) = ("10.0.1.10", "10.0.1.67", "10.0.2.20");
    let one = |kind, ends, port, at| record(&names, kind, ends, port, at);
    let mut stranger = one(EventKind::Open, [web, db], 6379, 9_000);
    stranger.source.workload = Some("shop.before".into());
    let records = [
        Record { repeats: 3, ..one(EventKind::Open, [web, db], 6379, 5_000) },
        one(EventKind::Open, [web, db], 6379, 6_000),
        one(EventKind::Open, [late, db], 6379, 7_000),
        // The end of one of them, another service, somebody who never could, and an earlier owner of the address.
        one(EventKind::Close, [web, db], 6379, 7_500),
        one(EventKind::Open, [web, db], 81, 8_000),
        one(EventKind::Open, ["10.0.1.66", db], 6379, 8_500),
        stranger,
    ];
    let records: Vec<Arc<Record>> = records.into_iter().map(Arc::new).collect();
    let diff = planner::diff(Some((&old.document, &old.bundle)), (&new.document, &new.bundle));
    let mut lines: Vec<ConnectionChange> =
        diff.connections.iter().map(|change| shown(change, &new.bundle)).collect();
    let losses = Losses::new(&diff.connections);
    assert!(!losses.is_empty());
    recorded(&mut lines, &losses, (&old.bundle, &names), &new.bundle, &records);
    let told: Vec<&ConnectionChange> =
        lines.iter().filter(|line| line.recorded.is_some()).collect();
    let [line] = told.as_slice() else { panic!("one line: {told:#?}") };
    assert_eq!(
        (line.change, &*line.rule.as_ref().expect("a rule").name),
        (Change::Remove, "web-to-db")
    );
    let found = line.recorded.as_ref().expect("a count");
    assert_eq!((found.flows, found.workloads), (5, 2));
    // 5,000 of 250 jiffies a second before the clock was read.
    assert_eq!(found.since, moment("2026-11-22T10:03:52Z".parse().expect("a time")));
}
