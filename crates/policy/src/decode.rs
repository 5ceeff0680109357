//! From the tree to raw values: every mistake is reported and reading goes on, so one pass finds them all.
//!
//! One macro, [`mapping!`], declares a mapping of the file: its keys, types, which are required and what they mean. The
//! decoder, the list of known keys in messages and the JSON schema all come from that one declaration.

pub(crate) mod habits;

use std::collections::BTreeMap;

use model::ParseError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Span;
use crate::nearest::did_you_mean;
use crate::tree::{Key, Node, Value};

/// A value of the file that can be read from the tree and described by a schema.
pub(crate) trait Decode: Sized {
    /// Reads it. `None` after a problem was reported.
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self>;
    /// What the JSON schema says about it.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
    /// The list that is probably meant by a single text.
    fn listed(text: &str) -> String {
        format!("[{text}]")
    }
}

/// A value that is written as a single text.
pub(crate) trait FromText: Sized {
    /// The code of its mistakes.
    const CODE: Code;
    /// With article, for "expected …".
    const WHAT: &'static str;
    /// Reads the text.
    fn from_text(text: &str) -> Result<Self, ParseError>;
    /// What the JSON schema says about it.
    fn schema() -> Schema;
    /// The code of the mistake in this text.
    fn code(_: &str) -> Code {
        Self::CODE
    }
    /// What to write when a mapping or list was given.
    fn instead_of(_: &Value<'_>) -> Option<String> {
        None
    }
    /// The list that is probably meant by a single text.
    fn listed(text: &str) -> String {
        format!("[{text}]")
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Val<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany<T> {
    pub(crate) items: Vec<T>,
    /// How many stand in the file, readable or not.
    pub(crate) written: usize,
    pub(crate) span: Span,
}

/// A list.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// How many stand in the file, readable or not.
    pub(crate) written: usize,
    pub(crate) span: Span,
}

/// A mapping from names to values. `None`: there was a problem, but the name exists.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    pub(crate) entries: Vec<(Val<K>, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: FromText> Decode for Val<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::Scalar(scalar) = &node.value else {
            wrong_kind(node, T::WHAT, T::instead_of(&node.value), problems);
            return None;
        };
        match T::from_text(&scalar.text) {
            Ok(value) => Some(Self { value, span: node.span }),
            Err(error) => {
                problems.push(text_error(
                    T::code(&scalar.text),
                    node.span,
                    scalar.exact,
                    &scalar.text,
                    error,
                ));
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }

    fn listed(text: &str) -> String {
        T::listed(text)
    }
}

/// The finding for a text that does not parse, at the exact part of it if the text stands in the file as it is.
fn text_error(
    code: Code,
    span: Span,
    exact: Option<u32>,
    text: &str,
    error: ParseError,
) -> Diagnostic {
    let part = exact.and_then(|begin| {
        let before = text.get(..error.at.start)?;
        let quote = begin - span.start;
        let small = |number: usize| u32::try_from(number).ok();
        Some(Span {
            start: begin + small(error.at.start)?,
            end: begin + small(error.at.end)?,
            line: span.line,
            column: span.column + quote + small(before.chars().count())?,
        })
    });
    let mut marked = text.get(error.at).unwrap_or("").chars();
    let label = match (marked.next(), marked.next()) {
        (Some(c), None) if !c.is_ascii() && !c.is_control() => {
            format!("this is U+{:04X}, which may look like another character", u32::from(c))
        }
        _ => String::new(),
    };
    Diagnostic::error(code, part.unwrap_or(span), error.message).label(label).maybe_hint(error.hint)
}

pub(crate) fn wrong_kind(
    node: &Node<'_>,
    what: &str,
    hint: Option<String>,
    problems: &mut Problems<'_>,
) {
    let message = match node.value {
        Value::Broken => return,
        Value::Null => format!("expected {what}, but nothing stands here"),
        _ => format!("expected {what}, found {}", node.value.kind()),
    };
    problems.push(Diagnostic::error(Code::WrongKind, node.span, message).maybe_hint(hint));
}

impl<T: Decode> Decode for List<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let written = written(node, problems);
            let hint = matches!(node.value, Value::Scalar(_))
                .then(|| format!("write {}", T::listed(&written)));
            wrong_kind(node, "a list", hint, problems);
            return None;
        };
        let written = items.len();
        let items = items.iter().filter_map(|item| T::decode(item, problems)).collect();
        Some(Self { items, written, span: node.span })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let items = T::schema(generator);
        json_schema!({ "type": "array", "items": items })
    }
}

fn written(node: &Node<'_>, problems: &Problems<'_>) -> String {
    let text = problems.text.get(node.span.start as usize..node.span.end as usize).unwrap_or("");
    text.chars().take(60).collect()
}

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let (items, written) = match &node.value {
            Value::List(items) => {
                (items.iter().filter_map(|item| T::decode(item, problems)).collect(), items.len())
            }
            _ => (vec![T::decode(node, problems)?], 1),
        };
        Some(Self { items, written, span: node.span })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let item = T::schema(generator);
        json_schema!({ "anyOf": [item.clone(), { "type": "array", "items": item, "minItems": 1 }] })
    }
}

impl<K: FromText, V: Decode> Decode for Table<K, V> {
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                let hint = Some(habits::instead_of_entries(&node.value));
                wrong_kind(node, "a mapping", hint, problems);
                return None;
            }
        };
        let mut table = Self { entries: Vec::with_capacity(entries.len()) };
        for (key, value) in entries {
            let decoded = V::decode(value, problems);
            match K::from_text(&key.text) {
                Ok(name) => table.entries.push((Val { value: name, span: key.span }, decoded)),
                Err(error) => {
                    problems.push(text_error(K::CODE, key.span, key.exact, &key.text, error));
                }
            }
        }
        Some(table)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let (key, value) = (K::schema(), V::schema(generator));
        json_schema!({ "type": ["object", "null"], "propertyNames": key, "additionalProperties": value })
    }
}

/// A declared mapping, by reference in the schema.
pub(crate) fn by_reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A declared mapping.
pub(crate) trait Mapping {
    /// Where it stands.
    fn span(&self) -> Span;
    /// Whether the key is there, even with a value that could not be read.
    fn given(&self, key: &str) -> bool;
}

/// One key of a declared mapping, for the schema.
pub(crate) struct KeySchema {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static [&'static str],
    pub(crate) required: bool,
    pub(crate) schema: Schema,
}

/// The schema of a declared mapping.
pub(crate) fn mapping_schema(doc: &[&str], keys: Vec<KeySchema>) -> Schema {
    let text = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.key).collect();
    let properties: BTreeMap<&str, Schema> = keys
        .into_iter()
        .map(|KeySchema { key, doc, mut schema, .. }| {
            schema.insert("description".to_owned(), text(doc).into());
            (key, schema)
        })
        .collect();
    let mut schema = json_schema!({
        "type": "object",
        "description": text(doc),
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// Reports that something else stands where a declared mapping belongs.
pub(crate) fn not_a_mapping(
    kind: &str,
    node: &Node<'_>,
    keys: &[&'static str],
    problems: &mut Problems<'_>,
) {
    let hint = habits::instead_of_mapping(kind, &node.value)
        .unwrap_or_else(|| format!("known keys: {}", keys.join(", ")));
    wrong_kind(node, &format!("a mapping for this {kind}"), Some(hint), problems);
}

pub(crate) fn unknown_key(
    kind: &str,
    key: &Key<'_>,
    known: &[&'static str],
    problems: &mut Problems<'_>,
) {
    let found = |text| Diagnostic::error(Code::UnknownKey, key.span, text);
    if problems.is_full() && problems.errors() > 0 {
        // Only counted, so nobody reads what it would say.
        return problems.push(found(String::new()));
    }
    let hint = habits::instead_of_key(kind, &key.text)
        .map(str::to_owned)
        .or_else(|| did_you_mean(&key.text, known.iter().copied()))
        .unwrap_or_else(|| {
            let words: Vec<_> =
                known.iter().filter(|word| !word.starts_with('$')).copied().collect();
            format!("known here: {}", words.join(", "))
        });
    let article = if kind.starts_with('a') { "an" } else { "a" };
    problems.push(found(format!("{article} {kind} has no key `{}`", key.text)).hint(hint));
}

pub(crate) fn missing_key(kind: &str, key: &str, span: Span, problems: &mut Problems<'_>) {
    let message = format!("this {kind} has no `{key}`");
    let hint = (kind == "file").then(|| "the file begins with `bulkhead: 1`".to_owned());
    problems.push(
        Diagnostic::error(Code::MissingKey, span, message)
            .label(format!("`{key}` is required"))
            .maybe_hint(hint),
    );
}

/// Declares a mapping of the file. See the module.
macro_rules! mapping {
    (
        $(#[doc = $doc:literal])+
        $kind:literal $type:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $value:ty = $key:literal $(, $required:ident)?; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(crate) struct $type {
            span: $crate::document::Span,
            given: u32,
            $( $(#[doc = $field_doc])+ pub(crate) $field: Option<$value>, )+
        }

        impl $type {
            const KEYS: &'static [&'static str] = &[$($key),+];
        }

        impl $crate::decode::Mapping for $type {
            fn span(&self) -> $crate::document::Span {
                self.span
            }

            fn given(&self, key: &str) -> bool {
                Self::KEYS.iter().position(|known| *known == key).is_some_and(|at| self.given >> at & 1 == 1)
            }
        }

        impl $crate::decode::Decode for $type {
            fn decode(
                node: &$crate::tree::Node<'_>,
                problems: &mut $crate::diagnostic::Problems<'_>,
            ) -> Option<Self> {
                let $crate::tree::Value::Map(entries) = &node.value else {
                    $crate::decode::not_a_mapping($kind, node, Self::KEYS, problems);
                    return None;
                };
                let mut this = Self { span: node.span, given: 0, $( $field: None, )+ };
                for (key, value) in entries {
                    if let Some(at) = Self::KEYS.iter().position(|known| *known == key.text) {
                        this.given |= 1 << at;
                    }
                    match &*key.text {
                        $( $key => this.$field = <$value as $crate::decode::Decode>::decode(value, problems), )+
                        _ => $crate::decode::unknown_key($kind, key, Self::KEYS, problems),
                    }
                }
                $( $(
                    let _ = stringify!($required);
                    if !$crate::decode::Mapping::given(&this, $key) {
                        $crate::decode::missing_key($kind, $key, node.span, problems);
                    }
                )? )+
                Some(this)
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::decode::by_reference::<Self>(generator)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).trim_start_matches("Raw").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let keys = vec![$(
                    $crate::decode::KeySchema {
                        key: $key,
                        doc: &[$($field_doc),+],
                        required: false $( | { let _ = stringify!($required); true } )?,
                        schema: <$value as $crate::decode::Decode>::schema(generator),
                    },
                )+];
                $crate::decode::mapping_schema(&[$($doc),+], keys)
            }
        }
    };
}

pub(crate) use mapping;
