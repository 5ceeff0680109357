//! Who stands behind the addresses of a network that no endpoint has: a set of nested prefixes.
//!
//! Seen from network N: gateways of N and of routed networks, the host's addresses and N's own
//! transit address on the host are the host; the rest of N's subnets, of routed networks' subnets and
//! of the transit range is unmanaged; all else is the world. N's own subnets come before everything
//! outside of N with the same address. Ranges named by rules cut these into pieces, and a piece is
//! matched by every range that holds it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::Name;
use rustc_hash::FxHashMap;

use crate::matchers::{MatcherId, Matchers, Zone};

/// Holds every transit link, IPv4.
pub(crate) const TRANSIT_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 64, 0), 19);
/// Holds every transit link, IPv6.
pub(crate) const TRANSIT_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd62, 0x756c, 0x6b68, 0, 0, 0, 0, 0), 64);

/// The host's own, in every stack.
pub(crate) const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// The part of a network's surroundings that depends on no rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// Single addresses of the host, as this network sees them.
    pub host: Vec<IpAddr>,
    /// Ranges of the host, for networks that share its stack.
    pub host_nets: Vec<IpNet>,
    /// Subnets of the network itself.
    pub own: Vec<IpNet>,
    /// Subnets of routed networks, and the transit ranges.
    pub foreign: Vec<IpNet>,
}

/// A prefix and who stands behind its addresses that no longer prefix holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub net: IpNet,
    pub zone: Zone,
    /// In ascending order.
    pub matchers: Vec<MatcherId>,
}

/// Cuts the address space of a tenant's network into pieces.
pub(crate) fn pieces(around: &Surroundings, matchers: &Matchers, tenant: &Name) -> Vec<Piece> {
    let mut zones: [Vec<MatcherId>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let mut ranges: FxHashMap<IpNet, Vec<MatcherId>> = FxHashMap::default();
    for id in matchers.of_addresses(tenant) {
        let Some(matcher) = matchers.get(id) else { continue };
        if let Some(net) = matcher.range() {
            ranges.entry(net).or_default().push(id);
        }
        for (zone, list) in [Zone::Host, Zone::Unmanaged, Zone::World].into_iter().zip(&mut zones) {
            if matcher.matches_zone(zone) {
                list.push(id);
            }
        }
    }
    // Sorted by first address, then by length: a prefix comes before everything inside of it.
    let mut all: BTreeMap<(IpAddr, u8), IpNet> = BTreeMap::new();
    let wide = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let singles = around.host.iter().map(|address| IpNet::from(*address));
    let singles = singles.chain(around.host_nets.iter().copied());
    let nets = wide.into_iter().chain(singles).chain(around.own.iter().copied());
    for net in nets.chain(around.foreign.iter().copied()).chain(ranges.keys().copied()) {
        all.insert((net.network(), net.prefix_len()), net);
    }
    let managed = |net: &IpNet| around.own.contains(net) || around.foreign.contains(net);
    let mut open: Vec<(IpNet, Zone)> = Vec::new();
    let mut out = Vec::with_capacity(all.len());
    for net in all.into_values() {
        while open.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
            open.pop();
        }
        let outer = open.last().map_or(Zone::World, |(_, zone)| *zone);
        let zone = if is_host(around, &net) {
            Zone::Host
        } else if managed(&net) {
            Zone::Unmanaged
        } else {
            outer
        };
        open.push((net, zone));
        let of_zone = zones.get(zone as usize).map_or(&[][..], Vec::as_slice);
        let mut matching = of_zone.to_vec();
        if zone != Zone::Host {
            let covering = open.iter().filter_map(|(outer, _)| ranges.get(outer));
            matching.extend(covering.flatten());
        }
        matching.sort_unstable();
        out.push(Piece { net, zone, matchers: matching });
    }
    out
}

fn is_host(around: &Surroundings, net: &IpNet) -> bool {
    let is_single = net.prefix_len() == net.max_prefix_len();
    around.host_nets.iter().any(|range| range.contains(net))
        || is_single && around.host.contains(&net.addr())
}

/// The tables' form of a prefix length: of 128 bits.
pub(crate) fn bits(net: &IpNet) -> u32 {
    u32::from(net.prefix_len()) + if matches!(net, IpNet::V4(_)) { 96 } else { 0 }
}
