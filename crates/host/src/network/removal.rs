//! Finds what is ours, is there, and is not wanted any more. Pure.
//!
//! An endpoint's link is deleted before its packet programs are forgotten, so that there is no moment, nor a place to be
//! killed at, in which it lets packets pass unjudged: the programs end with the link. When the link cannot be deleted,
//! they stay.

use std::collections::BTreeSet;

use super::lan::LAN;
use super::plan::{Wanted, holds_veth};
use super::script::{BRIDGE, UPLINK};
use super::{
    Desired, EndpointDesired, EndpointNumber, Mac, NetworkNumber, Ns, NsState, Observed, Op, Rule,
    Step, Unit,
};

/// The removals, before anything is added: endpoints, stale entries of what stays, then routers,
/// namespaces and the host's own part.
pub(super) fn units(desired: &Desired, script: &[Unit], observed: &Observed) -> Vec<Unit> {
    let wanted = Wanted::of(desired, script);
    let remade = remade(script, observed);
    let mut units = Vec::new();
    let mut apart =
        Apart { gone: BTreeSet::new(), elsewhere: elsewhere(desired, observed).collect() };
    for (ns, state) in &observed.states {
        let Ns::Ours(name) = ns else { continue };
        if !name.is_router() {
            continue;
        }
        let stays = |endpoint: &EndpointNumber| {
            wanted.links.contains(&(ns, endpoint.link_name().as_str()))
                && !remade.contains(&(ns, *endpoint))
        };
        let gone: Vec<_> = endpoints(state).filter(|endpoint| !stays(endpoint)).collect();
        apart.gone.extend(gone.iter().map(|endpoint| endpoint.peer_ifindex()));
        units.extend(endpoints_unit(ns, gone));
    }
    units.extend(legs(observed, &wanted));
    for (ns, state) in &observed.states {
        if *ns == Ns::Host || wanted.namespaces.contains(ns) {
            units.push(stale_unit(ns, state, &wanted, &apart));
        }
    }
    units.extend(transit_units(observed, &wanted));
    for name in observed.namespaces.iter().filter(|name| !wanted.pinned.contains(name)) {
        let steps = vec![Step::Kernel(Op::NetnsDelete { name: name.clone() })];
        units.push(Unit { subject: format!("namespace {name}"), steps });
    }
    units.push(host_unit(script, observed, &wanted));
    units
}

/// Workloads' sides of links of which nothing is to be said, by their index.
struct Apart {
    /// They go, and what is on them goes with them.
    gone: BTreeSet<u32>,
    /// They are other attachments of a workload, and not looked at.
    elsewhere: BTreeSet<u32>,
}

/// Workloads' sides of the links of endpoints that are wanted and were not looked at, though the namespace of one may be read for the
/// sake of another attachment of its workload.
fn elsewhere(desired: &Desired, observed: &Observed) -> impl Iterator<Item = u32> {
    let endpoints = desired.routers.iter().flat_map(|router| {
        let left = |each: &&EndpointDesired| {
            each.several && !observed.looked_at.has_endpoint(&router.name, each.number)
        };
        router.endpoints.iter().filter(left)
    });
    endpoints.map(|endpoint| endpoint.number.peer_ifindex())
}

/// Endpoint links that are there and not as they should be, as far as both ends were looked at. They go before anything is added: two that change places would
/// be in each other's way.
fn remade<'a>(script: &'a [Unit], observed: &Observed) -> BTreeSet<(&'a Ns, EndpointNumber)> {
    let known = script.iter().filter(|unit| observed.covers(unit));
    let steps = known.flat_map(|unit| &unit.steps);
    let other = steps.filter_map(|step| {
        let Step::Kernel(Op::VethAdd(spec)) = step else { return None };
        let there = observed.states.get(&spec.ns)?.links.contains_key(&spec.link);
        let endpoint = EndpointNumber::from_link_name(&spec.link)?;
        (there && !holds_veth(spec, observed)).then_some((&spec.ns, endpoint))
    });
    other.collect()
}

/// Endpoints that go. One by itself, and many in one request: the kernel waits once for each request
/// (net/core/dev.c, `netdev_run_todo`), not once for each link.
fn endpoints_unit(ns: &Ns, gone: Vec<EndpointNumber>) -> Option<Unit> {
    let ns = ns.clone();
    let (subject, delete) = match gone.as_slice() {
        [] => return None,
        [one] => (format!("endpoint {one}"), Op::LinkDelete { ns, link: one.link_name() }),
        all => {
            let links = all.iter().map(|endpoint| endpoint.link_name()).collect();
            (format!("endpoints of {ns}"), Op::LinksDelete { ns, links })
        }
    };
    let mut steps = vec![Step::Kernel(delete)];
    steps.extend(gone.into_iter().map(|endpoint| Step::Detach { endpoint }));
    Some(Unit { subject, steps })
}

fn endpoints(state: &NsState) -> impl Iterator<Item = EndpointNumber> {
    state.links.keys().filter_map(|name| EndpointNumber::from_link_name(name))
}

/// Addresses, routes, rules and neighbours that do not belong on a link that stays.
fn stale_unit(ns: &Ns, state: &NsState, wanted: &Wanted<'_>, apart: &Apart) -> Unit {
    let is_apart = |index: &u32| apart.gone.contains(index) || apart.elsewhere.contains(index);
    let goes = |link: &str| state.links.get(link).is_some_and(|found| is_apart(&found.index));
    let ours = |link: &str| is_ours(ns, link, state) && !goes(link);
    let mut ops = Vec::new();
    for route in state.routes.iter().filter(|route| !goes(&route.dev)) {
        if !wanted.routes.contains(&(ns, &route.to, route.dev.as_str(), route.table)) {
            ops.push(Op::RouteDelete { ns: ns.clone(), route: route.clone() });
        }
    }
    // A rule does not go with a link. Its table has the number of the workload's side.
    let stays = |rule: &&Rule| {
        apart.elsewhere.contains(&rule.table) || wanted.rules.contains(&(ns, **rule))
    };
    for rule in state.rules.iter().filter(|rule| !stays(rule)) {
        ops.push(Op::RuleDelete { ns: ns.clone(), rule: *rule });
    }
    for (link, address, _) in &state.neighbours {
        if ours(link) && !wanted.neighbours.contains(&(ns, link.as_str(), *address)) {
            let (ns, link) = (ns.clone(), link.clone());
            ops.push(Op::NeighDelete { ns, link, address: *address });
        }
    }
    for (link, addresses) in &state.addresses {
        for address in addresses.iter().filter(|_| ours(link)) {
            if !wanted.addresses.contains(&(ns, link.as_str(), *address)) {
                let (ns, link) = (ns.clone(), link.clone());
                ops.push(Op::AddressDelete { ns, link, address: *address });
            }
        }
    }
    let subject = format!("leftovers in {ns}");
    Unit { subject, steps: ops.into_iter().map(Step::Kernel).collect() }
}

/// Whether a link that stays is ours, so that we decide about its addresses and neighbours.
fn is_ours(ns: &Ns, link: &str, state: &NsState) -> bool {
    let has_our_mac = state.links.get(link).is_some_and(|found| found.mac.is_ours());
    has_our_mac
        && match ns {
            Ns::Host => NetworkNumber::from_link_name(link).is_some(),
            Ns::Ours(name) if name.is_router() => link == BRIDGE || link == UPLINK,
            // Whatever it is called there.
            Ns::Ours(_) | Ns::At(_) => true,
        }
}

/// What is at the edges to LANs and not wanted there any more. The way between a NIC and the legs goes first, then the legs
/// of routers that stay.
fn legs(observed: &Observed, wanted: &Wanted<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut ops = Vec::new();
    let pinned = |ns: &Ns| matches!(ns, Ns::Ours(name) if wanted.pinned.contains(name));
    if observed.edges.contains_key(&Ns::Host) && !wanted.edges.contains(&Ns::Host) {
        ops.push(Op::EdgeDelete { ns: Ns::Host });
    }
    for (link, mac) in observed.states.get(&Ns::Host).iter().flat_map(|host| &host.unicast) {
        if !wanted.unicast.contains(&(link.as_str(), *mac)) {
            ops.push(Op::UnicastDelete { ns: Ns::Host, link: link.clone(), mac: *mac });
        }
    }
    let steps = ops.into_iter().map(Step::Kernel).collect();
    units.push(Unit { subject: "LANs".to_owned(), steps });
    for (ns, state) in &observed.states {
        // Those of routers that go end with them.
        if !pinned(ns) {
            continue;
        }
        let mut ops = Vec::new();
        let is_there = state.links.contains_key(LAN);
        if is_there && !wanted.links.contains(&(ns, LAN)) {
            ops.push(Op::LinkDelete { ns: ns.clone(), link: LAN.to_owned() });
        }
        if observed.edges.contains_key(ns) && !wanted.edges.contains(ns) {
            ops.push(Op::EdgeDelete { ns: ns.clone() });
        }
        let steps = ops.into_iter().map(Step::Kernel).collect();
        units.push(Unit { subject: format!("LAN of {ns}"), steps });
    }
    units
}

/// Links of the host to routers that are not wanted. Only a link with our name and our MAC is ours.
fn transit_units(observed: &Observed, wanted: &Wanted<'_>) -> Vec<Unit> {
    let Some(host) = observed.states.get(&Ns::Host) else { return Vec::new() };
    let is_transit = |name: &str, mac: Mac| {
        NetworkNumber::from_link_name(name).is_some_and(|n| n.transit().host_mac == mac)
    };
    let is_leg = |name: &str, mac: Mac| {
        NetworkNumber::from_lan_link_name(name).is_some_and(|n| n.lan_macs()[1] == mac)
    };
    let gone = host.links.iter().filter(|(name, link)| {
        (is_transit(name, link.mac) || is_leg(name, link.mac))
            && !wanted.links.contains(&(&Ns::Host, name.as_str()))
    });
    let unit = |link: &String| Unit {
        subject: format!("link {link}"),
        steps: vec![Step::Kernel(Op::LinkDelete { ns: Ns::Host, link: link.clone() })],
    };
    gone.map(|(name, _)| unit(name)).collect()
}

/// The host's table and sysctls, once nothing needs them.
fn host_unit(script: &[Unit], observed: &Observed, wanted: &Wanted<'_>) -> Unit {
    let mut ops = Vec::new();
    if observed.tables.contains_key(&Ns::Host) && !wanted.tables.contains(&Ns::Host) {
        ops.push(Op::TableDelete { ns: Ns::Host });
    }
    let needs_sysctls = script.iter().any(|unit| unit.subject == "host");
    if !needs_sysctls && !observed.sysctls_before.is_empty() {
        ops.push(Op::SysctlRestore);
    }
    let steps = ops.into_iter().map(Step::Kernel).collect();
    Unit { subject: "host".to_owned(), steps }
}
