//! Finds what is ours, is there, and is not wanted any more. Pure.
//!
//! An endpoint's link is deleted before its packet programs are forgotten, so that there is no moment, nor a place to be
//! killed at, in which it lets packets pass unjudged: the programs end with the link. When the link cannot be deleted,
//! they stay.

use super::plan::Wanted;
use super::script::{BRIDGE, ETH0, UPLINK};
use super::{Desired, EndpointNumber, Mac, NetworkNumber, Ns, NsState, Observed, Op, Step, Unit};

/// The removals, before anything is added: endpoints, stale entries of what stays, then routers,
/// namespaces and the host's own part.
pub(super) fn units(desired: &Desired, script: &[Unit], observed: &Observed) -> Vec<Unit> {
    let wanted = Wanted::of(desired, script);
    let mut units = Vec::new();
    for (ns, state) in &observed.states {
        let Ns::Ours(name) = ns else { continue };
        if name.is_router() && !wanted.pinned.contains(name) {
            units.push(router_unit(ns, state));
        } else if name.is_router() {
            units.extend(endpoint_units(ns, state, &wanted));
        }
    }
    for (ns, state) in &observed.states {
        if *ns == Ns::Host || wanted.namespaces.contains(ns) {
            units.push(stale_unit(ns, state, &wanted));
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

/// All endpoints of a router that goes: their veths in one request.
fn router_unit(ns: &Ns, state: &NsState) -> Unit {
    endpoints_unit(ns, endpoints(state).collect())
}

/// Endpoints that go. One by itself, and many in one request: the kernel waits once for each request
/// (net/core/dev.c, `netdev_run_todo`), not once for each link.
fn endpoint_units(ns: &Ns, state: &NsState, wanted: &Wanted<'_>) -> Option<Unit> {
    let gone = endpoints(state).filter(|n| !wanted.links.contains(&(ns, n.link_name().as_str())));
    let gone: Vec<EndpointNumber> = gone.collect();
    match gone.as_slice() {
        [] => None,
        [endpoint] => {
            let delete = Op::LinkDelete { ns: ns.clone(), link: endpoint.link_name() };
            let steps = vec![Step::Kernel(delete), Step::Detach { endpoint: *endpoint }];
            Some(Unit { subject: format!("endpoint {endpoint}"), steps })
        }
        _ => Some(endpoints_unit(ns, gone)),
    }
}

fn endpoints_unit(ns: &Ns, gone: Vec<EndpointNumber>) -> Unit {
    let links: Vec<String> = gone.iter().map(|endpoint| endpoint.link_name()).collect();
    let mut steps = Vec::new();
    if !links.is_empty() {
        steps.push(Step::Kernel(Op::LinksDelete { ns: ns.clone(), links }));
    }
    steps.extend(gone.into_iter().map(|endpoint| Step::Detach { endpoint }));
    Unit { subject: format!("endpoints of {ns}"), steps }
}

fn endpoints(state: &NsState) -> impl Iterator<Item = EndpointNumber> {
    state.links.keys().filter_map(|name| EndpointNumber::from_link_name(name))
}

/// Addresses, routes and neighbours that do not belong on a link that stays.
fn stale_unit(ns: &Ns, state: &NsState, wanted: &Wanted<'_>) -> Unit {
    let ours = |link: &str| is_ours(ns, link, state);
    let mut ops = Vec::new();
    for route in &state.routes {
        if !wanted.routes.contains(&(ns, &route.to, route.dev.as_str())) {
            ops.push(Op::RouteDelete { ns: ns.clone(), route: route.clone() });
        }
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
            Ns::Ours(_) | Ns::At(_) => link == ETH0,
        }
}

/// Transit links of routers that are not wanted. Only a link with our name and our MAC is ours.
fn transit_units(observed: &Observed, wanted: &Wanted<'_>) -> Vec<Unit> {
    let Some(host) = observed.states.get(&Ns::Host) else { return Vec::new() };
    let is_transit = |name: &str, mac: Mac| {
        NetworkNumber::from_link_name(name).is_some_and(|n| n.transit().host_mac == mac)
    };
    let gone = host.links.iter().filter(|(name, link)| {
        is_transit(name, link.mac) && !wanted.links.contains(&(&Ns::Host, name.as_str()))
    });
    let unit = |link: &String| Unit {
        subject: format!("transit link {link}"),
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
