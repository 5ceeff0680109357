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

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::network::{Mode, PublishDesired, RouterDesired, TRANSIT_V4, TRANSIT_V6};

use super::{Action, Chain, Family, Match, Rule, Ruleset};

/// The router's link to its endpoints.
const BRIDGE: &str = "br0";
/// The router's link to the host.
const UPLINK: &str = "up0";
/// The host's links to routers.
const TRANSIT_LINKS: &str = "bt*";

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
/// find the host's published ports. Empty, that is without chains, for mode `routed` without
/// publishes.
#[must_use]
pub fn router(router: &RouterDesired, host_addresses: &BTreeSet<IpAddr>) -> Ruleset {
    Ruleset {
        chains: vec![
            nat("prerouting", "prerouting", DSTNAT, router_prerouting(router, host_addresses)),
            nat("postrouting", "postrouting", SRCNAT, router_postrouting(router)),
            Chain {
                name: "forward",
                kind: "filter",
                hook: "forward",
                priority: FILTER,
                rules: router_forward(router.mode),
            },
        ],
    }
}

/// The table of the host's own namespace.
#[must_use]
pub fn host(routers: &[RouterDesired], guard: Guard) -> Ruleset {
    let publishes = |local| -> Vec<Rule> {
        let all = routers.iter().flat_map(|r| r.publishes.iter().map(move |p| (r, p)));
        all.flat_map(|(r, p)| host_publish(r, p, local)).collect()
    };
    let filter =
        |name, hook, priority, rules| Chain { name, kind: "filter", hook, priority, rules };
    Ruleset {
        chains: vec![
            filter("raw", "prerouting", RAW, vec![loopback_guard()]),
            nat("prerouting", "prerouting", DSTNAT, publishes(false)),
            nat("output", "output", DSTNAT, publishes(true)),
            nat("postrouting", "postrouting", SRCNAT, host_postrouting()),
            filter("forward", "forward", FILTER, forward_guard(guard)),
        ],
    }
}

fn nat(name: &'static str, hook: &'static str, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name, kind: "nat", hook, priority, rules }
}

fn rule(matches: Vec<Match>, action: Action) -> Rule {
    Rule { matches, action, comment: String::new() }
}

/// The targets of a publish: (workload, transit address of its router), for each family it has.
fn targets(router: &RouterDesired, publish: &PublishDesired) -> Vec<(IpAddr, IpAddr)> {
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
            add(UPLINK, vec![transit.into()], Vec::new());
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
            rules.push(Rule { matches: turned, action: Action::Snat(to), comment });
        }
    }
    if router.mode == Mode::Nat {
        rules.push(rule(vec![Match::Iif(BRIDGE), Match::Oif(UPLINK)], Action::Masquerade));
    }
    rules
}

/// Into a translated network leads only `publish`; out of mode `bridge` lead only answers.
fn router_forward(mode: Mode) -> Vec<Rule> {
    let mut rules = Vec::new();
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

fn host_postrouting() -> Vec<Rule> {
    let leaves = |net| {
        let matches = vec![Match::Source(vec![net]), Match::OifNot(TRANSIT_LINKS)];
        rule(matches, Action::Masquerade)
    };
    let local = vec![Match::Source(vec![loopback()]), Match::Oif(TRANSIT_LINKS)];
    vec![
        leaves(TRANSIT_V4.into()),
        leaves(TRANSIT_V6.into()),
        Rule {
            matches: local,
            action: Action::Masquerade,
            comment: "published port through loopback".to_owned(),
        },
    ]
}

/// `route_localnet` on transit links must not let a workload reach the host's loopback.
fn loopback_guard() -> Rule {
    rule(vec![Match::Iif(TRANSIT_LINKS), Match::Destination(vec![loopback()])], Action::Drop)
}

fn forward_guard(guard: Guard) -> Vec<Rule> {
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
    ours.into_iter().chain(drops).collect()
}
