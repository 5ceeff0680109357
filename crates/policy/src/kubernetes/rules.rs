//! The three kinds of policies and their rules.

use std::sync::Arc;

use super::fields::{Object, number, refuse, text};
use super::selector::selector;
use super::{Action, Kind, Namespaces, Pods, Policy, Rule, Selector, Side, peers, ports};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};

/// Largest priority of an `AdminNetworkPolicy`.
const MAX_PRIORITY: u32 = 1000;

/// What is known of an object before its `spec` is read.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub file: usize,
    pub span: crate::document::Span,
    /// Whether it is to be enforced, beside a native file.
    pub is_beside: bool,
}

/// Reads a `NetworkPolicy`.
pub(super) fn network(
    head: Head,
    object: Object<'_, '_>,
    problems: &mut Problems<'_>,
) -> Option<Policy> {
    let spec = spec(object, &["podSelector", "policyTypes", "ingress", "egress"], problems)?;
    let pods = spec.object("podSelector", problems);
    let pods = pods.map(|each| selector(each, problems)).unwrap_or_default();
    let mut side = |key: &'static str, peers: &'static str| {
        let mut rules = Vec::new();
        for node in spec.list(key, problems) {
            let Some(rule) = Object::of(node, "a rule", problems) else { continue };
            rule.only(&["ports", peers], problems);
            rules.push(Rule {
                span: rule.span(),
                action: Action::Allow,
                peers: peers::of_network(rule, peers, &head.namespace, problems),
                ports: ports::of_network(rule, problems),
                unjudged: None,
            });
        }
        Side { isolates: false, rules }
    };
    let mut ingress = side("ingress", "from");
    let mut egress = side("egress", "to");
    let types = spec.list("policyTypes", problems);
    // API reference, `policyTypes`: ingress always, and egress when there is a rule for it.
    ingress.isolates = types.is_empty();
    egress.isolates = types.is_empty() && !egress.rules.is_empty();
    for node in types {
        match text(node, "policyTypes", problems) {
            Some("Ingress") => ingress.isolates = true,
            Some("Egress") => egress.isolates = true,
            Some(other) => {
                refuse(problems, node.span, format!("`{other}` is not Ingress or Egress"));
            }
            None => {}
        }
    }
    let subject = Pods { namespaces: Namespaces::Named(head.namespace.clone()), pods };
    Some(policy(head, Kind::Network, subject, [ingress, egress]))
}

/// Reads an `AdminNetworkPolicy` or, without priority, a `BaselineAdminNetworkPolicy`.
pub(super) fn admin(
    head: Head,
    object: Object<'_, '_>,
    is_baseline: bool,
    problems: &mut Problems<'_>,
) -> Option<Policy> {
    let known: &[&'static str] = if is_baseline {
        &["subject", "ingress", "egress"]
    } else {
        &["priority", "subject", "ingress", "egress"]
    };
    let spec = spec(object, known, problems)?;
    let kind = if is_baseline { Kind::Baseline } else { Kind::Admin(priority(spec, problems)?) };
    if is_baseline && &*head.name != "default" {
        refuse(problems, head.span, "the one BaselineAdminNetworkPolicy is called `default`");
    }
    let subject = spec.object("subject", problems).map(|subject| {
        subject.only(&["namespaces", "pods"], problems);
        (subject, peers::pods(subject, head.is_beside, problems))
    });
    let Some((at, subject)) = subject else {
        let message = "`subject` is missing: `namespaces` or `pods`";
        refuse(problems, spec.span(), message);
        return None;
    };
    if !at.has_one_of(&["namespaces", "pods"]) {
        refuse(problems, at.span(), "a subject has exactly one of `namespaces` and `pods`");
        return None;
    }
    let subject = subject?;
    let mut side = |key: &'static str, peers: &'static str| {
        let mut rules = Vec::new();
        for node in spec.list(key, problems) {
            let Some(rule) = Object::of(node, "a rule", problems) else { continue };
            rule.only(&["name", "action", "ports", peers], problems);
            let Some(action) = action(rule, is_baseline, problems) else { continue };
            let (peers, unjudged) = peers::of_admin(rule, peers, head.is_beside, problems);
            rules.push(Rule {
                span: rule.span(),
                action,
                peers: Some(peers),
                ports: ports::of_admin(rule, problems),
                unjudged,
            });
        }
        Side { isolates: false, rules }
    };
    let sides = [side("ingress", "from"), side("egress", "to")];
    Some(policy(head, kind, subject, sides))
}

fn spec<'n, 'a>(
    object: Object<'n, 'a>,
    known: &[&'static str],
    problems: &mut Problems<'_>,
) -> Option<Object<'n, 'a>> {
    object.only(&["apiVersion", "kind", "metadata", "spec", "status"], problems);
    let Some(spec) = object.object("spec", problems) else {
        refuse(problems, object.span(), "a policy needs a `spec`");
        return None;
    };
    spec.only(known, problems);
    Some(spec)
}

fn priority(spec: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<u32> {
    let Some(node) = spec.get("priority") else {
        refuse(problems, spec.span(), "`priority` is missing");
        return None;
    };
    let found = number(node).filter(|number| *number <= MAX_PRIORITY);
    if found.is_none() {
        refuse(problems, node.span, format!("`priority` is a number from 0 to {MAX_PRIORITY}"));
    }
    found
}

fn action(rule: Object<'_, '_>, is_baseline: bool, problems: &mut Problems<'_>) -> Option<Action> {
    let Some(node) = rule.get("action") else {
        refuse(problems, rule.span(), "a rule needs an `action`");
        return None;
    };
    match text(node, "action", problems)? {
        "Allow" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" if !is_baseline => Some(Action::Pass),
        other => {
            let words = if is_baseline { "Allow or Deny" } else { "Allow, Deny or Pass" };
            let message = format!("`{other}` is not {words}");
            problems.push(Diagnostic::error(Code::Manifest, node.span, message));
            None
        }
    }
}

fn policy(head: Head, kind: Kind, subject: Pods, sides: [Side; 2]) -> Policy {
    let Head { namespace, name, file, span, .. } = head;
    Policy { kind, namespace, name, file, span, subject, sides }
}

impl Selector {
    /// Whether labels have what it requires.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}
