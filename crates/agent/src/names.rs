//! Numbers in events and tables to names: those of the bundle in force, and of the one before it for late events.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Identity, RuleId, RuleRef};
use planner::Bundle;

/// Numbers to names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    current: Index,
    previous: Index,
}

/// The names of one bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    networks: HashMap<u32, Arc<str>>,
    endpoints: HashMap<u32, Arc<str>>,
    owners: HashMap<(u32, IpAddr), Arc<str>>,
    identities: HashMap<u64, Arc<str>>,
    rules: HashMap<u32, RuleRef>,
}

impl Names {
    /// The names of a bundle; what it does not know is looked for in what was in force before.
    pub(crate) fn new(bundle: &Bundle, before: Option<&Self>) -> Self {
        let current = Index::new(bundle);
        let previous = match before {
            // The same names again: those before them stay.
            Some(before) if before.current == current => before.previous.clone(),
            Some(before) => before.current.clone(),
            None => Index::default(),
        };
        Self { current, previous }
    }

    fn find<T: Clone>(&self, look: impl Fn(&Index) -> Option<&T>) -> Option<T> {
        look(&self.current).or_else(|| look(&self.previous)).cloned()
    }
}

impl Index {
    fn new(bundle: &Bundle) -> Self {
        let mut index = Self::default();
        for router in &bundle.routers {
            let number = u32::from(router.number);
            index.networks.insert(number, format!("{}.{}", router.tenant, router.name).into());
            for endpoint in &router.endpoints {
                index.endpoints.insert(endpoint.number.into(), Arc::clone(&endpoint.workload));
                for address in &endpoint.addresses {
                    let key = (number, address.addr());
                    index.owners.insert(key, Arc::clone(&endpoint.workload));
                }
            }
        }
        for (number, identity) in &bundle.identities {
            index.identities.insert(*number, identity_text(identity).into());
        }
        index.rules = bundle.rules.iter().map(|(id, rule)| (*id, rule.clone())).collect();
        index
    }
}

/// `app=web, tier=front`, or the place of workloads without labels.
pub(crate) fn identity_text(identity: &planner::Identity) -> String {
    let labels: Vec<String> =
        identity.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !labels.is_empty() {
        return labels.join(", ");
    }
    match &identity.segment {
        Some(segment) => format!("segment={segment}"),
        None => format!("network={}", identity.network),
    }
}

impl flow::Resolver for Names {
    fn network(&self, number: u32) -> Option<Arc<str>> {
        self.find(|index| index.networks.get(&number))
    }

    fn endpoint(&self, number: u32) -> Option<Arc<str>> {
        self.find(|index| index.endpoints.get(&number))
    }

    fn owner(&self, network: u32, address: IpAddr) -> Option<Arc<str>> {
        self.find(|index| index.owners.get(&(network, address)))
    }

    fn identity(&self, identity: Identity) -> Option<Arc<str>> {
        self.find(|index| index.identities.get(&identity.0))
    }

    fn rule(&self, rule: RuleId) -> Option<RuleRef> {
        self.find(|index| index.rules.get(&rule.0))
    }
}
