//! What a line of a plan says, over the shop's compiled tables.

use flow::{Kind, Record};

use super::*;
use crate::answers::replay::tests::{recorded as rows, seen};
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

#[test]
fn recorded_flows_are_counted_under_the_line_that_ends_them() {
    let open = SHOP.replace("scanner: {", "late: { segment: main/front, address: [10.0.1.67], labels: { app: web }, run: [x] }\n      scanner: {");
    let (old, new) = (
        wanted(&open),
        wanted(&open.replace("allow: [6379/tcp, icmp/echo-request]", "allow: [80/tcp]")),
    );
    let one = |ends, port| seen(&old, ends, port, true);
    let mut stranger = one(["shop.web", "shop.db"], 6_379);
    stranger.source.workload = Some("shop.before".into());
    stranger.source.identity = 7;
    let ended = Record { kind: Kind::Close, ..one(["shop.web", "shop.db"], 6_379) };
    let early = one(["shop.web", "shop.db"], 6_379);
    let early = Record { repeats: 3, at: "2026-11-22T10:00:00Z".parse().expect("a time"), ..early };
    let records = [
        one(["shop.web", "shop.db"], 6_379),
        early,
        one(["shop.late", "shop.db"], 6_379),
        // The end of one of them, another service, somebody who never could, and one who is not there any more.
        ended,
        one(["shop.web", "shop.db"], 81),
        one(["shop.scanner", "shop.db"], 6_379),
        stranger,
    ];
    let diff = planner::diff(Some((&old.document, &old.bundle)), (&new.document, &new.bundle));
    let mut lines: Vec<ConnectionChange> =
        diff.connections.iter().map(|change| shown(change, &new.bundle)).collect();
    let losses = Losses::new(&diff.connections);
    assert!(!losses.is_empty());
    recorded(&mut lines, &losses, (&old.bundle, &new.bundle), &rows(&records));
    let told: Vec<&ConnectionChange> =
        lines.iter().filter(|line| line.recorded.is_some()).collect();
    let [line] = told.as_slice() else { panic!("one line: {told:#?}") };
    assert_eq!(
        (line.change, &*line.rule.as_ref().expect("a rule").name),
        (Change::Remove, "web-to-db")
    );
    let found = line.recorded.as_ref().expect("a count");
    assert_eq!((found.flows, found.workloads), (5, 2));
    assert_eq!(found.since, "2026-11-22T10:00:00Z");
}
