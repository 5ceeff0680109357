//! `audit:` of the node, a tenant, a network or a segment: at least one direction, and an end only for what is audited.

use crate::codes::Code;
use crate::decode::{Mapping, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Audit;
use crate::raw::{RawAudit, RawSegment};
use crate::scalar::Switch;

/// What a scope says; nothing where nothing is written.
pub(super) fn audit(raw: Option<&RawAudit>, problems: &mut Problems<'_>) -> Audit {
    let Some(raw) = raw else { return Audit::default() };
    if !raw.given("ingress") && !raw.given("egress") {
        let message = "this audit names no direction";
        problems.push(
            Diagnostic::error(Code::MissingKey, raw.span(), message)
                .hint("write `audit: { ingress: true, egress: true }`, or one of the two"),
        );
    }
    let word = |switch: Option<&Val<Switch>>| switch.map(|switch| switch.value == Switch::On);
    let audit = Audit {
        ingress: word(raw.ingress.as_ref()),
        egress: word(raw.egress.as_ref()),
        until: raw.until.as_ref().map(|until| until.value.0),
    };
    let unread = raw.given("ingress") && raw.ingress.is_none()
        || raw.given("egress") && raw.egress.is_none();
    let audits = [audit.ingress, audit.egress].contains(&Some(true));
    if let Some(until) = raw.until.as_ref().filter(|_| !audits && !unread) {
        problems.push(
            Diagnostic::error(
                Code::Exclusive,
                until.span,
                "nothing is audited here that could end",
            )
            .hint("`until` ends the directions that are `true`; what is `false` is enforced now"),
        );
    }
    audit
}

/// What a segment says: one that is sealed takes no audit, so it must not look as if it did.
pub(super) fn of_segment(raw: &RawSegment, problems: &mut Problems<'_>) -> Audit {
    if let (Some(profile), Some(audit)) = (&raw.profile, &raw.audit) {
        problems.push(
            Diagnostic::error(Code::Exclusive, audit.span(), "a sealed segment takes no audit")
                .related(profile.span, "sealed here")
                .hint("keep one of the two; an audit around it does not reach into it either"),
        );
        return Audit::default();
    }
    audit(raw.audit.as_ref(), problems)
}
