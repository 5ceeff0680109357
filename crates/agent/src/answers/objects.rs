//! What appears, changes and goes between two documents. Where something stands in the file does not matter.

use std::collections::BTreeMap;

use api::{Change, ObjectChange};
use policy::Document;
use policy::document::Span;

/// Differences of two documents, and how many objects stay as they are.
pub(crate) fn compare(old: Option<&Document>, new: &Document) -> (Vec<ObjectChange>, u64) {
    let (old, new) = (old.map(all).unwrap_or_default(), all(new));
    let mut changes = Vec::new();
    let mut unchanged = 0;
    for (key, text) in &new {
        match old.get(key) {
            Some(before) if before == text => unchanged += 1,
            Some(_) => changes.push(change(Change::Change, key)),
            None => changes.push(change(Change::Add, key)),
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    changes.extend(gone.map(|key| change(Change::Remove, key)));
    (changes, unchanged)
}

type Key = (&'static str, String);

fn change(change: Change, (kind, name): &Key) -> ObjectChange {
    ObjectChange { change, kind: (*kind).to_owned(), name: name.clone() }
}

/// Every object with all that it says, as text.
fn all(document: &Document) -> BTreeMap<Key, String> {
    let mut objects = BTreeMap::new();
    for tenant in &document.tenants {
        objects.insert(("tenant", tenant.name.to_string()), String::new());
    }
    for network in &document.networks {
        let mut network = network.clone();
        network.span = Span::default();
        let name = format!("{}/{}", network.tenant, network.name);
        for mut segment in std::mem::take(&mut network.segments) {
            segment.span = Span::default();
            objects.insert(("segment", format!("{name}/{}", segment.name)), format!("{segment:?}"));
        }
        objects.insert(("network", name), format!("{network:?}"));
    }
    for workload in &document.workloads {
        let mut workload = workload.clone();
        workload.span = Span::default();
        let name = format!("{}/{}", workload.tenant, workload.name);
        objects.insert(("workload", name), format!("{workload:?}"));
    }
    for publish in &document.publishes {
        let mut publish = publish.clone();
        publish.span = Span::default();
        let name = format!("{}/{}", publish.tenant, publish.name);
        objects.insert(("publish", name), format!("{publish:?}"));
    }
    for policy in &document.policies {
        let mut plain = policy.clone();
        plain.span = Span::default();
        plain.order = 0;
        for rule in [&mut plain.allow_rule, &mut plain.deny_rule, &mut plain.audit_rule] {
            *rule = None;
        }
        objects.insert(("policy", policy.path().to_string()), format!("{plain:?}"));
    }
    objects
}
