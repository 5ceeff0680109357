//! Ways to a workload through ports that the host publishes: two judgements instead of one.
//!
//! A workload that connects to a published port is judged at its own port as it goes to the host, and at the target's port
//! as whatever it is seen as there: from a network of mode `routed` with its own address, from one of mode `nat` with its
//! router's transit address, from the target's own network with the target's router's. Nothing leaves mode `bridge`.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Mode, Proto, Transport};

use crate::bundle::{Bundle, Publish, Router};
use crate::reach::{Atlas, Place, Span};

/// One of the two judgements about a way: where, between whom, to which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Number of the network in which it is judged.
    pub network: u16,
    /// Who sends, as that network sees it.
    pub source: IpAddr,
    /// To whom.
    pub target: IpAddr,
    /// To which port.
    pub port: u16,
}

/// A way from one workload to another through a port that the host publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way<'b> {
    /// The network that publishes it.
    pub router: &'b Router,
    /// The published port.
    pub publish: &'b Publish,
    /// From the workload to the host.
    pub leaves: Leg,
    /// To the target's own port.
    pub enters: Leg,
}

/// The ways from a workload through published ports, by `<tenant>.<workload>`; to whom, each of them tells. What policy says
/// of them is another question. IPv4 before IPv6 for each port.
#[must_use]
pub fn ways<'b>(bundle: &'b Bundle, from: &str) -> Vec<Way<'b>> {
    let Some((near, at)) = bundle.attachment(from) else { return Vec::new() };
    let own = |v4: bool| at.addresses.iter().map(IpNet::addr).find(|own| own.is_ipv4() == v4);
    let mut all = Vec::new();
    for far in &bundle.routers {
        for publish in far.publishes.iter().filter(|publish| *publish.workload != *from) {
            for v4 in [true, false] {
                all.extend(own(v4).and_then(|own| way(publish, near, own, far)));
            }
        }
    }
    all
}

/// The way from an address in one network to a port that another one, or the same, publishes.
fn way<'b>(publish: &'b Publish, near: &Router, from: IpAddr, far: &'b Router) -> Option<Way<'b>> {
    if near.number != far.number && near.mode == Mode::Bridge {
        return None;
    }
    let v4 = from.is_ipv4();
    let host = aim(publish, near, v4)?;
    let to =
        if v4 { publish.target_v4.map(IpAddr::V4) } else { publish.target_v6.map(IpAddr::V6) }?;
    let seen = seen(near, far, from, v4);
    let client = if near.number == far.number { from } else { seen };
    if !publish.from.is_empty() && !publish.from.iter().any(|net| net.contains(&client)) {
        return None;
    }
    let leaves = Leg { network: near.number, source: from, target: host, port: publish.port };
    let enters = Leg { network: far.number, source: seen, target: to, port: publish.target_port };
    Some(Way { router: far, publish, leaves, enters })
}

/// What passes from a workload to another one through published ports, as seen at the target's port.
pub(crate) fn spans(
    atlas: &Atlas<'_>,
    bundle: &Bundle,
    source: &Place,
    (workload, target): (&str, &Place),
) -> Vec<Span> {
    let router = |network: u32| bundle.routers.iter().find(|r| u32::from(r.number) == network);
    let (Some(near), Some(far)) = (router(source.network), router(target.network)) else {
        return Vec::new();
    };
    let addresses = [source.v4, source.v6].into_iter().flatten().map(IpAddr::from);
    let addresses: Vec<IpAddr> = addresses.collect();
    let leading = far.publishes.iter().filter(|publish| *publish.workload == *workload);
    let ways = leading.flat_map(|publish| {
        addresses.iter().filter_map(move |address| way(publish, near, *address, far))
    });
    ways.filter_map(|way| through(atlas, &way)).collect()
}

/// What both judgements let pass.
fn through(atlas: &Atlas<'_>, way: &Way<'_>) -> Option<Span> {
    let leg = |leg: &Leg| {
        let at = |address| Place::of(u32::from(leg.network), address);
        let spans = atlas.spans(&at(leg.source), &at(leg.target));
        one(&spans, way.publish.transport, leg.port)
    };
    let egress = leg(&way.leaves)?;
    let ingress = leg(&way.enters)?;
    Some(Span { egress_rule: egress.egress_rule, audit: egress.audit || ingress.audit, ..ingress })
}

/// Where somebody in a network goes for a published port; `None` when no address of it leads from there to the host.
fn aim(publish: &Publish, near: &Router, v4: bool) -> Option<IpAddr> {
    let Some(address) = publish.address else {
        // As any other address of the host.
        let host = near.transit;
        return Some(if v4 { host.host_v4.into() } else { host.host_v6.into() });
    };
    let stays = near.subnets.iter().any(|own| own.contains(&address));
    (address.is_ipv4() == v4 && !address.is_loopback() && !stays).then_some(address)
}

/// As whom the target's port sees a workload.
fn seen(near: &Router, far: &Router, own: IpAddr, v4: bool) -> IpAddr {
    let transit = if near.number == far.number { far.transit } else { near.transit };
    if near.number != far.number && near.mode == Mode::Routed {
        own
    } else if v4 {
        transit.router_v4.into()
    } else {
        transit.router_v6.into()
    }
}

/// The flows to one port among those that pass.
fn one(spans: &[Span], transport: Transport, port: u16) -> Option<Span> {
    let protocol = match transport {
        Transport::Tcp => Proto::Tcp,
        Transport::Udp => Proto::Udp,
        Transport::Sctp => Proto::Sctp,
    };
    let holds =
        |span: &&Span| span.protocol == protocol && span.ports.0 <= port && port <= span.ports.1;
    spans.iter().find(holds).map(|span| Span { ports: (port, port), ..*span })
}
