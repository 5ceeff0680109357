//! Compares desired with observed and says which steps are missing. Pure.
//!
//! A step is left out when its result is observed. After a step that makes an object new, the rest
//! of its subject is done in any case: what was observed belonged to the old object.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Desired, EndpointDesired, EndpointNumber, Mac, Ns, Observed, Op, Route, VethSpec, VlanSpec,
    removal, script,
};

/// What is to be done, subject by subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Independent of each other, in order.
    pub units: Vec<Unit>,
}

/// The steps of one subject. Each depends on those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `host`, `router shop.main.router`, `endpoint shop.web`, ...
    pub subject: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something for the kernel.
    Kernel(Op),
    /// Put packet programs on an endpoint's host side.
    Attach {
        /// Where the host side is.
        router: Ns,
        /// The endpoint.
        endpoint: Box<EndpointDesired>,
    },
    /// Forget an endpoint's packet programs, after its link was deleted.
    Detach {
        /// The endpoint.
        endpoint: EndpointNumber,
    },
}

impl Step {
    /// The namespaces that it is about.
    pub(super) fn places(&self) -> impl Iterator<Item = &Ns> {
        let [one, other] = match self {
            Self::Kernel(op) => op.places(),
            Self::Attach { router, .. } => [Some(router), None],
            Self::Detach { .. } => [None, None],
        };
        one.into_iter().chain(other)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(op) => op.fmt(f),
            Self::Attach { endpoint, .. } => {
                write!(f, "attach programs to {}", endpoint.number.link_name())
            }
            Self::Detach { endpoint } => {
                write!(f, "detach programs from {}", endpoint.link_name())
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in &self.units {
            writeln!(f, "# {}", unit.subject)?;
            for step in &unit.steps {
                writeln!(f, "{step}")?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Compares what should be with what is. Removals come first.
    #[must_use]
    pub fn diff(desired: &Desired, observed: &Observed) -> Self {
        let script = script::units(desired, observed);
        let mut units = removal::units(desired, &script, observed);
        let known = script.into_iter().filter(|unit| observed.covers(unit));
        units.extend(known.map(|unit| missing(unit, observed)));
        units.retain(|unit| !unit.steps.is_empty());
        Self { units }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.iter().map(|unit| unit.steps.len()).sum()
    }
}

/// Keeps the steps of `unit` whose result is not there.
fn missing(unit: Unit, observed: &Observed) -> Unit {
    let mut is_new = false;
    let mut steps = Vec::new();
    for step in unit.steps {
        match &step {
            Step::Kernel(op) if op.makes_new() => {
                if holds(op, observed) {
                    continue;
                }
                steps.extend(stale(op, observed).map(Step::Kernel));
                is_new = true;
            }
            Step::Kernel(Op::LinkMtu { .. }) if holds_step(&step, observed) => continue,
            Step::Kernel(op) if !is_new && holds(op, observed) => continue,
            Step::Attach { router, endpoint } if !is_new => {
                if observed.attached.contains(&endpoint.number) {
                    continue;
                }
                let (ns, link) = (router.clone(), endpoint.number.link_name());
                steps.push(Step::Kernel(Op::LinkUp { ns, link, up: false }));
                is_new = true;
            }
            _ => {}
        }
        steps.push(step);
    }
    Unit { subject: unit.subject, steps }
}

fn holds_step(step: &Step, observed: &Observed) -> bool {
    matches!(step, Step::Kernel(op) if holds(op, observed))
}

/// What stands in the way of an object that is to be made. Links of endpoints have gone before.
fn stale(op: &Op, observed: &Observed) -> Option<Op> {
    let (Op::VethAdd(VethSpec { ns, link, .. }) | Op::VlanAdd(VlanSpec { ns, link, .. })) = op
    else {
        return None;
    };
    let is_there = observed.states.get(ns)?.links.contains_key(link);
    let is_endpoint = EndpointNumber::from_link_name(link).is_some();
    (is_there && !is_endpoint).then(|| Op::LinkDelete { ns: ns.clone(), link: link.clone() })
}

/// Whether the result of a step is already there.
fn holds(op: &Op, observed: &Observed) -> bool {
    let state = |ns: &Ns| observed.states.get(ns);
    let find = |ns: &Ns, link: &str| state(ns).and_then(|state| state.links.get(link));
    match op {
        Op::NetnsAdd { name, .. } => observed.namespaces.contains(name),
        Op::VethAdd(spec) => holds_veth(spec, observed),
        Op::BridgeAdd { ns, link, mac, .. } => {
            find(ns, link).is_some_and(|found| found.kind == "bridge" && found.mac == *mac)
        }
        Op::LinkUp { ns, link, up } => find(ns, link).is_some_and(|found| found.up == *up),
        // A link that is yet to be made is made with its MTU.
        Op::LinkMtu { ns, link, mtu } => find(ns, link).is_none_or(|found| found.mtu == *mtu),
        Op::VlanAdd(spec) => holds_vlan(spec, observed),
        Op::LinkMaster { ns, link, master } => {
            let master = find(ns, master).map(|bridge| bridge.index);
            find(ns, link).is_some_and(|found| master.is_some() && found.master == master)
        }
        Op::UnicastAdd { ns, link, mac } => {
            state(ns).is_some_and(|state| state.unicast.contains(&(link.clone(), *mac)))
        }
        Op::EdgeReplace { ns, table } => {
            observed.edges.get(ns).is_some_and(|found| found.has_hash(&table.hash()))
        }
        Op::EdgeDelete { ns } => !observed.edges.contains_key(ns),
        Op::PortSet { ns, link, flags } => {
            find(ns, link).is_some_and(|found| found.port == Some(*flags))
        }
        Op::FdbReplace { ns, link, mac } => {
            state(ns).is_some_and(|state| state.fdb.contains(&(link.clone(), *mac)))
        }
        Op::AddressAdd { ns, link, address } => {
            state(ns).is_some_and(|state| state.has_address(link, address))
        }
        Op::RouteReplace { ns, route } => {
            state(ns).is_some_and(|state| state.routes.contains(route))
        }
        Op::RuleAdd { ns, rule } => state(ns).is_some_and(|state| state.rules.contains(rule)),
        Op::NeighReplace { ns, link, address, mac } => {
            let entry = (link.clone(), *address, *mac);
            state(ns).is_some_and(|state| state.neighbours.contains(&entry))
        }
        // A key that this kernel lacks cannot be set.
        Op::SysctlSet { key, value } => is_value(observed, key, value),
        // Values of a link in a foreign namespace are written when the link is made.
        Op::LinkSysctl { ns, key, value } => *ns != Ns::Host || is_value(observed, key, value),
        Op::TableReplace { ns, ruleset } => {
            observed.tables.get(ns).is_some_and(|table| table.is(ruleset))
        }
        Op::TableDelete { ns } => !observed.tables.contains_key(ns),
        _ => false,
    }
}

fn is_value(observed: &Observed, key: &str, value: &str) -> bool {
    observed.sysctls.get(key).is_none_or(|present| present == value)
}

fn holds_vlan(spec: &VlanSpec, observed: &Observed) -> bool {
    let find =
        |ns: &Ns, link: &str| observed.states.get(ns).and_then(|state| state.links.get(link));
    let Some(found) = find(&spec.ns, &spec.link) else { return false };
    let (master, parent) = (find(&spec.ns, &spec.master), find(&Ns::Host, &spec.parent));
    found.kind == "vlan"
        && found.vlan == Some(spec.id)
        && found.master == master.map(|bridge| bridge.index)
        && parent.is_some_and(|parent| found.peer == Some(parent.index))
}

pub(super) fn holds_veth(spec: &VethSpec, observed: &Observed) -> bool {
    let find =
        |ns: &Ns, link: &str| observed.states.get(ns).and_then(|state| state.links.get(link));
    let Some(near) = find(&spec.ns, &spec.link) else { return false };
    let is_far = if let Some(far) = find(&spec.peer_ns, &spec.peer_link) {
        far.mac == spec.peer_mac && near.peer == Some(far.index) && far.peer == Some(near.index)
    } else {
        // One that was left on the host has been moved by whoever it was left for; it cannot be gone, for both ends go together.
        let is_endpoint = EndpointNumber::from_link_name(&spec.link).is_some();
        is_endpoint && spec.peer_ns == Ns::Host && near.peer.is_some()
    };
    let master = spec.master.as_deref().and_then(|bridge| find(&spec.ns, bridge));
    near.kind == "veth"
        && near.mac == spec.mac
        && is_far
        && near.master == master.map(|bridge| bridge.index)
        && spec.index.is_none_or(|index| near.index == index)
}

/// Everything a script wants, and all pins that are wanted, for finding what it does not.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) namespaces: BTreeSet<&'a Ns>,
    pub(super) pinned: BTreeSet<&'a super::NsName>,
    pub(super) links: BTreeSet<(&'a Ns, &'a str)>,
    pub(super) addresses: BTreeSet<(&'a Ns, &'a str, IpNet)>,
    pub(super) routes: BTreeSet<(&'a Ns, &'a IpNet, &'a str, Option<u32>)>,
    pub(super) rules: BTreeSet<(&'a Ns, super::Rule)>,
    pub(super) neighbours: BTreeSet<(&'a Ns, &'a str, IpAddr)>,
    pub(super) tables: BTreeSet<&'a Ns>,
    pub(super) edges: BTreeSet<&'a Ns>,
    pub(super) unicast: BTreeSet<(&'a str, Mac)>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(desired: &'a Desired, script: &'a [Unit]) -> Self {
        let mut wanted = Self { pinned: desired.pinned().collect(), ..Self::default() };
        for step in script.iter().flat_map(|unit| &unit.steps) {
            let Step::Kernel(op) = step else { continue };
            wanted.add(op);
        }
        wanted
    }

    fn add(&mut self, op: &'a Op) {
        match op {
            Op::VethAdd(spec) => {
                self.namespaces.extend([&spec.ns, &spec.peer_ns]);
                self.links.insert((&spec.ns, &spec.link));
                if super::NetworkNumber::from_lan_link_name(&spec.peer_link).is_some() {
                    self.links.insert((&spec.peer_ns, &spec.peer_link));
                }
            }
            Op::VlanAdd(spec) => drop(self.links.insert((&spec.ns, &spec.link))),
            Op::UnicastAdd { link, mac, .. } => drop(self.unicast.insert((link, *mac))),
            Op::EdgeReplace { ns, .. } => drop(self.edges.insert(ns)),
            Op::AddressAdd { ns, link, address } => {
                self.addresses.insert((ns, link, *address));
            }
            Op::RouteReplace { ns, route: Route { to, dev, table, .. } } => {
                self.routes.insert((ns, to, dev, *table));
            }
            Op::RuleAdd { ns, rule } => drop(self.rules.insert((ns, *rule))),
            Op::NeighReplace { ns, link, address, .. } => {
                self.neighbours.insert((ns, link, *address));
            }
            Op::TableReplace { ns, .. } => drop(self.tables.insert(ns)),
            _ => {}
        }
    }
}
