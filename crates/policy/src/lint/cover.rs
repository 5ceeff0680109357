//! Rules that another rule makes useless: denied, duplicated or covered.

use std::collections::{BTreeMap, HashMap};

use model::{PortRange, PortSpec};

use super::{Budget, Resolved};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Policy;

/// A side with more workloads than this is compared with everybody instead of being listed under each of them.
const NARROW: usize = 32;

/// Reports useless rules, comparing each rule only with those that share an endpoint or are wide.
pub(super) fn cover(resolved: &[Resolved<'_>], budget: &mut Budget, problems: &mut Problems<'_>) {
    let index = Candidates::new(resolved);
    for (at, rule) in resolved.iter().enumerate() {
        let Some(covering) = index.covering(at, rule, resolved, budget) else { return };
        if !budget.spend(port_steps(rule, &covering)) {
            return;
        }
        denied(rule, &covering, problems);
        covered(rule, &covering, problems);
    }
}

/// Rules by the first endpoint of their source side.
struct Candidates {
    narrow: HashMap<u32, Vec<usize>>,
    wide: Vec<usize>,
}

impl Candidates {
    fn new(resolved: &[Resolved<'_>]) -> Self {
        let mut this = Self { narrow: HashMap::new(), wide: Vec::new() };
        for (at, rule) in resolved.iter().enumerate() {
            // The side with fewer workloads decides where the rule is found.
            let key = Self::key(rule);
            match key {
                Some(list) => list.iter().for_each(|w| this.narrow.entry(*w).or_default().push(at)),
                None => this.wide.push(at),
            }
        }
        this
    }

    /// The workloads under which a rule is listed; `None` for wide rules and rules between addresses.
    fn key<'r>(rule: &'r Resolved<'_>) -> Option<&'r [u32]> {
        let sides = [&rule.from, &rule.to];
        let usable = sides.into_iter().filter(|side| {
            !side.has_addresses() && !side.workloads.is_empty() && side.workloads.len() <= NARROW
        });
        usable.min_by_key(|side| side.workloads.len()).map(|side| &*side.workloads)
    }

    /// The other rules whose sides cover both sides of `rule`; `None` when the budget is used up.
    fn covering<'r, 'd>(
        &self,
        at: usize,
        rule: &Resolved<'d>,
        resolved: &'r [Resolved<'d>],
        budget: &mut Budget,
    ) -> Option<Vec<&'r Resolved<'d>>> {
        let mut found = BTreeMap::new();
        let ends = [rule.from.workloads.first(), rule.to.workloads.first()];
        let narrow =
            ends.into_iter().flatten().filter_map(|first| self.narrow.get(first)).flatten();
        for candidate in narrow.chain(&self.wide).copied().filter(|candidate| *candidate != at) {
            let Some(other) = resolved.get(candidate) else { continue };
            let quick = other.from.workloads.len() >= rule.from.workloads.len()
                && other.to.workloads.len() >= rule.to.workloads.len();
            let cost = if quick { steps(rule) + cidrs(other) } else { 0 };
            if !budget.spend(cost) {
                return None;
            }
            if quick && sides_cover(other, rule) {
                found.insert(candidate, other);
            }
        }
        Some(found.into_values().collect())
    }
}

/// What it takes to see whether the sides of another rule cover those of this one, but for the other's ranges.
fn steps(rule: &Resolved<'_>) -> usize {
    rule.from.workloads.len() + rule.to.workloads.len() + cidrs(rule)
}

fn cidrs(rule: &Resolved<'_>) -> usize {
    rule.from.cidrs.len() + rule.to.cidrs.len()
}

/// What it takes to look for every port of a rule in the sets of those that cover its sides.
fn port_steps(rule: &Resolved<'_>, covering: &[&Resolved<'_>]) -> usize {
    let ports = rule.policy.allow.len() + rule.policy.deny.len() + rule.source_ports.len();
    let per_port: usize =
        covering.iter().map(|other| 4 + other.allow.cost() + other.deny.cost()).sum();
    ports.saturating_mul(per_port)
}

/// Whether `other` lives at least as long and is not narrower by source ports.
fn as_long_and_wide(other: &Resolved<'_>, rule: &Resolved<'_>) -> bool {
    let long = match (other.policy.until, rule.policy.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(other), Some(rule)) => other >= rule,
    };
    let holds = |range: &PortRange| {
        let after = other.source_ports.partition_point(|wide| wide.first() <= range.first());
        let wide = after.checked_sub(1).and_then(|at| other.source_ports.get(at));
        wide.is_some_and(|wide| wide.covers(*range))
    };
    let limited = !rule.source_ports.is_empty();
    long && (other.source_ports.is_empty() || limited && rule.source_ports.iter().all(holds))
}

fn listed(ports: &[PortSpec]) -> String {
    ports.iter().map(ToString::to_string).take(6).collect::<Vec<_>>().join(", ")
}

/// Allow entries that an enforced deny takes away, by another policy or the same one.
fn denied(rule: &Resolved<'_>, covering: &[&Resolved<'_>], problems: &mut Problems<'_>) {
    let policy = rule.policy;
    let enforced: Vec<&Resolved<'_>> = covering
        .iter()
        .copied()
        .filter(|other| !other.policy.audit && !other.policy.deny.is_empty())
        .filter(|other| as_long_and_wide(other, rule))
        .collect();
    let mut dead: Vec<(PortSpec, &Policy)> = Vec::new();
    for port in &policy.allow {
        let own = (!policy.audit && rule.deny.covers(*port)).then_some(policy);
        let other = || enforced.iter().find(|other| other.deny.covers(*port)).map(|o| o.policy);
        if let Some(by) = own.or_else(other) {
            dead.push((*port, by));
        }
    }
    let Some((_, by)) = dead.first() else { return };
    let ports: Vec<PortSpec> = dead.iter().map(|(port, _)| *port).collect();
    let finding = if dead.len() == policy.allow.len() {
        let message = format!("the allow of the policy `{}` has no effect", policy.name);
        Diagnostic::warning(Code::Shadowed, policy.span, message)
            .label(format!("{} is denied", listed(&ports)))
    } else {
        let message =
            format!("the policy `{}` allows what is denied for the same peers", policy.name);
        Diagnostic::warning(Code::Contradiction, policy.span, message)
            .label(format!("{} has no effect: a deny beats an allow", listed(&ports)))
    };
    let finding = if by.span == policy.span {
        finding
    } else {
        finding.related(by.span, "denied by this policy")
    };
    problems.push(finding.hint("remove the allow, or make the deny narrower"));
}

/// Policies that say nothing that another one does not say as well.
fn covered(rule: &Resolved<'_>, covering: &[&Resolved<'_>], problems: &mut Problems<'_>) {
    let policy = rule.policy;
    // Of two policies that say the same the later one is reported.
    let by = covering.iter().find_map(|other| {
        if !says_all(other, rule) {
            return None;
        }
        let same = sides_cover(rule, other) && says_all(rule, other);
        (!same || other.policy.order < policy.order).then_some((other.policy, same))
    });
    let Some((by, same)) = by else { return };
    let message = if same {
        format!("the policy `{}` says the same as `{}`", policy.name, by.name)
    } else {
        format!("the policy `{}` is covered by `{}`", policy.name, by.name)
    };
    problems.push(
        Diagnostic::warning(Code::Covered, policy.span, message)
            .related(by.span, if same { "the same" } else { "covers it" })
            .hint("remove it: no verdict changes"),
    );
}

fn sides_cover(wide: &Resolved<'_>, narrow: &Resolved<'_>) -> bool {
    wide.from.covers(&narrow.from) && wide.to.covers(&narrow.to)
}

/// Whether `wide` says everything that `narrow` says, apart from the peers.
fn says_all(wide: &Resolved<'_>, narrow: &Resolved<'_>) -> bool {
    wide.policy.audit == narrow.policy.audit
        && as_long_and_wide(wide, narrow)
        && narrow.policy.allow.iter().all(|port| wide.allow.covers(*port))
        && narrow.policy.deny.iter().all(|port| wide.deny.covers(*port))
}
