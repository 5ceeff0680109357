//! Ways to a workload through ports that the host publishes: two judgements instead of one.
//!
//! A workload that connects to a published port is judged at its own port as it goes to the host, and at the target's port
//! as whatever it is seen as there: from a network of mode `routed` with its own address, from one of mode `nat` with its
//! router's transit address, from the target's own network with the target's router's. From a LAN it comes as everybody there does, with
//! its own address. Else nothing leaves mode `bridge`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{Mode, Proto, Transport};
use policy::document::owner;
use rustc_hash::FxHashMap;

use crate::bundle::{Bundle, Publish, Router};
use crate::memo::Known;
use crate::reach::{Atlas, Place, Span};

/// One of the two judgements about a way: where, between whom, to which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        let others = far.publishes.iter().filter(|each| *each.workload != *owner(from));
        for publish in others {
            for v4 in [true, false] {
                all.extend(own(v4).and_then(|own| way(publish, near, own, far)));
            }
        }
    }
    all
}

/// The way from an address in one network to a port that another one, or the same, publishes.
fn way<'b>(publish: &'b Publish, near: &Router, from: IpAddr, far: &'b Router) -> Option<Way<'b>> {
    // What the host translates for its own sockets, their cgroup does not know again. On a LAN it leaves by the LAN.
    let stays = matches!(near.mode, Mode::Bridge | Mode::Host) && near.lan.is_none();
    if near.number != far.number && stays {
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

/// What passes to a workload through a published port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage<'b> {
    /// Which way.
    pub way: Way<'b>,
    /// The flows, as seen at the target's port.
    pub span: Span,
}

/// What a network lets pass to one port.
type Legs = FxHashMap<(Known, Leg), Option<Span>>;

/// Published ports, ready to be asked about many pairs.
pub(crate) struct Gates<'b, 'a> {
    atlas: &'a Atlas<'a>,
    /// By the workload that they lead to.
    leading: FxHashMap<&'b str, Vec<(&'b Router, &'b Publish)>>,
    routers: FxHashMap<u32, &'b Router>,
    /// Answers about the first leg, for all that the tables do not tell apart; and about the second, for whom a router stands.
    known: [Legs; 2],
}

impl<'b, 'a> Gates<'b, 'a> {
    pub(crate) fn new(atlas: &'a Atlas<'a>, bundle: &'b Bundle) -> Self {
        let mut leading: FxHashMap<&str, Vec<(&Router, &Publish)>> = FxHashMap::default();
        for router in &bundle.routers {
            for publish in &router.publishes {
                leading.entry(&publish.workload).or_default().push((router, publish));
            }
        }
        let numbered = bundle.routers.iter().map(|router| (u32::from(router.number), router));
        Self { atlas, leading, routers: numbered.collect(), known: Default::default() }
    }

    /// Whether some published port leads to a workload.
    pub(crate) fn lead_to(&self, workload: &str) -> bool {
        self.leading.contains_key(workload)
    }

    /// The workloads that some published port leads to.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &'b str> {
        self.leading.keys().copied()
    }

    /// What passes from a workload, of which the tables know `key`, to another one through published ports.
    pub(crate) fn passages(
        &mut self,
        key: &Known,
        source: &Place,
        workload: &str,
    ) -> Vec<Passage<'b>> {
        let Some(near) = self.routers.get(&source.network).copied() else { return Vec::new() };
        let Some(leading) = self.leading.get(workload).cloned() else { return Vec::new() };
        let addresses = [source.v4, source.v6].into_iter().flatten().map(IpAddr::from);
        let addresses: Vec<IpAddr> = addresses.collect();
        let mut found = Vec::new();
        for (far, publish) in leading {
            for address in &addresses {
                let way = way(publish, near, *address, far);
                found.extend(way.and_then(|way| self.through(key, way)));
            }
        }
        found
    }

    /// What both judgements let pass.
    fn through(&mut self, key: &Known, way: Way<'b>) -> Option<Passage<'b>> {
        let any = if way.leaves.source.is_ipv4() { UNKNOWN_V4 } else { UNKNOWN_V6 };
        let [first, second] = &mut self.known;
        let leaves = Leg { source: any, ..way.leaves };
        let egress = *first
            .entry((*key, leaves))
            .or_insert_with(|| leg(self.atlas, &way.leaves, way.publish.transport));
        let egress = egress?;
        let ingress = if way.enters.source == way.leaves.source {
            leg(self.atlas, &way.enters, way.publish.transport)
        } else {
            *second
                .entry(([0; 6], way.enters))
                .or_insert_with(|| leg(self.atlas, &way.enters, way.publish.transport))
        }?;
        let audit = egress.audit || ingress.audit;
        Some(Passage { way, span: Span { egress_rule: egress.egress_rule, audit, ..ingress } })
    }
}

/// Stand for the address of whoever has a key.
const UNKNOWN_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const UNKNOWN_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What one judgement lets pass.
fn leg(atlas: &Atlas<'_>, leg: &Leg, transport: Transport) -> Option<Span> {
    let at = |address| Place::of(u32::from(leg.network), address);
    one(&atlas.spans(&at(leg.source), &at(leg.target)), transport, leg.port)
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
    if near.number != far.number && (near.mode == Mode::Routed || near.lan.is_some()) {
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
