//! A bundle as the reconcilers want it: the network of this host, and the programs that run on it.

use std::net::IpAddr;
use std::path::PathBuf;

use host::network::{
    Desired, EndpointDesired, EndpointNumber, IsolatedDesired, LanDesired, Mac, Mode,
    NetworkNumber, NsName, Place, PublishDesired, RouterDesired, Transport,
};
use planner::{Attachment, Bundle, Publish, Router};
use policy::document::{Adopted, Lan, Netns, Start, owner};

use api::{Error, codes};

use crate::fault;

/// Where `ip netns` pins namespaces.
const NAMED_NETNS: &str = "/run/netns";

/// The network that a bundle wants; `mtu` in bytes for every link.
///
/// # Errors
/// `BH0200` when the bundle holds a number or name out of its range, which the planner excludes.
pub(crate) fn network(bundle: &Bundle, mtu: u32) -> Result<Desired, Error> {
    let has_router = |each: &&Router| each.external.is_none() && each.mode != model::Mode::Host;
    let ours = bundle.routers.iter().filter(has_router);
    let routers = ours.map(|each| router(bundle, each, mtu));
    let isolated = bundle
        .workloads
        .iter()
        .filter(|(_, each)| each.endpoint.is_none() && matches!(each.start, Start::Run(_)));
    let isolated = isolated.map(|(id, _)| Ok(IsolatedDesired { workload: ns_name(id)? }));
    Ok(Desired {
        routers: routers.collect::<Result<_, Error>>()?,
        isolated: isolated.collect::<Result<_, Error>>()?,
    })
}

fn impossible(error: &dyn std::error::Error) -> Error {
    fault::failed(codes::INTERNAL, "the plan names something that cannot exist", error)
}

fn ns_name(text: &str) -> Result<NsName, Error> {
    NsName::parse(text).map_err(|error| impossible(&error))
}

/// The pinned name of a network's router.
pub(crate) fn router_name(router: &Router) -> Result<NsName, Error> {
    NsName::router(router.tenant.as_str(), router.name.as_str()).map_err(|error| impossible(&error))
}

fn router(bundle: &Bundle, router: &Router, mtu: u32) -> Result<RouterDesired, Error> {
    let endpoints = router.endpoints.iter().map(|each| endpoint(bundle, each, mtu));
    Ok(RouterDesired {
        number: NetworkNumber::new(router.number).map_err(|error| impossible(&error))?,
        name: router_name(router)?,
        mode: match router.mode {
            model::Mode::Nat => Mode::Nat,
            model::Mode::Routed => Mode::Routed,
            model::Mode::Bridge | model::Mode::Macvlan | model::Mode::Host | model::Mode::None => {
                Mode::Bridge
            }
        },
        gateways: router.gateways.clone(),
        subnets: router.subnets.clone(),
        snat: router.snat.clone(),
        lan: router.lan.as_ref().map(lan),
        mtu,
        endpoints: endpoints.collect::<Result<_, Error>>()?,
        publishes: router.publishes.iter().map(publish).collect(),
    })
}

fn lan(lan: &Lan) -> LanDesired {
    let (v4, v6) = (lan.gateway_v4.map(IpAddr::V4), lan.gateway_v6.map(IpAddr::V6));
    LanDesired {
        uplink: lan.uplink.to_string(),
        vlan: lan.vlan,
        gateways: v4.into_iter().chain(v6).collect(),
    }
}

fn endpoint(bundle: &Bundle, at: &Attachment, mtu: u32) -> Result<EndpointDesired, Error> {
    let workload = bundle.workloads.get(&at.workload);
    let place = workload.and_then(|workload| place(&workload.start)).unwrap_or(Place::Ours);
    Ok(EndpointDesired {
        number: EndpointNumber::new(at.number).map_err(|error| impossible(&error))?,
        workload: ns_name(owner(&at.workload))?,
        further: workload.is_some_and(|workload| workload.further),
        several: bundle.attachments(&at.workload).nth(1).is_some(),
        place,
        interface: workload
            .map_or(Adopted::INTERFACE, |workload| interface(&workload.start))
            .to_owned(),
        mac: Mac(at.mac),
        addresses: at.addresses.clone(),
        gateway_v4: at.gateway_v4,
        gateway_v6: at.gateway_v6,
        mtu,
    })
}

/// Whose namespace a workload has, as far as it is known; `None` when it is behind a port in place, where we do not know of any.
pub(crate) fn place(start: &Start) -> Option<Place> {
    match start {
        Start::Run(_) | Start::Beside(_) => Some(Place::Ours),
        Start::Netns(adopted) => Some(match &adopted.netns {
            Netns::Name(name) => Place::At(PathBuf::from(NAMED_NETNS).join(name)),
            Netns::Path(path) => Place::At(PathBuf::from(path)),
            Netns::Handed { open } => Place::Handed { open: *open },
        }),
        Start::Port(_) => None,
    }
}

/// What a workload's link is called inside of its namespace.
pub(crate) fn interface(start: &Start) -> &str {
    match start {
        Start::Run(_) | Start::Port(_) => Adopted::INTERFACE,
        Start::Beside(interface) => interface,
        Start::Netns(adopted) => &adopted.interface,
    }
}

fn publish(publish: &Publish) -> PublishDesired {
    PublishDesired {
        name: publish.name.to_string(),
        transport: match publish.transport {
            model::Transport::Tcp => Transport::Tcp,
            model::Transport::Udp => Transport::Udp,
            model::Transport::Sctp => Transport::Sctp,
        },
        ports: (publish.port, publish.port),
        target_port: publish.target_port,
        target_v4: publish.target_v4,
        target_v6: publish.target_v6,
        address: publish.address,
        from: publish.from.clone(),
    }
}

#[cfg(test)]
mod tests;
