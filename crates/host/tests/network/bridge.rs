//! Ports of a bridge that somebody else made, and the MACs of their far ends in other namespaces.

use std::time::{Duration, Instant};

use host::linux::bridge::{LinkWatch, ports};
use host::linux::netlink::Netlink;
use host::linux::{link, netns::NetNs};
use host::network::{Mac, Ns, VethSpec};

use crate::lab::Lab;

const FAR: Mac = Mac([0x02, 0x42, 0xac, 0x11, 0, 2]);

fn veth(master: Option<&str>) -> VethSpec {
    VethSpec {
        ns: Ns::Host,
        link: "vethabc".to_owned(),
        index: None,
        mac: Mac([2, 0, 0, 0, 0, 9]),
        master: master.map(str::to_owned),
        peer_ns: Ns::Host,
        peer_link: "eth9".to_owned(),
        peer_index: None,
        peer_mac: FAR,
        mtu: 1500,
    }
}

fn add(netlink: &mut Netlink, far: &NetNs) {
    link::add_bridge(netlink, "br-x", Mac([2, 0, 0, 0, 0, 8]), 1500).expect("a bridge");
    let master = link::index(netlink, "br-x").expect("its index");
    link::add_veth(netlink, &veth(None), Some(master), far).expect("a veth");
}

#[test]
fn the_far_end_is_known_wherever_it_is_root() {
    if !crate::lab::is_root("the_far_end_is_known_wherever_it_is_root") {
        return;
    }
    let lab = Lab::new();
    let mut netlink = Netlink::open_in(&lab.host).expect("netlink");
    assert_eq!(ports(&mut netlink, "br-x").expect("readable"), None);
    let mut watch = lab.host.run(LinkWatch::open).expect("inside").expect("a watch");
    add(&mut netlink, &lab.client);
    let (index, found) = ports(&mut netlink, "br-x").expect("readable").expect("a bridge");
    let [port] = &found[..] else { panic!("one port: {found:?}") };
    assert!(index > 0 && port.index > 0);
    assert_eq!((port.name.as_str(), port.far_mac, port.is_far_away), ("vethabc", Some(FAR), true));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !watch.take().expect("readable") {
        assert!(Instant::now() < deadline, "nothing was told");
    }

    // Both ends here, as they are before a runtime moves one.
    link::delete(&mut netlink, "vethabc").expect("deleted");
    link::delete(&mut netlink, "br-x").expect("deleted");
    add(&mut netlink, &lab.host);
    let (_, found) = ports(&mut netlink, "br-x").expect("readable").expect("a bridge");
    let [port] = &found[..] else { panic!("one port: {found:?}") };
    assert_eq!((port.far_mac, port.is_far_away), (Some(FAR), false));
}
