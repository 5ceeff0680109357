//! Further attachments of a workload: each in a network of its own, none in the way of another.

use std::sync::Arc;

use model::{Mode, Name};

use super::place;
use crate::codes::Code;
use crate::decode::{Mapping, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Adopted, Document, Network, Span, Start, Workload};
use crate::raw::{RawAlso, RawTenant, RawWorkload};

/// Most attachments of one workload, the first among them.
const MOST: usize = 8;

/// The endpoints that `also:` adds to a workload; none after a problem with all of them was reported.
pub(super) fn further(
    first: &Workload,
    tenant: &RawTenant,
    (name, raw): (&Val<Name>, &RawWorkload),
    document: &Document,
    problems: &mut Problems<'_>,
) -> Vec<Workload> {
    let Some(also) = &raw.also else { return Vec::new() };
    if also.written >= MOST {
        let message = format!(
            "`{}` has {} attachments, at most {MOST} are accepted",
            first.name,
            also.written + 1
        );
        problems.push(Diagnostic::error(Code::Attachments, also.span, message));
        return Vec::new();
    }
    if let Start::Port(_) = &first.start {
        let message = format!("`{}` is a port in place, which leads to one network", first.name);
        problems.push(
            Diagnostic::error(Code::Attachments, also.span, message)
                .hint("write a workload for each of its ports, with the same labels"),
        );
        return Vec::new();
    }
    let Some(home) = document.network(&first.tenant, &first.network) else { return Vec::new() };
    let takes_part = joins(home, (first, name.span), problems);
    let mut places: Vec<(&Network, Span)> = vec![(home, name.span)];
    let mut made = Vec::with_capacity(also.items.len());
    for each in also.items.iter().filter(|_| takes_part) {
        let found = place_of(first, tenant, (name, each), document, problems);
        let Some((network, segment)) = found else { continue };
        let is_alone = is_apart(network, each.span(), (first, &places), problems);
        places.push((network, each.span()));
        if is_alone {
            let mut workload = Workload {
                further: true,
                network: network.name.clone(),
                segment,
                v4: None,
                v6: None,
                start: beside(&first.start, made.len() + 1),
                span: each.span(),
                ..first.clone()
            };
            super::workload::addresses_of(&mut workload, each.address.as_ref(), document, problems);
            super::lan::place(&workload, each.given("address"), document, problems);
            made.push(workload);
        }
    }
    made
}

/// Network and segment of an attachment; `None` after a problem was reported.
fn place_of<'d>(
    first: &Workload,
    tenant: &RawTenant,
    (name, raw): (&Val<Name>, &RawAlso),
    document: &'d Document,
    problems: &mut Problems<'_>,
) -> Option<(&'d Network, Option<Name>)> {
    if !raw.given("network") && !raw.given("segment") {
        problems.push(
            Diagnostic::error(Code::MissingKey, raw.span(), "this attachment names no network")
                .hint("write {network: NAME}, or {segment: NETWORK/SEGMENT}"),
        );
    }
    if raw.network.is_none() && raw.segment.is_none() {
        return None;
    }
    let (network, segment) =
        place::place(&first.tenant, tenant, name, raw.into(), document, problems)?;
    let found = document.network(&first.tenant, &network)?;
    joins(found, (first, raw.span()), problems).then_some((found, segment))
}

/// How an attachment comes to be, after how the first one does.
fn beside(first: &Start, number: usize) -> Start {
    let interface: Arc<str> = format!("eth{number}").into();
    match first {
        Start::Netns(adopted) => Start::Netns(Adopted { netns: adopted.netns.clone(), interface }),
        Start::Run(_) | Start::Beside(_) | Start::Port(_) => Start::Beside(interface),
    }
}

/// Whether a network may be one of several.
fn joins(network: &Network, (first, span): (&Workload, Span), problems: &mut Problems<'_>) -> bool {
    let why = if network.mode == Mode::None {
        "its mode is `none`: there is nothing to attach to"
    } else if network.mode == Mode::Host {
        "its mode is `host`: its workloads have the host's own interfaces"
    } else if network.external.is_some() {
        "somebody else forwards for it"
    } else {
        return true;
    };
    let message = format!("`{}` cannot be in `{}` and in others", first.name, network.name);
    problems.push(
        Diagnostic::error(Code::Attachments, span, message)
            .label(why)
            .related(network.span, "this network"),
    );
    false
}

/// Whether a network is none of those before it and has no address in common with one.
fn is_apart(
    network: &Network,
    span: Span,
    (first, before): (&Workload, &[(&Network, Span)]),
    problems: &mut Problems<'_>,
) -> bool {
    for (other, at) in before {
        if other.name == network.name {
            let message = format!("`{}` is attached to `{}` twice", first.name, network.name);
            problems.push(
                Diagnostic::error(Code::Attachments, span, message)
                    .related(*at, "attached here")
                    .hint("a workload has one interface in a network"),
            );
            return false;
        }
        let meets = |net: &ipnet::IpNet| {
            other.subnets.iter().any(|own| own.contains(net) || net.contains(&own))
        };
        if let Some(net) = network.subnets.iter().find(meets) {
            let message = format!(
                "the networks `{}` and `{}` of `{}` overlap",
                other.name, network.name, first.name
            );
            problems.push(
                Diagnostic::error(Code::Attachments, span, message)
                    .label(format!("{net} is in both"))
                    .related(*at, "attached here")
                    .hint("one workload cannot tell the same address in two networks apart"),
            );
            return false;
        }
    }
    true
}
