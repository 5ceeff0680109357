//! Ports in place against a real kernel, by TCX links and by clsact filters.

#![expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]

#[path = "bpf/mod.rs"]
#[expect(dead_code, reason = "another test needs the rest")]
mod bpf;

use std::path::PathBuf;
use std::process::Command;

use bpf::{A, Bench, NETWORK, tables};
use host::linux::bpf::{Datapath, HookKind, Places};
use host::ports::{Floor as _, Keeping, PortDesired, PortState, Street};
use testkit::packet::{Frame, ip as address};
use testkit::{Namespace, Wire};
use verdict::abi::{
    Addr, Endpoint, FlowEntry, HOST_NETWORK, Posture, UNMANAGED_ENDPOINT, UNMANAGED_TENANT,
};

fn ip(words: &str) -> String {
    let done = Command::new("ip").args(words.split(' ')).output().expect("ip");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn filters(interface: &str) -> String {
    let mut out = String::new();
    for words in [["qdisc", "show"], ["filter", "show"]] {
        let argv: &[&str] = if words[0] == "qdisc" { &[] } else { &["ingress"] };
        let done = Command::new("tc").args(words).args(["dev", interface]).args(argv).output();
        out += &String::from_utf8_lossy(&done.expect("tc").stdout);
    }
    out
}

fn keeping(bench: &Bench, kind: HookKind) -> Keeping<Places> {
    let mut keeping = Keeping::new(bench.open().places().expect("places").by(kind));
    keeping.want([PortDesired { number: A, interface: "va".to_owned() }]);
    keeping
}

fn works(keeping: &mut Keeping<Places>, steps: usize) {
    let pass = keeping.pass();
    assert!(pass.failed.is_empty(), "{:?}", pass.failed);
    assert_eq!(pass.done.len(), steps, "{:?}", pass.done);
}

fn enforced(keeping: &Keeping<Places>) -> bool {
    matches!(keeping.state(A), Some(PortState::Enforced { .. }))
}

#[test]
fn interfaces_of_others_are_taken_and_left_as_they_were_root() {
    testkit::root_or_return!("interfaces_of_others_are_taken_and_left_as_they_were_root");
    let bench = Bench::new();
    let mut datapath = bench.open();
    datapath.apply(&tables(5, 77)).expect("a policy");
    let tcx = datapath.hooks().kind() == HookKind::Tcx;
    for kind in [HookKind::Clsact, HookKind::Tcx].into_iter().take(if tcx { 2 } else { 1 }) {
        ip("link add va type veth peer name pa");
        let before = filters("va");
        let mut first = keeping(&bench, kind);
        works(&mut first, 1);
        works(&mut first, 0);
        let Some(PortState::Enforced { since, index, .. }) = first.state(A).cloned() else {
            panic!("{:?}", first.state(A));
        };
        assert_eq!(first.floor().known().expect("known"), [(index, A)].into());
        drop(first);
        // Another agent goes on with it: enforced since then.
        let mut second = keeping(&bench, kind);
        works(&mut second, 0);
        assert!(
            matches!(second.state(A), Some(PortState::Enforced { since: again, .. }) if *again == since)
        );
        ip("link delete va");
        works(&mut second, 1);
        assert!(!enforced(&second));
        ip("link add va type veth peer name pa");
        works(&mut second, 1);
        assert!(enforced(&second));
        second.want([]);
        works(&mut second, 1);
        assert_eq!(filters("va"), before, "{kind:?}");
        assert!(second.floor().known().expect("known").is_empty());
        ip("link delete va");
    }
}

#[test]
fn a_queueing_discipline_with_filters_of_others_stays_root() {
    testkit::root_or_return!("a_queueing_discipline_with_filters_of_others_stays_root");
    let bench = Bench::new();
    ip("link add va type veth peer name pa");
    let tc =
        |words: &str| Command::new("tc").args(words.split(' ')).status().expect("tc").success();
    let other = "filter add dev va ingress prio 5 protocol all u32 match u32 0 0";
    // There before us, and then come after us.
    for first in [true, false] {
        if first {
            assert!(tc("qdisc add dev va clsact") && tc(other));
        }
        let before = filters("va");
        let mut keeping = keeping(&bench, HookKind::Clsact);
        works(&mut keeping, 1);
        if !first {
            assert!(tc(other));
        }
        keeping.want([]);
        works(&mut keeping, 1);
        let after = filters("va");
        if first {
            assert_eq!(after, before);
            assert!(tc("qdisc del dev va clsact"));
        } else {
            assert!(after.contains("clsact") && after.contains("u32"), "{after}");
        }
    }
}

/// The namespace of the calling thread.
fn here() -> Namespace {
    let (process, thread) = (std::process::id(), nix::unistd::gettid());
    let path = PathBuf::from(format!("/proc/{process}/task/{thread}/ns/net"));
    Namespace::open("here", &path).expect("a namespace")
}

/// The packets of the flow that `source` has begun.
fn packets(datapath: &Datapath, source: &str) -> u64 {
    let source = Addr::from(address(source));
    let flows = datapath.flows().expect("flows");
    let own = flows.iter().filter(|(key, _)| key.low == source || key.high == source);
    own.inspect(|(key, flow)| {
        assert_eq!(key.network, NETWORK);
        assert_ne!(flow.flags & FlowEntry::UNMANAGED, 0);
    })
    .map(|(_, flow)| flow.counts[0].packets)
    .sum()
}

#[test]
fn what_comes_to_a_bridge_is_judged_once_at_its_port_or_else_there_root() {
    testkit::root_or_return!(
        "what_comes_to_a_bridge_is_judged_once_at_its_port_or_else_there_root"
    );
    let bench = Bench::new();
    let mut datapath = bench.open();
    let mut tables = tables(5, 77);
    let entry = Endpoint {
        network: HOST_NETWORK,
        tenant: UNMANAGED_TENANT,
        posture: [[Posture::Audit as u8; 2]; 2],
        flags: Endpoint::UNMANAGED | Endpoint::IN_PLACE,
        ..Endpoint::default()
    };
    tables.endpoints.insert(UNMANAGED_ENDPOINT, entry);
    datapath.apply(&tables).expect("a policy");
    let tcx = datapath.hooks().kind() == HookKind::Tcx;
    for kind in [HookKind::Clsact, HookKind::Tcx].into_iter().take(if tcx { 2 } else { 1 }) {
        ip("link add br9 type bridge");
        ip("link set br9 up");
        for name in ["a", "b"] {
            ip(&format!("link add v{name} type veth peer name p{name}"));
            ip(&format!("link set v{name} up"));
            ip(&format!("link set p{name} up"));
        }
        ip("link set va master br9");
        let mut keeping = Keeping::new(bench.open().places().expect("places").by(kind));
        let bridge = Some("br9".to_owned());
        let (subnets, waits, leads_out) = ([false, false], false, false);
        let network = NETWORK as u16;
        keeping.watch(vec![Street { network, bridge, subnets, waits, leads_out }]);
        works(&mut keeping, 2);
        // This one comes after the look: it has no programs.
        ip("link set vb master br9");
        let space = here();
        let gateway = space.mac("br9").expect("a MAC");
        let number = if kind == HookKind::Tcx { 1 } else { 2 };
        for (name, from) in
            [("pa", format!("10.0.1.6{number}")), ("pb", format!("10.0.1.7{number}"))]
        {
            let wire = Wire::open(&space, name).expect("a wire");
            let own = space.mac(name).expect("a MAC");
            let frame = Frame::new(own, gateway).ip(address(&from), address("10.0.1.1"));
            let frame = frame.udp(4000, 53).bytes();
            for _ in 0..3 {
                wire.send(&frame).expect("sent");
            }
            let all = || packets(&datapath, &from) == 3;
            testkit::wait_until("the packets", std::time::Duration::from_secs(5), all)
                .unwrap_or_else(|error| {
                    panic!("{kind:?} {name}: {error}: {}", packets(&datapath, &from))
                });
        }
        works(&mut keeping, 1);
        keeping.watch(Vec::new());
        works(&mut keeping, 3);
        assert!(!filters("br9").contains("clsact") && !filters("va").contains("clsact"));
        for name in ["va", "vb", "br9"] {
            ip(&format!("link delete {name}"));
        }
    }
}
