//! Reading of manifests: fields of objects, with every mistake at its place.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Span;
use crate::nearest::did_you_mean;
use crate::tree::{Node, Value};

/// An object of a manifest. A field with the value `null` is as good as missing, as in the API.
#[derive(Clone, Copy)]
pub(super) struct Object<'n, 'a> {
    pub node: &'n Node<'a>,
}

/// Reports that Kubernetes would refuse this place.
pub(super) fn refuse(problems: &mut Problems<'_>, span: Span, message: impl Into<String>) {
    problems.push(Diagnostic::error(Code::Manifest, span, message));
}

impl<'n, 'a> Object<'n, 'a> {
    /// The node as an object; `null` is one without fields.
    pub(super) fn of(node: &'n Node<'a>, what: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) | Value::Null => Some(Self { node }),
            other => {
                refuse(problems, node.span, format!("{what} is a mapping, not {}", other.kind()));
                None
            }
        }
    }

    pub(super) fn entries(self) -> impl Iterator<Item = (&'n str, Span, &'n Node<'a>)> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, node)| (&*key.text, key.span, node))
    }

    /// The value of a field that is there and not null.
    pub(super) fn get(self, key: &str) -> Option<&'n Node<'a>> {
        let mut entries = self.entries();
        let (_, _, node) = entries.find(|(name, _, _)| *name == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// Whether exactly one of some fields is there.
    pub(super) fn has_one_of(self, keys: &[&str]) -> bool {
        keys.iter().filter(|key| self.get(key).is_some()).count() == 1
    }

    /// A field that is an object itself.
    pub(super) fn object(self, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        Self::of(self.get(key)?, &format!("`{key}`"), problems)
    }

    /// A field that is a list; empty when it is missing.
    pub(super) fn list(self, key: &str, problems: &mut Problems<'_>) -> &'n [Node<'a>] {
        self.get(key).map_or(&[], |node| list(node, key, problems))
    }

    /// A field that is a single text.
    pub(super) fn text(self, key: &str, problems: &mut Problems<'_>) -> Option<&'n str> {
        text(self.get(key)?, key, problems)
    }

    /// The place of the object, in one line.
    pub(super) fn span(self) -> Span {
        self.entries().next().map_or(self.node.span, |(_, span, _)| span)
    }

    /// Warns about every field that is not one of `known`.
    pub(super) fn only(self, known: &[&'static str], problems: &mut Problems<'_>) {
        for (name, span, _) in self.entries() {
            if !known.contains(&name) {
                let message = format!("Kubernetes knows no field `{name}` here and drops it");
                let hint = did_you_mean(name, known.iter().copied());
                let found = Diagnostic::warning(Code::ManifestField, span, message);
                problems.push(found.maybe_hint(hint));
            }
        }
    }
}

pub(super) fn list<'n, 'a>(
    node: &'n Node<'a>,
    key: &str,
    problems: &mut Problems<'_>,
) -> &'n [Node<'a>] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        other => {
            refuse(problems, node.span, format!("`{key}` is a list, not {}", other.kind()));
            &[]
        }
    }
}

pub(super) fn text<'n>(
    node: &'n Node<'_>,
    key: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        other => {
            refuse(problems, node.span, format!("`{key}` is a text, not {}", other.kind()));
            None
        }
    }
}

/// The texts of a list.
pub(super) fn texts(nodes: &[Node<'_>], key: &str, problems: &mut Problems<'_>) -> Vec<Arc<str>> {
    nodes.iter().filter_map(|node| text(node, key, problems)).map(Arc::from).collect()
}

/// A number that is written as one: not in quotes, and not with a zero before it, which Kubernetes takes for base 8.
pub(super) fn number(node: &Node<'_>) -> Option<u32> {
    let Value::Scalar(scalar) = &node.value else { return None };
    let is_plain = scalar.exact == Some(node.span.start);
    let digits = !scalar.text.is_empty() && scalar.text.bytes().all(|b| b.is_ascii_digit());
    let is_decimal = scalar.text == "0" || !scalar.text.starts_with('0');
    scalar.text.parse().ok().filter(|_| is_plain && digits && is_decimal)
}
