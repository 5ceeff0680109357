//! Workloads: place, labels, addresses, and how each comes to run.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use model::{Mode, Name};

use super::network::{capacity, usable};
use super::{Seen, also, place};
use crate::codes::Code;
use crate::decode::{Mapping, OneOrMany, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Network, Run, Span, Start, Subnets, Workload};
use crate::raw::{RawTenant, RawWorkload};

/// Most labels of a workload.
const MAX_LABELS: usize = 64;

/// Adds the workloads of a tenant to the document.
pub(super) fn workloads(
    tenant: &Name,
    raw: &RawTenant,
    document: &mut Document,
    problems: &mut Problems<'_>,
) {
    for (name, workload) in raw.workloads.iter().flat_map(|table| &table.entries) {
        let Some(workload) = workload else { continue };
        let start = start(name, workload, problems);
        let place = place::place(tenant, raw, name, workload.into(), document, problems);
        let labels: model::Labels = workload
            .labels
            .iter()
            .flat_map(|table| &table.entries)
            .filter_map(|(key, value)| Some((key.value.clone(), value.as_ref()?.value.clone())))
            .collect();
        let reserved = workload.labels.iter().flat_map(|table| &table.entries);
        for (key, _) in reserved.filter(|(key, _)| key.value.as_str() == super::sets::KEY) {
            let message = "`set` is a word of the selector language and cannot be a label key";
            problems
                .push(Diagnostic::error(Code::Label, key.span, message).hint(
                    "`set=NAME` in a policy stands for a set of `sets:`; choose another key",
                ));
        }
        if labels.len() > MAX_LABELS {
            let message =
                format!("a workload has at most {MAX_LABELS} labels, this has {}", labels.len());
            problems.push(Diagnostic::error(Code::Limit, name.span, message));
        }
        let (Some((network, segment)), Some(start)) = (place, start) else { continue };
        let mut made = Workload {
            tenant: tenant.clone(),
            name: name.value.clone(),
            further: false,
            network,
            segment,
            labels,
            v4: None,
            v6: None,
            start,
            span: name.span,
        };
        addresses_of(&mut made, workload.address.as_ref(), document, problems);
        super::external::place(&made, workload, document, problems);
        super::lan::place(&made, workload.given("address"), document, problems);
        let further = also::further(&made, raw, (name, workload), document, problems);
        document.workloads.push(made.into());
        document.workloads.extend(further.into_iter().map(Into::into));
    }
}

/// Gives a workload the addresses that the file fixes, each checked.
pub(super) fn addresses_of(
    made: &mut Workload,
    fixed: Option<&OneOrMany<Val<IpAddr>>>,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let Some(network) =
        document.networks.iter().rev().find(|n| n.tenant == made.tenant && n.name == made.network)
    else {
        return;
    };
    for address in fixed.iter().flat_map(|list| &list.items) {
        if let mode @ (Mode::None | Mode::Host) = network.mode {
            problems.push(
                Diagnostic::error(
                    Code::Mode,
                    address.span,
                    format!("a workload in a network of mode `{mode}` has no address"),
                )
                .hint(if mode == Mode::Host {
                    "it has the host's"
                } else {
                    "it has loopback only"
                }),
            );
            continue;
        }
        let own = subnets(network, made.segment.as_ref());
        // A subnet without room for anybody was refused where it stands.
        let why = if network.external.is_some() {
            super::external::usable(address.value, &own).err()
        } else if let Some(lan) = &network.lan {
            super::lan::usable(address.value, lan, &own).err()
        } else {
            usable(address.value, &own).err().filter(|_| capacity(&own) > 0)
        };
        if let Some(why) = why {
            let message = format!("`{}` cannot have the address {}", made.name, address.value);
            problems.push(Diagnostic::error(Code::Placement, address.span, message).label(why));
        }
        let first = match address.value {
            IpAddr::V4(v4) => made.v4.replace(v4).is_none(),
            IpAddr::V6(v6) => made.v6.replace(v6).is_none(),
        };
        if !first {
            let message = "a workload has at most one address of each IP version";
            problems.push(Diagnostic::error(Code::Placement, address.span, message));
        }
    }
}

/// The subnets that a workload there takes its address from.
fn subnets(network: &Network, segment: Option<&Name>) -> Subnets {
    segment
        .and_then(|name| network.segment(name))
        .map_or(network.subnets, |segment| segment.subnets)
}

fn start(name: &Val<Name>, raw: &RawWorkload, problems: &mut Problems<'_>) -> Option<Start> {
    if raw.given("port") {
        return super::external::port(raw, problems).map(Start::Port);
    }
    match (&raw.run, &raw.netns) {
        (Some(run), None) => {
            let argv: Vec<String> =
                run.items.iter().map(|argument| argument.value.0.clone()).collect();
            if run.written > run.items.len() {
                return None;
            }
            if argv.first().is_none_or(String::is_empty) {
                let message = "`run` names no program";
                problems.push(
                    Diagnostic::error(Code::Value, run.span, message)
                        .hint("write for example run: [nginx, -g, daemon off;]"),
                );
                return None;
            }
            let env: BTreeMap<String, String> = raw
                .env
                .iter()
                .flat_map(|table| &table.entries)
                .filter_map(|(key, value)| {
                    Some((key.value.0.clone(), value.as_ref()?.value.0.clone()))
                })
                .collect();
            Some(Start::Run(Run {
                argv,
                user: raw.user.as_ref().map(|user| user.value.clone()),
                env,
                workdir: raw.workdir.as_ref().map(|path| path.value.0.clone()),
                restart: raw.restart.as_ref().map(|restart| restart.value).unwrap_or_default(),
            }))
        }
        (None, Some(netns)) => {
            for (key, span) in runtime_keys(raw) {
                let message = format!("`{key}` is a setting of the built-in runtime");
                problems.push(
                    Diagnostic::error(Code::Exclusive, span, message)
                        .label("without effect here")
                        .hint(
                            "a workload with `netns:` was started by somebody else; remove the key",
                        ),
                );
            }
            Some(Start::Netns(netns.value.clone().into()))
        }
        (Some(_), Some(netns)) => {
            problems.push(
                Diagnostic::error(
                    Code::Exclusive,
                    netns.span,
                    "`run` and `netns` exclude each other",
                )
                .hint("`run` starts a program in a new namespace, `netns` adopts an existing one"),
            );
            None
        }
        (None, None) if raw.given("run") || raw.given("netns") => None,
        (None, None) => {
            nothing(name, problems);
            None
        }
    }
}

/// A workload that nobody starts.
fn nothing(name: &Val<Name>, problems: &mut Problems<'_>) {
    let message = format!("the workload `{}` has neither `run` nor `netns` nor `port`", name.value);
    problems.push(Diagnostic::error(Code::MissingKey, name.span, message).hint(
        "write run: [program, argument], netns: NAME for an existing namespace, or port: \
                 {interface: tap0, mac: ...} for an interface that somebody else made",
    ));
}

pub(super) fn runtime_keys(raw: &RawWorkload) -> impl Iterator<Item = (&'static str, Span)> {
    let env =
        raw.env.as_ref().and_then(|table| table.entries.first()).map(|(key, _)| ("env", key.span));
    [
        raw.user.as_ref().map(|value| ("user", value.span)),
        env,
        raw.workdir.as_ref().map(|value| ("workdir", value.span)),
        raw.restart.as_ref().map(|value| ("restart", value.span)),
    ]
    .into_iter()
    .flatten()
}

/// Addresses used twice, segments with more workloads than addresses, namespaces adopted twice.
pub(super) fn addresses(document: &Document, problems: &mut Problems<'_>) {
    let mut used: Seen<(&Name, &Name, IpAddr)> = HashMap::new();
    let mut spaces: Seen<String> = HashMap::new();
    let mut members: HashMap<(&Name, &Name, Option<&Name>), u64> = HashMap::new();
    for workload in &document.workloads {
        *members
            .entry((&workload.tenant, &workload.network, workload.segment.as_ref()))
            .or_default() += 1;
        for address in workload.v4.map(IpAddr::V4).into_iter().chain(workload.v6.map(IpAddr::V6)) {
            if let Some(first) =
                used.insert((&workload.tenant, &workload.network, address), workload.span)
            {
                problems.push(
                    Diagnostic::error(
                        Code::DuplicateAddress,
                        workload.span,
                        format!("{address} is used twice"),
                    )
                    .label("and by this workload")
                    .related(first, "by this workload"),
                );
            }
        }
        if let Start::Netns(adopted) = &workload.start
            && !workload.further
        {
            let text = match &adopted.netns {
                crate::document::Netns::Name(text) | crate::document::Netns::Path(text) => text,
                crate::document::Netns::Handed { .. } => continue,
            };
            if let Some(first) = spaces.insert(text.clone(), workload.span) {
                problems.push(
                    Diagnostic::error(
                        Code::NetnsTwice,
                        workload.span,
                        format!("the namespace `{text}` is adopted twice"),
                    )
                    .label("and by this workload")
                    .related(first, "by this workload"),
                );
            }
        }
    }
    let counted = |network: &&Network| {
        !matches!(network.mode, Mode::None | Mode::Host)
            && network.external.is_none()
            && network.lan.is_none()
    };
    for network in document.networks.iter().filter(counted) {
        let parts = network.segments.iter().map(|s| (Some(&s.name), &s.subnets, s.span));
        let whole = network.segments.is_empty().then_some((None, &network.subnets, network.span));
        for (segment, subnets, span) in parts.chain(whole) {
            let found =
                members.get(&(&network.tenant, &network.name, segment)).copied().unwrap_or(0);
            let most = capacity(subnets);
            // A subnet without room for anybody was refused where it stands.
            if found > most && most > 0 {
                let message = format!("{found} workloads do not fit into this subnet");
                let label = format!("usable addresses: {most}");
                problems.push(
                    Diagnostic::error(Code::Full, span, message)
                        .label(label)
                        .hint("use a larger subnet"),
                );
            }
        }
    }
}
