//! Rules and published ports against the networks they need: no path, no policy, no audit where nothing may leak.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use model::{Mode, Name, Proto};

use super::sides::{Index, Side};
use super::{Budget, Resolved, allows, id};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Network, Publish};

/// Most networks of one side that are compared with those of the other.
const MAX_NETWORKS: usize = 256;

/// Policies between workloads, or from workloads to addresses, that no packet can take.
pub(super) fn unreachable(
    document: &Document,
    index: &Index<'_>,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    let networks: HashMap<(&Name, &Name), &Network> = document
        .networks
        .iter()
        .map(|network| ((&network.tenant, &network.name), network))
        .collect();
    // The sides are shared by many policies: look at each of them once.
    let mut known: HashMap<*const u32, BTreeSet<(&Name, &Name)>> = HashMap::new();
    for rule in resolved {
        for side in [&rule.from, &rule.to] {
            let Entry::Vacant(vacant) = known.entry(side.workloads.as_ptr()) else { continue };
            if !budget.spend(side.workloads.len()) {
                return;
            }
            let own = side.workloads.iter().filter_map(|at| index.workload(*at));
            vacant.insert(own.map(|w| (&w.tenant, &w.network)).collect());
        }
        let of = |side: &Side| {
            let places = known.get(&side.workloads.as_ptr()).into_iter().flatten();
            places.filter_map(|place| networks.get(place).copied()).collect::<Vec<_>>()
        };
        let (from, to) = (of(&rule.from), of(&rule.to));
        if !document.workloads.is_empty() && is_about_nobody(rule) {
            problems.push(nobody_judges(rule));
            continue;
        }
        if rule.policy.allow.is_empty()
            || from.is_empty()
            || from.len() > MAX_NETWORKS
            || to.len() > MAX_NETWORKS
            || rule.from.has_addresses()
        {
            continue;
        }
        if !budget.spend(from.len() * to.len()) {
            return;
        }
        let why = obstacle(&from, &to, &rule.to);
        if let Some(why) = why {
            let message =
                format!("no packet can take the way of the policy `{}`", rule.policy.name);
            problems.push(
                Diagnostic::warning(Code::Unreachable, rule.policy.span, message).label(why).hint(
                    "put both into one network, use mode `routed` for both, or publish the port",
                ),
            );
        }
    }
}

/// Whether both sides are there and no workload stands at either.
fn is_about_nobody(rule: &Resolved<'_>) -> bool {
    let sides = [&rule.from, &rule.to];
    sides.iter().all(|side| side.workloads.is_empty() && side.has_addresses())
}

fn nobody_judges(rule: &Resolved<'_>) -> Diagnostic {
    let message = format!("nothing judges the policy `{}`", rule.policy.name);
    Diagnostic::warning(Code::Unreachable, rule.policy.span, message)
        .label("no workload stands at either end")
        .hint(
            "policies guard the ports of workloads; the host's own are left to the host's firewall",
        )
}

/// Why nothing gets from one side to the other, if so.
fn obstacle(from: &[&Network], to: &[&Network], side: &Side) -> Option<String> {
    let first = |list: &[&Network]| list.first().map_or(String::new(), |network| network.id());
    if to.is_empty() && only_outside(side) {
        let closed = from.iter().all(|network| {
            matches!(network.mode, Mode::Bridge | Mode::None) && network.lan.is_none()
        });
        let mode = from.first().map_or(Mode::Bridge, |network| network.mode);
        return closed.then(|| format!("nothing leaves `{}` (mode {mode})", first(from)));
    }
    if to.is_empty() || side.has_addresses() {
        return None;
    }
    let connected = from.iter().any(|a| to.iter().any(|b| connected(a, b)));
    (!connected).then(|| format!("no route leads from `{}` to `{}`", first(from), first(to)))
}

/// Whether a side is world or CIDRs and nothing else.
fn only_outside(side: &Side) -> bool {
    (side.world || !side.cidrs.is_empty()) && !side.host && !side.everywhere && !side.unmanaged
}

/// Whether packets can get from one network to the other without a published port.
fn connected(from: &Network, to: &Network) -> bool {
    let same = from.tenant == to.tenant && from.name == to.name;
    (same && from.mode != Mode::None) || (from.mode == Mode::Routed && to.mode == Mode::Routed)
}

/// Audit policies that select workloads of sealed segments.
pub(super) fn audit_on_sealed(
    document: &Document,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    let mut sealed: HashMap<(&Name, &Name, &Name), bool> = HashMap::new();
    for network in &document.networks {
        for segment in network.segments.iter().filter(|segment| segment.sealed) {
            sealed.insert((&network.tenant, &network.name, &segment.name), true);
        }
    }
    if sealed.is_empty() {
        return;
    }
    for rule in resolved.iter().filter(|rule| rule.policy.audit) {
        if !budget.spend(rule.from.workloads.len() + rule.to.workloads.len()) {
            return;
        }
        let found = rule.from.workloads.iter().chain(&*rule.to.workloads).find_map(|at| {
            let workload = document.workloads.get(*at as usize)?;
            let segment = workload.segment.as_ref()?;
            sealed
                .contains_key(&(&workload.tenant, &workload.network, segment))
                .then_some((workload, segment))
        });
        if let Some((workload, segment)) = found {
            let message = format!("the policy `{}` audits a sealed segment", rule.policy.name);
            problems.push(
                Diagnostic::warning(Code::AuditOnSealed, rule.policy.span, message)
                    .label(format!("`{}` is in the sealed segment `{segment}`", workload.name))
                    .hint("there it allows what its `allow` names and drops the rest; audit does not open sealed segments"),
            );
        }
    }
}

/// Published ports that no policy lets in.
pub(super) fn publishes(
    document: &Document,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    if document.publishes.is_empty() {
        return;
    }
    let positions: HashMap<(&Name, &Name), u32> = (0_u32..)
        .zip(&document.workloads)
        .filter(|(_, workload)| !workload.further)
        .map(|(at, w)| ((&w.tenant, &w.name), at))
        .collect();
    let inward: Vec<&Resolved<'_>> = resolved
        .iter()
        .filter(|rule| {
            rule.from.has_addresses() && (!rule.policy.allow.is_empty() || rule.policy.audit)
        })
        .collect();
    for publish in &document.publishes {
        unowned(publish, problems);
        let Some(at) = positions.get(&(&publish.tenant, &publish.workload)) else { continue };
        if is_open(document, publish, *at) {
            continue;
        }
        let mut allowed = false;
        for rule in &inward {
            if !budget.spend(4 + rule.from.cidrs.len() * publish.from.len().max(1)) {
                return;
            }
            allowed |= lets_in(rule, publish, *at);
        }
        if !allowed {
            let (port, transport) = (publish.workload_port, publish.transport);
            let from = publish.from.first().map_or("world".to_owned(), ToString::to_string);
            let to = &publish.workload;
            problems.push(
                Diagnostic::warning(
                    Code::PublishNotAllowed,
                    publish.span,
                    format!("no policy allows the published port `{}`", id(&publish.tenant, &publish.name)),
                )
                .label("connections will be dropped")
                .hint(format!(
                    "add a policy: {to}-in: {{ from: {from}, to: workload={to}, allow: [{port}/{transport}] }}"
                )),
            );
        }
    }
}

/// A port for everybody and for ever that nobody answers for.
fn unowned(publish: &Publish, problems: &mut Problems<'_>) {
    let is_narrow =
        !publish.is_for_all() || publish.address.is_some_and(|address| address.is_loopback());
    if is_narrow || publish.owner.is_some() || publish.until.is_some() {
        return;
    }
    let message = format!(
        "`{}` is published for the whole world, without an end and without an owner",
        id(&publish.tenant, &publish.name)
    );
    problems.push(
        Diagnostic::warning(Code::PublishUnowned, publish.span, message)
            .hint("write who answers for it, or when it ends: owner: web team, until: 2026-12-31"),
    );
}

/// Whether the workload's posture lets everything in.
fn is_open(document: &Document, publish: &Publish, at: u32) -> bool {
    let Some(workload) = document.workloads.get(at as usize) else { return false };
    let Some(network) = document.network(&publish.tenant, &workload.network) else { return false };
    let segment = workload.segment.as_ref().and_then(|name| network.segment(name));
    let postures = segment.map_or(network.postures, |segment| segment.postures);
    postures.ingress != model::Posture::Deny
}

/// Whether a policy lets at least some of the clients of a published port in.
fn lets_in(rule: &Resolved<'_>, publish: &Publish, at: u32) -> bool {
    let from = &rule.from;
    let cidr = from.cidrs.iter().any(|net| {
        publish.from.is_empty()
            || publish.from.iter().any(|own| net.contains(own) || own.contains(net))
    });
    let sources = from.everywhere || from.world || cidr;
    let port = rule.policy.audit
        || allows(&rule.policy.allow, Proto::from(publish.transport), publish.workload_port);
    sources && port && rule.to.workloads.binary_search(&at).is_ok()
}
