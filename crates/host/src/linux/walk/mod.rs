//! What one namespace does with a packet, as its kernel tells: links, addresses, routes, neighbours, switches, sockets and
//! the rules of other firewalls.
//!
//! A [`Sight`] is opened in a namespace and only reads. Nothing of a workload is run or believed: answers are the kernel's,
//! by netlink and `/proc/sys`, and `nft` is the host's own program. What a namespace may hold any number of is read up to a
//! bound, and a program that is asked has seconds.

mod budget;
mod filter;
mod iptables;
mod nftables;
mod rules;
mod sockets;
mod translated;
mod way;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

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
pub use translated::{Translation, Translations, translations};
pub use way::{Ask, NoWay, Way};

/// Links or addresses of one namespace. A router has at most half as many ports; where there are more, whether one is missing
/// cannot be told.
const MAX_OBJECTS: usize = 32_768;

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

    /// The links by index.
    ///
    /// # Errors
    ///
    /// The kernel's answer; [`Refusal::Many`] when there are more than 32,768.
    pub fn links(&self) -> Result<BTreeMap<u32, Link>, Refusal> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let found = self.listed(Message::GetLink(ask), (MAX_OBJECTS, "links"), |answer| {
            let Message::NewLink(message) = answer else { return None };
            link(&message)
        })?;
        Ok(found.into_iter().map(|link| (link.index, link)).collect())
    }

    /// The addresses.
    ///
    /// # Errors
    ///
    /// The kernel's answer; [`Refusal::Many`] when there are more than 32,768.
    pub fn addresses(&self) -> Result<Vec<Address>, Refusal> {
        let ask = Message::GetAddress(AddressMessage::default());
        self.listed(ask, (MAX_OBJECTS, "addresses"), |answer| {
            let Message::NewAddress(message) = answer else { return None };
            address(&message)
        })
    }

    /// All objects of a kind, read by a socket of its own, so that one that has more of them is not received to the end.
    fn listed<T>(
        &self,
        ask: Message,
        (limit, what): (usize, &'static str),
        read: impl Fn(Message) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        let (mut found, mut count) = (Vec::new(), 0_usize);
        Netlink::open_in(&self.ns)?.dump_while(ask, |answer| {
            count += 1;
            found.extend(read(answer).filter(|_| count <= limit));
            count <= limit
        })?;
        if count > limit { Err(Refusal::Many { limit, what }) } else { Ok(found) }
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

    /// The rules of other firewalls: everything but our own table. What cannot be read by `until` is told as a gap.
    #[must_use]
    pub fn firewall(&self, until: Instant) -> Firewall {
        rules::read(&self.ns, until)
    }

    /// Our own table: `None` when it is not there, `Some(false)` when somebody changed it.
    ///
    /// # Errors
    ///
    /// The words of `nft`; [`Refusal::Late`] when it would not end by `until`.
    pub fn own_table(&self, until: Instant) -> Result<Option<bool>, Refusal> {
        let patience = until.saturating_duration_since(Instant::now());
        Ok(nft::table::read_within(&self.ns, patience)?.map(|state| state.is_intact))
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
