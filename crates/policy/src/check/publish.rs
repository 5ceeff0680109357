//! Published ports: a workload that can be reached, and no host port taken twice.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Mode, Name, Peer};

use super::sets::{Mention, Sets, mention};
use crate::codes::Code;
use crate::decode::Val;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, FlowLimit, Network, Publish, Scope, Span, Workload};
use crate::raw::{RawPublish, RawTenant};
use crate::scalar::PublishSource;

/// Adds the published ports of a tenant to the document.
pub(super) fn publishes(
    tenant: &Name,
    raw: &RawTenant,
    sets: &mut Sets,
    document: &mut Document,
    problems: &mut Problems<'_>,
) {
    let own = document.workloads.iter().rev().take_while(|workload| workload.tenant == *tenant);
    // A published port leads to the first attachment.
    let own = own.filter(|workload| !workload.further);
    let made: HashMap<&str, &Workload> =
        own.map(|workload| (workload.name.as_str(), &**workload)).collect();
    let declared = raw.workloads.iter().flat_map(|table| &table.entries);
    let targets: Targets<'_> = declared
        .map(|(name, _)| name.value.as_str())
        .map(|name| (name, made.get(name).copied()))
        .collect();
    let mut found: Vec<Publish> = Vec::new();
    // Whom a runtime puts into a network of its own is not in the file.
    let mut own = document.networks.iter().filter(|network| network.tenant == *tenant);
    let comes = own.any(|network| network.external.is_some());
    for (name, publish) in raw.publish.iter().flat_map(|table| &table.entries) {
        let Some(publish) = publish else { continue };
        let from = sources(tenant, publish, sets, problems);
        let place = Place { tenant, targets: &targets, comes, document };
        found.extend(one(&place, (name, from), publish, problems));
    }
    document.publishes.extend(found);
}

/// The workloads that a tenant declares; `None` for those that had a problem.
type Targets<'d> = HashMap<&'d str, Option<&'d Workload>>;

/// What an entry may lead to.
struct Place<'d> {
    tenant: &'d Name,
    targets: &'d Targets<'d>,
    /// Whether there are workloads that come at run time.
    comes: bool,
    document: &'d Document,
}

fn one(
    place: &Place<'_>,
    (name, (from, host)): (&Val<Name>, Sources),
    raw: &RawPublish,
    problems: &mut Problems<'_>,
) -> Option<Publish> {
    let Place { tenant, targets, comes, document } = *place;
    if let Some(address) = &raw.address {
        super::host_address::published(address, problems);
    }
    let (port, to) = (raw.port.as_ref()?, raw.to.as_ref()?);
    let address = raw.address.as_ref().map(|address| address.value);
    let wanted = to.value.workload.as_str();
    match targets.get(wanted) {
        Some(workload) => {
            let workload = (*workload)?;
            target(workload, address, to.span, document, problems);
            hosts(workload, host, name.span, document, problems);
        }
        None if comes => {}
        None => {
            problems.push(super::unknown("workload", wanted, to.span, targets.keys().copied()));
            return None;
        }
    }
    Some(Publish {
        tenant: tenant.clone(),
        name: name.value.clone(),
        address,
        transport: port.value.transport,
        port: port.value.port,
        workload: to.value.workload.clone(),
        workload_port: to.value.port,
        from,
        host,
        owner: raw.owner.as_ref().map(|owner| owner.value.0.as_str().into()),
        until: raw.until.as_ref().map(|until| until.value.0),
        limit: limit(raw, problems),
        span: name.span,
    })
}

/// One rate per source and one for all.
fn limit(raw: &RawPublish, problems: &mut Problems<'_>) -> FlowLimit {
    let mut limit = FlowLimit::default();
    let Some(list) = &raw.limit else { return limit };
    if list.written == 0 {
        problems.push(super::empty_list(list.span, "leave `limit` out if nothing is limited"));
    }
    for flows in &list.items {
        let per_source = flows.value.per_source;
        let place = if per_source { &mut limit.each } else { &mut limit.all };
        if place.replace(flows.value.rate).is_some() {
            let what = if per_source { "for each source" } else { "for all sources" };
            let message = format!("two limits {what}");
            problems.push(
                Diagnostic::error(Code::Redundant, flows.span, message)
                    .hint("write one rate per source and one for all: [20/s per source, 500/s]"),
            );
        }
    }
    limit
}

/// Ranges for which a port exists, and whether it does for the host.
type Sources = (Vec<IpNet>, bool);

fn sources(
    tenant: &Name,
    raw: &RawPublish,
    sets: &mut Sets,
    problems: &mut Problems<'_>,
) -> Sources {
    let (mut nets, mut host) = (Vec::new(), false);
    if let Some(list) = raw.from.as_ref().filter(|list| list.written == 0) {
        problems.push(super::empty_list(list.span, "leave `from` out if everybody is meant"));
    }
    let items = raw.from.as_ref().map_or(&[][..], |list| list.items.as_slice());
    for source in items {
        match &source.value {
            PublishSource::Net(net) => nets.push(*net),
            PublishSource::Host => host = true,
            PublishSource::Set(peer) => {
                nets.extend(ranges(tenant, peer, source.span, sets, problems));
            }
            PublishSource::World if items.len() > 1 => problems.push(Diagnostic::error(
                Code::Redundant,
                source.span,
                "`world` stands alone: it includes every CIDR",
            )),
            PublishSource::World => {}
        }
    }
    (nets, host)
}

/// `host` among the sources means whoever a runtime's proxy connects for, and where we publish there is none.
fn hosts(
    workload: &Workload,
    host: bool,
    span: Span,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let network = document.network(&workload.tenant, &workload.network);
    if host && network.is_some_and(|network| network.external.is_none()) {
        let message = format!("the port of `{}` cannot be limited to the host", workload.name);
        problems.push(
            Diagnostic::error(Code::Address, span, message)
                .label("the host reaches the workload at its own address")
                .hint(
                    "leave `host` out; a policy from host decides about the host's own connections",
                ),
        );
    }
}

/// Most networks of countries that a published port is limited to: they stand in address translation, which is put back as a whole when
/// somebody empties it.
const MOST_OF_COUNTRIES: usize = 16_384;

/// The ranges of a set; one with anything else in it is refused, as who may connect is for policies to say.
fn ranges(
    tenant: &Name,
    peer: &Peer,
    span: Span,
    sets: &mut Sets,
    problems: &mut Problems<'_>,
) -> Vec<IpNet> {
    let Mention::Of(name) = mention(peer) else { return Vec::new() };
    let members = sets.find(&Scope::Tenant(tenant.clone()), name, span, problems);
    if members.of_countries > MOST_OF_COUNTRIES {
        let networks = members.of_countries;
        let message = format!(
            "`{name}` has {networks} networks of countries, and a published port is limited to at most {MOST_OF_COUNTRIES}"
        );
        problems.push(
            Diagnostic::error(Code::Limit, span, message)
                .hint(format!("write a policy: {{ from: set={name}, to: app=web, deny: [any] }}")),
        );
        return Vec::new();
    }
    let members = members.peers;
    let net = |member: &Peer| match member {
        Peer::Cidr(net) => Some(*net),
        _ => None,
    };
    if let Some(other) = members.iter().find(|member| net(member).is_none()) {
        let message =
            format!("a published port is limited to CIDRs, and `{other}` in `{name}` is none");
        problems.push(Diagnostic::error(Code::Address, span, message).hint(
            "who may connect is decided by policies; this only narrows where the port exists",
        ));
    }
    members.iter().filter_map(net).collect()
}

fn target(
    workload: &Workload,
    address: Option<IpAddr>,
    span: Span,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let Some(network) = document.network(&workload.tenant, &workload.network) else { return };
    let message = format!("`{}` cannot be published", workload.name);
    if network.mode == Mode::None {
        problems.push(
            Diagnostic::error(Code::PublishTarget, span, message)
                .label(format!("its network `{}` has mode `none`", network.name)),
        );
        return;
    }
    if network.mode == Mode::Host {
        problems.push(
            Diagnostic::error(Code::PublishTarget, span, message)
                .label(format!(
                    "its network `{}` has mode `host`: its ports are the host's",
                    network.name
                ))
                .hint("a policy that lets clients in is all it takes"),
        );
        return;
    }
    if network.external.is_some() {
        // Its runtime publishes the port; the entry says for whom.
        return;
    }
    if let Some(lan) = &network.lan {
        problems.push(
            Diagnostic::error(Code::PublishTarget, span, message)
                .label(format!("it is on the LAN of {} itself", lan.uplink))
                .hint("whoever is to reach it does so at its own address; a policy decides who"),
        );
        return;
    }
    let subnets = workload
        .segment
        .as_ref()
        .and_then(|name| network.segment(name))
        .map_or(network.subnets, |segment| segment.subnets);
    let missing = match address {
        Some(IpAddr::V4(_)) if subnets.v4.is_none() => "IPv4",
        Some(IpAddr::V6(_)) if subnets.v6.is_none() => "IPv6",
        _ => return,
    };
    problems.push(
        Diagnostic::error(Code::PublishTarget, span, message)
            .label(format!("it has no {missing} address")),
    );
}

/// Host ports that two entries take.
pub(super) fn conflicts(document: &Document, problems: &mut Problems<'_>) {
    let workloads = document.workloads.iter();
    let networks: HashMap<(&Name, &Name), &Network> = workloads
        .filter_map(|it| Some(((&it.tenant, &it.name), document.network(&it.tenant, &it.network)?)))
        .collect();
    let mut taken: HashMap<(model::Transport, u16), Vec<&Publish>> = HashMap::new();
    for publish in &document.publishes {
        let others = taken.entry((publish.transport, publish.port)).or_default();
        let what = format!("{}/{} is published", publish.port, publish.transport);
        let found = if let Some(first) = others.iter().find(|other| meet(publish, other)) {
            let hint = "use another port, or give both entries different addresses of the host with `address:`";
            Some((first, format!("{what} twice"), hint))
        } else {
            let same = others.iter().find(|other| is_mixed_up(&networks, publish, other));
            let hint = "use another port, or put one of the workloads into another network";
            same.map(|first| (first, format!("{what} for two targets of one network"), hint))
        };
        if let Some((first, message, hint)) = found {
            problems.push(
                Diagnostic::error(Code::PublishConflict, publish.span, message)
                    .label("and here")
                    .related(first.span, "here")
                    .hint(hint),
            );
        }
        others.push(publish);
    }
    two_limits(document, problems);
}

/// Entries that lead to one port of a workload with different limits: packets arrive there without telling by which they came.
fn two_limits(document: &Document, problems: &mut Problems<'_>) {
    let mut known: HashMap<_, &Publish> = HashMap::new();
    for publish in &document.publishes {
        let target = (&publish.tenant, &publish.workload, publish.transport, publish.workload_port);
        let first = *known.entry(target).or_insert(publish);
        if first.limit != publish.limit {
            let (workload, port) = (&publish.workload, publish.workload_port);
            let message = format!("{workload}:{port} is published with two limits");
            problems.push(
                Diagnostic::error(Code::PublishConflict, publish.span, message)
                    .label("and here")
                    .related(first.span, "here")
                    .hint("give all entries of one port of a workload the same `limit`: what begins there is counted together"),
            );
        }
    }
}

/// Whether two entries of one port take the same address of the host.
fn meet(one: &Publish, other: &Publish) -> bool {
    one.address.is_none() || other.address.is_none() || one.address == other.address
}

/// Whether two entries of one port, on different addresses of one version, are the same to a router: there the host's
/// address is no longer known.
fn is_mixed_up(
    networks: &HashMap<(&Name, &Name), &Network>,
    one: &Publish,
    other: &Publish,
) -> bool {
    let network = |publish: &Publish| networks.get(&(&publish.tenant, &publish.workload)).copied();
    if network(one).is_none_or(|network| network.external.is_some()) {
        return false;
    }
    let network = |publish: &Publish| network(publish).map(|network| &network.name);
    let version = |publish: &Publish| publish.address.map(|address| address.is_ipv4());
    let target = |publish: &Publish| (publish.workload.clone(), publish.workload_port);
    one.tenant == other.tenant
        && network(one) == network(other)
        && version(one) == version(other)
        && target(one) != target(other)
}
