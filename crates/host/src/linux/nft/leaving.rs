//! As whom workloads leave: source translation out of a router, and out of the host.
//!
//! A network of mode `nat` leaves its router with the router's transit address, and the host with the addresses of its
//! `snat`, or masqueraded: with that of the link. The kernel's connection tracking keeps what it chose until the flow ends,
//! so a change is for new flows. An address need not be on a link of the host: answers are translated back before they are routed.
//!
//! **Ports.** A flow keeps its source port where that is one of [`PORTS`] that no published port of the same address
//! takes, and gets another one where not. A workload could otherwise leave from a port under which others are reached, and answers
//! to it would be its own: whoever connects to the published port from the address and port it has spoken to would reach
//! it in place of the service. Only the service itself leaves from its port, over UDP and SCTP, where peers expect that. The same holds for services of the host below [`PORTS`]. Linux translates to any unused port
//! when none is given (`get_unique_tuple` in `net/netfilter/nf_nat_core.c`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::network::{Mode, PublishDesired, RouterDesired, TRANSIT_V4, TRANSIT_V6, Transport};

use super::render::{BRIDGE, TRANSIT_LINKS, UPLINK, targets};
use super::{Action, Family, Match, Rule};

/// Source ports of what leaves, first and last: at most these.
const PORTS: (u16, u16) = (32_768, u16::MAX);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

/// What leaves a router of mode `nat` has its transit address.
pub(super) fn router(router: &RouterDesired) -> Vec<Rule> {
    if router.mode != Mode::Nat {
        return Vec::new();
    }
    let leaving = [Match::Iif(BRIDGE), Match::Oif(UPLINK)];
    let mut rules = Vec::new();
    for publish in router.publishes.iter().filter(|publish| speaks_first(publish)) {
        for (target, transit) in targets(router, publish) {
            let from = Match::Source(vec![target.into()]);
            let port = Match::SourcePort(publish.transport, publish.target_port);
            let matches = leaving.iter().cloned().chain([from, port]).collect();
            rules.push(own(matches, publish, Action::Snat(transit, Some(publish.ports))));
        }
    }
    let taken: Vec<&PublishDesired> = router.publishes.iter().collect();
    rules.extend(translated(&leaving, &taken, Action::Masquerade, ""));
    rules
}

/// What leaves the host has the addresses of the network's `snat`, or that of the link.
pub(super) fn host(routers: &[RouterDesired]) -> Vec<Rule> {
    let mut users: BTreeMap<IpAddr, Vec<&RouterDesired>> = BTreeMap::new();
    for router in routers.iter().filter(|router| router.mode == Mode::Nat) {
        for address in &router.snat {
            users.entry(*address).or_default().push(router);
        }
    }
    let publishes = routers.iter().flat_map(|router| &router.publishes);
    let high: Vec<&PublishDesired> = publishes.filter(|it| it.ports.1 >= PORTS.0).collect();
    let mut rules = Vec::new();
    for (address, users) in users {
        let family = Family::of(address);
        let shares = |publish: &&PublishDesired| publish.address.is_none_or(|own| own == address);
        let action = |ports| Action::Snat(address, ports);
        for router in &users {
            rules.extend(speaking(router, family, shares, action));
        }
        let taken: Vec<&PublishDesired> = high.iter().copied().filter(shares).collect();
        let from = users.iter().map(|router| transit(router, family).into()).collect();
        rules.extend(translated(&leaving(from), &taken, action, "snat"));
    }
    for (family, net) in [(Family::V4, TRANSIT_V4.into()), (Family::V6, TRANSIT_V6.into())] {
        let has_none = |router: &&RouterDesired| {
            router.mode == Mode::Nat && !router.snat.iter().any(|own| Family::of(*own) == family)
        };
        for router in routers.iter().filter(has_none) {
            // Which address it will be is not known, so the port must be taken on all of them.
            let shares = |publish: &&PublishDesired| publish.address.is_none();
            rules.extend(speaking(router, family, shares, Action::Masquerade));
        }
        rules.extend(translated(&leaving(vec![net]), &high, Action::Masquerade, ""));
    }
    rules
}

fn leaving(from: Vec<IpNet>) -> [Match; 2] {
    [Match::Source(from), Match::OifNot(TRANSIT_LINKS)]
}

fn transit(router: &RouterDesired, family: Family) -> IpAddr {
    let transit = router.number.transit();
    match family {
        Family::V4 => transit.router_v4.into(),
        Family::V6 => transit.router_v6.into(),
    }
}

/// What a router sent from a published port of its own leaves from that port.
fn speaking<'r>(
    router: &'r RouterDesired,
    family: Family,
    shares: impl Fn(&&'r PublishDesired) -> bool,
    action: impl Fn(Option<(u16, u16)>) -> Action,
) -> Vec<Rule> {
    let from = transit(router, family);
    let published = router.publishes.iter().filter(|publish| speaks_first(publish)).filter(shares);
    let has_target =
        |publish: &&PublishDesired| targets(router, publish).iter().any(|(_, to)| *to == from);
    let rule = |publish: &PublishDesired| {
        let port = Match::SourcePort(publish.transport, publish.ports.0);
        let matches = leaving(vec![from.into()]).into_iter().chain([port]).collect();
        own(matches, publish, action(Some(publish.ports)))
    };
    published.filter(has_target).map(rule).collect()
}

/// Whether a published service may open flows from its own port, as those over UDP and SCTP do.
fn speaks_first(publish: &PublishDesired) -> bool {
    publish.transport != Transport::Tcp && publish.ports.0 == publish.ports.1
}

fn own(matches: Vec<Match>, publish: &PublishDesired, action: Action) -> Rule {
    Rule { matches, action, comment: format!("from {}", publish.name) }
}

/// Rules for what has ports, and one for the rest.
fn translated(
    matches: &[Match],
    taken: &[&PublishDesired],
    action: impl Fn(Option<(u16, u16)>) -> Action,
    comment: &str,
) -> Vec<Rule> {
    let rule = |more: Option<Match>, action| {
        let matches = matches.iter().cloned().chain(more).collect();
        Rule { matches, action, comment: comment.to_owned() }
    };
    let with_ports = TRANSPORTS.iter().map(|transport| {
        rule(Some(Match::Transport(*transport)), action(Some(free_ports(*transport, taken))))
    });
    with_ports.chain([rule(None, action(None))]).collect()
}

/// The longest run of [`PORTS`] without a published port.
fn free_ports(transport: Transport, taken: &[&PublishDesired]) -> (u16, u16) {
    let same = taken.iter().filter(|publish| publish.transport == transport);
    let mut ports: Vec<(u16, u16)> = same.map(|publish| publish.ports).collect();
    ports.sort_unstable();
    let (first, last) = (u32::from(PORTS.0), u32::from(PORTS.1));
    let mut free = first;
    let mut longest = (first, first);
    let end = [(last + 1, last + 1)];
    let taken = ports.iter().map(|ports| (u32::from(ports.0), u32::from(ports.1)));
    for (from, to) in taken.chain(end) {
        if from > free && from - free > longest.1 - longest.0 {
            longest = (free, from);
        }
        free = free.max(to + 1);
    }
    match longest {
        // Every port is published: there is none to protect the others from.
        (from, to) if from == to => PORTS,
        (from, to) => (narrow(from), narrow(to - 1)),
    }
}

fn narrow(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
