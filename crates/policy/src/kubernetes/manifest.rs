//! Manifests to a [`Cluster`]: documents, lists, namespaces, workloads by their top owner, policies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::fields::{Object, number, refuse, text};
use super::rules::{self, Head};
use super::{Beside, Cluster, Kind, Pod, Policy, WorkloadName, mistyped, ports, selector};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Severity};
use crate::document::Span;
use crate::nearest::did_you_mean;
use crate::tree;
use crate::{Limits, Source};

/// Longest chain of owners that is followed.
const MAX_OWNERS: usize = 8;

/// Longest file, in bytes, and most of its lines in which tabs are taken for spaces.
const MAX_TABBED: usize = 1 << 20;
const MAX_TABBED_LINES: usize = 100;

/// Most kinds that are counted by themselves.
const MAX_KINDS: usize = 100;

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads the manifests of a folder, in the order given.
///
/// # Errors
/// The findings of every file in which Kubernetes would refuse something.
pub fn read(sources: &[Source<'_>], limits: &Limits) -> Result<Cluster, Vec<Diagnostics>> {
    let (mut cluster, files) = read_with(Reader::default(), sources, limits);
    cluster.warnings = findings(files, &cluster.files)?;
    Ok(cluster)
}

/// Reads the policies and namespaces that stand beside a native file, which has the workloads.
pub(super) fn read_beside<'t>(
    beside: Beside,
    sources: &[Source<'t>],
    limits: &Limits,
) -> (Cluster, Vec<Problems<'t>>) {
    let cluster = Cluster {
        namespaces: beside
            .known
            .iter()
            .flatten()
            .map(|name| (name.clone(), <_>::default()))
            .collect(),
        workloads: beside.workloads.clone(),
        ..Cluster::default()
    };
    read_with(Reader { cluster, beside: Some(beside), ..Reader::default() }, sources, limits)
}

fn read_with<'t>(
    mut reader: Reader,
    sources: &[Source<'t>],
    limits: &Limits,
) -> (Cluster, Vec<Problems<'t>>) {
    let mut files: Vec<Problems<'_>> = Vec::with_capacity(sources.len());
    for (file, source) in sources.iter().enumerate() {
        reader.cluster.files.push(Arc::from(source.name));
        let mut problems = Problems::new(source.text, limits.findings);
        reader.file(file, source, limits, &mut problems);
        files.push(problems);
    }
    let holder = if reader.beside.is_some() { "workload" } else { "container" };
    let cluster = reader.finish();
    check(&cluster, holder, &mut files);
    (cluster, files)
}

/// The findings of every file: its warnings or, when some file has errors, the errors of all.
pub(super) fn findings(
    files: Vec<Problems<'_>>,
    names: &[Arc<str>],
) -> Result<Vec<Diagnostics>, Vec<Diagnostics>> {
    let failed = files.iter().any(|problems| problems.errors() > 0);
    let findings = files.into_iter().zip(names);
    let findings = findings.map(|(problems, name)| problems.finish(Arc::clone(name)));
    let findings: Vec<Diagnostics> = findings.filter(|each| !each.is_empty()).collect();
    if failed {
        return Err(findings.into_iter().filter(|each| each.errors() > 0).collect());
    }
    Ok(findings)
}

/// An owner by kind, namespace and name.
type Owned = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Default)]
struct Reader {
    cluster: Cluster,
    /// Pods by the object that has their template, or that they are.
    pods: BTreeMap<Owned, Vec<Pod>>,
    /// Controllers of objects.
    owners: BTreeMap<Owned, Owned>,
    /// Where namespaces beside a native file are.
    named: BTreeMap<Arc<str>, (usize, Span)>,
    /// There when a native file has the workloads.
    beside: Option<Beside>,
}

impl Reader {
    fn file(
        &mut self,
        file: usize,
        source: &Source<'_>,
        limits: &Limits,
        problems: &mut Problems<'_>,
    ) {
        if source.text.len() > limits.bytes {
            let size = source.text.len();
            let message = format!("the file has {size} bytes, at most {} are read", limits.bytes);
            problems.push(Diagnostic::new(Code::Limit, Severity::Error, None, message));
            return;
        }
        let text = readable(source.text, limits);
        let documents = match tree::read_all(&text, limits, problems) {
            Ok(documents) => documents,
            Err(stop) => return problems.push(*stop.why),
        };
        for node in &documents {
            match node.value {
                tree::Value::Map(_) => self.object(file, Object { node }, None, problems),
                tree::Value::Null => {}
                _ if self.beside.is_some() => {
                    problems.push(mistyped::no_object("it is no mapping", node.span));
                }
                _ => self.leave_out("(no object)", node.span, problems),
            }
        }
    }

    /// Reads an object; `kind` is that of a list's items, which may leave it out.
    fn object(
        &mut self,
        file: usize,
        object: Object<'_, '_>,
        kind: Option<&str>,
        problems: &mut Problems<'_>,
    ) {
        let written = object.get("kind").and_then(|node| text(node, "kind", problems));
        let version = object.get("apiVersion").and_then(|node| text(node, "apiVersion", problems));
        let missing = match (written.or(kind), version) {
            (None, _) => Some("`kind` is missing"),
            (_, None) if kind.is_none() => Some("`apiVersion` is missing"),
            _ => None,
        };
        if let Some(what) = missing.filter(|_| self.beside.is_some()) {
            return problems.push(mistyped::no_object(what, object.span()));
        }
        let Some(kind) = written.or(kind) else {
            return self.leave_out("(no kind)", object.span(), problems);
        };
        if let Some(items) = kind.strip_suffix("List").filter(|_| object.get("items").is_some()) {
            let items = if items.is_empty() { None } else { Some(items) };
            for node in object.list("items", problems) {
                if let Some(item) = Object::of(node, "an item", problems) {
                    self.object(file, item, items, problems);
                }
            }
            return;
        }
        let group =
            version.and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
        match (kind, group) {
            ("Namespace", "") => self.namespace(file, object, problems),
            ("NetworkPolicy", "networking.k8s.io" | "extensions" | "")
            | (
                "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy",
                "policy.networking.k8s.io" | "",
            ) => self.policy(file, kind, object, problems),
            ("Pod" | "ReplicationController", "")
            | (
                "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet",
                "apps" | "extensions" | "",
            )
            | ("Job" | "CronJob", "batch" | "")
                if self.beside.is_none() =>
            {
                self.workload(kind, object, problems);
            }
            _ => {
                if kind.ends_with("NetworkPolicy") || kind.ends_with("NetworkSet") {
                    problems.push(self.other_policy(kind, group, object));
                } else if self.beside.is_some()
                    && let Some(found) = mistyped::policy(kind, group, object)
                {
                    return problems.push(found);
                }
                self.leave_out(kind, object.span(), problems);
            }
        }
    }

    /// A policy of another kind: in an analysis it is left out, and what is to be enforced is refused with it.
    fn other_policy(&self, kind: &str, group: &str, object: Object<'_, '_>) -> Diagnostic {
        if self.beside.is_none() {
            let message = format!("{kind} of {group} is not judged: it is left out");
            return Diagnostic::warning(Code::ManifestBeyond, object.span(), message);
        }
        let message = format!("a {kind} of `{group}` cannot be enforced");
        Diagnostic::error(Code::ManifestBeyond, object.span(), message).hint(
            "write it as a NetworkPolicy, an AdminNetworkPolicy or a policy of the native file; without it, more could pass than its author wants",
        )
    }

    /// Counts an object of another kind. Of very many kinds, only some are counted by themselves.
    fn leave_out(&mut self, kind: &str, span: Span, problems: &mut Problems<'_>) {
        if self.beside.is_some() && !kind.ends_with("NetworkPolicy") {
            let hint = "workloads stand in the native file, under `workloads:` of their tenant";
            let message = format!("a {kind} of a manifest is not run: it is left out");
            problems.push(Diagnostic::warning(Code::ManifestKind, span, message).hint(hint));
        }
        let is_known = self.cluster.ignored.contains_key(kind);
        let few = is_known || self.cluster.ignored.len() < MAX_KINDS;
        *self.cluster.ignored.entry(if few { kind } else { "(others)" }.to_owned()).or_default() +=
            1;
    }

    fn namespace(&mut self, file: usize, object: Object<'_, '_>, problems: &mut Problems<'_>) {
        let Some(meta) = metadata(object, problems) else { return };
        let labels = meta.object("labels", problems);
        let mut labels = labels.map(|each| selector::labels(each, problems)).unwrap_or_default();
        let Some(name) = name(meta, problems) else { return };
        if let Some(known) = self.beside.as_ref().and_then(|beside| beside.known.as_ref())
            && !known.contains(&name)
        {
            let message = format!("there is no {} `{name}`: its labels mean nobody", self.noun());
            let span = meta.get("name").map_or(object.span(), |node| node.span);
            problems.push(Diagnostic::warning(Code::ManifestNamespace, span, message));
            return;
        }
        if self.beside.is_some() {
            let span = meta.get("name").map_or(object.span(), |node| node.span);
            if let Some((first, at)) = self.named.insert(name.clone(), (file, span)) {
                let first = self.cluster.files.get(first).map_or("", |name| name);
                let message = format!("`{name}` is there twice, first at {first}:{}", at.line);
                problems.push(Diagnostic::error(Code::ManifestTwice, span, message));
            }
        }
        labels.insert("kubernetes.io/metadata.name".into(), name.clone());
        self.cluster.namespaces.insert(name, labels);
    }

    fn policy(
        &mut self,
        file: usize,
        kind: &str,
        object: Object<'_, '_>,
        problems: &mut Problems<'_>,
    ) {
        let Some(meta) = metadata(object, problems) else { return };
        let Some(name) = name(meta, problems) else { return };
        let span = meta.get("name").map_or(object.span(), |node| node.span);
        let namespace = if kind == "NetworkPolicy" {
            let Some(namespace) = self.namespace_of(meta, span, problems) else { return };
            namespace
        } else {
            "".into()
        };
        let is_beside = self.beside.is_some();
        let head = Head { namespace, name, file, span, is_beside };
        let policy = match kind {
            "NetworkPolicy" => rules::network(head, object, problems),
            _ => rules::admin(head, object, kind.starts_with("Baseline"), problems),
        };
        self.cluster.policies.extend(policy);
    }

    /// The namespace of a policy. Beside a native file it is one of those that the file makes.
    fn namespace_of(
        &self,
        meta: Object<'_, '_>,
        span: Span,
        problems: &mut Problems<'_>,
    ) -> Option<Arc<str>> {
        let Some(beside) = &self.beside else { return Some(namespace(meta, problems)) };
        let Some(known) = &beside.known else { return Some(namespace(meta, problems)) };
        let written = meta
            .get("namespace")
            .and_then(|node| Some((text(node, "namespace", problems)?, node.span)));
        let (name, span) = match (written, known.len()) {
            (Some((name, at)), _) if !name.is_empty() => (Arc::from(name), at),
            (_, 1) => return known.first().cloned(),
            _ => (Arc::from(DEFAULT_NAMESPACE), span),
        };
        if known.contains(&name) {
            return Some(name);
        }
        let noun = self.noun();
        let message = format!("there is no {noun} `{name}`, which this namespace would be");
        let hint = did_you_mean(&name, known.iter().map(|each| &**each)).unwrap_or_else(|| {
            let known: Vec<&str> = known.iter().map(|each| &**each).take(8).collect();
            format!("a namespace is a {noun} of the native file: {}", known.join(", "))
        });
        problems.push(Diagnostic::error(Code::ManifestNamespace, span, message).hint(hint));
        None
    }

    /// What of the native file is a namespace.
    fn noun(&self) -> &'static str {
        let by_segment = self.beside.as_ref().is_some_and(|beside| beside.by_segment);
        if by_segment { "segment" } else { "tenant" }
    }

    fn workload(&mut self, kind: &str, object: Object<'_, '_>, problems: &mut Problems<'_>) {
        let Some(meta) = metadata(object, problems) else { return };
        let namespace = namespace(meta, problems);
        let Some(name) = name(meta, problems) else { return };
        let own: Owned = (kind.into(), Arc::clone(&namespace), name);
        let spec = object.object("spec", problems);
        let (meta_of_pod, spec) = if kind == "Pod" {
            (Some(meta), spec)
        } else {
            let template = template(kind, spec, problems);
            (
                template.and_then(|each| each.object("metadata", problems)),
                template.and_then(|each| each.object("spec", problems)),
            )
        };
        let labels = meta_of_pod.and_then(|meta| meta.object("labels", problems));
        let labels = labels.map(|each| selector::labels(each, problems)).unwrap_or_default();
        let pod =
            Pod { labels, ports: spec.map(|each| containers(each, problems)).unwrap_or_default() };
        if let Some(owner) = controller(meta, &namespace, problems) {
            self.owners.insert(own.clone(), owner);
        }
        // Applied again, an object replaces the one with its name.
        self.pods.insert(own, vec![pod]);
        self.cluster.namespaces.entry(namespace).or_default();
    }

    /// Names every pod by its top owner.
    fn finish(mut self) -> Cluster {
        for policy in &self.cluster.policies {
            if !policy.namespace.is_empty() {
                self.cluster.namespaces.entry(policy.namespace.clone()).or_default();
            }
        }
        for (name, labels) in &mut self.cluster.namespaces {
            labels.insert("kubernetes.io/metadata.name".into(), name.clone());
        }
        for (own, pods) in self.pods {
            let mut top = &own;
            for _ in 0..MAX_OWNERS {
                match self.owners.get(top) {
                    Some(owner) => top = owner,
                    None => break,
                }
            }
            let (kind, namespace, name) = top.clone();
            let all = self.cluster.workloads.entry(WorkloadName { namespace, name, kind });
            all.or_default().extend(pods);
        }
        for pods in self.cluster.workloads.values_mut() {
            pods.sort_unstable();
            pods.dedup();
        }
        self.cluster
    }
}

/// The text as the readers of Kubernetes take it: between brackets, they accept tabs as indentation.
///
/// YAML itself does not (1.2.2, section 6.1). Only those tabs become spaces, so that every place stays where it is.
fn readable<'t>(text: &'t str, limits: &Limits) -> Cow<'t, str> {
    if !text.contains('\t') || text.len() > MAX_TABBED {
        return Cow::Borrowed(text);
    }
    let mut spaced = text.to_owned();
    let mut lines = Vec::new();
    for _ in 0..MAX_TABBED_LINES {
        let stop = match tree::read_all(&spaced, limits, &mut Problems::new(text, 0)) {
            Err(stop) => stop,
            Ok(_) if lines.is_empty() => break,
            Ok(documents) => {
                let is_fine =
                    |at: &usize| documents.iter().any(|node| node.is_in_flow(&spaced, *at));
                let is_fine = lines.iter().all(is_fine);
                return if is_fine { Cow::Owned(spaced) } else { Cow::Borrowed(text) };
            }
        };
        let Some(start) = stop.tabbed else { break };
        lines.push(start);
        let (before, line) = spaced.split_at(start);
        let content = line.trim_start_matches([' ', '\t']);
        let indentation = " ".repeat(line.len() - content.len());
        spaced = format!("{before}{indentation}{content}");
    }
    Cow::Borrowed(text)
}

/// The pod template of a workload's `spec`.
fn template<'n, 'a>(
    kind: &str,
    spec: Option<Object<'n, 'a>>,
    problems: &mut Problems<'_>,
) -> Option<Object<'n, 'a>> {
    let mut spec = spec?;
    if kind == "CronJob" {
        spec = spec.object("jobTemplate", problems)?.object("spec", problems)?;
    }
    spec.object("template", problems)
}

fn metadata<'n, 'a>(object: Object<'n, 'a>, problems: &mut Problems<'_>) -> Option<Object<'n, 'a>> {
    let found = object.object("metadata", problems);
    if found.is_none() {
        refuse(problems, object.span(), "an object needs `metadata` with a `name`");
    }
    found
}

fn name(meta: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Arc<str>> {
    let node = meta.get("name").or_else(|| meta.get("generateName"));
    let Some(node) = node else {
        refuse(problems, meta.span(), "an object needs a `name`");
        return None;
    };
    text(node, "name", problems).map(Arc::from)
}

fn namespace(meta: Object<'_, '_>, problems: &mut Problems<'_>) -> Arc<str> {
    let found = meta.text("namespace", problems).filter(|name| !name.is_empty());
    found.unwrap_or(DEFAULT_NAMESPACE).into()
}

/// The object that controls this one. A node that runs a static pod is no workload.
fn controller(
    meta: Object<'_, '_>,
    namespace: &Arc<str>,
    problems: &mut Problems<'_>,
) -> Option<Owned> {
    for node in meta.list("ownerReferences", problems) {
        let Some(owner) = Object::of(node, "an owner", problems) else { continue };
        if owner.text("controller", problems) != Some("true") {
            continue;
        }
        let kind = owner.text("kind", problems).unwrap_or("Pod");
        let name = owner.text("name", problems)?;
        return (kind != "Node").then(|| (kind.into(), Arc::clone(namespace), name.into()));
    }
    None
}

/// The named ports of a pod's containers, sidecars among the init containers included.
fn containers(
    spec: Object<'_, '_>,
    problems: &mut Problems<'_>,
) -> BTreeMap<(Arc<str>, model::Transport), u16> {
    let mut out = BTreeMap::new();
    for (list, is_init) in [("containers", false), ("initContainers", true)] {
        for node in spec.list(list, problems) {
            let Some(container) = Object::of(node, "a container", problems) else { continue };
            if is_init && container.text("restartPolicy", problems) != Some("Always") {
                continue;
            }
            for node in container.list("ports", problems) {
                let Some(port) = Object::of(node, "a port", problems) else { continue };
                let Some(name) = port.text("name", problems) else { continue };
                let protocol = ports::protocol(port.text("protocol", problems).unwrap_or("TCP"));
                let number = port.get("containerPort").and_then(number);
                let number = number.and_then(|number| u16::try_from(number).ok());
                if let Some((protocol, number)) = protocol.zip(number)
                    && let Entry::Vacant(free) = out.entry((Arc::from(name), protocol))
                {
                    free.insert(number);
                }
            }
        }
    }
    out
}

/// Checks what only all files together show.
fn check(cluster: &Cluster, holder: &str, files: &mut [Problems<'_>]) {
    let mut report = |file: usize, found: Diagnostic| {
        if let Some(problems) = files.get_mut(file) {
            problems.push(found);
        }
    };
    let place = |policy: &Policy| {
        let file = cluster.files.get(policy.file).map_or("", |name| name);
        format!("{file}:{}", policy.span.line)
    };
    let mut names: BTreeMap<(bool, bool, &str, &str), &Policy> = BTreeMap::new();
    let mut priorities: BTreeMap<u32, &Policy> = BTreeMap::new();
    for policy in &cluster.policies {
        let (is_admin, is_baseline) =
            (matches!(policy.kind, Kind::Admin(_)), policy.kind == Kind::Baseline);
        let key = (is_admin, is_baseline, &*policy.namespace, &*policy.name);
        if let Some(first) = names.insert(key, policy) {
            let message = format!("`{}` is there twice, first at {}", policy.name, place(first));
            report(policy.file, Diagnostic::error(Code::ManifestTwice, policy.span, message));
        }
        let Kind::Admin(priority) = policy.kind else { continue };
        if let Some(first) = priorities.insert(priority, policy) {
            let message = format!(
                "`{}` has the priority {priority} of `{}` at {}",
                policy.name,
                first.name,
                place(first)
            );
            report(policy.file, Diagnostic::warning(Code::ManifestPriority, policy.span, message));
        }
    }
    let known: std::collections::BTreeSet<(&str, model::Transport)> = cluster
        .workloads
        .values()
        .flatten()
        .flat_map(|pod| pod.ports.keys())
        .map(|(name, transport)| (&**name, *transport))
        .collect();
    let is_known = |name: &str, transport: Option<model::Transport>| match transport {
        Some(transport) => known.contains(&(name, transport)),
        None => model::Transport::ALL.into_iter().any(|each| known.contains(&(name, each))),
    };
    for policy in &cluster.policies {
        for port in
            policy.sides.iter().flat_map(|side| &side.rules).flat_map(|rule| &rule.ports).flatten()
        {
            if let super::Port::Named(name, transport, span) = port
                && !is_known(name, *transport)
            {
                let message = format!("no {holder} has a port `{name}` of this protocol");
                let found = Diagnostic::warning(Code::ManifestPort, *span, message);
                report(policy.file, found);
            }
        }
    }
}
