//! Ports that nobody in the file has: found, told apart, bounded, and followed wherever they go.

use std::time::{Duration, Instant};

use super::*;
use crate::ports::{Street, YOUTH};

const BRIDGE: u32 = 3;

fn street(network: u16, bridge: &str) -> Street {
    Street {
        network,
        bridge: Some(bridge.to_owned()),
        subnets: [true, false],
        waits: false,
        leads_out: false,
    }
}

/// A bridge with a workload's port, one that is nobody's, and one beside the bridge.
fn lane(streets: Vec<Street>) -> Keeping<Fake> {
    let mut keeping = keeping(&[("tap0", 9)], &[(7, "tap0")]);
    let floor = keeping.floor();
    floor.interfaces.insert("br9".to_owned(), link(BRIDGE, Leads::Bridge, None));
    floor.interfaces.insert("tap0".to_owned(), link(9, Leads::Guest, Some(BRIDGE)));
    floor.interfaces.insert("veth1".to_owned(), link(10, Leads::Guest, Some(BRIDGE)));
    floor.interfaces.insert("other".to_owned(), link(11, Leads::Guest, None));
    keeping.watch(streets);
    keeping
}

fn come(keeping: &mut Keeping<Fake>, name: &str, index: u32) {
    keeping.floor().interfaces.insert(name.to_owned(), link(index, Leads::Guest, Some(BRIDGE)));
}

fn log_at(keeping: &mut Keeping<Fake>, now: Instant) -> Vec<String> {
    let pass = keeping.pass_at(now);
    assert!(pass.failed.is_empty(), "{:?}", pass.failed);
    std::mem::take(&mut keeping.floor().log)
}

#[test]
fn what_is_on_a_bridge_of_the_file_and_nobodys_is_judged_and_the_bridge_with_it() {
    let mut keeping = lane(vec![street(5, "br9")]);
    let first = log(&mut keeping);
    let workload = ["enter 9 7", "attach 9 7"];
    let strays = ["enter 3 16384@5b", "attach 3 16384", "enter 10 16385@5", "attach 10 16385"];
    assert_eq!(first, [&workload[..], &strays].concat());
    assert!(log(&mut keeping).is_empty(), "nothing is left to do");
    let names: Vec<(&str, bool)> =
        keeping.strays().map(|stray| (stray.interface.as_str(), stray.is_bridge)).collect();
    assert_eq!(names, [("br9", true), ("veth1", false)]);
    assert!(keeping.concerns(77, "new", Some(BRIDGE)), "a port that comes");
    assert!(!keeping.concerns(77, "new", Some(4)) && !keeping.concerns(77, "new", None));
    keeping.watch(Vec::new());
    let last = log(&mut keeping);
    assert_eq!(last, ["detach 3 16384", "leave 3", "detach 10 16385", "leave 10"]);
}

#[test]
fn a_port_becomes_a_workloads_and_nobodys_again_without_a_gap() {
    let mut keeping = lane(vec![street(5, "br9")]);
    log(&mut keeping);
    keeping.want([port(7, "tap0"), port(8, "veth1")]);
    assert_eq!(log(&mut keeping), ["hand over 10 16385 8", "attach 10 8"]);
    assert_eq!(keeping.state(8), Some(&enforced("veth1", 10)));
    keeping.want([port(7, "tap0")]);
    assert_eq!(log(&mut keeping), ["hand over 10 8 16385@5", "attach 10 16385"]);
}

#[test]
fn a_port_that_moves_to_another_bridge_is_that_ones_and_one_that_leaves_is_let_go() {
    let mut keeping = lane(vec![street(5, "br9"), street(6, "br8")]);
    keeping.floor().interfaces.insert("br8".to_owned(), link(4, Leads::Bridge, None));
    log(&mut keeping);
    keeping.floor().interfaces.insert("veth1".to_owned(), link(10, Leads::Guest, Some(4)));
    assert_eq!(log(&mut keeping), ["enter 10 16385@6"]);
    // Renamed, it is who it was.
    let moved = keeping.floor().interfaces.remove("veth1").expect("it is there");
    keeping.floor().interfaces.insert("renamed".to_owned(), moved);
    assert!(log(&mut keeping).is_empty());
    keeping.floor().interfaces.insert("renamed".to_owned(), link(10, Leads::Guest, None));
    assert_eq!(log(&mut keeping), ["detach 10 16385", "leave 10"]);
}

#[test]
fn links_that_lead_out_are_left_alone_and_the_bridge_with_them() {
    let mut keeping = lane(vec![street(5, "br9")]);
    log(&mut keeping);
    keeping.floor().interfaces.insert("eth0".to_owned(), link(2, Leads::Out, Some(BRIDGE)));
    assert_eq!(log(&mut keeping), ["detach 3 16384", "leave 3"]);
    let ours = link(verdict::abi::IFINDEX_BASE + 1, Leads::Ours, Some(BRIDGE));
    keeping.floor().interfaces.insert("bt1".to_owned(), ours);
    assert!(log(&mut keeping).is_empty());
}

#[test]
fn a_bridge_that_the_host_goes_out_by_is_left_alone_unless_its_way_out_is_known() {
    let default = Street { leads_out: true, ..street(5, "br9") };
    let mut keeping = lane(vec![default]);
    assert_eq!(log(&mut keeping), ["enter 9 7", "attach 9 7"]);
    assert!(
        keeping.notes()[0].starts_with("one of the ports of br9 leads out"),
        "{:?}",
        keeping.notes()
    );
    keeping.floor().interfaces.insert("eth0".to_owned(), link(2, Leads::Out, Some(BRIDGE)));
    assert_eq!(log(&mut keeping), ["enter 10 16384@5", "attach 10 16384"]);
    assert!(keeping.notes().is_empty());
}

#[test]
fn where_containers_are_found_a_new_port_is_closed_until_it_is_old_enough_or_known() {
    let mut keeping = lane(vec![Street { waits: true, ..street(5, "br9") }]);
    let start = Instant::now();
    assert!(
        log_at(&mut keeping, start).contains(&"enter 10 16385@5".to_owned()),
        "it was there before"
    );
    come(&mut keeping, "veth2", 12);
    come(&mut keeping, "veth3", 13);
    let came = log_at(&mut keeping, start);
    let closed =
        ["enter 12 16386@closed", "attach 12 16386", "enter 13 16387@closed", "attach 13 16387"];
    assert_eq!(came, closed);
    assert_eq!(keeping.next(), Some(start + YOUTH));
    // One of them is a container whose attachment takes its time.
    assert!(keeping.hold(["veth3".to_owned()].into()));
    let later = start + YOUTH + Duration::from_millis(1);
    assert_eq!(log_at(&mut keeping, later), ["enter 12 16386@5"]);
    assert_eq!(keeping.next(), None);
    keeping.want([port(7, "tap0"), port(8, "veth3")]);
    assert_eq!(log_at(&mut keeping, later), ["hand over 13 16387 8", "attach 13 8"]);
}

#[test]
fn a_new_agent_keeps_what_it_cannot_tell_and_what_was_closed_is_as_new() {
    let mut keeping = lane(vec![Street { bridge: None, waits: true, ..street(5, "br9") }]);
    let floor = keeping.floor();
    floor.known.insert(10, Stray::open(16_384, 5, [true, false]).value());
    floor.known.insert(12, Stray::closed(16_385).value());
    floor.programs.extend([(10, 16_384), (12, 16_385)]);
    come(&mut keeping, "veth2", 12);
    let start = Instant::now();
    assert_eq!(log_at(&mut keeping, start), ["enter 9 7", "attach 9 7"], "Docker does not answer");
    keeping.watch(vec![Street { waits: true, ..street(5, "br9") }]);
    assert_eq!(log_at(&mut keeping, start), ["enter 3 16386@5b", "attach 3 16386"]);
    assert_eq!(log_at(&mut keeping, start + YOUTH), ["enter 12 16385@5"]);
}

#[test]
fn a_flood_of_ports_has_an_end_that_is_told() {
    let mut keeping = lane(vec![street(5, "br9")]);
    for index in 0..Stray::MOST + 5 {
        come(&mut keeping, &format!("flood{index}"), 100 + index);
    }
    let pass = keeping.pass();
    assert!(pass.failed.is_empty(), "{:?}", pass.failed);
    assert_eq!((keeping.strays().count(), keeping.beyond()), (Stray::MOST as usize, 7));
    assert!(keeping.strays().any(|stray| stray.is_bridge), "the bridge is judged in any case");
    // `veth1`, the bridge and five more.
    assert!(keeping.notes()[0].starts_with("7 more ports than 2048"), "{:?}", keeping.notes());
    for index in 0..20 {
        keeping.floor().delete(&format!("flood{index}"));
    }
    keeping.pass();
    keeping.pass();
    assert!(keeping.notes().is_empty(), "numbers are given back: {:?}", keeping.notes());
}
