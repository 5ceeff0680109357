//! What the kernel shows of one namespace, reduced to what the reconciler compares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::linux::nft::TableState;

use super::{EndpointNumber, LookedAt, Mac, Ns, NsName, Unit};

/// Everything one pass read.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The namespaces that were looked at. Nothing is known of others.
    pub looked_at: LookedAt,
    /// The namespaces pinned in our run directory.
    pub namespaces: BTreeSet<NsName>,
    /// The namespaces that could be read; one that is absent here is absent in the kernel.
    pub states: BTreeMap<Ns, NsState>,
    /// The namespaces that are there and could not be read: what is missing in them is not known.
    pub unread: BTreeSet<Ns>,
    /// Our nftables table, where there is one.
    pub tables: BTreeMap<Ns, TableState>,
    /// Our tables at edges to LANs, where there are any: of family `netdev` on the host, `bridge` in routers.
    pub edges: BTreeMap<Ns, TableState>,
    /// Current values of the host's sysctls that the desired state names.
    pub sysctls: BTreeMap<String, String>,
    /// Values these had before we changed them.
    pub sysctls_before: BTreeMap<String, String>,
    /// Endpoints whose packet programs are in place.
    pub attached: BTreeSet<EndpointNumber>,
}

impl Observed {
    /// Whether all that `unit` is about was read; of another unit it is not known what is missing.
    pub(super) fn covers(&self, unit: &Unit) -> bool {
        let mut needed = unit.steps.iter().flat_map(super::Step::places);
        needed.all(|ns| self.looked_at.has_place(ns) && !self.unread.contains(ns))
    }
}

/// One namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NsState {
    /// By name.
    pub links: BTreeMap<String, LinkState>,
    /// Addresses with prefix length by name of the link. Link-local IPv6 is left out.
    pub addresses: BTreeMap<String, BTreeSet<IpNet>>,
    /// Unicast routes that carry our `proto`; of the main table, in a workload's namespace of every table.
    pub routes: BTreeSet<Route>,
    /// Routing rules that carry our `proto`, where a namespace has more than one link of ours.
    pub rules: BTreeSet<Rule>,
    /// Permanent neighbours: (link, address, MAC).
    pub neighbours: BTreeSet<(String, IpAddr, Mac)>,
    /// Static entries of bridge forwarding tables: (port, MAC).
    pub fdb: BTreeSet<(String, Mac)>,
    /// On the host: MACs of ours that a NIC takes beside its own: (link, MAC).
    pub unicast: BTreeSet<(String, Mac)>,
}

impl NsState {
    /// Whether `link` has `address`.
    #[must_use]
    pub fn has_address(&self, link: &str, address: &IpNet) -> bool {
        self.addresses.get(link).is_some_and(|set| set.contains(address))
    }

    /// The addresses of the host that others can reach it by: no loopback, no link-local, no
    /// transit link.
    #[must_use]
    pub fn own_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses
            .iter()
            .filter(|(link, _)| super::NetworkNumber::from_link_name(link).is_none())
            .flat_map(|(_, set)| set.iter().map(IpNet::addr))
            .filter(|addr| !addr.is_loopback() && !is_link_local(addr))
            .collect()
    }
}

fn is_link_local(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Interface index.
    pub index: u32,
    /// `veth`, `bridge`, ...; empty for hardware.
    pub kind: String,
    /// Ethernet address; zeroes where there is none.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// For a veth: the index of its other end, in the other end's namespace.
    pub peer: Option<u32>,
    /// For a veth: whether its other end is in another namespace.
    pub is_far: bool,
    /// For a bridge port: its flags.
    pub port: Option<PortFlags>,
    /// For a link of type `vlan`: its VLAN. `peer` is then the link that it is on.
    pub vlan: Option<u16>,
}

/// The flags of a bridge port that we set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFlags {
    /// The bridge learns source addresses here.
    pub learning: bool,
    /// Frames to unknown unicast addresses are sent here.
    pub flood: bool,
    /// The bridge answers ARP and neighbour solicitations from what it knows.
    pub neigh_suppress: bool,
}

impl PortFlags {
    /// An endpoint's port: its MAC is pinned by us, so nothing is learned and nothing flooded.
    pub const ENDPOINT: Self = Self { learning: false, flood: false, neigh_suppress: true };

    /// The leg onto a LAN: every MAC that is not an endpoint's is there, so nothing has to be learned, and nobody there
    /// can make the bridge believe that an endpoint is.
    pub const LAN: Self = Self { learning: false, flood: true, neigh_suppress: false };
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to; the prefix `0` means default.
    pub to: IpNet,
    /// Next hop; `None` is on the link itself.
    pub via: Option<IpAddr>,
    /// Name of the link.
    pub dev: String,
    /// The routing table; `None` is the main one.
    pub table: Option<u32>,
}

/// Whatever is sent from an address is routed by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The address.
    pub from: IpAddr,
    /// The table.
    pub table: u32,
}
