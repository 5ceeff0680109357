//! Selectors: the expressions over labels by which policies name workloads.
//!
//! A selector is a comma-separated list of terms that must all hold: `app=web, tier in (front, edge), !canary`. It parses
//! from one string with exact positions in its errors, prints in one normal form, and the printed form parses to the same
//! value.

mod parse;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{LabelKey, LabelValue, Labels, Name};

pub use parse::ParseError;
pub(crate) use parse::parse_error;

/// One or more terms that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    terms: Vec<Term>,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// What is looked at.
    pub field: Field,
    /// What must hold for it.
    pub op: Op,
}

/// What a term looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The value of a label.
    Label(LabelKey),
    /// The tenant's name.
    Tenant,
    /// The network's name.
    Network,
    /// The segment's name; a workload directly in a network has none.
    Segment,
    /// The workload's name.
    Workload,
}

/// What must hold for the field. Values are checked when parsed: label values for labels, names for the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `k=v`: it is there and equal.
    Is(LabelValue),
    /// `k!=v`: it is missing or differs.
    IsNot(LabelValue),
    /// `k in (a, b)`: it is there and one of these. Never empty.
    In(Vec<LabelValue>),
    /// `k notin (a, b)`: it is missing or none of these. Never empty.
    NotIn(Vec<LabelValue>),
    /// `k`: there is such a label (labels only).
    Exists,
    /// `!k`: there is no such label (labels only).
    Missing,
}

/// What selectors look at: one endpoint's place and labels.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Tenant.
    pub tenant: &'a Name,
    /// Network.
    pub network: &'a Name,
    /// Segment, if the network has any.
    pub segment: Option<&'a Name>,
    /// Workload.
    pub workload: &'a Name,
    /// Labels of the workload.
    pub labels: &'a Labels,
}

impl Selector {
    /// Most terms in one selector.
    pub const MAX_TERMS: usize = 32;
    /// Most values in one `in (…)`.
    pub const MAX_VALUES: usize = 256;

    /// Makes a selector of at least one term; `None` for an empty list.
    #[must_use]
    pub fn new(terms: Vec<Term>) -> Option<Self> {
        (!terms.is_empty()).then_some(Self { terms })
    }

    /// The terms, at least one.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether every term holds for the subject.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.terms.iter().all(|term| term.matches(subject))
    }
}

impl Term {
    /// Whether this term holds for the subject.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let value = self.field.value_in(subject);
        match &self.op {
            Op::Is(wanted) => value == Some(wanted.as_str()),
            Op::IsNot(unwanted) => value != Some(unwanted.as_str()),
            Op::In(wanted) => value.is_some_and(|value| wanted.iter().any(|w| w.as_str() == value)),
            Op::NotIn(unwanted) => {
                value.is_none_or(|value| unwanted.iter().all(|u| u.as_str() != value))
            }
            Op::Exists => value.is_some(),
            Op::Missing => value.is_none(),
        }
    }
}

impl Field {
    /// The value that the subject has for this field.
    #[must_use]
    pub fn value_in<'a>(&self, subject: &Subject<'a>) -> Option<&'a str> {
        match self {
            Self::Label(key) => subject.labels.get(key).map(LabelValue::as_str),
            Self::Tenant => Some(subject.tenant.as_str()),
            Self::Network => Some(subject.network.as_str()),
            Self::Segment => subject.segment.map(Name::as_str),
            Self::Workload => Some(subject.workload.as_str()),
        }
    }

    /// The word that stands for this field in a selector.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Label(key) => key.as_str(),
            Self::Tenant => "tenant",
            Self::Network => "network",
            Self::Segment => "segment",
            Self::Workload => "workload",
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.terms.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            fmt::Display::fmt(term, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.as_str();
        match &self.op {
            Op::Is(value) => write!(f, "{field}={value}"),
            Op::IsNot(value) => write!(f, "{field}!={value}"),
            Op::In(values) => list(f, field, "in", values),
            Op::NotIn(values) => list(f, field, "notin", values),
            Op::Exists => f.write_str(field),
            Op::Missing => write!(f, "!{field}"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, field: &str, op: &str, values: &[LabelValue]) -> fmt::Result {
    write!(f, "{field} {op} (")?;
    for (n, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if n > 0 { ", " } else { "" })?;
    }
    f.write_str(")")
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::selector(text)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
