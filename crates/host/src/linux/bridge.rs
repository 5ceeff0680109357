//! Ports of a bridge that somebody else made: which links of this namespace are on it, and whose the far ends are.
//!
//! The far end of a veth is asked for by the number that the kernel gave its namespace here (`IFLA_LINK_NETNSID`, then
//! `IFLA_TARGET_NETNSID`; `rtnl_getlink` in `net/core/rtnetlink.c`, since Linux 4.20). So nobody has to be entered, no process
//! has to be known, and a container is recognised by its MAC before its first program runs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::network::{Mac, Refusal};

use super::netlink::Netlink;

/// More ports of one bridge than this are not looked at: the kernel's own limit (`BR_MAX_PORTS`, `net/bridge/br_private.h`).
pub const MAX_PORTS: usize = 1 << 10;

/// `RTNLGRP_LINK`, `linux/rtnetlink.h`.
const LINKS: u32 = 1;
/// Datagrams taken in one go; more wait for the next.
const AT_ONCE: usize = 1024;

/// Tells that links of one namespace changed. What changed is read anew by whoever wants to know.
#[derive(Debug)]
pub struct LinkWatch(Socket);

impl LinkWatch {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(LINKS)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes what was told so far; whether it was anything. To be called when [`AsFd`] can be read.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut any = false;
        for _ in 0..AT_ONCE {
            match self.0.recv_from_full() {
                Ok(_) => any = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // More was told than fits: something changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A link on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePort {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The MAC of the far end of a veth; `None` when there is no far end, or it cannot be asked for.
    pub far_mac: Option<Mac>,
    /// Whether the far end has left this namespace.
    pub is_far_away: bool,
}

/// One link as this file needs it.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    mac: Option<Mac>,
    master: Option<u32>,
    far: Option<u32>,
    space: Option<i32>,
}

/// The index of a bridge by name and its ports, in the order of their indexes; `None` when there is no link of that name.
///
/// # Errors
///
/// The kernel's answer.
pub fn ports(
    netlink: &mut Netlink,
    bridge: &str,
) -> Result<Option<(u32, Vec<BridgePort>)>, Refusal> {
    let links: BTreeMap<u32, Seen> =
        netlink.dump(Message::GetLink(question()))?.iter().filter_map(seen).collect();
    let Some(own) = links.iter().find(|(_, link)| link.name == bridge).map(|(index, _)| *index)
    else {
        return Ok(None);
    };
    let on_it = links.iter().filter(|(_, link)| link.master == Some(own)).take(MAX_PORTS);
    let mut found = Vec::new();
    for (index, link) in on_it {
        let far_mac = match (link.far, link.space) {
            (Some(far), Some(space)) => far_mac(netlink, far, space),
            (Some(far), None) => links.get(&far).and_then(|link| link.mac),
            (None, _) => None,
        };
        found.push(BridgePort {
            index: *index,
            name: link.name.clone(),
            far_mac,
            is_far_away: link.space.is_some(),
        });
    }
    Ok(Some((own, found)))
}

/// The MAC of a link in the namespace that has this number here; `None` when either is gone by now.
fn far_mac(netlink: &mut Netlink, index: u32, space: i32) -> Option<Mac> {
    let mut ask = question();
    ask.header.index = index;
    ask.attributes.push(LinkAttribute::IfNetnsId(space));
    let answers = netlink.query(Message::GetLink(ask)).ok()?;
    answers.iter().find_map(seen).and_then(|(_, link)| link.mac)
}

fn question() -> LinkMessage {
    let mut ask = LinkMessage::default();
    ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    ask
}

fn seen(answer: &Message) -> Option<(u32, Seen)> {
    let Message::NewLink(message) = answer else { return None };
    let mut link = Seen::default();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Link(far) => link.far = Some(*far),
            LinkAttribute::LinkNetNsId(space) => link.space = Some(*space),
            _ => {}
        }
    }
    Some((message.header.index, link))
}
