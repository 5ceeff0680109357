//! The part of a bundle that no rule changes: routers, attachments, publishes, surroundings.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use model::{Mode, Name};
use policy::Document;
use policy::document::{Network, Port, Publish as Source, Start, Subnets, Workload};
use rustc_hash::FxHashMap;
use verdict::abi::{Addr, Endpoint, IFINDEX_BASE, Mac, PeerKey, PrefixKey};

use crate::allocate::{Allocations, EndpointLease, subnets_of};
use crate::bundle::{Attachment, Publish, Router, Transit};
use crate::peers::{LOOPBACK_V4, Surroundings, TRANSIT_V4, TRANSIT_V6};
use crate::{Facts, PlanError};

/// The MAC address of an endpoint, `02:62:68:00:hi:lo`.
#[must_use]
pub const fn endpoint_mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x62, 0x68, 0x00, high, low]
}

/// The MAC address of a network's bridge, `02:62:68:ff:hi:lo`.
#[must_use]
pub const fn bridge_mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x62, 0x68, 0xff, high, low]
}

/// The IPv6 link-local address that the kernel derives from a MAC address (RFC 4291 appendix A).
#[must_use]
pub const fn link_local(mac: Mac) -> Ipv6Addr {
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
    [octets[8], octets[9], octets[10], octets[13], octets[14], octets[15]] = mac;
    octets[8] ^= 2;
    Ipv6Addr::from_octets(octets)
}

/// The addresses of a network's link to the host.
#[must_use]
pub fn transit(number: u16) -> Transit {
    let v4 = TRANSIT_V4.network().to_bits() + 2 * u32::from(number);
    let v6 = TRANSIT_V6.network().to_bits() + 2 * u128::from(number);
    Transit {
        host_v4: Ipv4Addr::from_bits(v4),
        router_v4: Ipv4Addr::from_bits(v4 + 1),
        host_v6: Ipv6Addr::from_bits(v6),
        router_v6: Ipv6Addr::from_bits(v6 + 1),
    }
}

/// The routers of all networks that have one, ordered by number. Published ports whose time is over are left out.
pub(crate) fn routers(doc: &Document, allocations: &Allocations, now: Timestamp) -> Vec<Router> {
    let mut routers: BTreeMap<u16, Router> = BTreeMap::new();
    let networks: FxHashMap<(&Name, &Name), &Network> =
        doc.networks.iter().map(|each| ((&each.tenant, &each.name), each)).collect();
    for network in &doc.networks {
        if let Some(lease) = allocations.networks.get(network.id().as_str()) {
            routers.insert(lease.number, router(network, lease.number));
        }
    }
    for workload in &doc.workloads {
        let Some((id, lease)) = allocations.endpoints.get_key_value(workload.id().as_str()) else {
            continue;
        };
        let Some(network) = networks.get(&(&workload.tenant, &workload.network)) else { continue };
        if let Some(router) = routers.get_mut(&lease.network) {
            router.endpoints.push(attachment(id, lease, network, workload));
        }
    }
    // One for the host alone is for nobody where we publish.
    let is_ours = |it: &&Source| !it.is_expired(now) && (it.is_for_all() || !it.from.is_empty());
    for publish in doc.publishes.iter().filter(is_ours) {
        let id = format!("{}.{}", publish.tenant, publish.workload);
        let Some((id, lease)) = allocations.endpoints.get_key_value(id.as_str()) else { continue };
        // In an external network its runtime publishes: `terms` says for whom.
        let router = routers.get_mut(&lease.network).filter(|router| router.external.is_none());
        if let Some(router) = router {
            router.publishes.push(Publish {
                name: publish.name.clone(),
                transport: publish.transport,
                address: publish.address,
                port: publish.port,
                workload: Arc::clone(id),
                target_port: publish.workload_port,
                target_v4: lease.v4,
                target_v6: lease.v6,
                from: publish.from.clone(),
                owner: publish.owner.clone(),
                until: publish.until,
                limit: publish.limit,
            });
        }
    }
    let mut routers: Vec<Router> = routers.into_values().collect();
    for router in &mut routers {
        router.endpoints.sort_unstable_by_key(|endpoint| endpoint.number);
    }
    routers
}

fn router(network: &Network, number: u16) -> Router {
    let is_ours = network.external.is_none() && network.lan.is_none();
    Router {
        number,
        tenant: network.tenant.clone(),
        name: network.name.clone(),
        mode: network.mode,
        external: network.external.clone(),
        lan: network.lan.clone(),
        gateways: if is_ours { gateways(network) } else { Vec::new() },
        // Who else is on a LAN we do not know: its addresses are the world's.
        subnets: if network.lan.is_some() { Vec::new() } else { network.subnets.iter().collect() },
        snat: network.snat.iter().collect(),
        transit: transit(number),
        mac: bridge_mac(number),
        endpoints: Vec::new(),
        publishes: Vec::new(),
    }
}

/// One address for each subnet of each segment, or of the network when it has no segments.
fn gateways(network: &Network) -> Vec<IpNet> {
    let segments: Vec<Subnets> = if network.segments.is_empty() {
        vec![network.subnets]
    } else {
        network.segments.iter().map(|segment| segment.subnets).collect()
    };
    let mut out = Vec::new();
    for subnets in segments {
        let v4 = subnets.v4.zip(subnets.gateway_v4());
        out.extend(
            v4.and_then(|(net, gateway)| Ipv4Net::new(gateway, net.prefix_len()).ok())
                .map(IpNet::V4),
        );
        let v6 = subnets.v6.zip(subnets.gateway_v6());
        out.extend(
            v6.and_then(|(net, gateway)| Ipv6Net::new(gateway, net.prefix_len()).ok())
                .map(IpNet::V6),
        );
    }
    out
}

pub(crate) fn attachment(
    id: &Arc<str>,
    lease: &EndpointLease,
    network: &Network,
    workload: &Workload,
) -> Attachment {
    let subnets = subnets_of(network, workload);
    let port = port_of(workload);
    // Whoever made a port in place has given it its addresses, with a subnet that we may not know.
    let hosted = lease.v6.is_some_and(|v6| Addr::from(IpAddr::V6(v6)).is_hosted());
    let single = (port.is_some() || hosted).then_some(u8::MAX);
    let length = |known: Option<u8>, most: u8| known.or(single).map(|length| length.min(most));
    let v4 = lease.v4.zip(length(subnets.v4.map(|net| net.prefix_len()), 32));
    let v4 = v4.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok());
    let v6 = lease.v6.zip(length(subnets.v6.map(|net| net.prefix_len()), 128));
    let v6 = v6.and_then(|(v6, length)| Ipv6Net::new(v6, length).ok());
    Attachment {
        number: lease.number,
        workload: Arc::clone(id),
        ifindex: IFINDEX_BASE + u32::from(lease.number),
        mac: mac_of(workload, lease, network.lan.is_some()),
        addresses: v4.map(IpNet::V4).into_iter().chain(v6.map(IpNet::V6)).collect(),
        gateway_v4: v4.filter(|_| port.is_none()).and_then(|_| gateway_v4(network, &subnets)),
        gateway_v6: v6.filter(|_| port.is_none()).and_then(|_| gateway_v6(network, &subnets)),
        port: port.cloned(),
    }
}

/// The port in place of a workload.
pub(crate) fn port_of(workload: &Workload) -> Option<&Port> {
    match &workload.start {
        Start::Port(port) => Some(port),
        Start::Run(_) | Start::Netns(_) | Start::Beside(_) => None,
    }
}

fn gateway_v4(network: &Network, subnets: &Subnets) -> Option<Ipv4Addr> {
    network.lan.as_ref().map_or_else(|| subnets.gateway_v4(), |lan| lan.gateway_v4)
}

fn gateway_v6(network: &Network, subnets: &Subnets) -> Option<Ipv6Addr> {
    network.lan.as_ref().map_or_else(|| subnets.gateway_v6(), |lan| lan.gateway_v6)
}

/// The MAC address of a workload with an endpoint: what its port in place has, or what we give it. On a LAN there are other
/// hosts with endpoints of the same number: there it follows from the address, which is unique on the LAN.
pub(crate) fn mac_of(workload: &Workload, lease: &EndpointLease, on_lan: bool) -> Mac {
    match port_of(workload) {
        Some(port) => port.mac,
        None if on_lan => lan_mac(lease.v4, lease.v6),
        None => endpoint_mac(lease.number),
    }
}

/// The MAC address of a workload on a LAN, `02:62:69` and the end of its IPv4 address, or else of its IPv6 address.
#[must_use]
pub fn lan_mac(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Mac {
    let [.., a, b, c] = v4.map_or_else(
        || v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets(),
        |v4| v4.to_ipv6_mapped().octets(),
    );
    [0x02, 0x62, 0x69, a, b, c]
}

/// What every network sees around it, in the order of the routers.
pub(crate) fn surroundings(routers: &[Router], facts: &Facts) -> Vec<Surroundings> {
    routers.iter().map(|router| surroundings_of(router, routers, facts)).collect()
}

fn surroundings_of(here: &Router, routers: &[Router], facts: &Facts) -> Surroundings {
    let own = |address: &IpAddr| here.subnets.iter().any(|own| own.contains(address));
    let outside = |address: &IpAddr| !own(address);
    let others = || routers.iter().filter(|other| is_foreign(here, other));
    if here.mode == Mode::Host {
        return around_the_host(routers, facts);
    }
    let mut host: Vec<IpAddr> = here.gateways.iter().map(IpNet::addr).collect();
    // The host may stand in a network that it does not forward for by us.
    let is_external = here.external.is_some();
    host.extend(facts.addresses.iter().copied().filter(|each| is_external || outside(each)));
    host.extend(others().flat_map(|other| &other.gateways).map(IpNet::addr).filter(outside));
    if !is_external {
        host.push(IpAddr::V4(here.transit.host_v4));
        host.push(IpAddr::V6(here.transit.host_v6));
    }
    let mut foreign: Vec<IpNet> = others().flat_map(|other| other.subnets.clone()).collect();
    foreign.push(IpNet::V4(TRANSIT_V4));
    foreign.push(IpNet::V6(TRANSIT_V6));
    Surroundings { host, own: here.subnets.clone(), foreign, ..Surroundings::default() }
}

/// What workloads see that share the host's stack: the host at its own addresses and at loopback.
fn around_the_host(routers: &[Router], facts: &Facts) -> Surroundings {
    let routed = || routers.iter().filter(|router| router.mode == Mode::Routed);
    let mut host = facts.addresses.clone();
    host.extend(routed().flat_map(|router| &router.gateways).map(IpNet::addr));
    host.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let mut foreign: Vec<IpNet> = routed().flat_map(|router| router.subnets.clone()).collect();
    foreign.push(IpNet::V4(TRANSIT_V4));
    foreign.push(IpNet::V6(TRANSIT_V6));
    let own_nets = vec![IpNet::V4(LOOPBACK_V4)];
    Surroundings { host, host_nets: own_nets, own: Vec::new(), foreign }
}

/// The prefix that stands for all addresses of an endpoint that shares the host's stack.
pub(crate) fn hosted_prefix(network: u32, number: u32) -> PrefixKey {
    let key = PeerKey { network, addr: Addr::hosted(number) };
    PrefixKey { len: 32 + u32::from(Endpoint::HOSTED_BITS), key }
}

/// Whether a network meets another one with its own addresses.
pub(crate) fn is_foreign(here: &Router, other: &Router) -> bool {
    other.mode == Mode::Routed && other.number != here.number
}

/// The addresses of an attachment that a network sees: all of its own, and those of others that do
/// not lie in its own subnets.
pub(crate) fn visible(here: &Router, of: &Router, attachment: &Attachment) -> Vec<Addr> {
    let own = here.number == of.number;
    let addresses = attachment.addresses.iter().map(IpNet::addr);
    addresses
        .filter(|address| own || !here.subnets.iter().any(|net| net.contains(address)))
        .map(Addr::from)
        .collect()
}

/// Refuses routed networks that meet each other or the host: both would be the same address.
pub(crate) fn check_routed(doc: &Document, facts: &Facts) -> Vec<PlanError> {
    let mut errors = Vec::new();
    let mut seen: Vec<(IpNet, &Network)> = Vec::new();
    for network in doc.networks.iter().filter(|network| network.mode == Mode::Routed) {
        for subnet in network.subnets.iter() {
            let meets = |net: &IpNet| net.contains(&subnet) || subnet.contains(net);
            let other = seen.iter().find(|(net, _)| meets(net)).map(|(_, other)| other.id());
            let is_in = |address: &&IpAddr| network.external.is_none() && subnet.contains(*address);
            let address = facts.addresses.iter().find(is_in);
            let host = address.map(|address| format!("the host's address {address}"));
            if let Some(other) = other.or(host) {
                let (network, span) = (network.id().into(), network.span);
                errors.push(PlanError::RoutedOverlap { subnet, network, other, span });
            }
            seen.push((subnet, network));
        }
    }
    errors
}
