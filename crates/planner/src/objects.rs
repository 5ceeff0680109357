//! What appears, changes and goes between two documents. Where something stands in the file does not matter.

use std::hash::Hash;
use std::sync::Arc;

use model::Posture;
use policy::Document;
use policy::document::{Network, Policy, Publish, Scope, Segment, Span, Standing, Workload};
use rustc_hash::FxHashMap;

/// How many objects of one kind change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// `tenant`, `network`, `segment`, `workload`, `publish`, `policy`, `host`, `unmanaged` or `audit`.
    pub kind: &'static str,
    /// Only in the new document.
    pub added: usize,
    /// In both, and different.
    pub changed: usize,
    /// Only in the old document.
    pub removed: usize,
    /// In both, and equal.
    pub unchanged: usize,
}

/// An object that changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectChange {
    /// What happens to it.
    pub fate: Fate,
    /// As in [`Objects::kind`].
    pub kind: &'static str,
    /// `shop/web`; of a policy its path in the file.
    pub name: String,
    /// Of a published port that appears or changes: where it leads, for whom, until when, who answers for it.
    pub detail: Option<String>,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Only in the new document.
    Added,
    /// In both, and different.
    Changed,
    /// Only in the old document.
    Removed,
}

/// Compares objects by name.
///
/// Returns the counts by kind, in the order tenant, network, segment, workload, publish, policy, host, unmanaged, audit, and every object that
/// changes: those of the new document by kind and name, then those that go.
#[must_use]
pub fn objects(old: Option<&Document>, new: &Document) -> (Vec<Objects>, Vec<ObjectChange>) {
    let nothing = Document::default();
    let old = old.unwrap_or(&nothing);
    let mut changes = Vec::new();
    let (old_segments, new_segments) = (segments(old), segments(new));
    let (old_audits, new_audits): (Vec<_>, Vec<_>) =
        (old.audits().collect(), new.audits().collect());
    let mut counts = vec![
        compare(
            "tenant",
            (old.tenants.iter(), new.tenants.iter()),
            |tenant| &tenant.name,
            |tenant| tenant.name.to_string(),
            |_, _| true,
            &mut changes,
        ),
        compare(
            "network",
            (old.networks.iter(), new.networks.iter()),
            |network| (&network.tenant, &network.name),
            |network| format!("{}/{}", network.tenant, network.name),
            same_network,
            &mut changes,
        ),
        compare(
            "segment",
            (old_segments.iter(), new_segments.iter()),
            |(network, segment)| (&network.tenant, &network.name, &segment.name),
            |(network, segment)| format!("{}/{}/{}", network.tenant, network.name, segment.name),
            |(_, one), (_, other)| same_segment(one, other),
            &mut changes,
        ),
        compare(
            "workload",
            (old.workloads.iter(), new.workloads.iter()),
            |workload| {
                (&workload.tenant, &workload.name, workload.further.then_some(&workload.network))
            },
            |workload| format!("{}/{}", workload.tenant, workload.label()),
            |one, other| one.is_shared_with(other) || same_workload(one, other),
            &mut changes,
        ),
        compare(
            "publish",
            (old.publishes.iter(), new.publishes.iter()),
            |publish| (&publish.tenant, &publish.name),
            |publish| format!("{}/{}", publish.tenant, publish.name),
            same_publish,
            &mut changes,
        ),
        compare_policies(old, new, &mut changes),
        compare_host(old, new, &mut changes),
        compare_unmanaged(old, new, &mut changes),
        compare(
            "audit",
            (old_audits.iter(), new_audits.iter()),
            |(place, _)| place,
            |(place, _)| place.to_string(),
            |(_, one), (_, other)| one == other,
            &mut changes,
        ),
    ];
    describe_publishes(new, &mut changes);
    // Most files have none.
    let is_some = |each: &Objects| each.added + each.changed + each.removed + each.unchanged > 0;
    counts.retain(|each| !matches!(each.kind, "audit" | "host" | "unmanaged") || is_some(each));
    sort(&mut changes);
    (counts, changes)
}

/// Those of the new document by kind and name, then those that go.
fn sort(changes: &mut [ObjectChange]) {
    changes.sort_unstable_by(|a, b| {
        let place = |each: &ObjectChange| (each.fate == Fate::Removed, each.kind);
        place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name))
    });
}

/// Tells of published ports what people ask about them first.
fn describe_publishes(new: &Document, changes: &mut [ObjectChange]) {
    let name = |publish: &Publish| format!("{}/{}", publish.tenant, publish.name);
    let known: FxHashMap<String, &Publish> =
        new.publishes.iter().map(|publish| (name(publish), publish)).collect();
    for change in changes {
        if change.kind == "publish" && change.fate != Fate::Removed {
            change.detail = known.get(&change.name).map(ToString::to_string);
        }
    }
}

/// The section of the host itself: there is one, or none.
fn compare_host(old: &Document, new: &Document, changes: &mut Vec<ObjectChange>) -> Objects {
    compare(
        "host",
        (old.host.iter(), new.host.iter()),
        |_| (),
        |_| "host".to_owned(),
        |one, other| (&one.uplinks, one.postures) == (&other.uplinks, other.postures),
        changes,
    )
}

/// What happens to what is nobody's on bridges that networks stand on: there are such networks, or none.
fn compare_unmanaged(old: &Document, new: &Document, changes: &mut Vec<ObjectChange>) -> Objects {
    let posture = |document: &Document| {
        let is_shared = document
            .networks
            .iter()
            .any(|network| network.external.is_some() || network.lan.is_some());
        is_shared.then(|| document.unmanaged_posture())
    };
    let (old, new) = (posture(old), posture(new));
    let counts = compare(
        "unmanaged",
        (old.iter(), new.iter()),
        |_| (),
        |_| "unmanaged".to_owned(),
        |one, other| one == other,
        changes,
    );
    let told = changes.iter_mut().filter(|change| change.kind == "unmanaged");
    for change in told.filter(|change| change.fate != Fate::Removed) {
        change.detail = new.map(|posture| match posture {
            Posture::Deny => "deny: what is on their bridges and no workload is closed".to_owned(),
            Posture::Audit | Posture::Allow => {
                format!(
                    "{posture}: what is on their bridges and no workload passes, and is recorded"
                )
            }
        });
    }
    counts
}

/// Compares the objects of one kind: `key` tells them apart, `name` is for people.
fn compare<'d, T: 'd, K: Hash + Eq>(
    kind: &'static str,
    (old, new): (impl Iterator<Item = &'d T>, impl Iterator<Item = &'d T>),
    key: impl Fn(&'d T) -> K,
    name: impl Fn(&'d T) -> String,
    is_same: impl Fn(&T, &T) -> bool,
    changes: &mut Vec<ObjectChange>,
) -> Objects {
    let mut counts = Objects { kind, added: 0, changed: 0, removed: 0, unchanged: 0 };
    let mut known: FxHashMap<K, &T> = old.map(|each| (key(each), each)).collect();
    let mut tell = |fate: Fate, each: &'d T| {
        changes.push(ObjectChange { fate, kind, name: name(each), detail: None });
    };
    for each in new {
        match known.remove(&key(each)) {
            None => {
                counts.added += 1;
                tell(Fate::Added, each);
            }
            Some(before) if is_same(before, each) => counts.unchanged += 1,
            Some(_) => {
                counts.changed += 1;
                tell(Fate::Changed, each);
            }
        }
    }
    counts.removed = known.len();
    for each in known.into_values() {
        tell(Fate::Removed, each);
    }
    counts
}

fn compare_policies(old: &Document, new: &Document, changes: &mut Vec<ObjectChange>) -> Objects {
    let (old, new) = (policies(old), policies(new));
    compare(
        "policy",
        (old.iter(), new.iter()),
        |(path, _)| path,
        |(path, _)| path.to_string(),
        |(_, one), (_, other)| {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_policy(a, b))
        },
        changes,
    )
}

fn segments(document: &Document) -> Vec<(&Network, &Segment)> {
    let networks = document.networks.iter();
    networks.flat_map(|network| network.segments.iter().map(move |each| (network, each))).collect()
}

/// Policies by their path. Of manifests, several together are one: a part for each of its rules.
fn policies(document: &Document) -> Vec<(Arc<str>, Vec<&Policy>)> {
    let mut out: Vec<(Arc<str>, Vec<&Policy>)> = Vec::with_capacity(document.policies.len());
    let mut parts: FxHashMap<Arc<str>, usize> = FxHashMap::default();
    for policy in &document.policies {
        let path = policy.path();
        if policy.standing.origin.is_none() {
            out.push((path, vec![policy]));
            continue;
        }
        let at = *parts.entry(Arc::clone(&path)).or_insert(out.len());
        match out.get_mut(at) {
            Some((_, all)) => all.push(policy),
            None => out.push((path, vec![policy])),
        }
    }
    out
}

fn same_network(one: &Network, other: &Network) -> bool {
    (one.mode, &one.external, &one.lan, one.subnets, one.snat, one.postures)
        == (other.mode, &other.external, &other.lan, other.subnets, other.snat, other.postures)
}

fn same_segment(one: &Segment, other: &Segment) -> bool {
    (one.subnets, one.postures, one.sealed) == (other.subnets, other.postures, other.sealed)
}

fn same_workload(one: &Workload, other: &Workload) -> bool {
    let place = |each: &Workload| (each.v4, each.v6);
    one.network == other.network
        && one.segment == other.segment
        && place(one) == place(other)
        && one.labels == other.labels
        && one.start == other.start
}

fn same_publish(one: &Publish, other: &Publish) -> bool {
    Publish { span: Span::default(), ..one.clone() }
        == Publish { span: Span::default(), ..other.clone() }
}

fn same_policy(one: &Policy, other: &Policy) -> bool {
    one.from == other.from
        && one.to == other.to
        && one.allow == other.allow
        && one.deny == other.deny
        && one.source_ports == other.source_ports
        && one.audit == other.audit
        && one.until == other.until
        && one.schedule == other.schedule
        && Standing { origin: None, ..one.standing.clone() }
            == Standing { origin: None, ..other.standing.clone() }
}

/// Whether a document has policies of more than one tenant, so that a policy's peers say whose they are.
pub(crate) fn has_many_tenants(document: &Document) -> bool {
    document.tenants.len() > 1
}

/// The tenant of a policy's selectors.
pub(crate) fn tenant(scope: &Scope) -> Option<&model::Name> {
    match scope {
        Scope::Host => None,
        Scope::Tenant(tenant) => Some(tenant),
    }
}
