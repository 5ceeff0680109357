//! Which part of the network a pass looks at.
//!
//! A change of one workload among a thousand need not read the other namespaces: what it changes is what differs between
//! two desired states. A pass reads all it judges: a [`Part`] bounds what is read, and nothing is concluded about the
//! rest. Everything is looked at after a start, when the same is applied again, and by the timer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::lan::LAN;
use super::script::{BRIDGE, UPLINK};
use super::{Desired, EndpointDesired, EndpointNumber, Mac, Ns, NsName, NsState, RouterDesired};

/// Which part of the network a pass looks at. The host itself always belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// These objects, and what is pinned and not wanted.
    Only(Part),
}

/// Some routers and endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Routers, and what of each; all of it when there is nothing to look at alone.
    pub routers: BTreeMap<NsName, Option<Glance>>,
    /// Wanted endpoints; their routers are in `routers`.
    pub endpoints: BTreeSet<EndpointNumber>,
}

/// What of a router is looked at beside its own links, addresses and routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Endpoints that came, changed or went.
    pub endpoints: BTreeSet<EndpointNumber>,
    /// The MACs of those that have another one than their number says.
    pub macs: BTreeMap<EndpointNumber, Mac>,
    /// Addresses that they have or had.
    pub addresses: BTreeSet<IpAddr>,
}

impl Scope {
    /// What differs between two desired states, of which `before` was applied.
    #[must_use]
    pub fn between(before: &Desired, wanted: &Desired) -> Self {
        let known: BTreeMap<&NsName, &RouterDesired> =
            before.routers.iter().map(|router| (&router.name, router)).collect();
        let mut part = Part::default();
        for router in &wanted.routers {
            match known.get(&router.name) {
                Some(old) if is_same_frame(old, router) => part.add_changed(old, router),
                _ => {
                    part.routers.insert(router.name.clone(), None);
                    part.endpoints.extend(router.endpoints.iter().map(|endpoint| endpoint.number));
                }
            }
        }
        Self::Only(part)
    }

    /// That, and what belongs to the endpoints of some workloads, which is looked at whatever it differs in.
    #[must_use]
    pub fn with(mut self, desired: &Desired, is_wanted: impl Fn(&NsName) -> bool) -> Self {
        let Self::Only(part) = &mut self else { return self };
        for router in &desired.routers {
            for endpoint in router.endpoints.iter().filter(|each| is_wanted(&each.workload)) {
                part.endpoints.insert(endpoint.number);
                let glance = part.routers.entry(router.name.clone());
                // All of the router is looked at already where there is no glance.
                if let Some(glance) = glance.or_insert_with(|| Some(Glance::default())) {
                    glance.add(endpoint);
                }
            }
        }
        self
    }

    /// All of it in parts of at most `size` endpoints, for looking at it bit by bit. The first has what does not belong to
    /// an endpoint; looking at each after the other is looking at everything.
    #[must_use]
    pub fn parts(desired: &Desired, size: usize) -> Vec<Self> {
        let frames = desired.routers.iter().map(|router| (router.name.clone(), None));
        let first = Part { routers: frames.collect(), endpoints: BTreeSet::new() };
        let some = |(router, chunk): (&RouterDesired, &[EndpointDesired])| {
            let mut glance = Glance::default();
            for endpoint in chunk {
                glance.add(endpoint);
            }
            let endpoints = glance.endpoints.clone();
            Part { routers: [(router.name.clone(), Some(glance))].into(), endpoints }
        };
        let chunks = desired.routers.iter().flat_map(|router| {
            router.endpoints.chunks(size.max(1)).map(move |chunk| (router, chunk))
        });
        std::iter::once(first).chain(chunks.map(some)).map(Self::Only).collect()
    }

    /// Whether an endpoint belongs to it.
    #[must_use]
    pub fn has_endpoint(&self, endpoint: EndpointNumber) -> bool {
        match self {
            Self::All => true,
            Self::Only(part) => part.endpoints.contains(&endpoint),
        }
    }

    /// Whether a router belongs to it.
    #[must_use]
    pub fn has_router(&self, name: &NsName) -> bool {
        match self {
            Self::All => true,
            Self::Only(part) => part.routers.contains_key(name),
        }
    }

    /// What of a namespace is looked at; `None` for all of it.
    #[must_use]
    pub fn glance(&self, ns: &Ns) -> Option<&Glance> {
        match (self, ns) {
            (Self::Only(part), Ns::Ours(name)) => part.routers.get(name)?.as_ref(),
            _ => None,
        }
    }
}

impl Part {
    /// Endpoints that came, went or changed, and their router.
    fn add_changed(&mut self, old: &RouterDesired, new: &RouterDesired) {
        let mut known: BTreeMap<EndpointNumber, &EndpointDesired> =
            old.endpoints.iter().map(|endpoint| (endpoint.number, endpoint)).collect();
        let mut glance = Glance::default();
        for endpoint in &new.endpoints {
            let before = known.remove(&endpoint.number);
            if before != Some(endpoint) {
                glance.add(endpoint);
                if let Some(before) = before {
                    glance.add(before);
                }
                self.endpoints.insert(endpoint.number);
            }
        }
        // What is left has gone.
        for endpoint in known.into_values() {
            glance.add(endpoint);
        }
        if !glance.endpoints.is_empty() || old.publishes != new.publishes {
            self.routers.insert(new.name.clone(), Some(glance));
        }
    }
}

impl Glance {
    fn add(&mut self, endpoint: &EndpointDesired) {
        self.endpoints.insert(endpoint.number);
        if endpoint.mac != endpoint.number.mac() {
            self.macs.insert(endpoint.number, endpoint.mac);
        }
        self.addresses.extend(endpoint.addresses.iter().map(ipnet::IpNet::addr));
    }

    /// Names of the links to look at.
    #[must_use]
    pub fn links(&self) -> BTreeSet<String> {
        let own = [BRIDGE, UPLINK, LAN].into_iter().map(str::to_owned);
        own.chain(self.endpoints.iter().map(|endpoint| endpoint.link_name())).collect()
    }

    /// The neighbours to look at, beside those of the uplink: (link, address).
    pub fn neighbours(&self) -> impl Iterator<Item = (&'static str, IpAddr)> {
        self.addresses.iter().map(|address| (BRIDGE, *address))
    }

    /// What of `state` is looked at. The rest is as if it were not there: nothing is concluded from that.
    #[must_use]
    pub fn of(&self, mut state: NsState) -> NsState {
        let links = self.links();
        state.links.retain(|name, _| links.contains(name));
        state.addresses.retain(|link, _| links.contains(link));
        state.fdb.retain(|(link, _)| links.contains(link));
        state
            .neighbours
            .retain(|(link, address, _)| link != BRIDGE || self.addresses.contains(address));
        state
    }
}

/// Whether two routers are the same but for their endpoints and published ports.
fn is_same_frame(one: &RouterDesired, other: &RouterDesired) -> bool {
    one.number == other.number
        && one.name == other.name
        && one.mode == other.mode
        && one.lan == other.lan
        && one.gateways == other.gateways
        && one.subnets == other.subnets
        && one.mtu == other.mtu
}

/// What a pass has looked at, whether it was there or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LookedAt {
    /// All that matters.
    #[default]
    All,
    /// Some of it.
    Only {
        /// Namespaces.
        places: BTreeSet<Ns>,
        /// What of them.
        part: Part,
    },
}

impl LookedAt {
    /// Whether a namespace was looked at.
    pub(super) fn has_place(&self, ns: &Ns) -> bool {
        match self {
            Self::All => true,
            Self::Only { places, .. } => places.contains(ns),
        }
    }

    /// Whether an endpoint's link was looked at in its router, so that its steps say what is wanted there.
    pub(super) fn has_endpoint(&self, router: &NsName, endpoint: EndpointNumber) -> bool {
        match self {
            Self::All => true,
            Self::Only { part, .. } => {
                part.endpoints.contains(&endpoint) || matches!(part.routers.get(router), Some(None))
            }
        }
    }
}
