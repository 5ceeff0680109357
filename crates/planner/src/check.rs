//! An independent look at a finished bundle, before it is applied: nothing of the compiler is used.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;
use verdict::abi::UNMANAGED_ENDPOINT;
use verdict::abi::{Addr, Endpoint, IFINDEX_BASE, MAX_ENDPOINTS, MAX_TENANTS, PortSet, RowKey};
use verdict::account::ACCOUNTS;

use crate::allocate::MAX_NETWORK;
use crate::bundle::Bundle;

/// How many entries the tables of a node hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Exact addresses.
    pub exact: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Rows.
    pub rows: usize,
    /// Blocks of ports.
    pub ports: usize,
    /// Limits of published ports.
    pub limits: usize,
}

/// Something that must not be in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// A table would overflow.
    #[error("{needed} {table} are needed and {limit} fit")]
    TooLarge {
        /// What the table holds.
        table: &'static str,
        /// Entries of the bundle.
        needed: usize,
        /// Entries that fit.
        limit: usize,
    },
    /// A number is outside of its range.
    #[error("{what} {number} is out of range")]
    OutOfRange {
        /// `endpoint`, `network`, `tenant` or `interface index`.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// Something refers to what is not there.
    #[error("{from} refers to {to}, which is not there")]
    Dangling {
        /// What refers.
        from: String,
        /// What it refers to.
        to: String,
    },
    /// Two things have what only one may have.
    #[error("{what} is given twice")]
    Duplicate {
        /// What is given twice.
        what: String,
    },
    /// Two blocks of a port set hold the same port.
    #[error("blocks of port set {set:016x} overlap at port {port} of protocol {protocol}")]
    Overlap {
        /// The set.
        set: u64,
        /// IP protocol number.
        protocol: u8,
        /// A port that both hold.
        port: u16,
    },
    /// The halves of a two-version value differ.
    #[error("the two versions of {what} differ")]
    Halves {
        /// Whose.
        what: String,
    },
    /// A network has no entry for some addresses: they would be dropped without a rule.
    #[error("network {network} does not say who {address} is")]
    Nobody {
        /// The network's number.
        network: u16,
        /// The address.
        address: IpAddr,
    },
}

/// Looks at everything in a bundle. An empty list is a sound bundle.
#[must_use]
pub fn check(bundle: &Bundle, limits: &Limits) -> Vec<Fault> {
    let mut faults = Vec::new();
    sizes(bundle, limits, &mut faults);
    endpoints(bundle, &mut faults);
    peers(bundle, &mut faults);
    let lengths = blocks(bundle, &mut faults);
    rows(bundle, &lengths, &mut faults);
    faults
}

fn sizes(bundle: &Bundle, limits: &Limits, faults: &mut Vec<Fault>) {
    let tables = &bundle.tables;
    for (table, needed, limit) in [
        ("addresses", tables.exact.len(), limits.exact),
        ("prefixes", tables.prefixes.len(), limits.prefixes),
        ("rows", tables.rows.len(), limits.rows),
        ("blocks of ports", tables.ports.len(), limits.ports),
        ("limits of published ports", tables.limits.len(), limits.limits),
    ] {
        if needed > limit {
            faults.push(Fault::TooLarge { table, needed, limit });
        }
    }
}

fn endpoints(bundle: &Bundle, faults: &mut Vec<Fault>) {
    let mut numbers = BTreeSet::new();
    let mut networks = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for router in &bundle.routers {
        if router.number == 0 || router.number > MAX_NETWORK {
            faults.push(Fault::OutOfRange { what: "network", number: router.number.into() });
        }
        if !networks.insert(router.number) {
            faults.push(Fault::Duplicate { what: format!("network {}", router.number) });
        }
        let gateways = router.gateways.iter().map(ipnet::IpNet::addr);
        for address in gateways.chain(
            router
                .endpoints
                .iter()
                .flat_map(|endpoint| endpoint.addresses.iter().map(ipnet::IpNet::addr)),
        ) {
            if !addresses.insert((router.number, address)) {
                let what = format!("address {address} of network {}", router.number);
                faults.push(Fault::Duplicate { what });
            }
        }
        for endpoint in &router.endpoints {
            let number = u32::from(endpoint.number);
            if number == 0 || number >= MAX_ENDPOINTS || endpoint.ifindex != IFINDEX_BASE + number {
                faults.push(Fault::OutOfRange { what: "endpoint", number });
            }
            if !numbers.insert(number) {
                faults.push(Fault::Duplicate { what: format!("endpoint {number}") });
            }
            let entry = bundle.tables.endpoints.get(&number);
            let same = entry.is_some_and(|entry| {
                entry.network == u32::from(router.number)
                    && entry.mac == endpoint.mac
                    && entry.gateway_mac == router.mac
            });
            if !same {
                let (from, to) = (endpoint.workload.to_string(), format!("endpoint {number}"));
                faults.push(Fault::Dangling { from, to });
            }
        }
    }
    for (number, entry) in &bundle.tables.endpoints {
        let is_uplink = *number > ACCOUNTS && entry.flags & Endpoint::UPLINK != 0;
        let is_unmanaged = *number == UNMANAGED_ENDPOINT && entry.flags & Endpoint::UNMANAGED != 0;
        if !numbers.contains(number) && !is_uplink && !is_unmanaged {
            let to = format!("endpoint {number}");
            faults.push(Fault::Dangling { from: "the table of endpoints".to_owned(), to });
        }
        if entry.tenant == 0 || entry.tenant >= MAX_TENANTS {
            faults.push(Fault::OutOfRange { what: "tenant", number: entry.tenant });
        }
        if entry.slots[0] != entry.slots[1] || entry.posture[0] != entry.posture[1] {
            faults.push(Fault::Halves { what: format!("endpoint {number}") });
        }
    }
}

fn peers(bundle: &Bundle, faults: &mut Vec<Fault>) {
    let tables = &bundle.tables;
    let exact = tables.exact.iter().map(|(key, peer)| (*key, peer));
    for (key, peer) in exact.chain(tables.prefixes.iter().map(|(key, peer)| (key.key, peer))) {
        let what = || format!("{} in network {}", IpAddr::from(key.addr), key.network);
        if peer.class[0] != peer.class[1] || peer.identity[0] != peer.identity[1] {
            faults.push(Fault::Halves { what: what() });
        }
        if peer.identity[0] >= 256 && !bundle.identities.contains_key(&peer.identity[0]) {
            let to = format!("identity {:016x}", peer.identity[0]);
            faults.push(Fault::Dangling { from: what(), to });
        }
        let there = tables.endpoints.get(&peer.endpoint);
        let sound = there.is_some_and(|endpoint| {
            let claimable = [endpoint.link_local, Addr::of_mac(endpoint.mac)];
            let own = [endpoint.v4, endpoint.v6].contains(&key.addr)
                || endpoint.flags & Endpoint::IN_PLACE != 0 && claimable.contains(&key.addr);
            endpoint.network == key.network && (own || endpoint.flags & Endpoint::UPLINK != 0)
        });
        if peer.endpoint != 0 && !sound {
            let to = format!("endpoint {}", peer.endpoint);
            faults.push(Fault::Dangling { from: what(), to });
        }
    }
    for router in &bundle.routers {
        for text in [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0_u16; 8])] {
            let key = verdict::abi::PeerKey { network: router.number.into(), addr: text.into() };
            if tables.prefixes.longest(&key).is_none() {
                faults.push(Fault::Nobody { network: router.number, address: text });
            }
        }
    }
}

/// Checks that blocks are aligned and disjoint; returns the lengths that each set uses.
fn blocks(bundle: &Bundle, faults: &mut Vec<Fault>) -> FxHashMap<u64, u32> {
    let mut sorted: Vec<(u64, u8, u16, u8)> = Vec::with_capacity(bundle.tables.ports.len());
    let mut lengths: FxHashMap<u64, u32> = FxHashMap::default();
    for key in bundle.tables.ports.keys() {
        sorted.push((key.set, key.protocol, key.port, key.len));
        *lengths.entry(key.set).or_default() |= 1 << key.len.min(31);
    }
    sorted.sort_unstable();
    let mut before: Option<(u64, u8, u32)> = None;
    for (set, protocol, port, len) in sorted {
        let size = 1_u32 << (16 - u32::from(len.min(16)));
        let start = u32::from(port);
        let meets = before
            .is_some_and(|(other, same, end)| other == set && same == protocol && start < end);
        if meets || start % size != 0 || len > 16 {
            faults.push(Fault::Overlap { set, protocol, port });
        }
        before = Some((set, protocol, start + size));
    }
    lengths
}

fn rows(bundle: &Bundle, lengths: &FxHashMap<u64, u32>, faults: &mut Vec<Fault>) {
    let tables = &bundle.tables;
    let known = |rule: u32| rule == 0 || bundle.rules.contains_key(&rule);
    let mut used = FxHashSet::default();
    let mut set = |from: String, set: &PortSet, faults: &mut Vec<Fault>| {
        if set.id != 0 {
            used.insert(set.id);
            if lengths.get(&set.id) != Some(&set.lengths) {
                faults.push(Fault::Dangling { from, to: format!("port set {:016x}", set.id) });
            }
        }
    };
    let slots: FxHashSet<u64> =
        tables.endpoints.values().flat_map(|endpoint| endpoint.slots[0]).collect();
    let classes: FxHashSet<u64> = tables
        .exact
        .values()
        .chain(tables.prefixes.iter().map(|(_, peer)| peer))
        .map(|peer| peer.class[0])
        .collect();
    for (RowKey { slot, class }, row) in &tables.rows {
        let from = || format!("row {slot:016x} {class:016x}");
        set(from(), &row.ports, faults);
        if !slots.contains(slot) || *class != Endpoint::ANYBODY && !classes.contains(class) {
            faults.push(Fault::Dangling { from: from(), to: "its slot or class".to_owned() });
        }
        if !known(row.rest.rule) {
            faults.push(Fault::Dangling { from: from(), to: format!("rule {}", row.rest.rule) });
        }
    }
    for (key, entry) in &tables.ports {
        let from = || format!("port set {:016x}", key.set);
        set(from(), &entry.sources, faults);
        if !known(entry.decision.rule) {
            let to = format!("rule {}", entry.decision.rule);
            faults.push(Fault::Dangling { from: from(), to });
        }
    }
    let unused: BTreeSet<u64> = lengths.keys().copied().filter(|id| !used.contains(id)).collect();
    for unused in unused {
        let (from, to) = (format!("port set {unused:016x}"), "any row".to_owned());
        faults.push(Fault::Dangling { from, to });
    }
}
