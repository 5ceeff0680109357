//! What selectors can refer to, in the whole file and in each tenant.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{Field, LabelValue, Name, Op, Selector, Term};

use crate::codes::Code;
use crate::decode::habits;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Scope, Span};
use crate::nearest::did_you_mean;
use crate::raw::RawFile;
use crate::scalar::Switch;

/// Names and labels of one scope.
#[derive(Default)]
struct Words {
    networks: BTreeSet<String>,
    segments: BTreeSet<String>,
    workloads: HashSet<String>,
    labels: HashMap<String, HashSet<String>>,
    /// Whether workloads come at run time, with names and labels that are not known here.
    open: bool,
}

/// Names and labels of the whole file and of each tenant. Entries with problems count: their names exist.
pub(super) struct Vocabulary {
    tenants: BTreeSet<String>,
    host: Words,
    by_tenant: HashMap<Name, Words>,
}

impl Vocabulary {
    /// Collects everything that the file defines.
    pub(super) fn of(raw: &RawFile) -> Self {
        let mut this =
            Self { tenants: BTreeSet::new(), host: Words::default(), by_tenant: HashMap::new() };
        for (name, tenant) in raw.tenants.iter().flat_map(|table| &table.entries) {
            this.tenants.insert(name.value.to_string());
            let words = this.by_tenant.entry(name.value.clone()).or_default();
            let Some(tenant) = tenant else { continue };
            for (network, raw) in tenant.networks.iter().flat_map(|table| &table.entries) {
                let segments = raw
                    .iter()
                    .filter_map(|raw| raw.segments.as_ref())
                    .flat_map(|table| &table.entries);
                let segments: Vec<String> =
                    segments.map(|(name, _)| name.value.to_string()).collect();
                let attach = raw.as_ref().and_then(|raw| raw.attach.as_ref());
                let external = raw.as_ref().and_then(|raw| raw.external.as_ref());
                // Containers of an engine are workloads without being asked for.
                let is_engine = external.is_some_and(|external| external.docker.is_some());
                if is_engine || attach.is_some_and(|attach| attach.value == Switch::On) {
                    (words.open, this.host.open) = (true, true);
                }
                this.host.networks.insert(network.value.to_string());
                this.host.segments.extend(segments.iter().cloned());
                words.networks.insert(network.value.to_string());
                words.segments.extend(segments);
            }
            for (workload, raw) in tenant.workloads.iter().flat_map(|table| &table.entries) {
                this.host.workloads.insert(workload.value.to_string());
                words.workloads.insert(workload.value.to_string());
                let labels = raw
                    .iter()
                    .filter_map(|raw| raw.labels.as_ref())
                    .flat_map(|table| &table.entries);
                for (key, value) in labels {
                    let value = value.as_ref().map(|value| value.value.to_string());
                    for words in [&mut this.host, &mut *words] {
                        words
                            .labels
                            .entry(key.value.to_string())
                            .or_default()
                            .extend(value.clone());
                    }
                }
            }
        }
        this
    }

    /// Reports every term that refers to something that does not exist.
    pub(super) fn check(
        &self,
        scope: &Scope,
        selector: &Selector,
        span: Span,
        problems: &mut Problems<'_>,
    ) {
        let words = match scope {
            Scope::Host => Some(&self.host),
            Scope::Tenant(tenant) => self.by_tenant.get(tenant),
        };
        let Some(words) = words else { return };
        for term in selector.terms() {
            self.term(scope, words, term, span, problems);
        }
    }

    fn term(
        &self,
        scope: &Scope,
        words: &Words,
        term: &Term,
        span: Span,
        problems: &mut Problems<'_>,
    ) {
        let values: &[LabelValue] = match &term.op {
            Op::Is(value) | Op::IsNot(value) => std::slice::from_ref(value),
            Op::In(values) | Op::NotIn(values) => values,
            Op::Exists | Op::Missing => &[],
        };
        let negative = matches!(term.op, Op::IsNot(_) | Op::NotIn(_) | Op::Missing);
        if let Field::Label(key) = &term.field {
            if !negative && !words.open {
                label(words, scope, key.as_str(), values, span, problems);
            }
            return;
        }
        for value in values {
            let value = value.as_str();
            let at = problems.within(span, value);
            match &term.field {
                Field::Network => known("network", value, &words.networks, at, problems),
                Field::Segment => known("segment", value, &words.segments, at, problems),
                Field::Workload if !words.open && !words.workloads.contains(value) => {
                    let names = words.workloads.iter().map(String::as_str);
                    problems.push(super::unknown("workload", value, at, names));
                }
                Field::Tenant => self.tenant(scope, value, at, problems),
                Field::Workload | Field::Label(_) => {}
            }
        }
    }

    fn tenant(&self, scope: &Scope, value: &str, at: Span, problems: &mut Problems<'_>) {
        match scope {
            Scope::Tenant(own) if self.tenants.contains(value) && *own != value => problems.push(
                Diagnostic::error(
                    Code::Unknown,
                    at,
                    format!("the tenant `{value}` cannot be named here"),
                )
                .label(format!("entries of `{own}` see only its own workloads"))
                .hint("write the policy at the top level of the file: it is then host-wide"),
            ),
            _ => known("tenant", value, &self.tenants, at, problems),
        }
    }
}

fn known(what: &str, value: &str, words: &BTreeSet<String>, at: Span, problems: &mut Problems<'_>) {
    if !words.contains(value) {
        problems.push(super::unknown(what, value, at, words.iter().map(String::as_str)));
    }
}

fn label(
    words: &Words,
    scope: &Scope,
    key: &str,
    values: &[LabelValue],
    span: Span,
    problems: &mut Problems<'_>,
) {
    let whose = match scope {
        Scope::Host => "no workload".to_owned(),
        Scope::Tenant(tenant) => format!("no workload of `{tenant}`"),
    };
    let Some(known) = words.labels.get(key) else {
        let at = problems.within(span, key);
        let hint = place_of(words, key)
            .or_else(|| habits::instead_of_peer(key).map(str::to_owned))
            .or_else(|| did_you_mean(key, words.labels.keys().map(String::as_str)))
            .or_else(|| listed("labels here", words.labels.keys()));
        problems.push(
            Diagnostic::error(Code::UnknownLabel, at, format!("{whose} has a label `{key}`"))
                .maybe_hint(hint),
        );
        return;
    };
    for value in values.iter().filter(|value| !known.contains(value.as_str())) {
        let at = problems.within(span, value.as_str());
        let hint = did_you_mean(value.as_str(), known.iter().map(String::as_str))
            .or_else(|| listed(&format!("values of {key}"), known.iter()));
        problems.push(
            Diagnostic::error(
                Code::UnknownLabel,
                at,
                format!("{whose} has the label `{key}={value}`"),
            )
            .maybe_hint(hint),
        );
    }
}

/// A bare word that names a place: `front` for `segment=front`.
fn place_of(words: &Words, key: &str) -> Option<String> {
    let places = [
        ("segment", words.segments.contains(key)),
        ("workload", words.workloads.contains(key)),
        ("network", words.networks.contains(key)),
    ];
    let (place, _) = places.into_iter().find(|(_, known)| *known)?;
    Some(format!("did you mean `{place}={key}`?"))
}

fn listed<'a>(what: &str, words: impl Iterator<Item = &'a String>) -> Option<String> {
    let mut words: Vec<&str> = words.map(String::as_str).take(9).collect();
    words.sort_unstable();
    (!words.is_empty() && words.len() < 9).then(|| format!("{what}: {}", words.join(", ")))
}
