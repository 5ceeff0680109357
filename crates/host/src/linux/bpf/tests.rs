//! Tests of what cannot be seen from outside: layouts, programs of another build, ends of flows.

#[path = "../../../tests/bpf/mod.rs"]
#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "shared with the tests from outside, which use more of it"
)]
pub(super) mod bench;
mod cgroups;
mod crash;
mod places;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::linux::netns::NetNs;
use testkit::packet::{ACK, Frame, RST, SYN, ip};
use verdict::abi::{
    Config, Count, Decision, Endpoint, Event, EventKind, FlowEntry, FlowKey, FragmentKey,
    IFINDEX_BASE, Peer, PeerKey, PortEntry, PortKey, PortSet, Ports, PrefixKey, Row, RowKey,
    UPLINKS, Window,
};
use verdict::meters::{
    Budget, DropKey, Limit, LimitKey, Meter, MeterKey, Rate, ReportKey, Reported, RuleCount,
    Traffic,
};

use self::bench::{A, B, Bench, mac, tables};
use super::object::{self, Group, Later, OBJECT};
use super::table::Table;
use super::{
    Collector, Datapath, HookKind, Hooks, Limits, Origin, Program, flows, mount, probe, sys,
};

/// Every type with all of its fields, and the bytes that these take. A field that is missing here does not compile.
macro_rules! layouts {
    ($($type:ident { $($field:ident),* })*) => {
        [$({
            let $type { $($field),* } = $type::default();
            let fields: usize = [$(size_of_val(&$field)),*].into_iter().sum();
            (stringify!($type), fields, size_of::<$type>(), align_of::<$type>())
        }),*]
    };
}

/// Keys and values of maps are compared and exchanged byte by byte: a byte that no field owns would hold whatever was there.
#[test]
fn values_have_no_padding() {
    let layouts = layouts! {
        Config { epoch, timeouts, flags, report_interval }
        Endpoint { slots, v4, v6, link_local, network, tenant, posture, mac, gateway_mac, flags, pad }
        PeerKey { network, addr }
        PrefixKey { len, key }
        Peer { class, identity, endpoint, pad }
        RowKey { slot, class }
        Decision { rule, verdict, pad }
        PortSet { id, lengths, pad }
        Row { ports, rest }
        PortKey { set, port, len, protocol, pad }
        PortEntry { sources, decision }
        FlowKey { low, high, network, low_port, high_port, protocol, pad }
        Count { packets, bytes }
        Window { end, max_end, max_window, scale, flags, pad }
        FlowEntry {
            counts, source_identity, target_identity, epoch, seen, created, egress_rule,
            ingress_rule, source, target, tenant, windows, state, verdict, flags, pad
        }
        FragmentKey { source, target, network, id, protocol }
        Ports { source, target }
        Event {
            counts, source_identity, target_identity, source, target, network, endpoint,
            egress_rule, ingress_rule, at, created, epoch, repeats, source_port, target_port,
            ethertype, kind, verdict, reason, protocol, ingress, sent, mac, pad
        }
        Budget { opened, removed, released, limit }
        DropKey { endpoint, reason }
        ReportKey { source, target, network, endpoint, target_port, protocol, reason }
        Reported { at, pad, silent }
        RuleCount { flows, drops }
        Traffic { sent, received }
        LimitKey { endpoint, port, protocol, pad }
        Rate { flows, per }
        Limit { each, all }
        MeterKey { source, limit }
        Meter { taken, since, pad }
    };
    for (name, fields, size, align) in layouts {
        assert_eq!(fields, size, "{name} has bytes that no field owns");
        assert!(size % align == 0 && align <= 8, "{name}");
    }
    // Whatever is exchanged with the kernel is looked at above.
    let looked_at = |name: &&&str| {
        let last = name.rsplit(':').next().map(str::trim);
        layouts.iter().any(|(known, ..)| Some(*known) == last) || matches!(**name, "u32" | "u64")
    };
    let left_out: Vec<_> = sys::PLAIN.iter().filter(|name| !looked_at(name)).collect();
    assert_eq!(left_out, Vec::<&&str>::new());
    assert!(sys::PLAIN.len() > 15);
}

/// Programs of another build pinned below `bench`, as an older agent would have left them.
fn older_programs(bench: &Bench) -> (Arc<object::Programs>, PathBuf) {
    // The same code under another digest: the loader ignores what follows the last section.
    let object = [OBJECT, &[0]].concat();
    let bpffs = bench.folder.path().join("bpf");
    mount::prepare(&bpffs).expect("a file system for pins");
    let root = object::root(&bpffs).expect("no other version");
    let loaded = object::load_object(&root, &Limits::default(), &object);
    let (programs, origin) = loaded.expect("an older agent");
    assert_eq!(origin, Origin::Fresh);
    (Arc::new(programs), root)
}

/// This build's programs of uplinks and ports of nobody, not loaded.
fn at_places(root: &Path) -> Later {
    Later::new(root, Limits::default(), Group::Places)
}

#[test]
fn links_of_another_build_are_taken_over_and_never_broken_root() {
    testkit::root_or_return!("links_of_another_build_are_taken_over_and_never_broken_root");
    if probe::hook_kind() != HookKind::Tcx {
        println!(
            "this kernel has no links to take over: filters are replaced, as the next test shows"
        );
        return;
    }
    let bench = Bench::new();
    let (older, root) = older_programs(&bench);
    let here = NetNs::current().expect("this namespace");
    let links = || {
        let names = ["1-from", "1-to", "2-from", "2-to"].map(|name| root.join("links").join(name));
        names.map(|pin| {
            let link = sys::open(&pin).expect("a pinned link");
            sys::link_info(link.as_fd()).expect("a link")
        })
    };
    {
        let hooks = Hooks::new(Arc::clone(&older), at_places(&root), HookKind::Tcx);
        for number in [A, B] {
            hooks.attach_here(number).expect("attached");
            assert!(hooks.is_attached(&here, number));
        }
    }
    let before = links();
    drop(older);

    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Replaced);
    let after = links();
    for (old, new) in before.iter().zip(&after) {
        // The same link with another program: the kernel exchanges it in one store (BPF_LINK_UPDATE, kernel/bpf/tcx.c).
        assert_eq!((old.id, old.interface, old.hook), (new.id, new.interface, new.hook));
        assert_ne!(old.program, new.program);
    }
    for number in [A, B] {
        assert!(datapath.hooks().is_attached(&here, number));
    }
    let builds = object::list(&root.join("programs")).expect("a folder");
    assert_eq!(builds.len(), 1, "nothing of the older build stays: {builds:?}");
    drop(datapath);
    assert_eq!(bench.open().origin(), Origin::Adopted, "from then on they are ours");
}

#[test]
fn filters_of_another_build_are_recognised_and_replaced_root() {
    testkit::root_or_return!("filters_of_another_build_are_recognised_and_replaced_root");
    let bench = Bench::new();
    let (older, root) = older_programs(&bench);
    let here = NetNs::current().expect("this namespace");
    let old = Hooks::new(Arc::clone(&older), at_places(&root), HookKind::Clsact);
    for number in [A, B] {
        old.attach_here(number).expect("attached");
        assert!(old.is_attached(&here, number));
    }
    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Replaced);
    let new = datapath.hooks().by(HookKind::Clsact);
    assert!(!new.is_attached(&here, A), "another build's filters are not taken for ours");
    new.attach_here(A).expect("attached");
    assert!(new.is_attached(&here, A) && !old.is_attached(&here, A), "replaced, not added");
    assert!(old.is_attached(&here, B) && !new.is_attached(&here, B), "one by one");
}

/// A policy in force, in whose tables every flow times out after 1,000,000 jiffies.
fn in_force(bench: &Bench) -> Datapath {
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a policy");
    datapath
}

/// Past every timeout, by more than our clock is off the kernel's.
const LATER: u32 = 1_010_000;

/// Lets an endpoint send a frame to its neighbour, which the policy lets pass.
fn send(datapath: &Datapath, number: u32, frame: &Frame) {
    let frame = frame.clone().bytes();
    let run = datapath.test_run(Program::FromEndpoint, IFINDEX_BASE + number, &frame, 1);
    assert_eq!(run.expect("a run").result, 7);
}

fn from_a() -> Frame {
    Frame::new(mac(A), mac(B)).ip(ip("10.0.1.2"), ip("10.0.1.3"))
}

/// Looks at the whole table; what ended on the way.
fn round(collector: &mut Collector, now: u32) -> Vec<Event> {
    let steps = Limits::default().flows / 16_384 + 2;
    (0..steps).flat_map(|_| collector.collect(now).expect("a look")).collect()
}

#[test]
fn silent_flows_end_once_with_their_counts_root() {
    testkit::root_or_return!("silent_flows_end_once_with_their_counts_root");
    let bench = Bench::new();
    let datapath = in_force(&bench);
    let mut collector = datapath.collector().expect("a collector");
    let used = || datapath.meters().expect("counters").budget(1).used();
    for _ in 0..3 {
        send(&datapath, A, &from_a().udp(999, 53));
    }
    // A flow that ended by itself: the kernel has reported that already.
    let from_b = Frame::new(mac(B), mac(A)).ip(ip("10.0.1.3"), ip("10.0.1.2"));
    send(&datapath, A, &from_a().tcp_segment(999, 80, SYN, 100, 0));
    send(&datapath, B, &from_b.tcp_segment(80, 999, SYN | ACK, 500, 101));
    send(&datapath, A, &from_a().tcp_segment(999, 80, RST, 101, 0));
    let now = datapath.clock().now();
    assert_eq!(round(&mut collector, now), [], "nothing is silent for long enough");
    assert_eq!((datapath.flows().expect("flows").len() as u64, used()), (2, 2));

    let live = |now: u32| {
        let mut count = 0;
        let config = datapath.config.get(0);
        let shown = flows::each_live(&datapath.maps(), &config, now, |_, _| count += 1);
        shown.map(|()| count).expect("flows")
    };
    assert_eq!(live(now), 2);
    assert_eq!(live(now.wrapping_add(LATER)), 0, "timed out, though nobody has collected them");

    let ended = round(&mut collector, now.wrapping_add(LATER));
    assert_eq!(ended.len(), 1, "the other end was told before: {ended:?}");
    assert_eq!((ended[0].kind, ended[0].target_port), (EventKind::Close as u8, 53));
    assert_eq!(ended[0].counts[0].packets, 3);
    assert_eq!((datapath.flows().expect("flows").len(), used()), (0, 0));
    assert_eq!(round(&mut collector, now.wrapping_add(LATER)), []);
}

#[test]
fn shares_that_a_killed_agent_did_not_give_back_are_found_root() {
    testkit::root_or_return!("shares_that_a_killed_agent_did_not_give_back_are_found_root");
    let bench = Bench::new();
    let datapath = in_force(&bench);
    for port in 1000..1010 {
        send(&datapath, A, &from_a().udp(port, 53));
    }
    let used = || datapath.meters().expect("counters").budget(1).used();
    let flows: Table<FlowKey, FlowEntry> =
        Table::open(&datapath.maps(), "FLOWS").expect("the table");
    let keys = datapath.flows().expect("flows");
    for (key, _) in keys.iter().take(4) {
        // Killed between removing and giving back.
        assert!(flows.take(key).expect("taken").is_some());
    }
    assert_eq!(used(), 10, "four shares are nobody's");
    let mut collector = datapath.collector().expect("a collector");
    let now = datapath.clock().now();
    round(&mut collector, now);
    assert_eq!(used(), 6);
    round(&mut collector, now);
    assert_eq!((used(), datapath.flows().expect("flows").len()), (6, 6), "and no more than that");
}

#[test]
fn a_comparison_that_is_given_up_has_changed_nothing_root() {
    testkit::root_or_return!("a_comparison_that_is_given_up_has_changed_nothing_root");
    let bench = Bench::new();
    let mut datapath = in_force(&bench);
    let wanted = tables(5, 77);
    let (key, row) = wanted.rows.iter().next().map(|(key, row)| (*key, *row)).expect("a row");
    let rows: Table<RowKey, Row> = Table::open(&datapath.maps(), "POLICY").expect("the table");
    rows.remove_all(&[key]).expect("removed by somebody else");
    let given_up = datapath.verify_unless(&wanted, &|| true).expect("readable");
    assert_eq!((given_up, rows.get(&key).expect("readable")), (None, None));
    let done = datapath.verify_unless(&wanted, &|| false).expect("readable").expect("whole");
    assert_eq!((done.drift, done.written), (1, 1));
    assert_eq!(rows.get(&key).expect("readable"), Some(row));
}
