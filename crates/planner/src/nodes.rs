//! Who is on the map: workloads in groups that behave alike, and pieces of the address space.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Identity, Mode};
use policy::document::owner;
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_NETWORK};

use crate::bundle::{Attachment, Bundle};
use crate::peers::{TRANSIT_V4, TRANSIT_V6};
use crate::reach::{Atlas, Place};

/// One side of a connection, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A workload by its id.
    Workload(Arc<str>),
    /// The host.
    Host,
    /// Some of the host's processes, by account: `host user=backup`. They are the host, told apart in what leaves by its uplinks.
    Processes(Arc<str>),
    /// Addresses that are nobody's here; a range when rules name it.
    World(Option<IpNet>),
    /// Addresses of managed subnets that no workload has.
    Unmanaged(Option<IpNet>),
}

/// A group of parties of one network that nothing tells apart, in each of the compared bundles.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// At least one.
    pub members: Vec<Party>,
    /// Where the first member is, by bundle.
    pub places: Vec<Option<Place>>,
    /// The network it stands in.
    pub network: u32,
    /// What the tables know of it, by bundle.
    pub keys: Vec<Key>,
    /// Whether some bundle tells it apart from itself in the first one.
    pub changed: bool,
    /// Whether it has an endpoint: it is a workload, or the host at its uplinks.
    pub local: bool,
    pub routed: bool,
}

impl Node {
    /// Whether it is the host at its uplinks, not as a network sees it.
    pub(crate) fn is_host(&self) -> bool {
        self.local && self.members == [Party::Host]
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload(text) | Self::Processes(text) => f.pad(text),
            Self::Host => f.pad("host"),
            Self::World(None) => f.pad("world"),
            Self::Unmanaged(None) => f.pad("unmanaged"),
            Self::World(Some(net)) | Self::Unmanaged(Some(net)) => f.pad(&net.to_string()),
        }
    }
}

impl Party {
    /// The workload that it is an attachment of.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Self::Workload(id) => Some(owner(id)),
            Self::Host | Self::Processes(_) | Self::World(_) | Self::Unmanaged(_) => None,
        }
    }

    /// Whether both are one workload, perhaps at two of its attachments, or both the host: what it says to itself never leaves it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let is_host = |party: &Self| matches!(party, Self::Host | Self::Processes(_));
        match (self.owner(), other.owner()) {
            (Some(one), Some(other)) => one == other,
            _ => self == other || is_host(self) && is_host(other),
        }
    }
}

/// What the tables of one bundle know of a party; equal keys are told apart by nothing.
///
/// Class, slots of egress and ingress, postures, identity, families.
pub(crate) type Key = Option<[u64; 6]>;

/// Groups everything in the bundles; a bundle that is not there knows nobody.
pub(crate) fn nodes(bundles: &[(Option<&Bundle>, Option<&Atlas<'_>>)]) -> Vec<Node> {
    let mut groups: BTreeMap<(u32, bool, Vec<Key>), Node> = BTreeMap::new();
    let mut enter = |network: u32, routed: bool, party: Party, places: Vec<Option<Place>>| {
        let local =
            matches!(party, Party::Workload(_)) || network == HOST_NETWORK && party == Party::Host;
        let keys: Vec<Key> = places
            .iter()
            .zip(bundles)
            .map(|(place, (_, atlas))| key((*atlas)?, place.as_ref()?))
            .collect();
        let changed = keys.first() != keys.last();
        let group = groups.entry((network, local, keys.clone())).or_insert_with(|| Node {
            members: Vec::new(),
            places,
            network,
            keys,
            changed,
            local,
            routed,
        });
        group.members.push(party);
    };
    for (id, network, routed, places) in workloads(bundles) {
        enter(network, routed, Party::Workload(id), places);
    }
    let host = host(bundles);
    if host.iter().any(Option::is_some) {
        enter(HOST_NETWORK, false, Party::Host, host);
    }
    for (network, party, place) in addresses(bundles) {
        // What has an endpoint is there already.
        if network == HOST_NETWORK && party == Party::Host {
            continue;
        }
        let places = bundles
            .iter()
            .map(|(_, atlas)| {
                let addr = place.v4.or(place.v6)?;
                atlas.and_then(|atlas| atlas.peer(network, addr)).map(|_| place)
            })
            .collect();
        enter(network, false, party, places);
    }
    groups.into_values().collect()
}

pub(crate) fn key(atlas: &Atlas<'_>, place: &Place) -> Key {
    let addr = place.v4.or(place.v6)?;
    let peer = atlas.peer(place.network, addr)?;
    let endpoint = atlas.endpoint(place.network, addr);
    let [egress, ingress] = endpoint.map_or([0; 2], |endpoint| endpoint.slots[0]);
    let posture = endpoint.map_or([0; 2], |endpoint| endpoint.posture[0]);
    let identity = if peer.endpoint == 0 { peer.identity[0] } else { 0 };
    let families = u64::from(place.v4.is_some()) << 1 | u64::from(place.v6.is_some());
    let posture = u64::from(posture[0]) << 8 | u64::from(posture[1]);
    Some([peer.class[0], egress, ingress, posture, identity, families])
}

/// Where the host is at its uplinks, in each bundle that has a policy of its own for it. All its addresses are alike.
fn host(bundles: &[(Option<&Bundle>, Option<&Atlas<'_>>)]) -> Vec<Option<Place>> {
    let place = |(bundle, _): &(Option<&Bundle>, Option<&Atlas<'_>>)| {
        let endpoint = bundle.as_ref()?.tables.endpoints.get(&HOST_ENDPOINT)?;
        let v4 = Some(endpoint.v4).filter(|v4| *v4 != Addr::v4([0; 4]));
        let v6 = Some(endpoint.v6).filter(|v6| *v6 != Addr::UNSPECIFIED);
        (v4.is_some() || v6.is_some()).then_some(Place { network: HOST_NETWORK, v4, v6 })
    };
    bundles.iter().map(place).collect()
}

/// Where a workload is.
pub(crate) fn place(network: u32, endpoint: &Attachment) -> Place {
    let of = |v4: bool| {
        let mut all = endpoint.addresses.iter().map(IpNet::addr);
        // One that stands for the host's addresses stands for both versions.
        let is_of = |address: &IpAddr| address.is_ipv4() == v4 || Addr::from(*address).is_hosted();
        all.find(is_of).map(Addr::from)
    };
    Place { network, v4: of(true), v6: of(false) }
}

type Seen = (Arc<str>, u32, bool, Vec<Option<Place>>);

/// Whether the network is routed, and the place in each bundle.
type Places = (bool, Vec<Option<Place>>);

/// Every attached workload of every bundle.
fn workloads(bundles: &[(Option<&Bundle>, Option<&Atlas<'_>>)]) -> Vec<Seen> {
    let mut all: BTreeMap<(Arc<str>, u32), Places> = BTreeMap::new();
    for (at, (bundle, _)) in bundles.iter().enumerate() {
        for router in bundle.iter().flat_map(|bundle| &bundle.routers) {
            let network = u32::from(router.number);
            for endpoint in &router.endpoints {
                let place = place(network, endpoint);
                let entry = all
                    .entry((Arc::clone(&endpoint.workload), network))
                    .or_insert_with(|| (false, vec![None; bundles.len()]));
                entry.0 |= router.mode == Mode::Routed;
                if let Some(slot) = entry.1.get_mut(at) {
                    *slot = Some(place);
                }
            }
        }
    }
    all.into_iter().map(|((id, network), (routed, places))| (id, network, routed, places)).collect()
}

/// A witness for every piece of every network's address space.
fn addresses(bundles: &[(Option<&Bundle>, Option<&Atlas<'_>>)]) -> Vec<(u32, Party, Place)> {
    let mut nets: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
    // With the addresses of workloads, which are nobody else's though a piece holds them.
    let mut all: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
    for bundle in bundles.iter().filter_map(|(bundle, _)| *bundle) {
        for (network, net) in pieces(bundle) {
            nets.entry(network).or_default().insert(net);
            all.entry(network).or_default().insert(net);
        }
        for (network, net) in taken(bundle) {
            all.entry(network).or_default().insert(net);
        }
    }
    // Subnets have entries without any rule that names them.
    let mut managed: BTreeSet<IpNet> = BTreeSet::from([TRANSIT_V4.into(), TRANSIT_V6.into()]);
    for bundle in bundles.iter().filter_map(|(bundle, _)| *bundle) {
        managed.extend(bundle.routers.iter().flat_map(|router| &router.subnets));
    }
    let mut out = Vec::new();
    for (network, nets) in nets {
        for net in &nets {
            let all = all.get(&network).unwrap_or(&nets);
            let Some(address) = witness(net, all, &[]) else { continue };
            let identity = bundles
                .iter()
                .rev()
                .find_map(|(_, atlas)| atlas.and_then(|a| a.peer(network, address.into())))
                .map(|peer| Identity(peer.identity[0]));
            let named = (net.prefix_len() > 0 && !managed.contains(net)).then_some(*net);
            let party = match identity {
                Some(Identity::HOST) => Party::Host,
                Some(Identity::UNMANAGED) => Party::Unmanaged(named),
                Some(Identity::WORLD) => Party::World(named),
                _ => continue,
            };
            let addr = Addr::from(address);
            let (v4, v6) = if address.is_ipv4() { (Some(addr), None) } else { (None, Some(addr)) };
            out.push((network, party, Place { network, v4, v6 }));
        }
    }
    out
}

/// Every prefix of a bundle's tables that no workload has, with its network.
pub(crate) fn pieces(bundle: &Bundle) -> impl Iterator<Item = (u32, IpNet)> {
    let exact = bundle.tables.exact.iter().filter(|(_, peer)| peer.identity[0] < 256);
    let exact = exact.map(|(key, _)| (key.network, IpNet::from(IpAddr::from(key.addr))));
    let prefixes = bundle.tables.prefixes.iter().filter(|(_, peer)| peer.identity[0] < 256);
    let prefixes = prefixes.filter_map(|(key, _)| {
        let address = IpAddr::from(key.key.addr);
        let bits = key.len.checked_sub(32)?;
        let bits = if address.is_ipv4() { bits.checked_sub(96)? } else { bits };
        Some((key.key.network, IpNet::new(address, u8::try_from(bits).ok()?).ok()?))
    });
    exact.chain(prefixes)
}

/// The address of every workload that a network of a bundle knows, with the network.
pub(crate) fn taken(bundle: &Bundle) -> impl Iterator<Item = (u32, IpNet)> {
    let exact = bundle.tables.exact.iter().filter(|(_, peer)| peer.identity[0] >= 256);
    exact.map(|(key, _)| (key.network, IpNet::from(IpAddr::from(key.addr))))
}

/// The lowest address of a prefix that lies in no longer one of `all` and in none of `outside`.
pub(crate) fn witness(net: &IpNet, all: &BTreeSet<IpNet>, outside: &[IpNet]) -> Option<IpAddr> {
    let inside = |other: &&IpNet| net.contains(&other.network());
    let inner = all.range(net..).take_while(inside).filter(|other| *other != net);
    let mut holes: Vec<&IpNet> = inner.chain(outside).collect();
    holes.sort_unstable_by_key(|hole| (hole.network(), hole.prefix_len()));
    let mut candidate = net.network();
    for hole in holes {
        if hole.contains(&candidate) {
            candidate = after(hole)?;
        }
    }
    net.contains(&candidate).then_some(candidate)
}

/// The address after a prefix.
fn after(net: &IpNet) -> Option<IpAddr> {
    match net.broadcast() {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}
