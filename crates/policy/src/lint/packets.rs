//! Rules about packets that there are not: addresses that are never carried, IP versions that the other side does not
//! have, and icmp messages that belong to a flow of something else.
//!
//! What the guard of every endpoint drops is dropped before any policy is asked (`verdict`, guard and flow): an allow
//! opens nothing and a deny closes nothing.

use std::collections::HashMap;

use ipnet::IpNet;
use model::{IcmpCover, IcmpMatch, Name, Peer, PortSpec};

use super::sides::Side;
use super::{Budget, Resolved, policy_line};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Network, Policy};

/// IP versions: those in which somebody has addresses, or that something is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Versions {
    v4: bool,
    v6: bool,
}

impl Versions {
    const BOTH: Self = Self { v4: true, v6: true };

    fn of(net: &IpNet) -> Self {
        Self { v4: net.addr().is_ipv4(), v6: net.addr().is_ipv6() }
    }

    fn or(self, other: Self) -> Self {
        Self { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }

    fn and(self, other: Self) -> Self {
        Self { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }

    fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }

    /// For "has only … addresses".
    fn words(self) -> &'static str {
        if self.v4 { "IPv4" } else { "IPv6" }
    }
}

/// Reports entries of policies that no packet can meet.
pub(super) fn impossible(
    document: &Document,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    let mut workloads = Workloads::new(document);
    let never = never_carried();
    for rule in resolved {
        let policy = rule.policy;
        let entries = policy.from.len() + policy.to.len();
        if !budget.spend(entries * 4 + policy.allow.len() + policy.deny.len()) {
            return;
        }
        let Some(source) = workloads.of(&rule.from, budget) else { return };
        let Some(target) = workloads.of(&rule.to, budget) else { return };
        addresses(policy, &policy.from, ("from", "to", target), &never, problems);
        addresses(policy, &policy.to, ("to", "from", source), &never, problems);
        let common = whole(&rule.from, source).and(whole(&rule.to, target));
        icmp(policy, common, problems);
        let both = !source.is_empty() && !target.is_empty();
        if both && common.is_empty() && !rule.from.has_addresses() && !rule.to.has_addresses() {
            apart(policy, source, target, problems);
        }
    }
}

/// In which IP versions workloads have addresses.
struct Workloads {
    each: Vec<Versions>,
    /// Sides are shared by many policies: each is looked at once.
    sides: HashMap<*const u32, Versions>,
}

impl Workloads {
    fn new(document: &Document) -> Self {
        let networks: HashMap<(&Name, &Name), &Network> =
            document.networks.iter().map(|n| ((&n.tenant, &n.name), n)).collect();
        let of = |workload: &crate::document::Workload| {
            let network = networks.get(&(&workload.tenant, &workload.network))?;
            let segment = workload.segment.as_ref().and_then(|name| network.segment(name));
            let subnets = segment.map_or(&network.subnets, |segment| &segment.subnets);
            Some(Versions { v4: subnets.v4.is_some(), v6: subnets.v6.is_some() })
        };
        let each = document.workloads.iter().map(|w| of(w).unwrap_or_default()).collect();
        Self { each, sides: HashMap::new() }
    }

    /// Of all workloads of a side together; `None` when the budget is used up.
    fn of(&mut self, side: &Side, budget: &mut Budget) -> Option<Versions> {
        if let Some(known) = self.sides.get(&side.workloads.as_ptr()) {
            return Some(*known);
        }
        if !budget.spend(side.workloads.len()) {
            return None;
        }
        let own = side.workloads.iter().filter_map(|at| self.each.get(*at as usize));
        let found = own.fold(Versions::default(), |sum, one| sum.or(*one));
        self.sides.insert(side.workloads.as_ptr(), found);
        Some(found)
    }
}

/// Of everything that a side stands for.
fn whole(side: &Side, workloads: Versions) -> Versions {
    if side.host || side.world || side.unmanaged || side.everywhere {
        return Versions::BOTH;
    }
    side.cidrs.iter().fold(workloads, |sum, net| sum.or(Versions::of(net)))
}

/// Ranges of one side that nothing is ever sent to or from, or that the workloads of the other side cannot speak with.
fn addresses(
    policy: &Policy,
    peers: &[Peer],
    (this, other, workloads): (&str, &str, Versions),
    never: &[Never],
    problems: &mut Problems<'_>,
) {
    for peer in peers {
        let Peer::Cidr(net) = peer else { continue };
        let missing = !workloads.is_empty() && Versions::of(net).and(workloads).is_empty();
        let (label, hint) = match never.iter().find(|(range, ..)| range.contains(net)) {
            Some((_, why, hint)) => ((*why).to_owned(), *hint),
            None if missing => (
                format!("the workloads of `{other}` have only {} addresses", workloads.words()),
                "remove it, or give their network a subnet of this IP version",
            ),
            None => continue,
        };
        let span = if problems.is_full() {
            policy.span
        } else {
            problems.within(policy_line(policy, problems), &peer.to_string())
        };
        let message = format!("{peer} in `{this}` of the policy `{}` can never match", policy.name);
        problems
            .push(Diagnostic::warning(Code::NeverMatches, span, message).label(label).hint(hint));
    }
}

/// A range that no packet to or from ever reaches a policy: why, and what to do.
type Never = (IpNet, &'static str, &'static str);

/// What the guards drop, or no kernel sends.
///
/// IPv4 link-local addresses are carried: cloud metadata (169.254.169.254) is asked for, and denied, by rules.
fn never_carried() -> Vec<Never> {
    const DROPPED: &str = "remove it: such packets are dropped whatever a policy says";
    const LOCAL: &str =
        "remove it: a workload's own loopback is not judged, and the host's is out of reach";
    [
        ("224.0.0.0/4", "multicast is never carried", DROPPED),
        ("255.255.255.255/32", "broadcast is never carried", DROPPED),
        ("0.0.0.0/32", "this is no address of anybody", DROPPED),
        ("127.0.0.0/8", "loopback never leaves its machine", LOCAL),
        ("ff00::/8", "multicast is never carried", DROPPED),
        ("fe80::/10", "link-local packets are never carried", DROPPED),
        ("::/128", "this is no address of anybody", DROPPED),
        ("::1/128", "loopback never leaves its machine", LOCAL),
    ]
    .into_iter()
    .filter_map(|(range, why, hint)| Some((range.parse().ok()?, why, hint)))
    .collect()
}

/// Icmp messages that never open a flow, or none between these sides.
fn icmp(policy: &Policy, common: Versions, problems: &mut Problems<'_>) {
    let useless = |port: &&PortSpec| match port {
        PortSpec::Icmp(icmp) => {
            let opens = opens(*icmp);
            opens.is_empty() || !common.is_empty() && opens.and(common).is_empty()
        }
        _ => false,
    };
    let found: Vec<&PortSpec> = policy.allow.iter().chain(&policy.deny).filter(useless).collect();
    let Some(PortSpec::Icmp(first)) = found.first() else { return };
    let other_version = !opens(*first).is_empty();
    let (label, hint) = if other_version {
        let label = format!("the two sides have only {} in common", common.words());
        (label, "write icmp/echo-request: it is about both versions")
    } else {
        let mut words: Vec<String> = found.iter().map(ToString::to_string).take(4).collect();
        words.dedup();
        let label = format!("no flow begins with {}", words.join(", "));
        (
            label,
            "replies and errors pass with the flow that they belong to, and only so: name what opens it, icmp/echo-request",
        )
    };
    let message =
        format!("the policy `{}` names icmp messages that it never decides about", policy.name);
    problems.push(
        Diagnostic::warning(Code::IcmpOpensNothing, policy.span, message).label(label).hint(hint),
    );
}

/// The IP versions in which it names a message that opens a flow: echo and timestamp requests (`verdict`, packet).
fn opens(icmp: IcmpMatch) -> Versions {
    let is = |cover: Option<IcmpCover>, kinds: &[u8]| match cover {
        Some(IcmpCover::All) => true,
        Some(IcmpCover::Type(kind) | IcmpCover::Code(kind, _)) => kinds.contains(&kind),
        None => false,
    };
    Versions { v4: is(icmp.v4(), &[8, 13]), v6: is(icmp.v6(), &[128]) }
}

/// Workloads on both sides, and no IP version that both have.
fn apart(policy: &Policy, source: Versions, target: Versions, problems: &mut Problems<'_>) {
    let message = format!("no packet can take the way of the policy `{}`", policy.name);
    let label =
        format!("`from` has only {} addresses, `to` only {}", source.words(), target.words());
    problems.push(
        Diagnostic::warning(Code::Unreachable, policy.span, message)
            .label(label)
            .hint("give both segments a subnet of the same IP version"),
    );
}
