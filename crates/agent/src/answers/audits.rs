//! Scopes under audit in answers: which there are, which end soon, and which one let a flow pass.

use std::collections::HashSet;

use api::{AuditScope, Finding, Flow, Level, Verdict};
use jiff::{SignedDuration, Timestamp};
use model::{Direction, Posture, RuleKind, RuleRef};
use policy::Document;
use policy::document::{Audit, Place};

use crate::shared::Shared;

use super::flows::moment;

/// How long before its end an audit is announced.
pub(crate) const NOTICE: SignedDuration = SignedDuration::from_hours(24);
/// Scopes that are listed in `status`, in metrics and in the log.
pub(crate) const LISTED: usize = 1_000;

/// The scopes under audit, the first [`LISTED`] in file order.
pub(crate) fn scopes(document: &Document, now: Timestamp) -> Vec<AuditScope> {
    let on = document.audits().filter(|(_, audit)| audit.is_on(now)).take(LISTED);
    on.map(|(place, audit)| AuditScope {
        scope: place.to_string(),
        ingress: audit.says(Direction::Ingress, now) == Some(true),
        egress: audit.says(Direction::Egress, now) == Some(true),
        until: audit.until.map(moment),
        ends_soon: ends_soon(audit, now),
    })
    .collect()
}

/// Whether an audit that is on ends within a day.
pub(crate) fn ends_soon(audit: &Audit, now: Timestamp) -> bool {
    audit.ends(now).is_some_and(|end| end.duration_since(now) <= NOTICE)
}

/// What is said of an audit that ends soon.
pub(crate) fn notice(scope: &str, until: &str) -> String {
    format!(
        "the audit of {scope} ends at {until}: from then on policy drops what it only records now"
    )
}

/// What `doctor` says of audits: nothing where everything is enforced.
pub(crate) fn findings(shared: &Shared) -> Vec<Finding> {
    let Some(force) = shared.force() else { return Vec::new() };
    let scopes = scopes(&force.wanted.document, Timestamp::now());
    let Some(first) = scopes.first() else { return Vec::new() };
    let soon = scopes.iter().filter(|scope| scope.ends_soon);
    let mut found: Vec<Finding> = soon
        .filter_map(|scope| {
            let text = notice(&scope.scope, scope.until.as_deref()?);
            Some(super::doctor::finding("BH-H040", Level::Warning, text))
        })
        .collect();
    if found.is_empty() {
        let others = match scopes.len() - 1 {
            0 => String::new(),
            1 => " and one other scope".to_owned(),
            many => format!(" and {many} other scopes"),
        };
        let text =
            format!("{}{others} under audit: nothing is dropped by policy there", first.scope);
        found.push(super::doctor::finding("BH-H040", Level::Note, text));
    }
    found
}

/// Tells which scope let a flow pass.
pub(crate) struct Audited<'d> {
    document: &'d Document,
    /// Denies that only record, whatever scope they meet.
    recording: HashSet<u32>,
    now: Timestamp,
}

impl<'d> Audited<'d> {
    /// Of a document; `None` where no scope is audited.
    pub(crate) fn of(document: &'d Document, now: Timestamp) -> Option<Self> {
        document.audits().next()?;
        let audits = document.policies.iter().filter(|policy| policy.audit);
        let recording = audits.filter_map(|policy| policy.deny_rule.as_ref());
        Some(Self { document, recording: recording.map(|rule| rule.id.0).collect(), now })
    }

    /// The scope that let pass what this rule, or the default, would have dropped at a workload.
    pub(crate) fn by(
        &self,
        workload: &str,
        direction: Direction,
        rule: Option<&RuleRef>,
    ) -> Option<(Place, Audit)> {
        let is_scope = match rule {
            None => self.posture(workload, direction) == Posture::Deny,
            Some(rule) => rule.kind == RuleKind::Deny && !self.recording.contains(&rule.id.0),
        };
        if is_scope { self.document.audited(workload, direction, self.now) } else { None }
    }

    fn posture(&self, workload: &str, direction: Direction) -> Posture {
        let place = self.document.workload(workload).and_then(|workload| {
            let network = self.document.network(&workload.tenant, &workload.network)?;
            Some((network, workload.segment.as_ref().and_then(|name| network.segment(name))))
        });
        let postures =
            place.map(|(network, segment)| segment.map_or(network.postures, |s| s.postures));
        postures.unwrap_or_default().of(direction)
    }

    /// Adds the scope to a recorded flow that it let pass.
    pub(crate) fn mark(&self, flow: &mut Flow, rule: Option<&RuleRef>) {
        let (end, direction) = match flow.direction.as_str() {
            "ingress" => (&flow.target, Direction::Ingress),
            _ => (&flow.source, Direction::Egress),
        };
        let Some(workload) = end.workload.as_deref().filter(|_| flow.verdict == Verdict::Audit)
        else {
            return;
        };
        if let Some((place, _)) = self.by(workload, direction, rule) {
            let because = &flow.line.because;
            flow.line.because = format!("{because} (audit of {place})");
            flow.audit = Some(place.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{SHOP, facts, wanted};

    const END: &str = "2026-11-23T09:00:00Z";

    #[test]
    fn scopes_are_told_with_their_end_a_day_before() {
        let text = SHOP.replace(
            "  shop:\n",
            &format!("  shop:\n    audit: {{ ingress: true, until: {END} }}\n"),
        );
        let document = wanted(&text).document;
        let at = |text: &str| -> Vec<(String, bool)> {
            let scopes = scopes(&document, text.parse().expect("a time"));
            scopes.into_iter().map(|scope| (scope.scope, scope.ends_soon)).collect()
        };
        assert_eq!(at("2026-11-22T08:59:59Z"), [("tenant shop".to_owned(), false)]);
        assert_eq!(at("2026-11-22T09:00:00Z"), [("tenant shop".to_owned(), true)]);
        assert_eq!(at(END), []);
    }

    #[test]
    fn a_scope_is_named_where_it_decided_and_nowhere_else() {
        let text = SHOP.replace("  shop:\n", "  shop:\n    audit: { ingress: true }\n");
        let document = wanted(&text).document;
        let audited = Audited::of(&document, facts().now).expect("a scope");
        let by = |workload: &str, direction, rule| {
            audited.by(workload, direction, rule).map(|(place, _)| place.to_string())
        };
        let tenant = Some("tenant shop".to_owned());
        assert_eq!(by("shop.web", Direction::Ingress, None), tenant);
        assert_eq!(by("shop.web", Direction::Egress, None), None);
        assert_eq!(by("shop.db", Direction::Ingress, None), None, "sealed");
        let rule = |kind| document.rules().find(|rule| rule.kind == kind);
        assert_eq!(by("shop.web", Direction::Ingress, rule(RuleKind::Deny)), tenant);
        assert_eq!(by("shop.web", Direction::Ingress, rule(RuleKind::Allow)), None);
        assert!(Audited::of(&wanted(SHOP).document, facts().now).is_none());
    }
}
