//! Numbers in events and tables to names: those of the bundle in force, and of the one before it for late events.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::{CopyOnWrite, Identity, RuleId, RuleRef};
use planner::{Bundle, Router};
use verdict::abi::Addr;

/// Numbers to names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    current: Index,
    previous: Index,
}

/// The names of one bundle. What did not change since the one before is the same memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    places: CopyOnWrite<Places>,
    identities: CopyOnWrite<HashMap<u64, Arc<str>>>,
    rules: CopyOnWrite<BTreeMap<u32, RuleRef>>,
    accounts: planner::Accounts,
}

/// Networks and who is attached to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places {
    /// What the rest is made of.
    routers: CopyOnWrite<Vec<Router>>,
    networks: HashMap<u32, Arc<str>>,
    endpoints: HashMap<u32, Arc<str>>,
    owners: HashMap<(u32, IpAddr), Arc<str>>,
}

impl Names {
    /// The names of a bundle; what it does not know is looked for in what was in force before.
    pub(crate) fn new(bundle: &Bundle, before: Option<&Self>) -> Self {
        let current = Index::new(bundle, before.map(|before| &before.current));
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
    fn new(bundle: &Bundle, before: Option<&Self>) -> Self {
        let places = before.map(|before| before.places.clone());
        let places = places.filter(|places| places.routers.is_shared_with(&bundle.routers));
        let places = places.unwrap_or_else(|| Places::new(bundle.routers.clone()).into());
        // A number never changes its meaning.
        let known = |number: &u64| before.and_then(|before| before.identities.get(number)).cloned();
        let identities = bundle.identities.iter().map(|(number, identity)| {
            (*number, known(number).unwrap_or_else(|| identity_text(identity).into()))
        });
        let accounts = bundle.accounts.clone();
        Self { places, identities: identities.collect(), rules: bundle.rules.clone(), accounts }
    }
}

impl Places {
    fn new(routers: CopyOnWrite<Vec<Router>>) -> Self {
        let mut places = Self::default();
        for router in &routers {
            let number = u32::from(router.number);
            places.networks.insert(number, format!("{}.{}", router.tenant, router.name).into());
            for endpoint in &router.endpoints {
                places.endpoints.insert(endpoint.number.into(), Arc::clone(&endpoint.workload));
                for address in &endpoint.addresses {
                    let key = (number, address.addr());
                    places.owners.insert(key, Arc::clone(&endpoint.workload));
                }
            }
        }
        Self { routers, ..places }
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
        self.find(|index| index.places.networks.get(&number))
    }

    fn endpoint(&self, number: u32) -> Option<Arc<str>> {
        self.find(|index| index.places.endpoints.get(&number))
    }

    fn account(&self, number: u32) -> Option<Arc<str>> {
        let mut all = [&self.current, &self.previous].into_iter();
        all.find_map(|index| index.accounts.name(number)).map(Into::into)
    }

    fn owner(&self, network: u32, address: IpAddr) -> Option<Arc<str>> {
        if let Some((number, _)) = Addr::from(address).host_of() {
            return flow::Resolver::endpoint(self, number);
        }
        self.find(|index| index.places.owners.get(&(network, address)))
    }

    fn identity(&self, identity: Identity) -> Option<Arc<str>> {
        self.find(|index| index.identities.get(&identity.0))
    }

    fn rule(&self, rule: RuleId) -> Option<RuleRef> {
        self.find(|index| index.rules.get(&rule.0))
    }
}
