//! The line of YAML that would allow a flow.

use model::{Field, LabelValue, Name, Op, Peer, Selector, Subject, Term};
use serde::Serialize;

use super::{End, Flow, label_terms, port_spec};
use crate::document::{Document, Scope};

/// A policy that would allow a flow, ready to be pasted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Where it belongs: `tenants.shop.policies` or `policies`.
    pub path: String,
    /// One line: `scanner-to-db: { from: app=scanner, to: app=db, allow: [6379/tcp] }`.
    pub line: String,
}

/// The policy that would allow exactly this flow, or `None` when no workload is part of it.
///
/// Workloads are named by as few labels as tell them apart from the rest of their tenant, or else by their name. Between
/// two tenants the policy is host-wide. A policy cannot undo a deny: check first that none applies.
#[must_use]
pub fn suggestion(document: &Document, flow: &Flow<'_>) -> Option<Suggestion> {
    let tenants = [tenant(&flow.from), tenant(&flow.to)];
    let scope = match tenants {
        [Some(one), Some(two)] if one != two => Scope::Host,
        [Some(one), _] | [_, Some(one)] => Scope::Tenant(one.clone()),
        [None, None] => return None,
    };
    let peer = |end: &End<'_>| match end {
        End::Workload(subject) => quoted(&selector(document, subject, &scope)),
        End::Host => "host".to_owned(),
        End::Account(processes) => processes.to_string(),
        End::World(address) | End::Unmanaged(address) => {
            quoted(&Peer::Cidr((*address).into()).to_string())
        }
    };
    let name = free_name(document, &scope, &format!("{}-to-{}", word(&flow.from), word(&flow.to)));
    let port = port_spec(flow.proto, flow.port);
    let line = format!(
        "{name}: {{ from: {}, to: {}, allow: [{port}] }}",
        peer(&flow.from),
        peer(&flow.to)
    );
    let path = match &scope {
        Scope::Host => "policies".to_owned(),
        Scope::Tenant(tenant) => format!("tenants.{tenant}.policies"),
    };
    Some(Suggestion { path, line })
}

fn tenant<'a>(end: &End<'a>) -> Option<&'a Name> {
    match end {
        End::Workload(subject) => Some(subject.tenant),
        End::Host | End::Account(_) | End::World(_) | End::Unmanaged(_) => None,
    }
}

/// A text that stays one value inside of a flow mapping.
fn quoted(text: &str) -> String {
    if text.contains([',', ':', '{', '[', '!', '#', '&', '*']) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}

/// The shortest selector that means this workload and its replicas, and nobody else of the tenant.
fn selector(document: &Document, subject: &Subject<'_>, scope: &Scope) -> String {
    let labels = label_terms(subject);
    let unambiguous = |terms: &[Term]| {
        document
            .workloads
            .iter()
            .map(|workload| workload.subject())
            .filter(|other| {
                other.tenant == subject.tenant && terms.iter().all(|term| term.matches(other))
            })
            .all(|other| other.labels == subject.labels)
    };
    let one = labels
        .iter()
        .map(std::slice::from_ref)
        .find(|terms| unambiguous(terms))
        .map(<[Term]>::to_vec);
    let mut terms = match one {
        Some(terms) => terms,
        None if labels.len() < Selector::MAX_TERMS
            && !labels.is_empty()
            && unambiguous(&labels) =>
        {
            labels
        }
        None => vec![place(Field::Workload, subject.workload)],
    };
    if matches!(scope, Scope::Host) {
        terms.insert(0, place(Field::Tenant, subject.tenant));
    }
    join_terms(&terms)
}

/// `network=main` and the like: every name is a label value too.
fn place(field: Field, name: &Name) -> Term {
    Term { field, op: LabelValue::new(name.as_str()).map_or(Op::Exists, Op::Is) }
}

fn join_terms(terms: &[Term]) -> String {
    terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What stands for this side in the policy's name.
fn word(end: &End<'_>) -> String {
    match end {
        End::Workload(subject) => subject.workload.to_string(),
        End::Host => "host".to_owned(),
        End::Account(processes) => processes.to_string(),
        End::World(_) => "world".to_owned(),
        End::Unmanaged(_) => "unmanaged".to_owned(),
    }
}

/// The name, shortened to a valid one, with a number if the scope has it already.
fn free_name(document: &Document, scope: &Scope, wanted: &str) -> String {
    let short = |most: usize| {
        wanted.get(..most.min(wanted.len())).unwrap_or(wanted).trim_end_matches('-').to_owned()
    };
    let taken = |name: &str| {
        document.policies.iter().any(|policy| policy.scope == *scope && policy.name == name)
    };
    let plain = short(Name::MAX_LEN);
    if !taken(&plain) {
        return plain;
    }
    (2..1_000)
        .map(|n| format!("{}-{n}", short(Name::MAX_LEN - 4)))
        .find(|name| !taken(name))
        .unwrap_or(plain)
}
