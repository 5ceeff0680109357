//! Ways to a workload through ports that the host publishes: two judgements instead of one.
//!
//! A workload that connects to a published port is judged at its own port as it goes to the host, and at the target's port
//! as whatever it is seen as there: from a network of mode `routed` with its own address, from one of mode `nat` with its
//! router's transit address, from the target's own network with the target's router's. Nothing leaves mode `bridge`.

use std::net::IpAddr;

use model::{Mode, Proto, Transport};

use crate::bundle::{Bundle, Publish, Router};
use crate::reach::{Atlas, Place, Span};

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
    if near.number != far.number && near.mode == Mode::Bridge {
        return Vec::new();
    }
    let leading = far.publishes.iter().filter(|publish| *publish.workload == *workload);
    leading.flat_map(|publish| through(atlas, publish, (near, source), (far, target))).collect()
}

fn through(
    atlas: &Atlas<'_>,
    publish: &Publish,
    (near, source): (&Router, &Place),
    (far, target): (&Router, &Place),
) -> Vec<Span> {
    let mut out = Vec::new();
    for v4 in [true, false] {
        let own = |place: &Place| if v4 { place.v4 } else { place.v6 };
        let (Some(from), Some(to), Some(host)) = (own(source), own(target), aim(publish, near, v4))
        else {
            continue;
        };
        let seen = seen(near, far, from.into(), v4);
        let client = if near.number == far.number { from.into() } else { seen };
        if !publish.from.is_empty() && !publish.from.iter().any(|net| net.contains(&client)) {
            continue;
        }
        let (here, there) = (source.network, target.network);
        let leaves = atlas.spans(&Place::of(here, from.into()), &Place::of(here, host));
        let Some(egress) = one(&leaves, publish.transport, publish.port) else { continue };
        let enters = atlas.spans(&Place::of(there, seen), &Place::of(there, to.into()));
        let Some(ingress) = one(&enters, publish.transport, publish.target_port) else { continue };
        out.push(Span { egress_rule: egress.egress_rule, ..ingress });
    }
    out
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
