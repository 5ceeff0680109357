//! Networks and segments: subnets that fit the mode, nest and do not overlap.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Mode, Name, Posture, Postures};

use crate::codes::Code;
use crate::decode::{Mapping, OneOrMany, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, External, Network, Segment, Span, Subnets};
use crate::raw::{RawNetwork, RawPosture, RawSegment, RawTenant};
use crate::scalar::Switch;

/// Adds the networks of a tenant to the document.
pub(super) fn networks(
    tenant: &Name,
    raw: &RawTenant,
    document: &mut Document,
    problems: &mut Problems<'_>,
) {
    for (name, network) in raw.networks.iter().flat_map(|table| &table.entries) {
        let Some(network) = network else { continue };
        let network = one(tenant, name, network, problems);
        document.networks.push(network);
    }
}

fn one(tenant: &Name, name: &Val<Name>, raw: &RawNetwork, problems: &mut Problems<'_>) -> Network {
    let external = super::external::external(name, raw, problems);
    let mode = match &external {
        Some(_) => Mode::Routed,
        None => raw.mode.as_ref().map_or(Mode::default(), |mode| mode.value),
    };
    let subnets = subnets(raw.subnets.as_ref(), "network", problems);
    let segment_table = raw.segments.as_ref().map_or(&[][..], |table| table.entries.as_slice());
    let has_none = matches!(mode, Mode::None | Mode::Host);
    if let Some(attach) = raw.attach.as_ref().filter(|_| has_none) {
        let message = format!("nobody attaches to a network of mode `{mode}`");
        problems.push(Diagnostic::error(Code::Mode, attach.span, message));
    }
    if has_none {
        let extra = raw.subnets.as_ref().map(|list| list.span).into_iter();
        for span in extra.chain(segment_table.first().map(|(name, _)| name.span)) {
            problems.push(
                Diagnostic::error(
                    Code::Mode,
                    span,
                    format!("a network of mode `{mode}` has no subnets and no segments"),
                )
                .hint(instead_of_subnets(mode)),
            );
        }
    } else if matches!(external, Some(External::Docker(_))) && !raw.given("subnets") {
        // The engine knows them.
    } else if !raw.given("subnets") || raw.subnets.as_ref().is_some_and(|list| list.written == 0) {
        let message = format!("the network `{}` has no subnet", name.value);
        problems.push(
            Diagnostic::error(Code::Mode, name.span, message)
                .hint("write for example `subnets: [10.0.0.0/16]`"),
        );
    }
    if let (Some(posture), Some(_)) = (&raw.posture, segment_table.first()) {
        problems.push(
            Diagnostic::error(
                Code::Exclusive,
                posture.span(),
                "a network with segments has no posture of its own",
            )
            .hint("write the posture in each segment"),
        );
    }
    let segments: Vec<Segment> = segment_table
        .iter()
        .filter_map(|(name, raw)| Some(segment(name, raw.as_ref()?, problems)))
        .collect();
    if !has_none {
        nesting(&subnets, segment_table, problems);
        segment_overlaps(segment_table, problems);
    }
    let lan = super::lan::lan(name, mode, &subnets, raw, problems);
    let snat = super::host_address::snat(name, mode, &subnets, raw.snat.as_ref(), problems);
    Network {
        tenant: tenant.clone(),
        name: name.value.clone(),
        mode,
        external,
        lan,
        subnets,
        snat,
        segments,
        postures: postures(raw.posture.as_ref()),
        audit: super::audit::audit(raw.audit.as_ref(), problems),
        attach: raw.attach.as_ref().is_some_and(|attach| attach.value == Switch::On),
        span: name.span,
    }
}

/// What workloads have in a network without subnets.
fn instead_of_subnets(mode: Mode) -> &'static str {
    if mode == Mode::Host {
        "its workloads have the host's addresses; remove this, or choose another mode"
    } else {
        "its workloads have loopback only; remove this, or choose another mode"
    }
}

fn postures(raw: Option<&RawPosture>) -> Postures {
    let one = |value: Option<&Val<Posture>>| value.map_or(Posture::default(), |value| value.value);
    raw.map_or(Postures::default(), |raw| Postures {
        ingress: one(raw.ingress.as_ref()),
        egress: one(raw.egress.as_ref()),
    })
}

fn segment(name: &Val<Name>, raw: &RawSegment, problems: &mut Problems<'_>) -> Segment {
    if let (Some(profile), Some(posture)) = (&raw.profile, &raw.posture) {
        problems.push(
            Diagnostic::error(
                Code::Exclusive,
                posture.span(),
                "a sealed segment has no posture of its own",
            )
            .related(profile.span, "sealed here")
            .hint("`profile: sealed` is deny both ways; keep one of the two"),
        );
    }
    Segment {
        name: name.value.clone(),
        subnets: subnets(raw.subnet.as_ref(), "segment", problems),
        postures: postures(raw.posture.as_ref()),
        sealed: raw.profile.is_some(),
        audit: super::audit::of_segment(raw, problems),
        span: name.span,
    }
}

/// At most one usable subnet of each version.
fn subnets(
    raw: Option<&OneOrMany<Val<IpNet>>>,
    what: &str,
    problems: &mut Problems<'_>,
) -> Subnets {
    let mut subnets = Subnets::default();
    if let Some(list) = raw.filter(|list| list.written == 0 && what == "segment") {
        problems.push(super::empty_list(list.span, "write for example 10.0.1.0/24"));
    }
    for net in raw.iter().flat_map(|list| &list.items) {
        let first = match net.value {
            IpNet::V4(v4) => subnets.v4.replace(v4).is_none(),
            IpNet::V6(v6) => subnets.v6.replace(v6).is_none(),
        };
        if !first {
            let version = if net.value.addr().is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("a {what} has at most one {version} subnet");
            problems.push(Diagnostic::error(Code::Subnet, net.span, message));
        }
        if let Some(why) = unusable(net.value, what) {
            let message = format!("{} cannot be the subnet of a {what}", net.value);
            problems.push(
                Diagnostic::error(Code::Subnet, net.span, message)
                    .label(why)
                    .hint(usable_instead(net.value)),
            );
        }
    }
    subnets
}

/// Why a subnet cannot be used, if so.
fn unusable(net: IpNet, what: &str) -> Option<&'static str> {
    const V4: [(&str, &str); 5] = [
        ("0.0.0.0/8", "this range means \"this network\""),
        ("127.0.0.0/8", "these are loopback addresses"),
        ("169.254.0.0/16", "link-local: the links between host and routers are there"),
        ("224.0.0.0/4", "these are multicast addresses"),
        ("240.0.0.0/4", "these addresses are reserved"),
    ];
    const V6: [(&str, &str); 5] = [
        ("::/16", "these addresses are reserved or stand for IPv4 addresses"),
        ("fe80::/10", "these are link-local addresses"),
        ("ff00::/8", "these are multicast addresses"),
        ("fd62:756c:6b68::/64", "the links between host and routers are there"),
        ("100::/64", "packets to these addresses are discarded"),
    ];
    let (least, most) = if net.addr().is_ipv4() { (8, 30) } else { (16, 126) };
    if net.prefix_len() > most {
        return Some("too small for a gateway and a workload");
    }
    if net.prefix_len() < least && what == "network" {
        return Some("larger than any network needs to be");
    }
    let table = if net.addr().is_ipv4() { &V4 } else { &V6 };
    table
        .iter()
        .find(|(range, _)| range.parse::<IpNet>().is_ok_and(|range| overlap(&range, &net)))
        .map(|(_, why)| *why)
}

/// What to write for a subnet that cannot be used.
fn usable_instead(net: IpNet) -> String {
    let (most, room) =
        if net.addr().is_ipv4() { (30, "one workload") } else { (126, "two workloads") };
    match IpNet::new(net.addr(), most) {
        Ok(smallest) if net.prefix_len() > most => {
            format!("the smallest has room for {room}: {}", smallest.trunc())
        }
        _ if net.addr().is_ipv4() => {
            "choose from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16".to_owned()
        }
        _ => "choose from fd00::/8, for example fd00:5::/48".to_owned(),
    }
}

fn overlap(one: &IpNet, two: &IpNet) -> bool {
    one.contains(&two.network()) || two.contains(&one.network())
}

fn nesting(
    network: &Subnets,
    raw: &[(Val<Name>, Option<RawSegment>)],
    problems: &mut Problems<'_>,
) {
    for net in segment_subnets(raw) {
        let own: Option<IpNet> = match net.value {
            IpNet::V4(_) => network.v4.map(IpNet::V4),
            IpNet::V6(_) => network.v6.map(IpNet::V6),
        };
        match own {
            Some(own) if own.contains(&net.value) => {}
            Some(own) => problems.push(
                Diagnostic::error(
                    Code::Outside,
                    net.span,
                    format!("{} is outside of the network", net.value),
                )
                .label(format!("the network is {own}")),
            ),
            None if network.is_empty() => {}
            None => {
                let version = if net.value.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                let message =
                    format!("the network has no {version} subnet that could hold {}", net.value);
                problems.push(
                    Diagnostic::error(Code::Outside, net.span, message)
                        .hint("add one to `subnets` of the network"),
                );
            }
        }
    }
}

fn segment_subnets(raw: &[(Val<Name>, Option<RawSegment>)]) -> impl Iterator<Item = &Val<IpNet>> {
    raw.iter()
        .filter_map(|(_, segment)| segment.as_ref()?.subnet.as_ref())
        .flat_map(|list| &list.items)
}

fn segment_overlaps(raw: &[(Val<Name>, Option<RawSegment>)], problems: &mut Problems<'_>) {
    let mut nets: Vec<(IpNet, Span, String)> = Vec::new();
    for (name, segment) in raw {
        let subnets = segment.as_ref().and_then(|segment| segment.subnet.as_ref());
        for net in subnets.iter().flat_map(|list| &list.items) {
            nets.push((net.value, net.span, format!("segment `{}`", name.value)));
        }
    }
    overlaps(nets, problems);
}

/// Networks of mode routed share the host's routing table.
pub(super) fn routed_overlaps(document: &Document, problems: &mut Problems<'_>) {
    let mut nets = Vec::new();
    for network in document.networks.iter().filter(|network| network.mode == Mode::Routed) {
        let kind = if network.external.is_some() { "external" } else { "routed" };
        for net in network.subnets.iter() {
            nets.push((net, network.span, format!("{kind} network `{}`", network.id())));
        }
    }
    overlaps(nets, problems);
}

/// Reports every subnet that overlaps one that begins before it; n log n.
fn overlaps(mut nets: Vec<(IpNet, Span, String)>, problems: &mut Problems<'_>) {
    let key = |net: &IpNet| (net.addr().is_ipv6(), net.network(), net.prefix_len());
    nets.sort_by_key(|(net, span, _)| (key(net), span.start));
    let mut widest: Option<&(IpNet, Span, String)> = None;
    for next in &nets {
        match widest {
            Some(wide) if wide.0.contains(&next.0) => {
                let (first, second) =
                    if wide.1.start <= next.1.start { (wide, next) } else { (next, wide) };
                problems.push(
                    Diagnostic::error(
                        Code::Overlap,
                        second.1,
                        format!("{} and {} overlap", first.2, second.2),
                    )
                    .label(format!("{} meets {}", second.0, first.0))
                    .related(first.1, "first used here"),
                );
            }
            _ => widest = Some(next),
        }
    }
}

/// Whether a workload may have the address in this subnet.
pub(super) fn usable(address: IpAddr, subnets: &Subnets) -> Result<(), String> {
    match address {
        IpAddr::V4(address) => match subnets.v4 {
            None => Err("there is no IPv4 subnet".to_owned()),
            Some(net) if !net.contains(&address) => Err(format!("the subnet is {net}")),
            Some(_) if subnets.gateway_v4() == Some(address) => {
                Err("this is the gateway's address".to_owned())
            }
            Some(net) if address == net.network() => {
                Err("this is the network's own address".to_owned())
            }
            Some(net) if address == net.broadcast() => {
                Err("this is the broadcast address".to_owned())
            }
            Some(_) => Ok(()),
        },
        IpAddr::V6(address) => match subnets.v6 {
            None => Err("there is no IPv6 subnet".to_owned()),
            Some(net) if !net.contains(&address) => Err(format!("the subnet is {net}")),
            Some(_) if subnets.gateway_v6() == Some(address) => {
                Err("this is the gateway's address".to_owned())
            }
            Some(net) if address == net.network() => {
                Err("this is the subnet-router anycast address".to_owned())
            }
            Some(_) => Ok(()),
        },
    }
}

/// How many workloads fit, by the smaller of the subnets.
pub(super) fn capacity(subnets: &Subnets) -> u64 {
    let v4 = |net: Ipv4Net| (1_u64 << (32 - net.prefix_len())).saturating_sub(3);
    let v6 = |net: Ipv6Net| {
        1_u64
            .checked_shl(u32::from(128 - net.prefix_len()))
            .map_or(u64::MAX, |size| size.saturating_sub(2))
    };
    subnets.v4.map_or(u64::MAX, v4).min(subnets.v6.map_or(u64::MAX, v6))
}
