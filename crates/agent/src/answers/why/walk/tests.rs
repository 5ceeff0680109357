//! Codes, packets and reports of walks.

use super::*;

#[test]
fn codes_are_in_order_and_documented() {
    let all: Vec<_> = explanations().collect();
    assert!(all.windows(2).all(|pair| pair[0].code < pair[1].code));
    for each in &all {
        assert!(each.code.starts_with("BH-W") && each.code.len() == 7, "{}", each.code);
        assert!(each.text.ends_with('.') && each.hint.is_some(), "{}", each.code);
    }
}

#[test]
fn an_answer_goes_the_other_way_round() {
    let packet = Packet {
        source: "10.0.1.10".parse().expect("an address"),
        target: "203.0.113.9".parse().expect("an address"),
        protocol: 6,
        source_port: 49_152,
        target_port: 80,
        came_in: "br0".to_owned(),
        goes_out: "up0".to_owned(),
        state: State::New,
        is_translated: false,
        is_bridged: false,
    };
    let back = answer(&packet);
    assert_eq!((back.source, back.target), (packet.target, packet.source));
    assert_eq!((back.source_port, back.target_port), (80, 49_152));
    assert_eq!((back.came_in.as_str(), back.goes_out.as_str()), ("up0", "br0"));
    assert_eq!(answer(&back), Packet { state: State::Established, ..packet.clone() });
    let error = Trip::error_about(&packet, packet.target);
    assert_eq!((error.protocol, error.source_port, error.target_port), (1, 3, 4));
    assert_eq!((error.target, error.state), (packet.source, State::Related));
}

#[test]
fn the_first_fault_is_the_headline_and_nothing_is_said_twice() {
    let mut report = Report::new(PATIENCE);
    let fault = |code| Fault { code, text: format!("{code} happened"), hint: None };
    report.ok("host", "link", "bt1 is up".to_owned(), String::new());
    for code in [codes::NO_ROUTE, codes::NO_ROUTE, codes::NOT_LISTENING] {
        report.fault("host", "route", fault(code), "ip route".to_owned());
    }
    let walk = report.done();
    assert_eq!(walk.fault.as_deref(), Some(codes::NO_ROUTE));
    assert_eq!((walk.steps.len(), walk.faults().count()), (3, 2));
    assert_eq!(walk.steps[0].command, None);
}

#[test]
fn a_walk_without_time_says_so() {
    let mut report = Report::new(Duration::ZERO);
    assert!(report.is_late() && report.is_late());
    let walk = report.done();
    assert_eq!((walk.fault, walk.steps.len()), (None, 1));
    assert_eq!(walk.steps[0].state, api::WalkState::Unknown);
}

#[test]
fn a_namespace_that_is_gone_is_told_from_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let until = std::time::Instant::now() + PATIENCE;
    let open = |path: PathBuf| Station::open("shop/web".to_owned(), Some(path), until).map(drop);
    assert!(matches!(open(folder.path().join("none")), Err(Closed::Gone(_))));
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").expect("written");
    assert!(matches!(open(plain.clone()), Err(Closed::Gone(_))), "unmounted, and a file is left");
    assert!(matches!(open(plain.join("below")), Err(Closed::Unreadable(_))));
    assert_eq!(open("/proc/self/ns/net".into()), Ok(()));
}
