//! Questions to the kernel's routing: where a packet would go, and what is known of the next hop.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::linux::netlink::Netlink;
use crate::network::{Mac, Refusal};

use super::Neighbour;

/// A packet whose way is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where to.
    pub to: IpAddr,
    /// Where from; for a packet that comes in it is needed.
    pub from: Option<IpAddr>,
    /// Index of the link it came in by; `None` for one that is sent from here.
    pub came_in: Option<u32>,
}

/// The way that a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// It is for this namespace itself.
    pub is_local: bool,
    /// Index of the link it leaves by.
    pub link: u32,
    /// The next hop; the destination itself when absent.
    pub via: Option<IpAddr>,
    /// The source address that would be chosen.
    pub source: Option<IpAddr>,
    /// The MTU that the route sets, or that was learned for it, bytes.
    pub mtu: Option<u32>,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// No route at all.
    #[error("no route")]
    Unrouted,
    /// A route of the kind `blackhole`.
    #[error("a blackhole route")]
    Blackhole,
    /// A route of the kind `prohibit`.
    #[error("a prohibit route")]
    Prohibited,
    /// A route of the kind `unreachable`; of a packet that comes in, also that its link does not forward.
    #[error("unreachable")]
    Unreachable,
    /// The source may not come in by that link: the reverse path filter.
    #[error("refused by the reverse path filter")]
    ReversePath,
    /// It is not taken in, and the kernel does not say why.
    #[error("not taken in")]
    Refused,
    /// The kernel could not be asked, or answers something else.
    #[error("the kernel does not tell")]
    Unknown(#[source] Refusal),
}

/// Asks the kernel, as `ip route get` does.
pub(super) fn look_up(netlink: &mut Netlink, ask: &Ask) -> Result<Way, NoWay> {
    let mut message = RouteMessage::default();
    let bits = if ask.to.is_ipv4() { 32 } else { 128 };
    message.header.address_family =
        if ask.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(ask.to.into()));
    if let Some(from) = ask.from {
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    message.attributes.extend(ask.came_in.map(RouteAttribute::Iif));
    let answers = match netlink.query(Message::GetRoute(message)) {
        // Of what comes in, a strange source gets this answer too.
        Err(error) if ask.came_in.is_some() && is_invalid(&error) => {
            let sent = look_up(netlink, &Ask { to: ask.to, from: None, came_in: None });
            let is_blackhole = matches!(sent, Err(NoWay::Blackhole));
            return Err(if is_blackhole { NoWay::Blackhole } else { NoWay::Refused });
        }
        other => other.map_err(no_way)?,
    };
    let found = answers.iter().find_map(|answer| match answer {
        Message::NewRoute(route) => Some(route),
        _ => None,
    });
    read(found.ok_or(NoWay::Unknown(Refusal::Absent("answer about a route")))?)
}

/// A refusal of the packet, not of the question: that would be explained.
fn is_invalid(error: &Refusal) -> bool {
    matches!(error, Refusal::Errno { errno, explanation }
        if errno.raw_os_error() == Some(libc::EINVAL) && explanation.is_empty())
}

fn no_way(error: Refusal) -> NoWay {
    let Refusal::Errno { errno, explanation } = &error else { return NoWay::Unknown(error) };
    if !explanation.is_empty() {
        // The question was refused, not the packet.
        return NoWay::Unknown(error);
    }
    // `fib_props` of net/ipv4/fib_semantics.c; EXDEV is `__fib_validate_source`.
    match errno.raw_os_error() {
        Some(libc::ENETUNREACH) => NoWay::Unrouted,
        Some(libc::EINVAL) => NoWay::Blackhole,
        Some(libc::EACCES) => NoWay::Prohibited,
        Some(libc::EHOSTUNREACH) => NoWay::Unreachable,
        Some(libc::EXDEV) => NoWay::ReversePath,
        _ => NoWay::Unknown(error),
    }
}

fn read(message: &RouteMessage) -> Result<Way, NoWay> {
    match message.header.kind {
        RouteType::BlackHole => return Err(NoWay::Blackhole),
        RouteType::Prohibit => return Err(NoWay::Prohibited),
        RouteType::Unreachable => return Err(NoWay::Unreachable),
        _ => {}
    }
    let is_local = matches!(message.header.kind, RouteType::Local | RouteType::Anycast);
    let mut way = Way { is_local, link: 0, via: None, source: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.link = *index,
            RouteAttribute::Gateway(address) => way.via = plain(address),
            RouteAttribute::PrefSource(address) => way.source = plain(address),
            RouteAttribute::Metrics(metrics) => {
                way.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Ok(way)
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// What the kernel knows of a neighbour.
pub(super) fn neighbour(
    netlink: &mut Netlink,
    link: u32,
    address: IpAddr,
) -> Result<Option<Neighbour>, Refusal> {
    let mut ask = NeighbourMessage::default();
    ask.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    ask.header.ifindex = link;
    ask.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    let answers = match netlink.query(Message::GetNeighbour(ask)) {
        Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::ENOENT) => {
            return Ok(None);
        }
        other => other?,
    };
    let found = answers.iter().find_map(|answer| match answer {
        Message::NewNeighbour(found) => Some(found),
        _ => None,
    });
    Ok(found.map(|found| {
        let mac = found.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        });
        Neighbour {
            mac: mac.map(Mac),
            is_permanent: found.header.state == NeighbourState::Permanent,
            is_failed: found.header.state == NeighbourState::Failed,
        }
    }))
}
