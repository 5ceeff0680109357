//! Answers to questions: each from the snapshot in force and the kernel's counters, none of them changes anything.

pub(crate) mod assertions;
pub(crate) mod attachments;
pub(crate) mod audits;
pub(crate) mod doctor;
pub(crate) mod flows;
pub(crate) mod frame;
pub(crate) mod health;
pub(crate) mod judge;
pub(crate) mod logs;
pub(crate) mod matrix;
pub(crate) mod objects;
pub(crate) mod party;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod publishes;
pub(crate) mod radius;
pub(crate) mod replay;
pub(crate) mod rules;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod suggest;
pub(crate) mod unmanaged;
pub(crate) mod why;

use api::RuleAt;
use model::RuleRef;

/// A rule as the API carries it.
pub(crate) fn rule_at(rule: &RuleRef) -> RuleAt {
    RuleAt {
        id: rule.id.0,
        name: rule.name().to_owned(),
        path: rule.path.to_string(),
        file: rule.file.to_string(),
        line: rule.line,
        column: rule.column,
        kind: rule.kind.to_string(),
        comment: None,
    }
}

/// Adds what people wrote about a rule's policy.
pub(crate) fn remark(document: &policy::Document, rule: &mut RuleAt) {
    rule.comment = document.remark(&rule.path).map(str::to_owned);
}

/// A drop reason as the API carries it; `None` when nothing was dropped.
pub(crate) fn reason(reason: verdict::Reason) -> Option<api::Reason> {
    (reason != verdict::Reason::None).then(|| api::Reason {
        code: flow::reason::code(reason),
        text: flow::reason::text(reason).to_owned(),
        hint: Some(flow::reason::hint(reason).to_owned()).filter(|hint| !hint.is_empty()),
    })
}

/// `shop/web` of `shop.web`.
pub(crate) fn person(id: &str) -> String {
    id.replacen('.', "/", 1)
}
