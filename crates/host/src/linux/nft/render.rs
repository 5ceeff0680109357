//! The tables that a router and the host should have.
//!
//! A published connection is translated twice and its source never: on the host from the host's
//! address to the router's transit address, in the router from there to the workload. Policy on
//! the workload's port therefore sees the client.
//!
//! Two cases need a source translation, because the answer would otherwise not come back through
//! the same tables. A workload that reaches its own network's published port is turned round in
//! the router and then seen with the router's transit address, which is `unmanaged` to policy: it
//! passes only where a policy says so. A client on the host that connects to `127.0.0.1` is seen
//! with the host's transit address. `::1` cannot be translated and is left alone.
//!
//! **Who speaks.** Policy knows endpoints, the host and routers by their addresses, so nobody else may use them
//! (RFC 2827). What comes to a router from the host never has a source of that network: the chain `raw`. The host refuses
//! what a router could not have sent, also in `raw`, and in `forward` what enters from elsewhere with an address of the
//! host, of a transit link or of a routed network. On the host only packets from or to our own links are looked at, so
//! nothing else is touched, however its routes are.
//!
//! Transit addresses are reached through a translation, or by answers: never by themselves. Neighbour discovery does not
//! leave its link; the entries between the host and its routers are permanent.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::{Mode, PublishDesired, RouterDesired};

use super::{Action, Chain, Family, Match, Rule, Ruleset, leaving};

/// The router's link to its endpoints.
pub(super) const BRIDGE: &str = "br0";
/// The router's link to the host.
pub(super) const UPLINK: &str = "up0";
/// The host's links to routers.
pub(super) const TRANSIT_LINKS: &str = "bt*";

const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
const RAW: i32 = -300;
const FILTER: i32 = 0;

/// Which families the host did not forward before we switched forwarding on. For these it goes on
/// forwarding nothing but our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// `net.ipv4.ip_forward` was 0.
    pub v4: bool,
    /// `net.ipv6.conf.all.forwarding` was 0.
    pub v6: bool,
}

/// The table of a network's router. `host_addresses` are the addresses under which workloads may
/// find the host's published ports.
#[must_use]
pub fn router(router: &RouterDesired, host_addresses: &BTreeSet<IpAddr>) -> Ruleset {
    Ruleset {
        chains: vec![
            filter("raw", "prerouting", RAW, router_sources(router)),
            nat("prerouting", "prerouting", DSTNAT, router_prerouting(router, host_addresses)),
            nat("postrouting", "postrouting", SRCNAT, router_postrouting(router)),
            filter("forward", "forward", FILTER, router_forward(router.mode)),
        ],
    }
}

/// The table of the host's own namespace. `bridges` are those of the host, whose frames pass there where
/// `bridge-nf-call-iptables` is on.
#[must_use]
pub fn host(routers: &[RouterDesired], guard: Guard, bridges: &[String]) -> Ruleset {
    let publishes = |local| -> Vec<Rule> {
        let all = routers.iter().flat_map(|r| r.publishes.iter().map(move |p| (r, p)));
        all.flat_map(|(r, p)| host_publish(r, p, local)).collect()
    };
    let mut forward = host_sources(routers);
    forward.extend(transit_guard(routers));
    forward.extend(network_guard(routers));
    forward.extend(forward_guard(guard, bridges));
    Ruleset {
        chains: vec![
            filter("raw", "prerouting", RAW, host_raw(routers)),
            nat("prerouting", "prerouting", DSTNAT, publishes(false)),
            nat("output", "output", DSTNAT, publishes(true)),
            nat("postrouting", "postrouting", SRCNAT, host_postrouting(routers)),
            filter("forward", "forward", FILTER, forward),
        ],
    }
}

fn nat(name: &'static str, hook: &'static str, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name, kind: "nat", hook, priority, rules }
}

fn filter(name: &'static str, hook: &'static str, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name, kind: "filter", hook, priority, rules }
}

fn refuse(matches: Vec<Match>, comment: &str) -> Rule {
    Rule { matches, action: Action::Refuse, comment: comment.to_owned() }
}

/// Networks of each family in their shortest form; families without any are left out.
fn families(nets: &[IpNet]) -> Vec<Vec<IpNet>> {
    let of = |family| {
        let same = nets.iter().filter(|net| Family::of(net.addr()) == family);
        IpNet::aggregate(&same.map(IpNet::trunc).collect())
    };
    [of(Family::V4), of(Family::V6)].into_iter().filter(|nets| !nets.is_empty()).collect()
}

/// The transit networks of these routers.
fn transits(routers: &[RouterDesired]) -> Vec<IpNet> {
    let both = |router: &RouterDesired| {
        let transit = router.number.transit();
        let v4 = IpNet::V4(Ipv4Net::new_assert(transit.host_v4, 31));
        [v4, IpNet::V6(Ipv6Net::new_assert(transit.host_v6, 127))]
    };
    routers.iter().flat_map(both).collect()
}

/// Nobody behind the host has an address of this network, nor the router's own.
fn router_sources(router: &RouterDesired) -> Vec<Rule> {
    let transit = router.number.transit();
    let mut own: Vec<IpNet> =
        vec![IpAddr::V4(transit.router_v4).into(), IpAddr::V6(transit.router_v6).into()];
    own.extend(&router.subnets);
    own.extend(&router.gateways);
    let own = families(&own).into_iter();
    let forged =
        own.map(|nets| refuse(vec![Match::Iif(UPLINK), Match::Source(nets)], "forged source"));
    // On a LAN it has no address, and forwards nothing from there.
    let silent = router.lan.is_some().then(|| rule(vec![Match::Iif(BRIDGE)], Action::Drop));
    forged.chain(silent).collect()
}

fn rule(matches: Vec<Match>, action: Action) -> Rule {
    Rule { matches, action, comment: String::new() }
}

/// The targets of a publish: (workload, transit address of its router), for each family it has.
pub(super) fn targets(router: &RouterDesired, publish: &PublishDesired) -> Vec<(IpAddr, IpAddr)> {
    let transit = router.number.transit();
    let v4 = publish.target_v4.map(|to| (IpAddr::V4(to), IpAddr::V4(transit.router_v4)));
    let v6 = publish.target_v6.map(|to| (IpAddr::V6(to), IpAddr::V6(transit.router_v6)));
    let fits = |to: &(IpAddr, IpAddr)| {
        publish.address.is_none_or(|address| address.is_ipv4() == to.0.is_ipv4())
    };
    v4.into_iter().chain(v6).filter(fits).collect()
}

/// The match for the clients a publish is narrowed to; `None` when none of this family is.
fn clients(publish: &PublishDesired, family: Family) -> Option<Vec<Match>> {
    if publish.from.is_empty() {
        return Some(Vec::new());
    }
    let same = publish.from.iter().copied().filter(|net| Family::of(net.addr()) == family);
    let nets = IpNet::aggregate(&same.collect());
    (!nets.is_empty()).then(|| vec![Match::Source(nets)])
}

/// As [`clients`], seen from the router: those on the host's loopback come with the host's transit address.
fn clients_behind_host(
    router: &RouterDesired,
    publish: &PublishDesired,
    family: Family,
) -> Option<Vec<Match>> {
    let mut seen = publish.clone();
    let overlaps = |net: &IpNet| net.contains(&loopback()) || loopback().contains(net);
    if publish.from.iter().any(overlaps) {
        seen.from.push(IpAddr::V4(router.number.transit().host_v4).into());
    }
    clients(&seen, family)
}

fn router_prerouting(router: &RouterDesired, host_addresses: &BTreeSet<IpAddr>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for publish in &router.publishes {
        for (target, transit) in targets(router, publish) {
            let family = Family::of(target);
            let port = Match::Port(publish.transport, publish.ports.0, publish.ports.1);
            let single = publish.ports.0 == publish.ports.1;
            let action = Action::Dnat(target, single.then_some(publish.target_port));
            let mut add = |iif, to: Vec<IpNet>, from: Vec<Match>| {
                let mut matches = vec![Match::Iif(iif), Match::Destination(to)];
                matches.extend(from);
                matches.push(port.clone());
                let comment = format!("publish {}", publish.name);
                rules.push(Rule { matches, action: action.clone(), comment });
            };
            if let Some(from) = clients_behind_host(router, publish, family) {
                add(UPLINK, vec![transit.into()], from);
            }
            let own = || host_addresses.iter().copied().filter(|a| Family::of(*a) == family);
            let host: Vec<IpNet> = match publish.address {
                Some(address) => vec![address.into()],
                None => own().map(IpNet::from).collect(),
            };
            if let (false, Some(from)) = (host.is_empty(), clients(publish, family)) {
                add(BRIDGE, host, from);
            }
        }
    }
    rules
}

fn router_postrouting(router: &RouterDesired) -> Vec<Rule> {
    let transit = router.number.transit();
    let mut rules = Vec::new();
    if !router.publishes.is_empty() {
        for (family, to) in [
            (Family::V4, IpAddr::V4(transit.router_v4)),
            (Family::V6, IpAddr::V6(transit.router_v6)),
        ] {
            let turned = vec![
                Match::Iif(BRIDGE),
                Match::Oif(BRIDGE),
                Match::Family(family),
                Match::Translated,
            ];
            let comment = "own published port".to_owned();
            rules.push(Rule { matches: turned, action: Action::Snat(to, None), comment });
        }
    }
    rules.extend(leaving::router(router));
    rules
}

/// Into a translated network leads only `publish`; out of mode `bridge` lead only answers.
fn router_forward(mode: Mode) -> Vec<Rule> {
    let mut rules = vec![neighbour_guard(None)];
    // What no segment holds would travel between the host and the router until its end.
    rules.push(rule(vec![Match::Iif(UPLINK), Match::Oif(UPLINK)], Action::Drop));
    if mode == Mode::Routed {
        return rules;
    }
    rules.push(rule(vec![Match::Established], Action::Accept));
    rules.push(rule(vec![Match::Iif(UPLINK), Match::Translated], Action::Accept));
    rules.push(rule(vec![Match::Iif(UPLINK)], Action::Drop));
    if mode == Mode::Bridge {
        let comment = "mode bridge does not leave".to_owned();
        let matches = vec![Match::Iif(BRIDGE), Match::Oif(UPLINK)];
        rules.push(Rule { matches, action: Action::Drop, comment });
    }
    rules
}

fn host_publish(router: &RouterDesired, publish: &PublishDesired, local: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (_, transit) in targets(router, publish) {
        let family = Family::of(transit);
        let Some(from) = clients(publish, family) else { continue };
        let mut matches = vec![match publish.address {
            Some(address) => Match::Destination(vec![address.into()]),
            None => Match::Family(family),
        }];
        if publish.address.is_none() {
            matches.push(Match::DestinationLocal);
        }
        if local && family == Family::V6 {
            matches.push(Match::DestinationNot(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        }
        matches.extend(from);
        matches.push(Match::Port(publish.transport, publish.ports.0, publish.ports.1));
        let comment = format!("publish {}", publish.name);
        rules.push(Rule { matches, action: Action::Dnat(transit, None), comment });
    }
    rules
}

fn loopback() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into()
}

fn host_postrouting(routers: &[RouterDesired]) -> Vec<Rule> {
    let mut rules = leaving::host(routers);
    let matches = vec![Match::Source(vec![loopback()]), Match::Oif(TRANSIT_LINKS)];
    let comment = "published port through loopback".to_owned();
    rules.push(Rule { matches, action: Action::Masquerade(None), comment });
    rules
}

/// Neighbour discovery from `link`, or from anywhere.
fn neighbour_guard(link: Option<&'static str>) -> Rule {
    let mut matches: Vec<Match> = link.map(Match::Iif).into_iter().collect();
    matches.push(Match::NeighbourDiscovery);
    refuse(matches, "neighbour discovery stays on its link")
}

/// Before connections are known and destinations translated.
fn host_raw(routers: &[RouterDesired]) -> Vec<Rule> {
    let mut rules = vec![loopback_guard(), neighbour_guard(Some(TRANSIT_LINKS))];
    let astray = vec![Match::Iif(TRANSIT_LINKS), Match::SourceAstray];
    rules.push(refuse(astray, "forged source"));
    rules.extend(families(&transits(routers)).into_iter().map(|nets| {
        let links = [Match::IifNot(TRANSIT_LINKS), Match::IifNot("lo")];
        let matches = links.into_iter().chain([Match::Destination(nets)]).collect();
        refuse(matches, "transit links are the host's")
    }));
    rules
}

/// Nobody who is not on this host speaks as the host, a router or an endpoint of a routed network.
fn host_sources(routers: &[RouterDesired]) -> Vec<Rule> {
    let routed = routers.iter().filter(|router| router.mode == Mode::Routed);
    let mut ours: Vec<IpNet> = routed.flat_map(|router| router.subnets.clone()).collect();
    ours.extend(transits(routers));
    if ours.is_empty() {
        return Vec::new();
    }
    let sources = families(&ours).into_iter().map(Match::Source);
    let entering = |source| {
        let matches = vec![Match::IifNot(TRANSIT_LINKS), Match::Oif(TRANSIT_LINKS), source];
        refuse(matches, "forged source")
    };
    [Match::SourceLocal].into_iter().chain(sources).map(entering).collect()
}

/// A router is reached through a published port, or by an answer.
fn transit_guard(routers: &[RouterDesired]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for nets in families(&transits(routers)) {
        let to = || vec![Match::Oif(TRANSIT_LINKS), Match::Destination(nets.clone())];
        let with = |matching| to().into_iter().chain([matching]).collect();
        rules.push(rule(with(Match::Established), Action::Accept));
        rules.push(rule(with(Match::Translated), Action::Accept));
        rules.push(refuse(to(), "not a published port"));
    }
    rules
}

/// A translated network reaches another one through its published ports only: by any other way it would come with its
/// router's address, and no policy that names both ends would be asked.
fn network_guard(routers: &[RouterDesired]) -> Vec<Rule> {
    let between = |nets: &Vec<IpNet>| {
        vec![Match::Iif(TRANSIT_LINKS), Match::Oif(TRANSIT_LINKS), Match::Source(nets.clone())]
    };
    let rules = families(&transits(routers)).into_iter().flat_map(|nets| {
        let published = between(&nets).into_iter().chain([Match::Translated]).collect();
        let refused = refuse(between(&nets), "networks meet at published ports");
        [rule(published, Action::Accept), refused]
    });
    rules.collect()
}

/// `route_localnet` on transit links must not let a workload reach the host's loopback.
fn loopback_guard() -> Rule {
    rule(vec![Match::Iif(TRANSIT_LINKS), Match::Destination(vec![loopback()])], Action::Drop)
}

fn forward_guard(guard: Guard, bridges: &[String]) -> Vec<Rule> {
    let wanted = [(guard.v4, Family::V4), (guard.v6, Family::V6)];
    let drops = wanted.into_iter().filter(|(on, _)| *on).map(|(_, family)| Rule {
        matches: vec![Match::Family(family)],
        action: Action::Drop,
        comment: "this host did not forward before".to_owned(),
    });
    let drops: Vec<Rule> = drops.collect();
    if drops.is_empty() {
        return drops;
    }
    let ours = [
        rule(vec![Match::Iif(TRANSIT_LINKS)], Action::Accept),
        rule(vec![Match::Oif(TRANSIT_LINKS)], Action::Accept),
    ];
    // What is bridged comes in and goes out by the bridge itself.
    let across = bridges.iter().map(|bridge| {
        let within = [Match::IifNamed(bridge.clone()), Match::OifNamed(bridge.clone())];
        rule(within.into(), Action::Accept)
    });
    ours.into_iter().chain(across).chain(drops).collect()
}
