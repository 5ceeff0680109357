//! Which records somebody asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Field, LabelKey, LabelValue, Labels, Name, Selector, Subject};

use crate::{Decision, End, Record};

/// One side of a filter, as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// An address or prefix.
    Net(IpNet),
    /// A workload of a tenant, `<tenant>.<workload>`.
    Workload(String),
    /// A workload of any tenant, or an identity in words: `web`, `world`.
    Word(String),
    /// Workloads by labels and place: `app=web`, `segment=data`.
    Labelled(Labelled),
}

/// Workloads by a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// The selector.
    pub selector: Selector,
    /// Who it selects now, `<tenant>.<workload>`: for places, and for records that do not tell the labels.
    pub members: BTreeSet<Arc<str>>,
}

impl Labelled {
    /// Whether an end of a record is meant: by the labels that it was judged by, where the record has them.
    fn matches(&self, end: &End) -> bool {
        let Some(id) = end.workload.as_ref() else { return false };
        let is_label = |field: &Field| matches!(field, Field::Label(_));
        let labels_only = self.selector.terms().iter().all(|term| is_label(&term.field));
        let then = end.identity_text.as_deref().and_then(labels).filter(|_| labels_only);
        let judged = then.zip(id.split_once('.').and_then(|(tenant, _)| tenant.parse().ok()));
        judged.map_or_else(
            || self.members.contains(id),
            |(labels, name)| self.selector.matches(&subject(&labels, &name)),
        )
    }
}

/// A workload of which only the labels are asked.
fn subject<'a>(labels: &'a Labels, name: &'a Name) -> Subject<'a> {
    Subject { tenant: name, network: name, segment: None, workload: name, labels }
}

/// The labels in an identity's words; `None` when it has none.
fn labels(text: &str) -> Option<Labels> {
    let label = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((LabelKey::new(key).ok()?, LabelValue::new(value).ok()?))
    };
    text.split(", ").map(label).collect()
}

impl Party {
    /// Reads `10.0.0.0/8`, `10.0.0.1`, `shop/web`, `shop.web`, `web`, `world`. Every text means something, though perhaps
    /// nobody; selectors are not read here.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Ok(net) = text.parse::<IpNet>() {
            return Self::Net(net);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Net(IpNet::from(address));
        }
        match text.split_once(['/', '.']) {
            Some((tenant, name)) => Self::Workload(format!("{tenant}.{name}")),
            None => Self::Word(text.to_owned()),
        }
    }

    /// Whether an end of a record is meant.
    #[must_use]
    pub fn matches(&self, end: &End) -> bool {
        let workload = end.workload.as_deref();
        match self {
            Self::Net(net) => net.contains(&end.address),
            Self::Workload(id) => workload.is_some_and(|found| is_meant(found, id)),
            Self::Labelled(labelled) => labelled.matches(end),
            Self::Word(word) => {
                let name = workload.and_then(|id| id.split_once('.')).map(|(_, name)| name);
                name.is_some_and(|name| is_meant(name, word))
                    || end.identity_text.as_deref() == Some(word.as_str())
            }
        }
    }
}

/// Whether an attachment is meant by a text: by its own name, or by that of its workload.
fn is_meant(name: &str, text: &str) -> bool {
    name == text || name.split_once('@').is_some_and(|(owner, _)| owner == text)
}

/// Which records somebody asked for; everything when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only from this party.
    pub from: Option<Party>,
    /// Only to this party.
    pub to: Option<Party>,
    /// Only with this decision.
    pub decision: Option<Decision>,
}

impl Filter {
    /// Whether a record was asked for.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        self.from.as_ref().is_none_or(|party| party.matches(&record.source))
            && self.to.as_ref().is_none_or(|party| party.matches(&record.target))
            && self.decision.is_none_or(|decision| decision == record.decision)
    }
}
