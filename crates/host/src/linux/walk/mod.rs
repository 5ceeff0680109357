//! What one namespace does with a packet, as its kernel tells: links, addresses, routes, neighbours, switches, sockets and
//! the rules of other firewalls.
//!
//! A [`Sight`] is opened in a namespace and only reads. Nothing of a workload is run or believed: answers are the kernel's,
//! by netlink and `/proc/sys`, and `nft` is the host's own program. What a namespace may hold any number of is read up to a
//! bound, and a program that is asked has seconds.

mod filter;
mod iptables;
mod nftables;
mod rules;
mod sockets;
mod way;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};

use crate::network::{Mac, Refusal};

use super::netlink::Netlink;
use super::netns::{NetNs, NetNsError};
use super::{nft, route, sysctl};

pub use filter::{Fate, Hook, Packet, State};
pub use rules::{Firewall, Gap};
pub use sockets::{Socket, Wait};
pub use way::{Ask, NoWay, Way};

/// More links or addresses of one namespace than this are not looked at.
const MAX_OBJECTS: usize = 4_096;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// Administratively up.
    pub is_up: bool,
    /// Up, and its other end too.
    pub has_carrier: bool,
    /// Bytes.
    pub mtu: u32,
    /// Ethernet address.
    pub mac: Mac,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// `veth`, `bridge`, ...
    pub kind: String,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of its link.
    pub link: u32,
    /// With the prefix length.
    pub net: IpNet,
    /// Duplicate address detection found another owner.
    pub is_duplicate: bool,
    /// Duplicate address detection goes on; it is not used yet.
    pub is_tentative: bool,
}

/// A neighbour as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its Ethernet address; absent while it is looked for.
    pub mac: Option<Mac>,
    /// Set by somebody, and believed for ever.
    pub is_permanent: bool,
    /// Nobody answered.
    pub is_failed: bool,
}

/// Entries of the kernel's own connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Of this namespace.
    pub entries: u64,
    /// At most; a value of the whole machine on most kernels.
    pub capacity: u64,
}

/// Looks at one namespace.
#[derive(Debug)]
pub struct Sight {
    ns: NetNs,
    netlink: Netlink,
}

impl Sight {
    /// Opens a namespace for looking.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn open(ns: NetNs) -> io::Result<Self> {
        let netlink = Netlink::open_in(&ns)?;
        Ok(Self { ns, netlink })
    }

    /// The namespace.
    #[must_use]
    pub const fn ns(&self) -> &NetNs {
        &self.ns
    }

    /// The links by index, at most 4,096.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn links(&mut self) -> Result<BTreeMap<u32, Link>, Refusal> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.netlink.dump(Message::GetLink(ask))?;
        let links = answers.into_iter().take(MAX_OBJECTS).filter_map(|answer| match answer {
            Message::NewLink(message) => link(&message),
            _ => None,
        });
        Ok(links.map(|link| (link.index, link)).collect())
    }

    /// The addresses, at most 4,096.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Refusal> {
        let answers = self.netlink.dump(Message::GetAddress(AddressMessage::default()))?;
        let addresses = answers.into_iter().take(MAX_OBJECTS).filter_map(|answer| match answer {
            Message::NewAddress(message) => address(&message),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Which way the kernel would send a packet.
    ///
    /// # Errors
    ///
    /// [`NoWay`] with the kernel's reason.
    pub fn way(&mut self, ask: &Ask) -> Result<Way, NoWay> {
        way::look_up(&mut self.netlink, ask)
    }

    /// What is known of a neighbour; `None` when nobody asked for it so far.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn neighbour(&mut self, link: u32, address: IpAddr) -> Result<Option<Neighbour>, Refusal> {
        way::neighbour(&mut self.netlink, link, address)
    }

    /// Whether a MAC is pinned to the bridge port with index `port`.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn is_pinned(&mut self, port: u32, mac: Mac) -> Result<bool, Refusal> {
        route::has_fdb(&mut self.netlink, port, mac)
    }

    /// A sysctl below `net/`; `None` when there is none of that name or it cannot be read.
    #[must_use]
    pub fn sysctl(&self, key: &str) -> Option<String> {
        self.ns.visit(|| sysctl::read(key)).ok()?.ok()?
    }

    /// How full the kernel's connection tracking is; `None` when it is not in use.
    #[must_use]
    pub fn tracked(&self) -> Option<Tracked> {
        let number = |key: &str| self.sysctl(key)?.parse().ok();
        Some(Tracked {
            entries: number("net/netfilter/nf_conntrack_count")?,
            capacity: number("net/netfilter/nf_conntrack_max")?,
        })
    }

    /// Sockets that wait for others, of TCP or UDP, at most 4,096.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn waiting(&self, wait: Wait) -> io::Result<Vec<Socket>> {
        self.ns.visit(|| sockets::waiting(wait)).map_err(NetNsError::into_io)?
    }

    /// The rules of other firewalls: everything but our own table.
    #[must_use]
    pub fn firewall(&self) -> Firewall {
        rules::read(&self.ns)
    }

    /// Our own table: `None` when it is not there, `Some(false)` when somebody changed it.
    ///
    /// # Errors
    ///
    /// The words of `nft`.
    pub fn own_table(&self) -> Result<Option<bool>, Refusal> {
        Ok(nft::table::read(&self.ns)?.map(|state| state.is_intact))
    }
}

fn link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        name: String::new(),
        index: message.header.index,
        is_up: flags.contains(LinkFlags::Up),
        has_carrier: flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: Mac([0; 6]),
        master: None,
        kind: String::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            // The kernel takes nearly any character; whoever has a namespace chooses.
            LinkAttribute::IfName(name) => link.name = nftables::clean(name),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().map_or(link.mac, Mac);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::LinkInfo(infos) => {
                let kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
                link.kind = kind.unwrap_or_default();
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut found, mut flags) = (None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => found = Some(*local),
            AddressAttribute::Address(other) => found = found.or(Some(*other)),
            AddressAttribute::Flags(more) => flags = *more,
            _ => {}
        }
    }
    let header = message.header.flags;
    Some(Address {
        link: message.header.index,
        net: IpNet::new(found?, message.header.prefix_len).ok()?,
        is_duplicate: flags.contains(AddressFlags::Dadfailed)
            || header.contains(AddressHeaderFlags::Dadfailed),
        is_tentative: flags.contains(AddressFlags::Tentative)
            || header.contains(AddressHeaderFlags::Tentative),
    })
}

#[cfg(test)]
mod tests;
