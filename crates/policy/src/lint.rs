//! Warnings about files that load: rules that do nothing, contradict each other, or promise what cannot happen.
//!
//! **Limits.** The work is near-linear in the size of the file. Where overlapping rules would make it quadratic it stops
//! at a budget and says so ([`Code::LintsBounded`]); errors are never skipped.

mod cover;
mod design;
mod packets;
mod paths;
mod ports;
mod sides;

use std::collections::HashMap;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{IcmpMatch, Mode, Name, Peer, PortRange, PortSpec, Proto};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems, Severity};
use crate::document::{Document, Policy, Span};
use ports::PortSet;
use sides::{Index, Side};

/// Steps that the lints may take together: about a tenth of a second each ten million.
const BUDGET: u64 = 60_000_000;

/// What is left of the work that the lints may do.
pub(crate) struct Budget(u64);

impl Budget {
    /// Takes `steps` from the budget; `false` when it is used up.
    fn spend(&mut self, steps: usize) -> bool {
        self.0 = self.0.saturating_sub(steps as u64 + 1);
        self.0 > 0
    }
}

/// A policy that has not expired, with the endpoints and addresses of its two sides.
pub(crate) struct Resolved<'d> {
    pub(crate) policy: &'d Policy,
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) allow: PortSet,
    pub(crate) deny: PortSet,
    /// Sorted and disjoint.
    pub(crate) source_ports: Vec<PortRange>,
}

/// Looks for everything that is probably not meant.
pub(crate) fn lint(document: &Document, now: Timestamp, problems: &mut Problems<'_>) {
    let mut budget = Budget(BUDGET);
    expired(document, now, problems);
    icmp_denied(document, problems);
    managed_cidrs(document, problems);
    let mut index = Index::new(document);
    let mut resolved = Vec::with_capacity(document.policies.len());
    let mut own = 0;
    // Rules about processes are the host's at its uplinks; what follows compares workloads.
    let of_workloads =
        |policy: &&Policy| !policy.from.iter().any(|peer| matches!(peer, Peer::Processes(_)));
    let policies = document.policies.iter().filter(of_workloads);
    for policy in policies.filter(|policy| !policy.is_expired(now)) {
        let Some(from) = index.side(&policy.scope, &policy.from, &mut budget) else { break };
        let Some(to) = index.side(&policy.scope, &policy.to, &mut budget) else { break };
        let ports = policy.allow.len() + policy.deny.len() + policy.source_ports.len();
        if !budget.spend(ports) {
            break;
        }
        // Those of other files stand behind all of this one.
        own += usize::from(policy.standing.origin.is_none());
        resolved.push(Resolved {
            policy,
            from,
            to,
            allow: PortSet::new(&policy.allow),
            deny: PortSet::new(&policy.deny),
            source_ports: ports::joined(policy.source_ports.clone()),
        });
    }
    paths::publishes(document, &resolved, &mut budget, problems);
    resolved.truncate(own);
    if document.is_attached_to() {
        // What follows counts the workloads of the file, and others come at run time.
        return;
    }
    never_matches(&resolved, problems);
    packets::impossible(document, &resolved, &mut budget, problems);
    paths::unreachable(document, &index, &resolved, &mut budget, problems);
    paths::audit_on_sealed(document, &resolved, &mut budget, problems);
    cover::cover(&resolved, &mut budget, problems);
    design::design(document, &mut index, &resolved, &mut budget, problems);
    if budget.0 == 0 {
        let message = "the rules overlap so much that some warnings were not looked for";
        problems.push(Diagnostic::new(Code::LintsBounded, Severity::Note, None, message));
    }
}

fn expired(document: &Document, now: Timestamp, problems: &mut Problems<'_>) {
    for policy in document.policies.iter().filter(|policy| policy.is_expired(now)) {
        let Some(until) = policy.until else { continue };
        problems.push(
            Diagnostic::warning(
                Code::Expired,
                policy.span,
                format!("the policy `{}` has expired", policy.name),
            )
            .label(format!("since {until}"))
            .hint("remove it, or give it a later `until`"),
        );
    }
    for publish in document.publishes.iter().filter(|publish| publish.is_expired(now)) {
        let Some(until) = publish.until else { continue };
        problems.push(
            Diagnostic::warning(
                Code::Expired,
                publish.span,
                format!("the published port `{}` has expired", publish.name),
            )
            .label(format!("since {until}"))
            .hint("remove it, or give it a later `until`"),
        );
    }
}

fn icmp_denied(document: &Document, problems: &mut Problems<'_>) {
    for policy in document.policies.iter().filter(|each| is_own(each)) {
        if policy.deny.contains(&PortSpec::Icmp(IcmpMatch::All)) {
            let message = format!("the policy `{}` denies all of icmp", policy.name);
            problems.push(
                Diagnostic::new(Code::IcmpDenied, Severity::Note, Some(policy.span), message)
                    .hint("errors that belong to an allowed flow and neighbour discovery still pass, so path MTU discovery works"),
            );
        }
    }
}

/// CIDRs that overlap a subnet of a network, where they match no workload.
fn managed_cidrs(document: &Document, problems: &mut Problems<'_>) {
    let managed = Managed::new(document);
    let mut known: HashMap<IpNet, Option<(IpNet, String)>> = HashMap::new();
    for policy in document.policies.iter().filter(|each| is_own(each)) {
        for peer in policy.from.iter().chain(&policy.to) {
            let Peer::Cidr(cidr) = peer else { continue };
            let found = known.entry(*cidr).or_insert_with(|| managed.overlapping(*cidr));
            if let Some((subnet, network)) = found {
                let span = if problems.is_full() {
                    policy.span
                } else {
                    problems.within(policy_line(policy, problems), &peer.to_string())
                };
                problems.push(
                    Diagnostic::warning(Code::CidrCoversManaged, span, format!("{cidr} matches no workload"))
                        .label(format!("it covers {subnet} of the network `{network}`"))
                        .hint("select workloads by labels, segment or network; write `world` for everything outside"),
                );
            }
        }
    }
}

/// Whether a policy stands in the file that is looked at. Policies of manifests are checked where they are read.
fn is_own(policy: &Policy) -> bool {
    policy.standing.origin.is_none()
}

/// From the policy's name to the end of its line: where a short policy has all of its parts.
fn policy_line(policy: &Policy, problems: &Problems<'_>) -> Span {
    let start = policy.span.start as usize;
    let line = problems.text.get(start..).and_then(|rest| rest.split('\n').next()).unwrap_or("");
    Span { end: policy.span.start + u32::try_from(line.len()).unwrap_or(0), ..policy.span }
}

/// The subnets of all networks, sorted, for overlap queries.
struct Managed {
    nets: Vec<(IpNet, String)>,
    /// The longest reach of the subnets up to each place, because subnets of different tenants may nest.
    reach: Vec<(bool, std::net::IpAddr)>,
}

impl Managed {
    fn new(document: &Document) -> Self {
        let mut nets: Vec<(IpNet, String)> = document
            .networks
            .iter()
            // On a LAN most addresses are others', whom a CIDR is there to name.
            .filter(|network| network.mode != Mode::None && network.lan.is_none())
            .flat_map(|network| network.subnets.iter().map(|net| (net, network.id())))
            .collect();
        nets.sort_by_key(|(net, _)| (net.addr().is_ipv6(), net.network(), net.prefix_len()));
        let mut reach: Vec<(bool, std::net::IpAddr)> = Vec::with_capacity(nets.len());
        for (net, _) in &nets {
            let own = (net.addr().is_ipv6(), net.broadcast());
            reach.push(
                reach
                    .last()
                    .copied()
                    .filter(|last| last.0 == own.0)
                    .map_or(own, |last| last.max(own)),
            );
        }
        Self { nets, reach }
    }

    /// A subnet that has an address in common with `cidr`.
    fn overlapping(&self, cidr: IpNet) -> Option<(IpNet, String)> {
        let (v6, first, last) = (cidr.addr().is_ipv6(), cidr.network(), cidr.broadcast());
        let end = self
            .nets
            .partition_point(|(net, _)| (net.addr().is_ipv6(), net.network()) <= (v6, last));
        if self.reach.get(..end)?.last()? < &(v6, first) {
            return None;
        }
        let meets = |net: &IpNet| {
            net.addr().is_ipv6() == v6 && net.network() <= last && net.broadcast() >= first
        };
        self.nets.get(..end)?.iter().rev().find(|(net, _)| meets(net)).cloned()
    }
}

fn never_matches(resolved: &[Resolved<'_>], problems: &mut Problems<'_>) {
    for Resolved { policy, from, to, .. } in resolved {
        for (side, peers, what) in [(from, &policy.from, "from"), (to, &policy.to, "to")] {
            if !side.is_empty() {
                continue;
            }
            let shown: Vec<String> = peers.iter().map(Peer::to_string).take(4).collect();
            let written = shown.first().map_or("", String::as_str);
            let line = policy_line(policy, problems);
            let span = problems.within(line, written);
            problems.push(
                Diagnostic::warning(
                    Code::NeverMatches,
                    span,
                    format!("the policy `{}` can never match", policy.name),
                )
                .label(format!("`{what}` selects no workload"))
                .hint(format!("no workload is selected by `{}`", shown.join("` or `"))),
            );
        }
    }
}

/// Whether a published port is among these ports.
fn allows(ports: &[PortSpec], proto: Proto, port: u16) -> bool {
    ports.iter().any(|spec| spec.matches(proto, port))
}

/// `<tenant>.<name>` for messages.
fn id(tenant: &Name, name: &Name) -> String {
    format!("{tenant}.{name}")
}
