//! Links: veth pairs whose far end is born in its namespace, bridges, ports, MTU, up and down.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVlan,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use crate::network::{LinkState, Mac, PortFlags, Refusal, VethSpec, VlanSpec};

use super::netlink::Netlink;

/// How many links go in one request: it holds the lock of all network configuration.
const LINKS_AT_ONCE: usize = 128;

/// Reads every link of the namespace, by name.
///
/// # Errors
///
/// The kernel's answer.
pub fn dump(netlink: &mut Netlink) -> Result<BTreeMap<String, LinkState>, Refusal> {
    let mut ask = LinkMessage::default();
    ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = netlink.dump(Message::GetLink(ask))?;
    let links = answers.into_iter().filter_map(|answer| match answer {
        Message::NewLink(message) => parse(&message),
        _ => None,
    });
    Ok(links.collect())
}

/// Reads one link; `None` when there is none of that name.
///
/// # Errors
///
/// The kernel's answer.
pub fn find(netlink: &mut Netlink, name: &str) -> Result<Option<LinkState>, Refusal> {
    let mut ask = named(name);
    ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = match netlink.query(Message::GetLink(ask)) {
        Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::ENODEV) => {
            return Ok(None);
        }
        other => other?,
    };
    Ok(answers.into_iter().find_map(|answer| match answer {
        Message::NewLink(message) => parse(&message).map(|(_, link)| link),
        _ => None,
    }))
}

/// The index of a link by name.
///
/// # Errors
///
/// `ENODEV` when there is no such link.
pub fn index(netlink: &mut Netlink, name: &str) -> Result<u32, Refusal> {
    let answers = netlink.query(Message::GetLink(named(name)))?;
    let found = answers.into_iter().find_map(|answer| match answer {
        Message::NewLink(message) => Some(message.header.index),
        _ => None,
    });
    found.ok_or(Refusal::Absent("link"))
}

/// Creates both ends of a veth, down. `master` is the index of the bridge for the near end.
///
/// # Errors
///
/// `EEXIST` when a name or an index is taken, else the kernel's answer.
pub fn add_veth(
    netlink: &mut Netlink,
    spec: &VethSpec,
    master: Option<u32>,
    peer_ns: impl AsFd,
) -> Result<(), Refusal> {
    let mut peer = ethernet(&spec.peer_link, spec.peer_mac, spec.mtu);
    peer.header.index = spec.peer_index.unwrap_or_default();
    peer.attributes.push(LinkAttribute::NetNsFd(peer_ns.as_fd().as_raw_fd()));

    let mut near = ethernet(&spec.link, spec.mac, spec.mtu);
    near.header.index = spec.index.unwrap_or_default();
    near.attributes.extend(master.map(LinkAttribute::Controller));
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    netlink.request(Message::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
}

/// Creates a link of type `vlan` in the namespace `to`, down, on the link with index `parent` of this one.
///
/// # Errors
///
/// `EOPNOTSUPP` when the kernel has no 802.1Q, `EEXIST` when the name is taken, else the kernel's answer.
pub fn add_vlan(
    netlink: &mut Netlink,
    spec: &VlanSpec,
    parent: u32,
    to: impl AsFd,
) -> Result<(), Refusal> {
    let mut vlan = named(&spec.link);
    vlan.attributes.push(LinkAttribute::Link(parent));
    vlan.attributes.push(LinkAttribute::Mtu(spec.mtu));
    vlan.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
    vlan.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(spec.id)])),
    ]));
    netlink.request(Message::NewLink(vlan), NLM_F_CREATE | NLM_F_EXCL)
}

/// Creates a bridge, down, that only forwards: no spanning tree, no multicast groups, no calls into
/// netfilter.
///
/// # Errors
///
/// `EEXIST` when the name is taken, else the kernel's answer.
pub fn add_bridge(netlink: &mut Netlink, name: &str, mac: Mac, mtu: u32) -> Result<(), Refusal> {
    let mut bridge = ethernet(name, mac, mtu);
    bridge.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ])),
    ]));
    netlink.request(Message::NewLink(bridge), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sets a link up or down.
///
/// # Errors
///
/// `ENODEV` when there is no such link, else the kernel's answer.
pub fn set_up(netlink: &mut Netlink, name: &str, up: bool) -> Result<(), Refusal> {
    let mut message = named(name);
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    netlink.request(Message::SetLink(message), 0)
}

/// Sets the MTU of a link, bytes.
///
/// # Errors
///
/// `ENODEV` when there is no such link, else the kernel's answer.
pub fn set_mtu(netlink: &mut Netlink, name: &str, mtu: u32) -> Result<(), Refusal> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    netlink.request(Message::SetLink(message), 0)
}

/// Makes a link a port of the bridge with index `master`; 0 takes it out.
///
/// # Errors
///
/// `ENODEV` when there is no such link, else the kernel's answer.
pub fn set_master(netlink: &mut Netlink, name: &str, master: u32) -> Result<(), Refusal> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(master));
    netlink.request(Message::SetLink(message), 0)
}

/// Gives a link, which must be down, another name.
///
/// # Errors
///
/// `EBUSY` when the link is up, else the kernel's answer.
pub fn rename(netlink: &mut Netlink, name: &str, new_name: &str) -> Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index(netlink, name)?;
    message.attributes.push(LinkAttribute::IfName(new_name.to_owned()));
    netlink.request(Message::SetLink(message), 0)
}

/// Moves a link, which is best down, to another namespace under another name.
///
/// # Errors
///
/// `ENODEV` when there is no such link, `EEXIST` when the name is taken there, else the kernel's answer.
pub fn move_to(
    netlink: &mut Netlink,
    name: &str,
    (to, new_name): (impl AsFd, &str),
) -> Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index(netlink, name)?;
    message.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
    message.attributes.push(LinkAttribute::IfName(new_name.to_owned()));
    netlink.request(Message::SetLink(message), 0)
}

/// Sets the flags of a bridge port.
///
/// # Errors
///
/// `EOPNOTSUPP` when the link is no bridge port, else the kernel's answer.
pub fn set_port(netlink: &mut Netlink, name: &str, flags: PortFlags) -> Result<(), Refusal> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::Learning(flags.learning),
            InfoBridgePort::UnicastFlood(flags.flood),
            InfoBridgePort::NeighSupress(flags.neigh_suppress),
        ])),
    ]));
    netlink.request(Message::NewLink(message), 0)
}

/// Deletes a link; a veth takes its far end with it.
///
/// # Errors
///
/// `ENODEV` when there is no such link, else the kernel's answer.
pub fn delete(netlink: &mut Netlink, name: &str) -> Result<(), Refusal> {
    netlink.request(Message::DelLink(named(name)), 0)
}

/// Deletes many links, in few requests: the kernel waits for the end of all readers once for each
/// request. They are put into a group of their own for that (`IFLA_GROUP`), which nothing else is in: its
/// number is drawn anew each time, so that links which a killed agent left in one are not taken along.
///
/// # Errors
///
/// The kernel's answer. Links that are gone are no error.
pub fn delete_all(netlink: &mut Netlink, names: &[String]) -> Result<(), Refusal> {
    for some in names.chunks(LINKS_AT_ONCE) {
        let group = LinkAttribute::Group(fresh_group());
        for name in some {
            let mut message = named(name);
            message.attributes.push(group.clone());
            unless_gone(netlink.request(Message::SetLink(message), 0))?;
        }
        let mut message = LinkMessage::default();
        message.attributes.push(group);
        unless_gone(netlink.request(Message::DelLink(message), 0))?;
    }
    Ok(())
}

/// A number that no other group of links is likely to have; 0 is the group of all others.
fn fresh_group() -> u32 {
    let drawn = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([drawn[0], drawn[1], drawn[2], drawn[3]]) | 1 << 31
}

fn unless_gone(result: Result<(), Refusal>) -> Result<(), Refusal> {
    match result {
        Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn ethernet(name: &str, mac: Mac, mtu: u32) -> LinkMessage {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message
}

fn parse(message: &LinkMessage) -> Option<(String, LinkState)> {
    let mut name = None;
    let mut link = LinkState {
        index: message.header.index,
        kind: String::new(),
        mac: Mac([0; 6]),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        peer: None,
        is_far: false,
        port: None,
        vlan: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().map_or(link.mac, Mac);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
            LinkAttribute::LinkNetNsId(_) => link.is_far = true,
            LinkAttribute::LinkInfo(infos) => parse_info(infos, &mut link),
            _ => {}
        }
    }
    Some((name?, link))
}

fn parse_info(infos: &[LinkInfo], link: &mut LinkState) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => link.kind = kind.to_string(),
            LinkInfo::PortData(InfoPortData::BridgePort(data)) => link.port = Some(port(data)),
            LinkInfo::Data(InfoData::Vlan(data)) => {
                link.vlan = data.iter().find_map(|item| match item {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
}

fn port(data: &[InfoBridgePort]) -> PortFlags {
    let mut flags = PortFlags { learning: false, flood: false, neigh_suppress: false };
    for item in data {
        match item {
            InfoBridgePort::Learning(on) => flags.learning = *on,
            InfoBridgePort::UnicastFlood(on) => flags.flood = *on,
            InfoBridgePort::NeighSupress(on) => flags.neigh_suppress = *on,
            _ => {}
        }
    }
    flags
}
