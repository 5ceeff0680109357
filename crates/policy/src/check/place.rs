//! Where a workload stands: its network and segment, chosen or the only ones there are.

use model::Name;

use crate::codes::Code;
use crate::decode::Val;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Network};
use crate::raw::{RawAlso, RawTenant, RawWorkload};
use crate::scalar::SegmentRef;

/// What a workload, or a further attachment of one, says of its place.
#[derive(Clone, Copy)]
pub(super) struct Said<'r> {
    /// Its `network:`.
    pub(super) network: Option<&'r Val<Name>>,
    /// Its `segment:`.
    pub(super) segment: Option<&'r Val<SegmentRef>>,
}

impl<'r> From<&'r RawWorkload> for Said<'r> {
    fn from(raw: &'r RawWorkload) -> Self {
        Self { network: raw.network.as_ref(), segment: raw.segment.as_ref() }
    }
}

impl<'r> From<&'r RawAlso> for Said<'r> {
    fn from(raw: &'r RawAlso) -> Self {
        Self { network: raw.network.as_ref(), segment: raw.segment.as_ref() }
    }
}

/// Finds network and segment. `None` after a problem was reported, or when the network itself had one.
pub(super) fn place(
    tenant: &Name,
    raw_tenant: &RawTenant,
    name: &Val<Name>,
    said: Said<'_>,
    document: &Document,
    problems: &mut Problems<'_>,
) -> Option<(Name, Option<Name>)> {
    let networks: Vec<&Network> =
        document.networks.iter().rev().take_while(|n| n.tenant == *tenant).collect();
    let declared = raw_tenant.networks.as_ref().map_or(0, |table| table.entries.len());
    if declared > networks.len() {
        return None;
    }
    if let (Some(network), Some(segment)) = (said.network, said.segment) {
        let hint = format!("write `segment: {}/{}`", network.value, segment.value.segment);
        problems.push(
            Diagnostic::error(
                Code::Exclusive,
                segment.span,
                "`segment` and `network` exclude each other",
            )
            .related(network.span, "given here")
            .hint(hint),
        );
        return None;
    }
    if let Some(network) = said.network {
        let Some(found) = networks.iter().find(|candidate| candidate.name == network.value) else {
            let known: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
            problems.push(super::unknown("network", network.value.as_str(), network.span, known));
            return None;
        };
        return only_segment(found, network.span, problems);
    }
    if let Some(wanted) = said.segment {
        return by_segment(&networks, wanted, problems);
    }
    match networks.as_slice() {
        [] => {
            let message =
                format!("the tenant `{tenant}` has no network for the workload `{}`", name.value);
            problems.push(
                Diagnostic::error(Code::Choice, name.span, message)
                    .hint("add one: `networks: { main: { subnets: [10.0.0.0/24] } }`"),
            );
            None
        }
        [network] => only_segment(network, name.span, problems),
        several => {
            let names: Vec<&str> = several.iter().rev().map(|n| n.name.as_str()).collect();
            let message = format!("the workload `{}` could stand in several networks", name.value);
            problems.push(Diagnostic::error(Code::Choice, name.span, message).hint(format!(
                "choose with `network:` or `segment:`; there are {}",
                names.join(", ")
            )));
            None
        }
    }
}

fn only_segment(
    network: &Network,
    span: crate::document::Span,
    problems: &mut Problems<'_>,
) -> Option<(Name, Option<Name>)> {
    match network.segments.as_slice() {
        [] => Some((network.name.clone(), None)),
        [segment] => Some((network.name.clone(), Some(segment.name.clone()))),
        several => {
            let names: Vec<&str> =
                several.iter().map(|segment| segment.name.as_str()).take(8).collect();
            let message = format!("the network `{}` has several segments", network.name);
            problems.push(
                Diagnostic::error(Code::Choice, span, message)
                    .hint(format!("choose with `segment:`; there are {}", names.join(", "))),
            );
            None
        }
    }
}

fn by_segment(
    networks: &[&Network],
    wanted: &Val<SegmentRef>,
    problems: &mut Problems<'_>,
) -> Option<(Name, Option<Name>)> {
    let name = &wanted.value.segment;
    if let Some(network) = &wanted.value.network {
        let Some(found) = networks.iter().find(|candidate| candidate.name == *network) else {
            let known: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
            problems.push(super::unknown("network", network.as_str(), wanted.span, known));
            return None;
        };
        if found.segment(name).is_none() {
            let known: Vec<&str> = found.segments.iter().map(|s| s.name.as_str()).collect();
            problems.push(super::unknown("segment", name.as_str(), wanted.span, known));
            return None;
        }
        return Some((network.clone(), Some(name.clone())));
    }
    let found: Vec<&&Network> =
        networks.iter().filter(|network| network.segment(name).is_some()).collect();
    match found.as_slice() {
        [network] => Some((network.name.clone(), Some(name.clone()))),
        [] => {
            let known: Vec<&str> = networks
                .iter()
                .flat_map(|network| &network.segments)
                .map(|s| s.name.as_str())
                .collect();
            problems.push(super::unknown("segment", name.as_str(), wanted.span, known));
            None
        }
        several => {
            let choices: Vec<String> =
                several.iter().rev().map(|n| format!("{}/{name}", n.name)).collect();
            problems.push(
                Diagnostic::error(
                    Code::Choice,
                    wanted.span,
                    format!("several networks have a segment `{name}`"),
                )
                .hint(format!("write one of {}", choices.join(", "))),
            );
            None
        }
    }
}
