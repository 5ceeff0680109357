//! Policies of manifests beside a native file: the file has the networks and the workloads, the manifests select among them.
//!
//! A namespace is a tenant of the file or, with `kubernetes: { namespaces: segment }`, a segment. A pod is a workload: its
//! labels are the pod's, what stands under `named-ports:` its named ports. What comes out is the document of the native file with
//! more policies in it, each of which knows the file it stands in; the planner compiles all of them together (ADR 0016).
//!
//! **Never wider.** What an analysis may leave out with a warning is refused here when leaving it out would let more
//! pass: policies of other kinds, and peers of a deny or a pass that this host cannot tell.
//!
//! **Limits.** [`MAX_FILES`] manifests; the native file and all of them together have at most `limits.bytes`.

mod translate;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Name, PortSpec, Transport};

use super::manifest::{findings, read_beside};
use super::{Beside, Cluster, Pod, Port, WorkloadName};
use crate::check::UNUSED_PORT;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Severity};
use crate::document::{Document, Span};
use crate::raw::RawFile;
use crate::{Limits, Outside, Source, checked, lint};

/// Most files of manifests beside a native one.
pub const MAX_FILES: usize = 1000;

/// Deepest nesting of a manifest: deeper than that of a native file, which has less to say.
const DEPTH: usize = 64;

/// A file and the manifests beside it, which passed every check.
#[derive(Debug, Clone)]
pub struct CheckedSet {
    /// What they mean together.
    pub document: Document,
    /// Warnings and notes: first those about the native file, possibly none, then those about manifests that have some.
    pub warnings: Vec<Diagnostics>,
}

/// What a native file says to manifests beside it.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Where it says that segments are the namespaces.
    by_segment: Option<Span>,
    /// Named ports of workloads, by tenant and name.
    ports: HashMap<(Name, Name), Named>,
    /// Those that every workload has.
    everywhere: Named,
}

/// Numbers of named ports.
type Named = BTreeMap<(Arc<str>, Transport), u16>;

/// A workload as policies of manifests see it.
#[derive(Debug, Clone)]
struct Resident {
    namespace: Arc<str>,
    tenant: Name,
    workload: Name,
    pod: Pod,
}

/// Reads, checks and lints a native file and the manifests beside it; without manifests, as [`crate::load`].
///
/// # Errors
/// The findings of every file that has errors.
pub fn load(
    native: &Source<'_>,
    manifests: &[Source<'_>],
    outside: Outside<'_>,
    limits: &Limits,
    now: Timestamp,
) -> Result<CheckedSet, Vec<Diagnostics>> {
    let mut problems = Problems::new(native.text, limits.findings);
    let (document, mut warnings) = together(native, manifests, outside, limits, &mut problems)?;
    lint::lint(&document, now, &mut problems);
    warnings.insert(0, problems.finish(Arc::clone(&document.file)));
    Ok(CheckedSet { document, warnings })
}

/// As [`load`], without looking for what is probably not meant.
///
/// # Errors
/// As [`load`].
pub fn parse(
    native: &Source<'_>,
    manifests: &[Source<'_>],
    outside: Outside<'_>,
    limits: &Limits,
) -> Result<Document, Vec<Diagnostics>> {
    let mut problems = Problems::new(native.text, limits.findings);
    Ok(together(native, manifests, outside, limits, &mut problems)?.0)
}

/// Whether a text is a manifest and no native file, as far as its beginnings of lines tell.
#[must_use]
pub fn is_manifest(text: &str) -> bool {
    let keys = || {
        text.lines().filter_map(|line| {
            let key = line.trim_start_matches("- ").split(':').next()?;
            Some(key.trim_matches(['"', '\'', '{', ' ', '\t']))
        })
    };
    let is_native = |key: &str| key == "bulkhead";
    let is_theirs = |key: &str| matches!(key, "apiVersion" | "kind" | "items" | "metadata");
    keys().find(|key| is_native(key) || is_theirs(key)).is_some_and(is_theirs)
}

fn together(
    native: &Source<'_>,
    manifests: &[Source<'_>],
    outside: Outside<'_>,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Result<(Document, Vec<Diagnostics>), Vec<Diagnostics>> {
    let read = checked(native, outside, limits, problems);
    if manifests.is_empty() {
        let read = read.map_err(|found| vec![*found]);
        return read.map(|(document, _)| (document, Vec::new()));
    }
    bounded(native, manifests, limits)?;
    let limits = Limits { depth: DEPTH, ..*limits };
    let read = read.and_then(|(document, declared)| {
        let residents = residents(&document, &declared, native, problems)?;
        Ok((document, declared, residents))
    });
    let (mut document, declared, residents) = match read {
        Ok(read) => read,
        Err(found) => {
            let (cluster, files) = read_beside(Beside::default(), manifests, &limits);
            let more = findings(files, &cluster.files).err().into_iter().flatten();
            return Err(std::iter::once(*found).chain(more).collect());
        }
    };
    let by_segment = declared.by_segment.is_some();
    let beside = Beside {
        known: Some(namespaces(&document, by_segment)),
        by_segment,
        workloads: pods(&residents),
    };
    let (cluster, mut files) = read_beside(beside, manifests, &limits);
    // A field that is dropped may be the one that makes a selector narrow: as `kubectl` does, refuse it.
    for file in &mut files {
        file.escalate(Code::ManifestField);
    }
    use_names(&cluster, problems);
    let found = translate::translate(&document, &residents, &cluster, by_segment, &mut files);
    let warnings = findings(files, &cluster.files)?;
    let most = limits.policies;
    if document.policies.len() + found.len() > most {
        let message = format!("all files together have more than {most} policies");
        return Err(vec![whole(native, message)]);
    }
    document.policies.extend(found);
    Ok((document, warnings))
}

/// Takes back that nothing uses the port names that manifests use.
fn use_names(cluster: &Cluster, problems: &mut Problems<'_>) {
    let sides = cluster.policies.iter().flat_map(|policy| &policy.sides);
    let ports = sides.flat_map(|side| &side.rules).flat_map(|rule| &rule.ports).flatten();
    let used: BTreeSet<&str> = ports
        .filter_map(|port| match port {
            Port::Named(name, ..) => Some(&**name),
            Port::Numbers(..) => None,
        })
        .collect();
    problems.retain(|found| {
        let name = found.message.strip_prefix(UNUSED_PORT).and_then(|rest| rest.strip_suffix('`'));
        found.code != Code::Unused || name.is_none_or(|name| !used.contains(name))
    });
}

/// Refuses more files and more text than are read.
fn bounded(
    native: &Source<'_>,
    manifests: &[Source<'_>],
    limits: &Limits,
) -> Result<(), Vec<Diagnostics>> {
    let bytes = native.text.len() + manifests.iter().map(|each| each.text.len()).sum::<usize>();
    let (files, most) = (manifests.len(), limits.bytes);
    if files > MAX_FILES {
        let message = format!("{files} manifests stand beside the file, at most {MAX_FILES} may");
        return Err(vec![whole(native, message)]);
    }
    if bytes > most {
        let message = format!("all files together have {bytes} bytes, at most {most} are read");
        return Err(vec![whole(native, message)]);
    }
    Ok(())
}

fn whole(native: &Source<'_>, message: String) -> Diagnostics {
    let mut problems = Problems::new(native.text, 1);
    problems.push(Diagnostic::new(Code::Limit, Severity::Error, None, message));
    problems.finish(Arc::from(native.name))
}

impl Declared {
    /// What the file says.
    pub(crate) fn of(raw: &RawFile) -> Self {
        let namespaces = raw.kubernetes.as_ref().and_then(|own| own.namespaces.as_ref());
        let mut this = Self {
            by_segment: namespaces.filter(|word| word.value.is_segment).map(|word| word.span),
            ..Self::default()
        };
        for (name, words) in raw.ports.iter().flat_map(|table| &table.entries) {
            let specs = words.iter().flat_map(|words| &words.items);
            let numbers: Vec<(Transport, u16)> =
                specs.filter_map(|word| single(&word.value)).collect();
            for (transport, number) in &numbers {
                // A name with two numbers of one protocol is no port of a container.
                if numbers.iter().filter(|(other, _)| other == transport).count() == 1 {
                    this.everywhere.insert((name.value.as_str().into(), *transport), *number);
                }
            }
        }
        let tenants = raw.tenants.iter().flat_map(|table| &table.entries);
        for (tenant, raw) in tenants.filter_map(|(tenant, raw)| Some((tenant, raw.as_ref()?))) {
            for (name, workload) in raw.workloads.iter().flat_map(|table| &table.entries) {
                let ports = workload.iter().flat_map(|raw| &raw.named_ports);
                let ports = ports.flat_map(|table| &table.entries).flat_map(|(port, words)| {
                    let words = words.iter().flat_map(|words| &words.items);
                    words.map(|word| {
                        let key = (Arc::from(port.value.as_str()), word.value.transport);
                        (key, word.value.port)
                    })
                });
                let ports: Named = ports.collect();
                if !ports.is_empty() {
                    this.ports.insert((tenant.value.clone(), name.value.clone()), ports);
                }
            }
        }
        this
    }
}

/// The one port of a word; none for ranges, names and icmp.
fn single(word: &crate::scalar::PortWord) -> Option<(Transport, u16)> {
    match word {
        crate::scalar::PortWord::Spec(PortSpec::Ports(transport, range))
            if range.first() == range.last() =>
        {
            Some((*transport, range.first()))
        }
        _ => None,
    }
}

/// Every workload with its namespace, in the order of the file.
fn residents(
    document: &Document,
    declared: &Declared,
    native: &Source<'_>,
    problems: &mut Problems<'_>,
) -> Result<Vec<Resident>, Box<Diagnostics>> {
    if declared.by_segment.is_some() {
        twice(document, problems);
    }
    let mut out = Vec::with_capacity(document.workloads.len());
    // A pod is in one network; further attachments go with the first.
    for workload in document.workloads.iter().filter(|workload| !workload.further) {
        let namespace = match (declared.by_segment, &workload.segment) {
            (None, _) => Arc::from(workload.tenant.as_str()),
            (Some(_), Some(segment)) => Arc::from(segment.as_str()),
            (Some(_), None) => {
                let message = format!("`{}` is in no segment, so in no namespace", workload.name);
                let found = Diagnostic::error(Code::ManifestNamespace, workload.span, message);
                problems
                    .push(found.hint("give its network segments, or remove `namespaces: segment`"));
                continue;
            }
        };
        let mut ports = declared.everywhere.clone();
        let key = (workload.tenant.clone(), workload.name.clone());
        ports.extend(declared.ports.get(&key).cloned().unwrap_or_default());
        let labels = workload.labels.iter();
        let labels = labels.map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        out.push(Resident {
            namespace,
            tenant: workload.tenant.clone(),
            workload: workload.name.clone(),
            pod: Pod { labels: labels.collect(), ports },
        });
    }
    if problems.errors() == 0 {
        return Ok(out);
    }
    let found = std::mem::replace(problems, Problems::new("", 0));
    Err(Box::new(found.finish(Arc::from(native.name))))
}

/// Refuses two segments with one name: which of them the namespace is, nobody could tell.
fn twice(document: &Document, problems: &mut Problems<'_>) {
    let mut known: HashMap<&Name, Span> = HashMap::new();
    for segment in document.networks.iter().flat_map(|network| &network.segments) {
        if let Some(first) = known.insert(&segment.name, segment.span) {
            let message = format!("two segments `{}` would be one namespace", segment.name);
            let found = Diagnostic::error(Code::ManifestNamespace, segment.span, message);
            problems.push(found.related(first, "the other one").hint("rename one of them"));
        }
    }
}

fn namespaces(document: &Document, by_segment: bool) -> BTreeSet<Arc<str>> {
    if by_segment {
        let segments = document.networks.iter().flat_map(|network| &network.segments);
        return segments.map(|segment| segment.name.as_str().into()).collect();
    }
    document.tenants.iter().map(|tenant| tenant.name.as_str().into()).collect()
}

/// Workloads as a cluster has them: for checks alone.
fn pods(residents: &[Resident]) -> BTreeMap<WorkloadName, Vec<Pod>> {
    let pods = residents.iter().map(|resident| {
        let name = WorkloadName {
            namespace: Arc::clone(&resident.namespace),
            name: resident.workload.as_str().into(),
            kind: "Workload".into(),
        };
        (name, vec![resident.pod.clone()])
    });
    pods.collect()
}

impl Cluster {
    /// Labels of a namespace.
    fn labels_of(&self, namespace: &str) -> &super::LabelMap {
        static NONE: std::sync::LazyLock<super::LabelMap> =
            std::sync::LazyLock::new(super::LabelMap::new);
        self.namespaces.get(namespace).unwrap_or(&NONE)
    }
}
