//! The desired state written out as steps in their order: what a bare host would need.
//!
//! [`Plan::diff`](super::Plan::diff) leaves out the steps whose result is already there. Anything of
//! ours that no step names is not wanted any more.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::linux::nft::Ruleset;
use crate::linux::nft::render::{self, Guard};

use super::{
    Desired, EndpointDesired, Mode, NetworkNumber, Ns, NsName, NsProfile, NsState, Observed, Op,
    Place, PortFlags, Route, RouterDesired, Rule, Scope, Step, Unit, VethSpec, lan,
};

/// The router's link to its endpoints.
pub(super) const BRIDGE: &str = "br0";
/// The router's link to the host.
pub(super) const UPLINK: &str = "up0";
/// The workload's link.
pub(crate) const ETH0: &str = "eth0";

/// Whether the host forwards IPv4.
pub(super) const FORWARD_V4: &str = "net/ipv4/ip_forward";
/// Whether the host forwards IPv6.
pub(super) const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";

/// Sysctls of `bt<N>`, by family, name and value. A client on the host may reach a published port
/// through loopback, which needs `route_localnet`; the table's chain `raw` keeps workloads out.
const TRANSIT_SYSCTLS: [(&str, &str, &str); 8] = [
    ("ipv6", "disable_ipv6", "0"),
    ("ipv4", "route_localnet", "1"),
    ("ipv4", "rp_filter", "0"),
    ("ipv4", "send_redirects", "0"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "accept_redirects", "0"),
    ("ipv6", "addr_gen_mode", "1"),
];

/// Sysctls of `eth0` in a namespace that is not ours.
const ADOPTED_SYSCTLS: [(&str, &str, &str); 5] = [
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "accept_dad", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "addr_gen_mode", "1"),
    ("ipv4", "accept_redirects", "0"),
];

/// Sysctls of the links of a workload with several: nothing is forwarded between them, and each answers and asks for its own
/// addresses alone.
const SEVERAL_SYSCTLS: [(&str, &str, &str); 4] = [
    ("ipv4", "forwarding", "0"),
    ("ipv4", "arp_ignore", "1"),
    ("ipv4", "arp_announce", "2"),
    ("ipv6", "forwarding", "0"),
];

/// The namespace of a router.
pub(super) fn router_ns(router: &RouterDesired) -> Ns {
    Ns::Ours(router.name.clone())
}

/// The path of a sysctl of one link.
fn link_key((family, name): (&str, &str), link: &str) -> String {
    format!("net/{family}/conf/{link}/{name}")
}

/// Every host sysctl that the desired state depends on, in a part of the network.
pub(super) fn sysctl_keys(desired: &Desired, host: &NsState, scope: &Scope) -> Vec<String> {
    if desired.routers.is_empty() {
        return Vec::new();
    }
    let mut keys = vec![FORWARD_V4.to_owned(), FORWARD_V6.to_owned()];
    keys.extend(others(host).map(|link| link_key(("ipv6", "accept_ra"), link)));
    for router in desired.routers.iter().filter(|router| scope.has_router(&router.name)) {
        let link = router.number.link_name();
        keys.extend(TRANSIT_SYSCTLS.iter().map(|(f, name, _)| link_key((f, name), &link)));
    }
    keys
}

/// Links of the host that are neither ours nor left there by us for somebody.
fn others(host: &NsState) -> impl Iterator<Item = &String> {
    let is_ours = |name: &str, mac: super::Mac| {
        mac.is_ours() || NetworkNumber::from_link_name(name).is_some()
    };
    let links = host.links.iter().filter(move |(name, link)| !is_ours(name, link.mac));
    links.map(|(name, _)| name)
}

/// All subjects in order: the host, routers, endpoints, published ports, isolated workloads. Ports
/// come after what they lead to. Endpoints whose links were not looked at are left out.
pub(super) fn units(desired: &Desired, observed: &Observed) -> Vec<Unit> {
    let mut units = Vec::new();
    if !desired.routers.is_empty() {
        units.push(host_unit(desired, observed));
    }
    let no_host = NsState::default();
    let own = observed.states.get(&Ns::Host).unwrap_or(&no_host).own_addresses();
    for router in &desired.routers {
        let mtu = lan::mtu(router, router.mtu, observed);
        units.push(router_unit(router, mtu, render::router(router, &own)));
        units.extend(lan::unit(router, observed));
    }
    let looked_at = &observed.looked_at;
    let known = |router: &RouterDesired, each: &EndpointDesired| {
        looked_at.has_endpoint(&router.name, each.number)
    };
    let endpoints = desired.routers.iter().flat_map(|router| {
        let endpoints = router.endpoints.iter().filter(|each| known(router, each));
        endpoints.map(move |endpoint| (router, endpoint))
    });
    let endpoints: Vec<(&RouterDesired, &EndpointDesired)> = endpoints.collect();
    units.extend(shared_units(&endpoints));
    units.extend(endpoints.iter().map(|(router, endpoint)| {
        endpoint_unit(router, endpoint, lan::mtu(router, endpoint.mtu, observed))
    }));
    if !desired.routers.is_empty() {
        units.push(published_unit(desired, observed));
        units.extend(lan::host_unit(desired, observed));
    }
    // A kernel without IPv6 gets the rest.
    if !observed.sysctls.contains_key(FORWARD_V6) {
        let is_v6 = |step: &Step| matches!(step, Step::Kernel(op) if op.is_v6());
        for unit in &mut units {
            unit.steps.retain(|step| !is_v6(step));
        }
    }
    units.extend(desired.isolated.iter().map(|isolated| Unit {
        subject: format!("workload {}", isolated.workload),
        steps: vec![Step::Kernel(Op::NetnsAdd {
            name: isolated.workload.clone(),
            profile: NsProfile::Workload,
        })],
    }));
    units
}

/// Namespaces of workloads with several attachments: there before the first of them, each once.
fn shared_units(endpoints: &[(&RouterDesired, &EndpointDesired)]) -> Vec<Unit> {
    let ours = endpoints.iter().map(|(_, each)| each);
    let ours = ours.filter(|each| each.several && each.place == Place::Ours);
    let names: BTreeSet<&NsName> = ours.map(|each| &each.workload).collect();
    let unit = |name: &NsName| Unit {
        subject: format!("workload {name}"),
        steps: vec![Step::Kernel(Op::NetnsAdd {
            name: name.clone(),
            profile: NsProfile::Workload,
        })],
    };
    names.into_iter().map(unit).collect()
}

fn host_unit(desired: &Desired, observed: &Observed) -> Unit {
    let mut ops = Vec::new();
    // The guards must be there before forwarding is; the published ports follow at the end.
    if !observed.tables.contains_key(&Ns::Host) {
        let mut guarded = desired.routers.clone();
        for router in &mut guarded {
            router.publishes.clear();
        }
        ops.push(table(Ns::Host, render::host(&guarded, guard(observed), &lan::bridges(observed))));
    }
    // A host that forwards ignores router advertisements unless told otherwise, and would lose its
    // own address with the next one.
    let value = |key: &str| observed.sysctls.get(key).map(String::as_str);
    let host = observed.states.get(&Ns::Host);
    for link in host.into_iter().flat_map(others) {
        let key = link_key(("ipv6", "accept_ra"), link);
        if value(&key) == Some("1") {
            ops.push(Op::SysctlSet { key, value: "2".to_owned() });
        }
    }
    for key in [FORWARD_V4, FORWARD_V6] {
        ops.push(Op::SysctlSet { key: key.to_owned(), value: "1".to_owned() });
    }
    Unit { subject: "host".to_owned(), steps: ops.into_iter().map(Step::Kernel).collect() }
}

/// What our table of the host is to hold, if it is to be there.
pub(super) fn host_ruleset(desired: &Desired, observed: &Observed) -> Option<Ruleset> {
    let ruleset = || render::host(&desired.routers, guard(observed), &lan::bridges(observed));
    (!desired.routers.is_empty()).then(ruleset)
}

fn published_unit(desired: &Desired, observed: &Observed) -> Unit {
    let bridges = lan::bridges(observed);
    let ruleset = render::host(&desired.routers, guard(observed), &bridges);
    let steps = vec![Step::Kernel(table(Ns::Host, ruleset))];
    Unit { subject: "published ports".to_owned(), steps }
}

/// Guards a family that did not forward before us.
fn guard(observed: &Observed) -> Guard {
    let was_off = |key| {
        let before = observed.sysctls_before.get(key).or_else(|| observed.sysctls.get(key));
        before.is_some_and(|value| value == "0")
    };
    Guard { v4: was_off(FORWARD_V4), v6: was_off(FORWARD_V6) }
}

fn table(ns: Ns, ruleset: Ruleset) -> Op {
    if ruleset.is_empty() { Op::TableDelete { ns } } else { Op::TableReplace { ns, ruleset } }
}

fn router_unit(router: &RouterDesired, mtu: u32, ruleset: Ruleset) -> Unit {
    let ns = router_ns(router);
    let transit_link = router.number.link_name();
    let link = |link: &str| link.to_owned();
    let mut ops = vec![
        Op::NetnsAdd { name: router.name.clone(), profile: NsProfile::Router },
        Op::LinkMtu { ns: ns.clone(), link: link(BRIDGE), mtu },
        Op::LinkMtu { ns: ns.clone(), link: link(UPLINK), mtu },
        Op::LinkMtu { ns: Ns::Host, link: transit_link.clone(), mtu },
        Op::BridgeAdd { ns: ns.clone(), link: link(BRIDGE), mac: router.number.bridge_mac(), mtu },
        Op::VethAdd(transit_veth(router, mtu)),
        table(ns.clone(), ruleset),
    ];
    ops.extend(TRANSIT_SYSCTLS.iter().map(|(family, name, value)| Op::LinkSysctl {
        ns: Ns::Host,
        key: link_key((family, name), &transit_link),
        value: (*value).to_owned(),
    }));
    ops.extend(router_addresses(router));
    for (ns, link) in [(&ns, BRIDGE), (&ns, UPLINK), (&Ns::Host, transit_link.as_str())] {
        ops.push(Op::LinkUp { ns: ns.clone(), link: link.to_owned(), up: true });
    }
    ops.extend(router_paths(router));
    Unit {
        subject: format!("router {}", router.name),
        steps: ops.into_iter().map(Step::Kernel).collect(),
    }
}

fn transit_veth(router: &RouterDesired, mtu: u32) -> VethSpec {
    let transit = router.number.transit();
    VethSpec {
        ns: Ns::Host,
        link: router.number.link_name(),
        index: None,
        mac: transit.host_mac,
        master: None,
        peer_ns: router_ns(router),
        peer_link: UPLINK.to_owned(),
        peer_index: None,
        peer_mac: transit.router_mac,
        mtu,
    }
}

fn router_addresses(router: &RouterDesired) -> Vec<Op> {
    let transit = router.number.transit();
    let (ns, host_link) = (router_ns(router), router.number.link_name());
    let v4 = |addr| IpNet::V4(Ipv4Net::new_assert(addr, 31));
    let v6 = |addr| IpNet::V6(Ipv6Net::new_assert(addr, 127));
    let mut wanted: Vec<(&Ns, &str, IpNet)> = vec![
        (&Ns::Host, &host_link, v4(transit.host_v4)),
        (&Ns::Host, &host_link, v6(transit.host_v6)),
        (&ns, UPLINK, v4(transit.router_v4)),
        (&ns, UPLINK, v6(transit.router_v6)),
    ];
    wanted.extend(router.gateways.iter().map(|gateway| (&ns, BRIDGE, *gateway)));
    let op = |(ns, link, address): (&Ns, &str, IpNet)| Op::AddressAdd {
        ns: ns.clone(),
        link: link.to_owned(),
        address,
    };
    wanted.into_iter().map(op).collect()
}

/// Neighbours and routes between the host and the router.
fn router_paths(router: &RouterDesired) -> Vec<Op> {
    let transit = router.number.transit();
    let (ns, host_link) = (router_ns(router), router.number.link_name());
    let (host_v4, host_v6) = (IpAddr::V4(transit.host_v4), IpAddr::V6(transit.host_v6));
    let (router_v4, router_v6) = (IpAddr::V4(transit.router_v4), IpAddr::V6(transit.router_v6));
    let mut ops = Vec::new();
    for (host, router) in [(host_v4, router_v4), (host_v6, router_v6)] {
        ops.push(neighbour(&Ns::Host, &host_link, router, transit.router_mac));
        ops.push(neighbour(&ns, UPLINK, host, transit.host_mac));
        ops.push(Op::RouteReplace { ns: ns.clone(), route: default_route(host, UPLINK) });
    }
    if router.mode == Mode::Routed {
        ops.extend(router.subnets.iter().map(|subnet| {
            let via = Some(if subnet.addr().is_ipv4() { router_v4 } else { router_v6 });
            let route = Route { to: subnet.trunc(), via, dev: host_link.clone(), table: None };
            Op::RouteReplace { ns: Ns::Host, route }
        }));
    }
    ops
}

fn neighbour(ns: &Ns, link: &str, address: IpAddr, mac: super::Mac) -> Op {
    Op::NeighReplace { ns: ns.clone(), link: link.to_owned(), address, mac }
}

fn default_route(via: IpAddr, dev: &str) -> Route {
    let to = match via {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    };
    Route { to, via: Some(via), dev: dev.to_owned(), table: None }
}

fn endpoint_unit(router: &RouterDesired, endpoint: &EndpointDesired, mtu: u32) -> Unit {
    if let Place::Handed { open } = endpoint.place {
        return handed_unit(router, endpoint, mtu, open);
    }
    let (near, far) = (router_ns(router), endpoint.ns());
    let link = endpoint.number.link_name();
    let eth0 = || endpoint.interface.clone();
    let mut steps = Vec::new();
    let mut ops = Vec::new();
    if endpoint.place == Place::Ours && !endpoint.several {
        let profile = NsProfile::Workload;
        ops.push(Op::NetnsAdd { name: endpoint.workload.clone(), profile });
    }
    ops.push(Op::LinkMtu { ns: near.clone(), link: link.clone(), mtu });
    ops.push(Op::LinkMtu { ns: far.clone(), link: eth0(), mtu });
    ops.push(Op::VethAdd(endpoint_veth(router, endpoint, mtu)));
    steps.extend(ops.drain(..).map(Step::Kernel));
    steps.push(Step::Attach { router: near.clone(), endpoint: Box::new(endpoint.clone()) });

    if endpoint.place != Place::Ours {
        ops.extend(ADOPTED_SYSCTLS.iter().map(|(family, name, value)| Op::LinkSysctl {
            ns: far.clone(),
            key: link_key((family, name), &endpoint.interface),
            value: (*value).to_owned(),
        }));
    }
    ops.push(Op::PortSet { ns: near.clone(), link: link.clone(), flags: PortFlags::ENDPOINT });
    let mac = endpoint.mac;
    ops.push(Op::FdbReplace { ns: near.clone(), link: link.clone(), mac });
    for address in &endpoint.addresses {
        ops.push(Op::AddressAdd { ns: far.clone(), link: eth0(), address: *address });
        ops.push(neighbour(&near, BRIDGE, address.addr(), mac));
    }
    if endpoint.several {
        ops.extend(sourced(&far, endpoint));
    }
    ops.push(Op::LinkUp { ns: near, link, up: true });
    ops.push(Op::LinkUp { ns: far.clone(), link: eth0(), up: true });
    ops.extend(endpoint_paths(router, endpoint, &far));
    steps.extend(ops.into_iter().map(Step::Kernel));
    Unit { subject: format!("endpoint {}", endpoint.subject()), steps }
}

/// That what is sent from an endpoint's addresses goes by its own table, and nothing is forwarded over its link.
fn sourced<'e>(far: &'e Ns, endpoint: &'e EndpointDesired) -> impl Iterator<Item = Op> + use<'e> {
    let table = endpoint.table();
    let rules = endpoint.addresses.iter().map(move |address| Op::RuleAdd {
        ns: far.clone(),
        rule: Rule { from: address.addr(), table },
    });
    let sysctls = SEVERAL_SYSCTLS.iter().map(|(family, name, value)| Op::LinkSysctl {
        ns: far.clone(),
        key: link_key((family, name), &endpoint.interface),
        value: (*value).to_owned(),
    });
    rules.chain(sysctls)
}

/// Neighbours and routes of an endpoint: over the first one of a workload by default, and from the addresses of each of
/// several over itself.
fn endpoint_paths(router: &RouterDesired, endpoint: &EndpointDesired, far: &Ns) -> Vec<Op> {
    let mut ops = Vec::new();
    let table = endpoint.several.then(|| endpoint.table());
    for address in endpoint.addresses.iter().filter(|_| table.is_some()) {
        let dev = endpoint.interface.clone();
        let route = Route { to: address.trunc(), via: None, dev, table };
        ops.push(Op::RouteReplace { ns: far.clone(), route });
    }
    let gateways = endpoint.gateway_v4.map(IpAddr::V4).into_iter();
    for gateway in gateways.chain(endpoint.gateway_v6.map(IpAddr::V6)) {
        // The MAC of a LAN's router is the LAN's to tell.
        if router.lan.is_none() {
            ops.push(neighbour(far, &endpoint.interface, gateway, router.number.bridge_mac()));
        }
        let default = default_route(gateway, &endpoint.interface);
        let own = table.map(|table| Route { table: Some(table), ..default.clone() });
        let main = (!endpoint.further).then_some(default);
        ops.extend(
            own.into_iter().chain(main).map(|route| Op::RouteReplace { ns: far.clone(), route }),
        );
    }
    ops
}

/// An endpoint whose other side somebody else moves and sets up.
fn handed_unit(router: &RouterDesired, endpoint: &EndpointDesired, mtu: u32, open: bool) -> Unit {
    let near = router_ns(router);
    let (link, mac) = (endpoint.number.link_name(), endpoint.mac);
    let mut steps: Vec<Step> = [
        Op::LinkMtu { ns: near.clone(), link: link.clone(), mtu },
        Op::VethAdd(endpoint_veth(router, endpoint, mtu)),
    ]
    .map(Step::Kernel)
    .into();
    steps.push(Step::Attach { router: near.clone(), endpoint: Box::new(endpoint.clone()) });
    let mut ops = vec![
        Op::PortSet { ns: near.clone(), link: link.clone(), flags: PortFlags::ENDPOINT },
        Op::FdbReplace { ns: near.clone(), link: link.clone(), mac },
    ];
    let addresses = endpoint.addresses.iter();
    ops.extend(addresses.map(|address| neighbour(&near, BRIDGE, address.addr(), mac)));
    ops.push(Op::LinkUp { ns: near, link, up: open });
    steps.extend(ops.into_iter().map(Step::Kernel));
    Unit { subject: format!("endpoint {}", endpoint.workload), steps }
}

fn endpoint_veth(router: &RouterDesired, endpoint: &EndpointDesired, mtu: u32) -> VethSpec {
    VethSpec {
        ns: router_ns(router),
        link: endpoint.number.link_name(),
        index: Some(endpoint.number.ifindex()),
        mac: endpoint.number.host_mac(),
        master: Some(BRIDGE.to_owned()),
        peer_ns: endpoint.ns(),
        peer_link: endpoint.interface.clone(),
        peer_index: Some(endpoint.number.peer_ifindex()),
        peer_mac: endpoint.mac,
        mtu,
    }
}
