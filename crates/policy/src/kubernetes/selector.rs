//! Label selectors: `matchLabels` and `matchExpressions` (API reference, `LabelSelector`).

use std::sync::Arc;

use super::fields::{Object, refuse, text, texts};
use super::{LabelMap, Operator, Requirement, Selector};
use crate::diagnostic::Problems;

/// Reads a selector; all of its requirements must hold.
pub(super) fn selector(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Selector {
    object.only(&["matchLabels", "matchExpressions"], problems);
    let mut out = Vec::new();
    if let Some(labels) = object.object("matchLabels", problems) {
        for (key, value) in self::labels(labels, problems) {
            out.push(Requirement { key, operator: Operator::In(vec![value]) });
        }
    }
    for node in object.list("matchExpressions", problems) {
        let found = Object::of(node, "a requirement", problems)
            .and_then(|object| requirement(object, problems));
        out.extend(found);
    }
    Selector(out)
}

fn requirement(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Requirement> {
    object.only(&["key", "operator", "values"], problems);
    let Some(key) = object.text("key", problems) else {
        refuse(problems, object.span(), "a requirement needs a `key`");
        return None;
    };
    let Some(word) = object.get("operator") else {
        refuse(problems, object.span(), "a requirement needs an `operator`");
        return None;
    };
    let values = texts(object.list("values", problems), "values", problems);
    let wants_values = match text(word, "operator", problems)? {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        other => {
            let message = format!("`{other}` is not In, NotIn, Exists or DoesNotExist");
            refuse(problems, word.span, message);
            return None;
        }
    };
    if wants_values == values.is_empty() {
        let message = if wants_values { "needs `values`" } else { "takes no `values`" };
        refuse(problems, word.span, format!("this operator {message}"));
        return None;
    }
    let operator = match text(word, "operator", problems)? {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        _ => Operator::DoesNotExist,
    };
    Some(Requirement { key: key.into(), operator })
}

/// Reads labels.
pub(super) fn labels(object: Object<'_, '_>, problems: &mut Problems<'_>) -> LabelMap {
    let mut out = LabelMap::new();
    for (key, _, node) in object.entries() {
        let value: Option<Arc<str>> = match node.value {
            crate::tree::Value::Null => Some("".into()),
            _ => text(node, key, problems).map(Arc::from),
        };
        out.extend(value.map(|value| (Arc::from(key), value)));
    }
    out
}
