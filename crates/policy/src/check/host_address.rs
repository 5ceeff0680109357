//! Addresses of the host in the file: `snat` of networks, `address` of published ports.
//!
//! Whether this host has them is not known here: [`crate::strays`] asks that where a host is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Mode, Name};

use crate::codes::Code;
use crate::decode::{OneOrMany, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Network, Snat, Span, Subnets};

const ADDRESSES: &str = "write an address of this host: ip address show";

/// Addresses that nobody outside can speak to, and why.
const UNUSABLE: [(&str, &str); 10] = [
    ("0.0.0.0/8", "this range means \"this network\""),
    ("169.254.0.0/16", "link-local: the links between host and routers are there"),
    ("224.0.0.0/4", "this is a multicast address"),
    ("240.0.0.0/4", "this address is reserved"),
    ("::/128", "this address means \"none\""),
    ("64:ff9b::/96", "this address stands for an IPv4 address"),
    ("100::/64", "packets to this address are discarded"),
    ("fe80::/10", "this is a link-local address"),
    ("fd62:756c:6b68::/64", "the links between host and routers are there"),
    ("ff00::/8", "this is a multicast address"),
];

/// The addresses that a network leaves with.
pub(super) fn snat(
    name: &Val<Name>,
    mode: Mode,
    subnets: &Subnets,
    raw: Option<&OneOrMany<Val<IpAddr>>>,
    problems: &mut Problems<'_>,
) -> Snat {
    let mut snat = Snat::default();
    let Some(list) = raw else { return snat };
    if list.written == 0 {
        problems.push(super::empty_list(list.span, "leave `snat` out to masquerade"));
    }
    if mode != Mode::Nat {
        let message = format!("a network of mode `{mode}` has no `snat`");
        let hint = match mode {
            Mode::Routed => "it leaves with its own addresses; remove this, or write `mode: nat`",
            Mode::Host => "it leaves as the host does; remove this, or write `mode: nat`",
            Mode::Macvlan => {
                "it is on the LAN with its own addresses; remove this, or write `mode: nat`"
            }
            _ => "nothing of it leaves; remove this, or write `mode: nat`",
        };
        problems.push(Diagnostic::error(Code::Mode, list.span, message).hint(hint));
        return snat;
    }
    for address in &list.items {
        let (version, has_subnet, is_first) = match address.value {
            IpAddr::V4(v4) => ("IPv4", subnets.v4.is_some(), snat.v4.replace(v4).is_none()),
            IpAddr::V6(v6) => ("IPv6", subnets.v6.is_some(), snat.v6.replace(v6).is_none()),
        };
        if !is_first {
            let message = format!("a network leaves with at most one {version} address");
            problems
                .push(Diagnostic::error(Code::HostAddress, address.span, message).hint(
                    "workloads that are to have another one stand in a network of their own",
                ));
        } else if !has_subnet && !subnets.is_empty() {
            let message = format!("the network `{}` has no {version} subnet", name.value);
            problems.push(
                Diagnostic::error(Code::HostAddress, address.span, message)
                    .label(format!("nothing could leave with {}", address.value))
                    .hint("add one to `subnets`, or remove this address"),
            );
        }
        let loopback = address.value.is_loopback().then_some("this is a loopback address");
        if let Some(why) = loopback.or_else(|| unusable(address.value)) {
            let message = format!("workloads cannot leave with {}", address.value);
            problems.push(refused(address.span, message, why));
        }
    }
    snat
}

/// The address of a published port.
pub(super) fn published(address: &Val<IpAddr>, problems: &mut Problems<'_>) {
    if let Some(why) = unusable(address.value) {
        let message = format!("no port can be published on {}", address.value);
        let every = "leave `address` out to publish on every address of the host".to_owned();
        let hint = address.value.is_unspecified().then_some(every);
        problems.push(refused(address.span, message, why).maybe_hint(hint));
    }
}

fn refused(span: Span, message: String, why: &str) -> Diagnostic {
    Diagnostic::error(Code::HostAddress, span, message).label(why).hint(ADDRESSES)
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    let holds = |range: &str| range.parse::<IpNet>().is_ok_and(|range| range.contains(&address));
    UNUSABLE.iter().find(|(range, _)| holds(range)).map(|(_, why)| *why)
}

/// Addresses of routed networks belong to workloads, not to the host.
pub(super) fn routed(document: &Document, problems: &mut Problems<'_>) {
    // In an external network the host has an address as a rule.
    let ours = |network: &&Network| network.mode == Mode::Routed && network.external.is_none();
    let routed = document.networks.iter().filter(ours);
    let subnets = routed.flat_map(|network| network.subnets.iter().map(move |net| (net, network)));
    // They do not overlap, or that has been told.
    let owners: BTreeMap<IpAddr, (IpNet, &Network)> =
        subnets.map(|(net, network)| (net.network(), (net, network))).collect();
    let owner = |address: IpAddr| {
        let (_, (net, network)) = owners.range(..=address).next_back()?;
        net.contains(&address).then_some(*network)
    };
    for network in &document.networks {
        for address in network.snat.iter() {
            if let Some(other) = owner(address) {
                let message = format!("the network `{}` cannot leave with {address}", network.id());
                problems.push(belongs(network.span, message, other));
            }
        }
    }
    for publish in &document.publishes {
        if let Some((address, other)) = publish.address.and_then(|it| Some((it, owner(it)?))) {
            let message = format!("no port can be published on {address}");
            problems.push(belongs(publish.span, message, other));
        }
    }
}

fn belongs(span: Span, message: String, other: &Network) -> Diagnostic {
    Diagnostic::error(Code::HostAddress, span, message)
        .label("this address is a workload's")
        .related(other.span, format!("it lies in the routed network `{}`", other.id()))
        .hint(ADDRESSES)
}
