//! Which part of the network a pass looks at.
//!
//! A change of one workload among a thousand need not read the other namespaces: what it changes is what differs between
//! two desired states. A pass reads all it judges: a [`Part`] bounds what is read, and nothing is concluded about the
//! rest. Everything is looked at after a start, when the same is applied again, and by the timer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, EndpointDesired, EndpointNumber, Ns, NsName, RouterDesired, Unit};

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
    /// Routers, each without its endpoints.
    pub routers: BTreeSet<NsName>,
    /// Endpoints; their routers are in `routers`.
    pub endpoints: BTreeSet<EndpointNumber>,
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
                _ => part.add(router, router.endpoints.iter()),
            }
        }
        Self::Only(part)
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
            Self::Only(part) => part.routers.contains(name),
        }
    }
}

impl Part {
    fn add<'a>(
        &mut self,
        router: &RouterDesired,
        endpoints: impl Iterator<Item = &'a EndpointDesired>,
    ) {
        self.routers.insert(router.name.clone());
        self.endpoints.extend(endpoints.map(|endpoint| endpoint.number));
    }

    /// Endpoints that came, went or changed, and their router.
    fn add_changed(&mut self, old: &RouterDesired, new: &RouterDesired) {
        let known: BTreeMap<EndpointNumber, &EndpointDesired> =
            old.endpoints.iter().map(|endpoint| (endpoint.number, endpoint)).collect();
        let is_other = |endpoint: &&EndpointDesired| known.get(&endpoint.number) != Some(endpoint);
        let others: Vec<_> = new.endpoints.iter().filter(is_other).collect();
        let stayed: BTreeSet<_> = new.endpoints.iter().map(|endpoint| endpoint.number).collect();
        let has_gone = old.endpoints.iter().any(|endpoint| !stayed.contains(&endpoint.number));
        if has_gone || !others.is_empty() || old.publishes != new.publishes {
            self.add(new, others.into_iter());
        }
    }
}

/// Whether two routers are the same but for their endpoints and published ports.
fn is_same_frame(one: &RouterDesired, other: &RouterDesired) -> bool {
    one.number == other.number
        && one.name == other.name
        && one.mode == other.mode
        && one.gateways == other.gateways
        && one.subnets == other.subnets
        && one.mtu == other.mtu
}

/// The namespaces that a pass has looked at, whether they were there or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LookedAt {
    /// All that matter.
    #[default]
    All,
    /// These.
    Only(BTreeSet<Ns>),
}

impl LookedAt {
    /// Whether all that `unit` is about was looked at; of another unit it is not known what is missing.
    pub(super) fn covers(&self, unit: &Unit) -> bool {
        match self {
            Self::All => true,
            Self::Only(seen) => {
                let mut places = unit.steps.iter().flat_map(super::Step::places);
                places.all(|ns| seen.contains(ns))
            }
        }
    }
}
