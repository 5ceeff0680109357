//! Programs of uplinks and of ports that nobody has: loaded when something wants them, adopted by the next agent, exchanged for those of another
//! build.

use std::fs;

use super::*;
use crate::linux::bpf::Error;
use crate::linux::bpf::hooks::{HOOKS, Port};

/// What is pinned of the programs that are not there from the start.
fn later(bench: &Bench) -> Vec<String> {
    let root = object::root(&bench.folder.path().join("bpf")).expect("no other version");
    let builds = object::list(&root.join("programs")).expect("a folder");
    let mut pinned: Vec<String> = builds
        .iter()
        .flat_map(|build| object::list(&root.join("programs").join(build)).expect("a folder"))
        .filter(|name| !Group::Interfaces.programs().iter().any(|program| program.name() == name))
        .collect();
    pinned.sort_unstable();
    pinned
}

/// A port of an uplink: the interface of endpoint A, as one that somebody else made.
fn uplink() -> Port {
    Port { number: UPLINKS, index: IFINDEX_BASE + A }
}

#[test]
fn programs_of_uplinks_are_loaded_when_a_port_wants_them_root() {
    testkit::root_or_return!("programs_of_uplinks_are_loaded_when_a_port_wants_them_root");
    let bench = Bench::new();
    let datapath = bench.open();
    let at = uplink();
    assert!(!datapath.hooks().has_links(at) && !datapath.hooks().has_filters(at));
    datapath.hooks().attach_here(A).expect("an endpoint");
    assert_eq!(later(&bench), Vec::<String>::new(), "nothing wants them");

    datapath.hooks().by(HookKind::Clsact).attach_clsact(at).expect("attached");
    assert!(datapath.hooks().has_filters(at));
    assert_eq!(later(&bench), ["from_host", "to_host"]);
    drop(datapath);

    // The next agent takes them as they are.
    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Adopted);
    assert!(datapath.hooks().has_filters(at));
    datapath.load_for_places().expect("there they are");

    // Somebody removes the pins: they come back with the same programs.
    let root = object::root(&bench.folder.path().join("bpf")).expect("no other version");
    let builds = object::list(&root.join("programs")).expect("a folder");
    let pin = root.join("programs").join(&builds[0]).join(Program::ToHost.name());
    fs::remove_file(&pin).expect("a pin");
    assert_eq!(datapath.put_back().done.len(), 1);
    assert!(pin.exists() && datapath.hooks().has_filters(at));
    drop(datapath);

    // One that was killed while it loaded them has left a part.
    fs::remove_file(&pin).expect("a pin");
    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Adopted);
    assert!(!datapath.hooks().has_filters(at), "what is attached is of no build that is whole");
    datapath.hooks().by(HookKind::Clsact).attach_clsact(at).expect("attached");
    assert!(datapath.hooks().has_filters(at));
}

#[test]
fn without_their_maps_programs_of_uplinks_are_refused_root() {
    testkit::root_or_return!("without_their_maps_programs_of_uplinks_are_refused_root");
    let bench = Bench::new();
    let datapath = bench.open();
    fs::remove_file(datapath.maps().join("USERS")).expect("removed by somebody else");
    let refused = datapath.load_for_places().expect_err("a map is missing");
    assert!(matches!(refused, Error::MapGone("USERS")), "{refused}");
    let refused = datapath.hooks().by(HookKind::Clsact).attach_clsact(uplink());
    let refused = refused.expect_err("a map is missing").to_string();
    assert!(refused.contains("USERS"), "{refused}");
    assert_eq!(later(&bench), Vec::<String>::new());
}

#[test]
fn links_of_uplinks_of_another_build_are_taken_over_and_never_broken_root() {
    testkit::root_or_return!(
        "links_of_uplinks_of_another_build_are_taken_over_and_never_broken_root"
    );
    if probe::hook_kind() != HookKind::Tcx {
        println!("this kernel has no links to take over");
        return;
    }
    let bench = Bench::new();
    let (older, root) = older_programs(&bench);
    let object = [OBJECT, &[0]].concat();
    let builds = object::list(&root.join("programs")).expect("a folder");
    let folder = root.join("programs").join(&builds[0]);
    let (maps, limits) = (root.join("maps"), Limits::default());
    let at_host = object::load_programs(&maps, folder, &limits, (&object, Group::Places));
    let at_host = at_host.expect("an older agent's programs");
    let (at, hooks) = (uplink(), Hooks::new(older, at_places(&root), HookKind::Tcx));
    fs::create_dir_all(&hooks.links).expect("a folder");
    for (hook, program) in HOOKS.iter().zip([Program::FromHost, Program::ToHost]) {
        let link = sys::link(at_host.fd(program), at.index, hook.tcx, true).expect("attached");
        sys::pin(link.as_fd(), &hooks.pin(hook, at.number)).expect("pinned");
    }
    let links = || {
        HOOKS.map(|hook| {
            let link = sys::open(&hooks.pin(&hook, at.number)).expect("a pinned link");
            sys::link_info(link.as_fd()).expect("a link")
        })
    };
    let before = links();
    drop(at_host);

    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Replaced);
    for (old, new) in before.iter().zip(&links()) {
        assert_eq!((old.id, old.interface, old.hook), (new.id, new.interface, new.hook));
        assert_ne!(old.program, new.program, "the same link with another program");
    }
    assert!(datapath.hooks().has_links(at));
    let builds = object::list(&root.join("programs")).expect("a folder");
    assert_eq!(builds.len(), 1, "nothing of the older build stays: {builds:?}");
}
