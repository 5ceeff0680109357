//! Addresses, routes, neighbours and bridge forwarding entries of one namespace.
//!
//! Everything we add is marked: addresses with [`IFA_PROTO`], routes with [`RTPROT`], neighbours by
//! being permanent on a link of ours. Dumps return what can be compared and leave out the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::network::{IFA_PROTO, Mac, RTPROT, Refusal, Route};

use super::netlink::Netlink;

/// Names of links by their index.
pub type Names = BTreeMap<u32, String>;

const BOTH: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Reads the addresses of every link, without link-local IPv6.
///
/// # Errors
///
/// The kernel's answer.
pub fn addresses(
    netlink: &mut Netlink,
    names: &Names,
) -> Result<BTreeMap<String, BTreeSet<IpNet>>, Refusal> {
    let mut found: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
    for answer in netlink.dump(Message::GetAddress(AddressMessage::default()))? {
        let Message::NewAddress(message) = answer else { continue };
        if message.header.scope == AddressScope::Link
            && message.header.family == AddressFamily::Inet6
        {
            continue;
        }
        let net = address_of(&message);
        if let (Some(name), Some(net)) = (names.get(&message.header.index), net) {
            found.entry(name.clone()).or_default().insert(net);
        }
    }
    Ok(found)
}

/// `IFA_LOCAL` where there is one: on a point-to-point link `IFA_ADDRESS` is the other end.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            _ => {}
        }
    }
    IpNet::new(address?, message.header.prefix_len).ok()
}

/// Adds an address, without duplicate address detection. No error when it is there; one of IPv4 that no route leads to, because somebody
/// removed that, is added anew.
///
/// # Errors
///
/// The kernel's answer.
pub fn add_address(netlink: &mut Netlink, link: u32, address: &IpNet) -> Result<(), Refusal> {
    match new_address(netlink, link, address) {
        Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::EEXIST) => {
            // Taken away for a moment, an address takes neighbours and translated connections along.
            let names = BTreeMap::from([(link, String::new())]);
            let own = (String::new(), address.trunc());
            if !has_network(address) || connected(netlink, &names)?.contains(&own) {
                return Ok(());
            }
            renew_address(netlink, link, address)
        }
        other => other,
    }
}

/// Whether the kernel makes a route of its own for an address, and tells of it: of IPv4, and not alone in its network.
#[must_use]
pub fn has_network(address: &IpNet) -> bool {
    address.addr().is_ipv4() && address.prefix_len() < address.max_prefix_len()
}

/// Takes an address away and adds it again: the kernel then makes the route to its network again.
fn renew_address(netlink: &mut Netlink, link: u32, address: &IpNet) -> Result<(), Refusal> {
    delete_address(netlink, link, address)?;
    new_address(netlink, link, address)
}

fn new_address(netlink: &mut Netlink, link: u32, address: &IpNet) -> Result<(), Refusal> {
    let mut message = address_message(link, address);
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    message.attributes.push(AddressAttribute::Protocol(IFA_PROTO.into()));
    netlink.request(Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes an address.
///
/// # Errors
///
/// `EADDRNOTAVAIL` when it is not there, else the kernel's answer.
pub fn delete_address(netlink: &mut Netlink, link: u32, address: &IpNet) -> Result<(), Refusal> {
    netlink.request(Message::DelAddress(address_message(link, address)), 0)
}

fn address_message(link: u32, address: &IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message
}

/// Reads the unicast routes of the main table that are ours.
///
/// # Errors
///
/// The kernel's answer.
pub fn routes(netlink: &mut Netlink, names: &Names) -> Result<BTreeSet<Route>, Refusal> {
    of_table(netlink, names, RouteHeader::RT_TABLE_MAIN)
}

/// Reads the networks of IPv4 that the kernel itself leads to links, because these have an address there.
///
/// # Errors
///
/// The kernel's answer.
pub fn connected(
    netlink: &mut Netlink,
    names: &Names,
) -> Result<BTreeSet<(String, IpNet)>, Refusal> {
    let mut ask = RouteMessage::default();
    ask.header.address_family = AddressFamily::Inet;
    ask.header.table = RouteHeader::RT_TABLE_MAIN;
    ask.header.protocol = RouteProtocol::Kernel;
    let mut found = BTreeSet::new();
    for answer in netlink.dump(Message::GetRoute(ask))? {
        let Message::NewRoute(message) = answer else { continue };
        if message.header.protocol == RouteProtocol::Kernel {
            found.extend(parse_route(&message, names).map(|route| (route.dev, route.to)));
        }
    }
    Ok(found)
}

/// Reads the unicast routes of every table that are ours.
///
/// # Errors
///
/// The kernel's answer.
pub fn own_routes(netlink: &mut Netlink, names: &Names) -> Result<BTreeSet<Route>, Refusal> {
    of_table(netlink, names, RouteHeader::RT_TABLE_UNSPEC)
}

fn of_table(netlink: &mut Netlink, names: &Names, table: u8) -> Result<BTreeSet<Route>, Refusal> {
    let mut found = BTreeSet::new();
    for family in BOTH {
        let mut ask = RouteMessage::default();
        ask.header.address_family = family;
        ask.header.table = table;
        ask.header.protocol = RTPROT.into();
        for answer in netlink.dump(Message::GetRoute(ask))? {
            let Message::NewRoute(message) = answer else { continue };
            if message.header.protocol == RouteProtocol::from(RTPROT) {
                found.extend(parse_route(&message, names));
            }
        }
    }
    Ok(found)
}

fn parse_route(message: &RouteMessage, names: &Names) -> Option<Route> {
    let (mut to, mut via, mut dev) = (None, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => to = plain(address),
            RouteAttribute::Gateway(address) => via = plain(address),
            RouteAttribute::Oif(index) => dev = names.get(index).cloned(),
            _ => {}
        }
    }
    let to = match message.header.address_family {
        AddressFamily::Inet6 => to.unwrap_or(std::net::Ipv6Addr::UNSPECIFIED.into()),
        _ => to.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
    };
    let to = IpNet::new(to, message.header.destination_prefix_length).ok()?;
    let table = (table != u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(table);
    Some(Route { to, via, dev: dev?, table })
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// Adds a route marked as ours, or changes the next hop of the one to the same destination.
///
/// # Errors
///
/// The kernel's answer.
pub fn replace_route(netlink: &mut Netlink, link: u32, route: &Route) -> Result<(), Refusal> {
    netlink.request(Message::NewRoute(route_message(link, route)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Adds a route marked as ours, unless there is one to the same destination; whether it was added.
///
/// # Errors
///
/// The kernel's answer.
pub fn add_route(netlink: &mut Netlink, link: u32, route: &Route) -> Result<bool, Refusal> {
    let message = Message::NewRoute(route_message(link, route));
    match netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
        Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::EEXIST) => {
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Adds a route. Is its next hop nobody's neighbour, somebody removed the route to the network of the link's own address: then that address
/// is added anew.
///
/// # Errors
///
/// The kernel's answer.
pub fn lead(
    netlink: &mut Netlink,
    (index, name): (u32, &str),
    route: &Route,
) -> Result<(), Refusal> {
    let refused = match (replace_route(netlink, index, route), route.via) {
        (Err(Refusal::Errno { errno, explanation }), Some(via))
            if matches!(errno.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) =>
        {
            (Refusal::Errno { errno, explanation }, via)
        }
        (done, _) => return done,
    };
    let names = BTreeMap::from([(index, name.to_owned())]);
    let own = addresses(netlink, &names)?;
    let near = own.values().flatten().find(|address| address.contains(&refused.1));
    let Some(near) = near else { return Err(refused.0) };
    renew_address(netlink, index, near)?;
    replace_route(netlink, index, route)
}

/// Removes a route of ours.
///
/// # Errors
///
/// `ESRCH` when it is not there, else the kernel's answer.
pub fn delete_route(netlink: &mut Netlink, link: u32, route: &Route) -> Result<(), Refusal> {
    netlink.request(Message::DelRoute(route_message(link, route)), 0)
}

fn route_message(link: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.protocol = RTPROT.into();
    message.header.scope =
        if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    match route.table {
        None => message.header.table = RouteHeader::RT_TABLE_MAIN,
        Some(table) => message.attributes.push(RouteAttribute::Table(table)),
    }
    message.header.kind = RouteType::Unicast;
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.network().into()));
    }
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(via.into())));
    message.attributes.push(RouteAttribute::Oif(link));
    message
}

/// The link of the IPv4 or IPv6 default route, by the lowest metric; `None` without one.
///
/// # Errors
///
/// The kernel's answer.
pub fn default_link(netlink: &mut Netlink, names: &Names) -> Result<Option<String>, Refusal> {
    for family in BOTH {
        let mut ask = RouteMessage::default();
        ask.header.address_family = family;
        ask.header.table = RouteHeader::RT_TABLE_MAIN;
        let mut best: Option<(u32, String)> = None;
        for answer in netlink.dump(Message::GetRoute(ask))? {
            let Message::NewRoute(message) = answer else { continue };
            best = best.into_iter().chain(parse_default(&message, names)).min();
        }
        if let Some((_, link)) = best {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

fn parse_default(message: &RouteMessage, names: &Names) -> Option<(u32, String)> {
    let is_default = message.header.destination_prefix_length == 0
        && message.header.kind == RouteType::Unicast
        && message.header.table == RouteHeader::RT_TABLE_MAIN;
    let (mut metric, mut dev) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => dev = names.get(index).cloned(),
            _ => {}
        }
    }
    dev.filter(|_| is_default).map(|dev| (metric, dev))
}

/// Permanent neighbours: (link, address, MAC).
pub type Neighbours = BTreeSet<(String, IpAddr, Mac)>;

/// Reads the permanent neighbours that are next hops of `routes`. A dump walks the entries of all
/// namespaces (net/core/neighbour.c, `neigh_dump_table`), so that dumping each of a thousand
/// workloads would cost a million steps; these are single look-ups.
///
/// # Errors
///
/// The kernel's answer.
pub fn gateways(
    netlink: &mut Netlink,
    routes: &BTreeSet<Route>,
    indices: &BTreeMap<String, u32>,
) -> Result<Neighbours, Refusal> {
    let mut found = BTreeSet::new();
    for route in routes {
        let (Some(index), Some(via)) = (indices.get(&route.dev), route.via) else { continue };
        let mac = neighbour(netlink, *index, via)?;
        found.extend(mac.map(|mac| (route.dev.clone(), via, mac)));
    }
    Ok(found)
}

/// The MAC of a permanent neighbour; `None` when there is none.
///
/// # Errors
///
/// The kernel's answer.
pub fn neighbour(
    netlink: &mut Netlink,
    link: u32,
    address: IpAddr,
) -> Result<Option<Mac>, Refusal> {
    let ask = Message::GetNeighbour(neighbour_message(link, address));
    let answers = unless_absent(netlink.query(ask))?;
    Ok(answers.iter().find_map(|answer| match answer {
        Message::NewNeighbour(message) => permanent(message).map(|(_, mac)| mac),
        _ => None,
    }))
}

/// Whether a MAC is pinned to the bridge port with index `port`.
///
/// # Errors
///
/// The kernel's answer.
pub fn has_fdb(netlink: &mut Netlink, port: u32, mac: Mac) -> Result<bool, Refusal> {
    let mut ask = fdb_message(port, mac);
    ask.header.state = NeighbourState::None;
    let answers = unless_absent(netlink.query(Message::GetNeighbour(ask)))?;
    Ok(answers.iter().any(|answer| match answer {
        Message::NewNeighbour(found) => {
            found.header.ifindex == port && found.header.state == NeighbourState::Noarp
        }
        _ => false,
    }))
}

/// No answer where there is no such entry, or its link went meanwhile.
fn unless_absent(answers: Result<Vec<Message>, Refusal>) -> Result<Vec<Message>, Refusal> {
    match answers {
        Err(Refusal::Errno { errno, .. })
            if matches!(errno.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// Reads all permanent neighbours.
///
/// # Errors
///
/// The kernel's answer.
pub fn neighbours(netlink: &mut Netlink, names: &Names) -> Result<Neighbours, Refusal> {
    let mut found = BTreeSet::new();
    for answer in netlink.dump(Message::GetNeighbour(NeighbourMessage::default()))? {
        let Message::NewNeighbour(message) = answer else { continue };
        let name = names.get(&message.header.ifindex);
        if let (Some((address, mac)), Some(name)) = (permanent(&message), name) {
            found.insert((name.clone(), address, mac));
        }
    }
    Ok(found)
}

/// Reads the static entries that point to a bridge port: (port, MAC).
///
/// # Errors
///
/// The kernel's answer.
pub fn fdb(netlink: &mut Netlink, names: &Names) -> Result<BTreeSet<(String, Mac)>, Refusal> {
    let mut ask = NeighbourMessage::default();
    ask.header.family = AddressFamily::Bridge;
    let mut found = BTreeSet::new();
    for answer in netlink.dump(Message::GetNeighbour(ask))? {
        let Message::NewNeighbour(message) = answer else { continue };
        let is_static = message.header.state == NeighbourState::Noarp;
        if let (true, Some(mac), Some(name)) =
            (is_static, parse_neighbour(&message).1, names.get(&message.header.ifindex))
        {
            found.insert((name.clone(), mac));
        }
    }
    Ok(found)
}

/// Reads the MACs of ours that links take beside their own: (link, MAC).
///
/// # Errors
///
/// The kernel's answer.
pub fn unicast(netlink: &mut Netlink, names: &Names) -> Result<BTreeSet<(String, Mac)>, Refusal> {
    let mut ask = NeighbourMessage::default();
    ask.header.family = AddressFamily::Bridge;
    let mut found = BTreeSet::new();
    for answer in netlink.dump(Message::GetNeighbour(ask))? {
        let Message::NewNeighbour(message) = answer else { continue };
        let is_own = message.header.flags.contains(NeighbourFlags::Own);
        let mac = parse_neighbour(&message).1.filter(|mac| mac.is_ours());
        if let (true, Some(mac), Some(name)) = (is_own, mac, names.get(&message.header.ifindex)) {
            found.insert((name.clone(), mac));
        }
    }
    Ok(found)
}

/// Has the link with index `link` take frames for another MAC, too.
///
/// # Errors
///
/// The kernel's answer. None when it does already.
pub fn add_unicast(netlink: &mut Netlink, link: u32, mac: Mac) -> Result<(), Refusal> {
    netlink.request(Message::NewNeighbour(unicast_message(link, mac)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Has it no longer do so.
///
/// # Errors
///
/// `ENOENT` when it does not, else the kernel's answer.
pub fn delete_unicast(netlink: &mut Netlink, link: u32, mac: Mac) -> Result<(), Refusal> {
    netlink.request(Message::DelNeighbour(unicast_message(link, mac)), 0)
}

fn unicast_message(link: u32, mac: Mac) -> NeighbourMessage {
    let mut message = fdb_message(link, mac);
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message
}

fn permanent(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let (address, mac) = parse_neighbour(message);
    let is_permanent = message.header.state == NeighbourState::Permanent;
    address.zip(mac).filter(|_| is_permanent)
}

fn parse_neighbour(message: &NeighbourMessage) -> (Option<IpAddr>, Option<Mac>) {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().map(Mac);
            }
            _ => {}
        }
    }
    (address, mac)
}

/// Pins the MAC of a neighbour.
///
/// # Errors
///
/// The kernel's answer.
pub fn replace_neighbour(
    netlink: &mut Netlink,
    link: u32,
    address: IpAddr,
    mac: Mac,
) -> Result<(), Refusal> {
    let mut message = neighbour_message(link, address);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    netlink.request(Message::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes a neighbour.
///
/// # Errors
///
/// `ENOENT` when it is not there, else the kernel's answer.
pub fn delete_neighbour(netlink: &mut Netlink, link: u32, address: IpAddr) -> Result<(), Refusal> {
    netlink.request(Message::DelNeighbour(neighbour_message(link, address)), 0)
}

fn neighbour_message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = link;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    message
}

/// Pins a MAC to the bridge port with index `link`.
///
/// # Errors
///
/// The kernel's answer.
pub fn replace_fdb(netlink: &mut Netlink, link: u32, mac: Mac) -> Result<(), Refusal> {
    let message = Message::NewNeighbour(fdb_message(link, mac));
    netlink.request(message, NLM_F_CREATE | NLM_F_REPLACE)
}

fn fdb_message(port: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
