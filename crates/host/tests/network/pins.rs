//! Pinned namespaces survive hostile folders, and closures run where they should.

use std::os::unix::fs::symlink;

use host::linux::netns::{NetNs, NetNsDir, NetNsError};
use host::network::NsName;

use crate::lab;

fn name(text: &str) -> NsName {
    NsName::parse(text).expect("a name")
}

#[test]
fn a_symbolic_link_is_never_followed_root() {
    if !lab::is_root("a_symbolic_link_is_never_followed_root") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("bh-pins").tempdir().expect("folder");
    let pins = NetNsDir::open(folder.path()).expect("pins");
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "precious").expect("written");
    symlink(&victim, folder.path().join("netns/shop.web")).expect("linked");
    symlink("/proc/self/ns/net", folder.path().join("netns/shop.db")).expect("linked");

    for text in ["shop.web", "shop.db"] {
        assert!(matches!(pins.find(&name(text)), Err(NetNsError::Open { .. })), "{text}");
        assert!(pins.create(&name(text), || ()).is_err(), "{text}");
    }
    assert!(pins.list().expect("readable").is_empty());
    assert_eq!(std::fs::read_to_string(&victim).expect("there"), "precious");

    let other = tempfile::Builder::new().prefix("bh-pins").tempdir().expect("folder");
    symlink(folder.path().join("netns"), other.path().join("netns")).expect("linked");
    assert!(matches!(NetNsDir::open(other.path()), Err(NetNsError::Folder { .. })));
}

#[test]
fn a_pin_left_by_an_earlier_boot_is_replaced_root() {
    if !lab::is_root("a_pin_left_by_an_earlier_boot_is_replaced_root") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("bh-pins").tempdir().expect("folder");
    let pins = NetNsDir::open(folder.path()).expect("pins");
    std::fs::write(folder.path().join("netns/shop.web"), "").expect("written");
    assert!(matches!(pins.find(&name("shop.web")), Err(NetNsError::Foreign(_))));
    let (made, ()) = pins.create(&name("shop.web"), || ()).expect("created");

    let found = pins.find(&name("shop.web")).expect("pinned");
    assert_eq!(found.id().expect("an id"), made.id().expect("an id"));
    assert_ne!(made.id().expect("an id"), NetNs::current().expect("ours").id().expect("an id"));
    let inside = made.run(|| NetNs::current().and_then(|ns| ns.id())).expect("entered");
    assert_eq!(inside.expect("an id"), made.id().expect("an id"));

    assert!(pins.create(&name("shop.web"), || ()).is_err(), "the name is taken");
    assert!(pins.find(&name("shop.web")).is_ok(), "a failed creation leaves the other alone");
    pins.delete(&name("shop.web")).expect("deleted");
    pins.delete(&name("shop.web")).expect("deleting twice is deleting once");
    assert!(pins.list().expect("readable").is_empty());
}
