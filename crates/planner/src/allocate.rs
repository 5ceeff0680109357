//! Persistent numbers and addresses of tenants, networks and endpoints.
//!
//! What was given stays given for as long as the thing exists. A freed number or address is given
//! again only after every other one has been: what still remembers it (a flow, a neighbour, a log
//! reader) has long forgotten it by then. Addresses that the file fixes always win.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::{Mode, Name};
use policy::Document;
use policy::document::{Network, Span, Subnets, Workload};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use verdict::abi::Addr;

use crate::{PlanError, topology};

/// The largest number of a tenant.
pub const MAX_TENANT: u16 = 4_093;
/// The largest number of a network: one /31 of the transit range each.
pub const MAX_NETWORK: u16 = 4_095;
/// The largest number of an endpoint.
pub const MAX_ENDPOINT: u16 = 16_110;

/// Numbers and addresses given so far. The agent keeps them with the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allocations {
    /// Tenants by name.
    pub tenants: BTreeMap<Name, u16>,
    /// Networks by `<tenant>.<network>`.
    pub networks: BTreeMap<Arc<str>, NetworkLease>,
    /// Endpoints by `<tenant>.<workload>`.
    pub endpoints: BTreeMap<Arc<str>, EndpointLease>,
    /// The last number given of tenants, networks and endpoints.
    pub last: [u16; 3],
}

/// What a network was given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkLease {
    /// Its number.
    pub number: u16,
    /// For each subnet, the offset of the last address given.
    pub last: BTreeMap<IpNet, u64>,
}

/// What an endpoint was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointLease {
    /// Its number.
    pub number: u16,
    /// The number of its network; an endpoint that moves gets a new number.
    pub network: u16,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// Gives numbers and addresses to everything in the document, and frees what is no longer in it.
///
/// # Errors
///
/// [`PlanError::Exhausted`] and [`PlanError::SubnetFull`], all of them.
pub(crate) fn allocate(doc: &Document, old: &Allocations) -> Result<Allocations, Vec<PlanError>> {
    let mut work = Work { errors: Vec::new(), new: Allocations::default() };
    work.tenants(doc, old);
    work.networks(doc, old);
    work.endpoints(doc, old);
    if work.errors.is_empty() { Ok(work.new) } else { Err(work.errors) }
}

/// The subnets that a workload's addresses come from.
pub(crate) fn subnets_of(network: &Network, workload: &Workload) -> Subnets {
    let segment = workload.segment.as_ref().and_then(|name| network.segment(name));
    segment.map_or(network.subnets, |segment| segment.subnets)
}

/// Numbers from 1 to a limit, given round-robin.
struct Pool {
    taken: FxHashSet<u16>,
    last: u16,
    limit: u16,
}

impl Pool {
    fn new(taken: impl Iterator<Item = u16>, last: u16, limit: u16) -> Self {
        Self { taken: taken.collect(), last, limit }
    }

    fn take(&mut self) -> Option<u16> {
        for _ in 0..self.limit {
            self.last = if self.last >= self.limit { 1 } else { self.last + 1 };
            if self.taken.insert(self.last) {
                return Some(self.last);
            }
        }
        None
    }
}

struct Work {
    errors: Vec<PlanError>,
    new: Allocations,
}

impl Work {
    fn exhausted(&mut self, what: &'static str, limit: u16, wanted_by: Arc<str>, span: Span) {
        let limit = u32::from(limit);
        self.errors.push(PlanError::Exhausted { what, limit, wanted_by, span });
    }

    fn tenants(&mut self, doc: &Document, old: &Allocations) {
        for tenant in &doc.tenants {
            if let Some(number) = old.tenants.get(&tenant.name) {
                self.new.tenants.insert(tenant.name.clone(), *number);
            }
        }
        let mut pool = Pool::new(self.new.tenants.values().copied(), old.last[0], MAX_TENANT);
        for tenant in &doc.tenants {
            if self.new.tenants.contains_key(&tenant.name) {
                continue;
            }
            match pool.take() {
                Some(number) => {
                    self.new.tenants.insert(tenant.name.clone(), number);
                }
                None => {
                    self.exhausted("tenants", MAX_TENANT, tenant.name.as_str().into(), tenant.span);
                }
            }
        }
        self.new.last[0] = pool.last;
    }

    fn networks(&mut self, doc: &Document, old: &Allocations) {
        let wanted = || doc.networks.iter().filter(|network| network.mode != Mode::None);
        for network in wanted() {
            let id: Arc<str> = network.id().into();
            if let Some(lease) = old.networks.get(&id) {
                let mut lease = lease.clone();
                lease.last.retain(|subnet, _| {
                    network.subnets.iter().any(|own| own == *subnet)
                        || network.segments.iter().any(|s| s.subnets.iter().any(|n| n == *subnet))
                });
                self.new.networks.insert(id, lease);
            }
        }
        let taken = self.new.networks.values().map(|lease| lease.number);
        let mut pool = Pool::new(taken, old.last[1], MAX_NETWORK);
        for network in wanted() {
            let id: Arc<str> = network.id().into();
            if self.new.networks.contains_key(&id) {
                continue;
            }
            match pool.take() {
                Some(number) => {
                    let lease = NetworkLease { number, last: BTreeMap::new() };
                    self.new.networks.insert(id, lease);
                }
                None => self.exhausted("networks", MAX_NETWORK, id, network.span),
            }
        }
        self.new.last[1] = pool.last;
    }

    fn endpoints(&mut self, doc: &Document, old: &Allocations) {
        let networks: FxHashMap<(&Name, &Name), &Network> =
            doc.networks.iter().map(|each| ((&each.tenant, &each.name), each)).collect();
        let mut by_network: BTreeMap<Arc<str>, Vec<(Arc<str>, &Workload)>> = BTreeMap::new();
        let mut numbered: Vec<(Arc<str>, u16)> = Vec::new();
        for workload in &doc.workloads {
            let network = networks.get(&(&workload.tenant, &workload.network));
            if network.is_none_or(|network| network.mode == Mode::None) {
                continue;
            }
            let id: Arc<str> = workload.id().into();
            let place: Arc<str> = format!("{}.{}", workload.tenant, workload.network).into();
            let Some(lease) = self.new.networks.get(&place) else { continue };
            numbered.push((Arc::clone(&id), lease.number));
            by_network.entry(place).or_default().push((id, workload));
        }
        let numbers = self.numbers(doc, old, &numbered);
        for (place, members) in by_network {
            let Some(network) = members.first().and_then(|(_, workload)| {
                networks.get(&(&workload.tenant, &workload.network)).copied()
            }) else {
                continue;
            };
            self.addresses(&place, network, &members, old, &numbers);
        }
    }

    fn numbers(
        &mut self,
        doc: &Document,
        old: &Allocations,
        wanted: &[(Arc<str>, u16)],
    ) -> FxHashMap<Arc<str>, u16> {
        let mut kept: FxHashMap<Arc<str>, u16> = FxHashMap::default();
        for (id, network) in wanted {
            if let Some(lease) = old.endpoints.get(id).filter(|lease| lease.network == *network) {
                kept.insert(Arc::clone(id), lease.number);
            }
        }
        let mut pool = Pool::new(kept.values().copied(), old.last[2], MAX_ENDPOINT);
        for (id, _) in wanted {
            if kept.contains_key(id) {
                continue;
            }
            let Some(number) = pool.take() else {
                let span = doc.workload(id).map(|workload| workload.span).unwrap_or_default();
                self.exhausted("endpoints", MAX_ENDPOINT, Arc::clone(id), span);
                break;
            };
            kept.insert(Arc::clone(id), number);
        }
        self.new.last[2] = pool.last;
        kept
    }

    /// Gives addresses to the workloads of one network: fixed ones, kept ones, new ones.
    fn addresses(
        &mut self,
        place: &Arc<str>,
        network: &Network,
        members: &[(Arc<str>, &Workload)],
        old: &Allocations,
        numbers: &FxHashMap<Arc<str>, u16>,
    ) {
        let Some(lease) = self.new.networks.get_mut(place) else { return };
        let mut used = reserved(network);
        for (_, workload) in members {
            used.extend(workload.v4.map(IpAddr::V4));
            used.extend(workload.v6.map(IpAddr::V6));
        }
        let mut given: Vec<EndpointLease> = Vec::with_capacity(members.len());
        for (id, workload) in members {
            let subnets = subnets_of(network, workload);
            let before = old.endpoints.get(id).filter(|before| before.network == lease.number);
            let mut keep = |address: Option<IpAddr>| {
                address.filter(|address| subnets.contains(*address) && used.insert(*address))
            };
            let old_v4 = before.and_then(|before| before.v4).map(IpAddr::V4);
            let old_v6 = before.and_then(|before| before.v6).map(IpAddr::V6);
            let v4 = workload.v4.or_else(|| v4_of(keep(old_v4)));
            let v6 = workload.v6.or_else(|| v6_of(keep(old_v6)));
            let number = numbers.get(id).copied().unwrap_or_default();
            given.push(EndpointLease { number, network: lease.number, v4, v6 });
        }
        for ((id, workload), endpoint) in members.iter().zip(&mut given) {
            let subnets = subnets_of(network, workload);
            // It has the host's addresses, and one in the tables that stands for them.
            if network.mode == Mode::Host {
                let stands = IpAddr::from(Addr::hosted(endpoint.number.into()));
                (endpoint.v4, endpoint.v6) = (None, v6_of(Some(stands)));
                continue;
            }
            // Whoever made a port in place has given it its addresses, and on a LAN others have some that we do not know.
            if topology::port_of(workload).is_some() || network.lan.is_some() {
                (endpoint.v4, endpoint.v6) = (workload.v4, workload.v6);
                continue;
            }
            let mut next = |subnet: IpNet| {
                let address = free(subnet, &mut used, &mut lease.last);
                if address.is_none() {
                    let (workload, span) = (Arc::clone(id), workload.span);
                    self.errors.push(PlanError::SubnetFull { subnet, workload, span });
                }
                address
            };
            if let (None, Some(subnet)) = (endpoint.v4, subnets.v4) {
                endpoint.v4 = v4_of(next(IpNet::V4(subnet)));
            }
            if let (None, Some(subnet)) = (endpoint.v6, subnets.v6) {
                endpoint.v6 = v6_of(next(IpNet::V6(subnet)));
            }
        }
        for ((id, _), endpoint) in members.iter().zip(given) {
            self.new.endpoints.insert(Arc::clone(id), endpoint);
        }
    }
}

fn v4_of(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address {
        Some(IpAddr::V4(v4)) => Some(v4),
        _ => None,
    }
}

fn v6_of(address: Option<IpAddr>) -> Option<Ipv6Addr> {
    match address {
        Some(IpAddr::V6(v6)) => Some(v6),
        _ => None,
    }
}

/// Addresses of a network that no endpoint may have: network, gateway and broadcast of each subnet.
fn reserved(network: &Network) -> FxHashSet<IpAddr> {
    let mut out = FxHashSet::default();
    let segments = network.segments.iter().map(|segment| segment.subnets);
    for subnets in segments.chain([network.subnets]) {
        for subnet in subnets.iter() {
            out.insert(subnet.network());
            if let IpNet::V4(v4) = subnet {
                out.insert(IpAddr::V4(v4.broadcast()));
            }
        }
        out.extend(subnets.gateway_v4().map(IpAddr::V4));
        out.extend(subnets.gateway_v6().map(IpAddr::V6));
    }
    out
}

/// The next free address after the last one given, around the whole subnet.
fn free(
    subnet: IpNet,
    used: &mut FxHashSet<IpAddr>,
    last: &mut BTreeMap<IpNet, u64>,
) -> Option<IpAddr> {
    let bits = subnet.max_prefix_len() - subnet.prefix_len();
    // More addresses than an IPv4 /8 has are not searched.
    let size = 1_u64 << bits.min(24);
    let cursor = last.entry(subnet).or_insert(1);
    for _ in 0..size {
        *cursor = (*cursor + 1) % size;
        let address = match subnet {
            IpNet::V4(net) => {
                let offset = u32::try_from(*cursor).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() | offset))
            }
            IpNet::V6(net) => {
                IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() | u128::from(*cursor)))
            }
        };
        if used.insert(address) {
            return Some(address);
        }
    }
    None
}
