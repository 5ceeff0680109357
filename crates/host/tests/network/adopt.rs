//! Namespaces that no workload may adopt.

use std::path::{Path, PathBuf};

use host::linux::adopted::{AdoptError, Adoptions};
use host::network::{Desired, Mode, NoPrograms, Place, reconcile};

use crate::lab::{Lab, on_host, run, twins};

const V4: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 1));

/// What is said about the namespace at a path.
fn verdict(lab: &Lab, path: &Path) -> Result<(), String> {
    let look = || {
        Adoptions::new(&lab.run_dir())
            .expect("pins")
            .check("a.b", path, "eth0", Some(&[V4]))
            .map(drop)
    };
    lab.host.run(look).expect("entered").map_err(|error| error.to_string())
}

/// Another name of what is at a path.
fn link(lab: &Lab, name: &str, to: &Path) -> PathBuf {
    let path = lab.folder.path().join(name);
    std::os::unix::fs::symlink(to, &path).expect("a link");
    path
}

fn with_place(path: &Path) -> Desired {
    let mut desired = twins(Mode::Nat);
    desired.routers[0].endpoints[1].place = Place::At(path.to_owned());
    desired
}

#[test]
fn the_host_a_namespace_of_ours_and_another_kind_are_no_ones_to_adopt_root() {
    if !crate::lab::is_root(
        "the_host_a_namespace_of_ours_and_another_kind_are_no_ones_to_adopt_root",
    ) {
        return;
    }
    let lab = Lab::new();
    let host_path = link(&lab, "host", &lab.foreign_path("host"));
    assert_eq!(verdict(&lab, &host_path), Err("it is the host's own network namespace".into()));
    for kind in ["mnt", "uts", "user"] {
        let path = PathBuf::from(format!("/proc/self/ns/{kind}"));
        let said = verdict(&lab, &path).expect_err("another kind");
        assert!(said.contains("is not a network namespace"), "{said}");
    }

    let first = on_host(&lab, |linux| reconcile(linux, &mut NoPrograms, &twins(Mode::Nat)));
    assert!(first.expect("readable").failed.is_empty());
    for name in ["bank.main.router", "bank.web"] {
        let path = link(&lab, name, &lab.run_dir().join("netns").join(name));
        let said = verdict(&lab, &path);
        assert_eq!(said, Err(format!("it is {name}, a namespace of Bulkhead's own")));
    }

    // However it gets there: the pass itself refuses, and nothing of the namespace changes.
    let before = run(&lab.host, "ip -j route");
    let router = lab.run_dir().join("netns/bank.main.router");
    for path in [&host_path, &router] {
        let outcome = on_host(&lab, |linux| {
            reconcile(linux, &mut NoPrograms, &with_place(path)).expect("readable")
        });
        let told = format!("{:?}", outcome.failed);
        assert!(told.contains("Host") || told.contains("Ours"), "{told}");
        assert!(!run(&lab.workload("bank.main.router"), "ip -br link").contains("eth0"));
    }
    assert_eq!(run(&lab.host, "ip -j route"), before);
}

#[test]
fn a_path_that_leads_to_another_namespace_than_it_did_gets_no_link_root() {
    if !crate::lab::is_root("a_path_that_leads_to_another_namespace_than_it_did_gets_no_link_root")
    {
        return;
    }
    let lab = Lab::new();
    let [was, is] = ["was", "is"].map(|name| lab.foreign(name));
    // As `/proc/PID/ns/net` does when the process has ended and its number is given again.
    let path = link(&lab, "path", &lab.foreign_path("is"));
    let id = was.id().expect("a namespace");
    let pass = |expected: Option<(u64, u64)>| {
        on_host(&lab, |linux| {
            linux.expect(expected.into_iter().map(|id| (path.clone(), id)).collect());
            reconcile(linux, &mut NoPrograms, &with_place(&path)).expect("readable")
        })
    };
    let told = format!("{:?}", pass(Some(id)).failed);
    assert!(told.contains("Another"), "{told}");
    assert!(!run(&is, "ip -br link").contains("eth0"), "it is somebody else's");
    assert!(pass(Some(is.id().expect("a namespace"))).failed.is_empty());
    assert!(run(&is, "ip -br link").contains("eth0"));
}

#[test]
fn one_namespace_is_for_one_workload_root() {
    if !crate::lab::is_root("one_namespace_is_for_one_workload_root") {
        return;
    }
    let lab = Lab::new();
    let _ops = lab.foreign("ops");
    let other = link(&lab, "other", &lab.foreign_path("ops"));
    let look = || {
        let mut adoptions = Adoptions::new(&lab.run_dir()).expect("pins");
        adoptions.check("shop.web", &lab.foreign_path("ops"), "eth0", None).expect("the first");
        adoptions.check("bank.web", &other, "eth0", None)
    };
    let said = lab.host.run(look).expect("entered").expect_err("the second");
    assert!(matches!(said, AdoptError::Taken(first) if first == "shop.web"));
}

#[test]
fn a_default_route_of_somebody_else_is_not_replaced_root() {
    if !crate::lab::is_root("a_default_route_of_somebody_else_is_not_replaced_root") {
        return;
    }
    let lab = Lab::new();
    let ops = lab.foreign("ops");
    let path = lab.foreign_path("ops");
    run(&ops, "ip link add wan type veth peer name far");
    run(&ops, "ip link set wan up");
    run(&ops, "ip link set far up");
    run(&ops, "ip addr add 192.0.2.9/24 dev wan");
    // One that others prefer less stays beside ours.
    run(&ops, "ip route add default via 192.0.2.2 metric 100");
    assert_eq!(verdict(&lab, &path), Ok(()));
    run(&ops, "ip route add default via 192.0.2.1");
    let said = verdict(&lab, &path).expect_err("a default route");
    let wanted =
        "it has a default route of its own, default via 192.0.2.1, which would be replaced";
    assert_eq!(said, wanted);
    let outcome = on_host(&lab, |linux| {
        reconcile(linux, &mut NoPrograms, &with_place(&path)).expect("readable")
    });
    assert!(format!("{:?}", outcome.failed).contains("DefaultRoute"), "{:#?}", outcome.failed);
    assert!(run(&ops, "ip route show default").contains("via 192.0.2.1 dev wan"));

    run(&ops, "ip route del default via 192.0.2.1");
    for _ in 0..2 {
        let outcome = on_host(&lab, |linux| {
            reconcile(linux, &mut NoPrograms, &with_place(&path)).expect("readable")
        });
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    }
    assert_eq!(verdict(&lab, &path), Ok(()), "our own route is no hindrance");
}
