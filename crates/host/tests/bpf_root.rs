//! The kernel's side against a real kernel: loading, adopting, judging, updating.

#![expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]

#[path = "bpf/mod.rs"]
mod bpf;

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use bpf::frames::{self, Random};
use bpf::{A, B, Bench, GATEWAY_MAC, mac, tables};
use host::linux::bpf::{Error, HookKind, Limits, Origin, Program};
use testkit::packet::{Frame, ip};
use verdict::abi::{Event, FlowEntry, IFINDEX_BASE};
use verdict::native::Simulation;
use verdict::{Action, Reason, Work};

#[test]
fn entries_and_links_outlive_the_loader_root() {
    testkit::root_or_return!("entries_and_links_outlive_the_loader_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Fresh);
    datapath.apply(&tables(5, 77)).expect("a first policy");
    let hooks = datapath.hooks();
    for number in [A, B] {
        hooks.attach_here(number).expect("attached");
        hooks.attach_here(number).expect("attached again");
    }
    let epoch = datapath.epoch();
    drop((datapath, hooks));

    let mut datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Adopted);
    assert_eq!(datapath.epoch(), epoch);
    let here = host::linux::netns::NetNs::current().expect("this namespace");
    for number in [A, B] {
        assert!(
            datapath.hooks().is_attached(&here, number),
            "endpoint {number} by {:?}",
            datapath.hooks().kind()
        );
    }
    let outcome = datapath.apply(&tables(5, 77)).expect("the same policy");
    assert!(outcome.is_unchanged(), "{outcome:?}");
    for number in [A, B] {
        datapath.hooks().detach(number).expect("detached");
        if datapath.hooks().kind() == HookKind::Tcx {
            assert!(!datapath.hooks().is_attached(&here, number));
        }
    }
}

#[test]
fn programs_end_with_their_interface_and_leftover_pins_are_swept_root() {
    testkit::root_or_return!("programs_end_with_their_interface_and_leftover_pins_are_swept_root");
    let bench = Bench::new();
    let datapath = bench.open();
    let hooks = datapath.hooks();
    for number in [A, B] {
        hooks.attach_here(number).expect("attached");
    }
    let here = host::linux::netns::NetNs::current().expect("this namespace");
    let gone = std::process::Command::new("ip").args(["link", "delete", "bh1"]).status();
    assert!(gone.expect("ip").success());
    assert!(!hooks.is_attached(&here, A));
    assert!(hooks.is_attached(&here, B), "another endpoint's programs");
    // An agent that is killed here comes back and finds pins that lead nowhere.
    drop((datapath, hooks));
    let datapath = bench.open();
    if datapath.hooks().kind() == HookKind::Tcx {
        let pinned = datapath.hooks().pinned().expect("a list");
        assert_eq!(pinned.into_iter().collect::<Vec<_>>(), [B]);
    }
    assert!(datapath.hooks().is_attached(&here, B));
    datapath.hooks().detach(A).expect("nothing to forget is no error");
}

#[test]
fn a_number_that_is_still_in_use_elsewhere_keeps_its_programs_there_root() {
    testkit::root_or_return!(
        "a_number_that_is_still_in_use_elsewhere_keeps_its_programs_there_root"
    );
    let bench = Bench::new();
    let datapath = bench.open();
    if datapath.hooks().kind() != HookKind::Tcx {
        return;
    }
    datapath.hooks().attach_here(A).expect("attached");
    let before = host::linux::netns::NetNs::current().expect("this namespace");
    let pins = || {
        let links = bench.folder.path().join(format!("bpf/v{}/links", verdict::abi::ABI));
        let names = std::fs::read_dir(links).expect("pins").map(|pin| pin.expect("a pin"));
        names.filter(|pin| pin.file_name().to_string_lossy().starts_with("1-")).count()
    };
    // Another router with an endpoint of the same number, as after somebody unpinned the first.
    let other = Bench::new();
    datapath.hooks().attach_here(A).expect("attached");
    let here = host::linux::netns::NetNs::current().expect("this namespace");
    assert!(datapath.hooks().is_attached(&here, A));
    assert_eq!(pins(), 4, "what judges in the first namespace stays");
    let delete = || std::process::Command::new("ip").args(["link", "delete", "bh1"]).status();
    assert!(before.run(delete).expect("the first namespace").expect("ip").success());
    drop(datapath);
    let datapath = bench.open();
    assert_eq!(pins(), 2, "what lost its interface is swept");
    assert!(datapath.hooks().is_attached(&here, A));
    drop(other);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written_root() {
    testkit::root_or_return!("what_does_not_fit_is_refused_before_anything_is_written_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a first policy");
    let mut large = tables(6, 77);
    let (key, entry) = large.ports.iter().next().map(|(k, e)| (*k, *e)).expect("an entry");
    for set in 1000..1000 + u64::from(Limits::default().ports) {
        large.ports.insert(verdict::abi::PortKey { set, ..key }, entry);
    }
    let refused = datapath.apply(&large).expect_err("too many ports");
    assert!(matches!(refused, Error::Capacity { what: "port entries", .. }), "{refused}");
    let outcome = datapath.verify(&tables(5, 77)).expect("the first policy");
    assert!(outcome.is_unchanged() && outcome.drift == 0, "{outcome:?}");
}

/// What can be compared between the kernel and the host: no times.
fn timeless(events: &[Event]) -> Vec<Event> {
    events.iter().map(|e| Event { at: 0, created: 0, epoch: 0, repeats: 0, ..*e }).collect()
}

#[test]
fn kernel_and_host_judge_alike_root() {
    testkit::root_or_return!("kernel_and_host_judge_alike_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    let tables = tables(5, 77);
    datapath.apply(&tables).expect("a policy");
    let mut reports = datapath.events().expect("reports");
    let simulation = Simulation::new(&tables);
    let mut random = Random(0x5eed);
    let mut outcomes = BTreeMap::<String, u32>::new();
    for case in 0..20_000 {
        let (number, sent, frame) = frames::next(&mut random);
        let (there, events) = match datapath.judge_packet(&mut reports, number, (sent, 0), &frame) {
            // Newer kernels make no packet of less than an IP header.
            Err(Error::TestRun { .. }) if frame.len() < 54 => continue,
            other => other.expect("a test run"),
        };
        simulation.events.borrow_mut().clear();
        let mut work = Work::default();
        let here = if sent {
            verdict::from_endpoint(&simulation, frame.as_slice(), number, &mut work)
        } else {
            verdict::to_endpoint(&simulation, frame.as_slice(), number, &mut work)
        };
        let here = if let Action::Deliver(_) = here { Action::Deliver(0) } else { here };
        assert_eq!(there, here, "case {case}: endpoint {number}, sent {sent}, {frame:02x?}");
        assert_eq!(timeless(&events), timeless(&simulation.events.borrow()), "case {case}");
        *outcomes.entry(format!("{here:?}")).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes.len() > 12, "the frames are too much alike: {outcomes:?}");
    let still = |entry: &FlowEntry| FlowEntry { seen: 0, created: 0, epoch: 0, ..*entry };
    let there: Vec<_> = datapath.flows().expect("flows").into_iter().collect();
    let mut there: Vec<_> = there.iter().map(|(key, entry)| (*key, still(entry))).collect();
    let mut here: Vec<_> =
        simulation.flows.borrow().iter().map(|(key, entry)| (*key, still(entry))).collect();
    let order = |(key, _): &(verdict::abi::FlowKey, FlowEntry)| format!("{key:?}");
    there.sort_by_key(order);
    here.sort_by_key(order);
    assert_eq!(there, here);
    let meters = datapath.meters().expect("counters");
    assert_eq!(meters.budget(1).used(), here.len() as u64);
}

#[test]
fn a_packet_sees_one_version_root() {
    testkit::root_or_return!("a_packet_sees_one_version_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    let versions = [tables(5, 50), tables(6, 60)];
    datapath.apply(&versions[0]).expect("a policy");
    let done = std::sync::atomic::AtomicBool::new(false);
    let frame = Frame::new(mac(A), mac(B)).ip(ip("10.0.1.2"), ip("10.0.1.3")).udp(999, 53).bytes();
    let other = bench.open();
    let mut reports = datapath.events().expect("reports");
    let here = host::linux::netns::NetNs::current().expect("this namespace");
    std::thread::scope(|scope| {
        let flips = scope.spawn(|| {
            for turn in 1..60 {
                datapath.apply(&versions[turn % 2]).expect("a policy");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut seen = Vec::new();
        here.run(|| {
            let mut collector = other.collector().expect("a collector");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let run = other.test_run(Program::FromEndpoint, IFINDEX_BASE + A, &frame, 1);
                assert_eq!(run.expect("a run").result, 7, "allowed by both versions");
                for (key, _) in other.flows().expect("flows") {
                    collector.end_flow(&key, 0).expect("the flow ended");
                }
                reports.drain(&mut seen, usize::MAX);
            }
        })
        .expect("the namespace");
        flips.join().expect("no panic");
        let rules = |event: &Event| (event.egress_rule, event.ingress_rule);
        let mixed = seen.iter().find(|event| !matches!(rules(event), (50, 50) | (60, 60)));
        assert_eq!(mixed, None);
        println!("{} reports", seen.len());
        assert!(seen.iter().any(|event| rules(event) == (60, 60)));
    });
}

#[test]
fn delivery_rewrites_what_the_gateway_would_root() {
    testkit::root_or_return!("delivery_rewrites_what_the_gateway_would_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a policy");
    let base = Frame::new(mac(A), GATEWAY_MAC).ip(ip("10.0.1.2"), ip("10.0.1.3"));
    let run = datapath.test_run(
        Program::FromEndpoint,
        IFINDEX_BASE + A,
        &base.clone().udp(9, 53).bytes(),
        1,
    );
    let run = run.expect("a run");
    let wanted = Frame::new(GATEWAY_MAC, mac(B)).ip(ip("10.0.1.2"), ip("10.0.1.3")).ttl(63);
    assert_eq!((run.result, run.packet), (7, wanted.udp(9, 53).bytes()));
    let (action, _) = datapath
        .judge_packet(
            &mut datapath.events().expect("reports"),
            A,
            (true, 0),
            &base.udp(9, 54).bytes(),
        )
        .expect("a run");
    assert_eq!(action, Action::Drop(Reason::DefaultDeny));
    let events = datapath.events().expect("reports");
    assert!(std::os::fd::AsFd::as_fd(&events).as_raw_fd() >= 0);
}

/// Prints what `./dev bench` measures properly: nanoseconds a packet.
#[test]
fn cost_of_a_packet_root() {
    testkit::root_or_return!("cost_of_a_packet_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a policy");
    let tcp = |flags, seq, ack| {
        let frame = Frame::new(mac(A), mac(B)).ip(ip("10.0.1.2"), ip("10.0.1.3"));
        frame.tcp_segment(999, 80, flags, seq, ack).bytes()
    };
    let back = Frame::new(mac(B), mac(A)).ip(ip("10.0.1.3"), ip("10.0.1.2"));
    let run = |number: u32, frame: &[u8], repeat| {
        let run = datapath.test_run(Program::FromEndpoint, IFINDEX_BASE + number, frame, repeat);
        let run = run.expect("a run");
        assert_eq!(run.result, 7);
        run.duration.as_nanos()
    };
    let empty = datapath.test_run(Program::Empty, IFINDEX_BASE + A, &tcp(2, 0, 0), 1_000_000);
    let empty = empty.expect("a run").duration.as_nanos();
    run(A, &tcp(2, 100, 0), 1);
    run(B, &back.tcp_segment(80, 999, 18, 500, 101).bytes(), 1);
    run(A, &tcp(16, 101, 501), 1);
    let established = run(A, &tcp(16, 101, 501), 2_000_000);
    let udp = |port| {
        let frame = Frame::new(mac(A), mac(B)).ip(ip("10.0.1.2"), ip("10.0.1.3"));
        frame.udp(port, 53).payload(&[0; 22]).bytes()
    };
    run(A, &udp(1), 1);
    let datagram = run(A, &udp(1), 2_000_000);
    let opened: u128 = (0..10_000).map(|port| run(A, &udp(1000 + port), 1)).sum();
    println!(
        "empty {empty} ns, tcp {established} ns, udp {datagram} ns, new {} ns",
        opened / 10_000
    );
}

#[test]
fn filters_of_older_kernels_attach_too_root() {
    testkit::root_or_return!("filters_of_older_kernels_attach_too_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a policy");
    let hooks = datapath.hooks().by(HookKind::Clsact);
    let here = host::linux::netns::NetNs::current().expect("this namespace");
    assert!(!hooks.is_attached(&here, A));
    hooks.attach(&here, A).expect("attached");
    assert!(hooks.is_attached(&here, A));
    hooks.attach(&here, A).expect("attached again");
    assert!(hooks.is_attached(&here, A));
    assert!(!hooks.is_attached(&here, B));
}

#[test]
fn this_kernel_can_enforce_root() {
    testkit::root_or_return!("this_kernel_can_enforce_root");
    let found = host::linux::bpf::probe();
    for feature in &found.features {
        println!("{}: {} ({})", feature.name, feature.present, feature.detail);
    }
    assert_eq!(found.missing().count(), 0);
}
