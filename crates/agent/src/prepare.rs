//! A file to something that can be applied: parse, check, compile. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{DocumentRequest, Error, codes};
use jiff::Timestamp;
use model::{CopyOnWrite, Labels};
use planner::{Allocations, Compiler, Facts, PlanErrors};
use policy::document::owner;
use policy::geo::Country;
use policy::{Document, Limits, Source};

use crate::answers::publishes;
use crate::attachments::{self, All};
use crate::docker::fill;
use crate::fault;
use crate::force::Wanted;
use crate::geography;

/// Where a compilation starts from.
#[derive(Debug)]
pub(crate) enum Base<'a> {
    /// Numbers and addresses given so far: everything is compiled.
    Allocations(&'a Allocations),
    /// The document in force, compiled: only what differs is compiled.
    InForce(Box<Compiler>),
}

impl Base<'_> {
    fn compile(self, document: Document, facts: &Facts) -> Result<Compiler, PlanErrors> {
        match self {
            Self::Allocations(previous) => Compiler::new(document, previous, facts),
            Self::InForce(mut compiler) => {
                compiler.update(document, facts)?;
                Ok(*compiler)
            }
        }
    }
}

/// What people and runtimes changed at run time, beside the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beside {
    /// In place of the labels of workloads that there are.
    pub(crate) relabelled: CopyOnWrite<BTreeMap<String, Labels>>,
    /// Workloads that were attached.
    pub(crate) attachments: All,
}

/// With what a document would be compiled.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Numbers and addresses given so far.
    pub(crate) allocations: Allocations,
    /// What is to be known of this node.
    pub(crate) facts: Facts,
    /// Workloads that are attached.
    pub(crate) attachments: All,
}

impl Ground {
    /// Checks and compiles a file without labels that were changed.
    ///
    /// # Errors
    /// As [`prepare`].
    pub(crate) fn prepare(&self, request: &Arc<DocumentRequest>) -> Result<Wanted, Error> {
        let beside = Beside { attachments: self.attachments.clone(), ..Beside::default() };
        let base = Base::Allocations(&self.allocations);
        prepare(request, &beside, base, &self.facts).map(|(wanted, _)| wanted)
    }
}

/// Checks and compiles a file for this node, with what was changed at run time. The compiler goes on from what is wanted.
///
/// # Errors
/// `BH0206` with diagnostics, `BH0207` when this node cannot carry it, `BH0231` when it leaves attached workloads no place.
pub(crate) fn prepare(
    request: &Arc<DocumentRequest>,
    beside: &Beside,
    base: Base<'_>,
    facts: &Facts,
) -> Result<(Wanted, Compiler), Error> {
    let (mut document, mut warnings) = check(request, facts.now)?;
    if let Some(own) = warnings.first_mut() {
        own.add(policy::strays(&document, &facts.addresses));
    }
    fill::fill(&mut document, request)?;
    let (relabelled, attachments) =
        (&beside.relabelled, fill::still_there(&document, &beside.attachments));
    attachments::merge(&mut document, &attachments)?;
    if let Some(own) = warnings.first_mut() {
        own.add(publishes::misled(&document));
    }
    let mut kept = BTreeMap::new();
    if !relabelled.is_empty() {
        for workload in &mut document.workloads {
            let id = workload.id();
            let id = owner(&id);
            if let Some(labels) = relabelled.get(id) {
                workload.labels.clone_from(labels);
                kept.insert(id.to_owned(), labels.clone());
            }
        }
    }
    let compiler = base.compile(document.clone(), facts).map_err(|errors| {
        let places = errors.0.iter().map(|error| match error.span() {
            Some(span) => format!("{}:{}: {error}", document.file, span.line),
            None => error.to_string(),
        });
        let all: Vec<String> = places.collect();
        fault::refused(codes::COMPILE, all.join("; "))
    })?;
    let bundle = compiler.bundle().clone();
    sound(&bundle)?;
    let (request, warnings) = (Arc::clone(request), Arc::new(warnings));
    let relabelled = kept.into();
    let wanted =
        Wanted { request, relabelled, attachments, document, bundle, warnings, host: None };
    Ok((wanted, compiler))
}

/// Looks at a finished bundle with other eyes than the compiler's.
pub(crate) fn sound(bundle: &planner::Bundle) -> Result<(), Error> {
    let tables = host::linux::bpf::Limits::default();
    let room = |entries: u32| usize::try_from(entries).unwrap_or(usize::MAX);
    let limits = planner::Limits {
        exact: room(tables.peers),
        prefixes: room(tables.peers),
        rows: room(tables.rows),
        ports: room(tables.ports),
        limits: room(tables.limits),
    };
    let faults = planner::check(bundle, &limits);
    if faults.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let is_room = |fault: &planner::Fault| matches!(fault, planner::Fault::TooLarge { .. });
    if faults.iter().all(is_room) {
        let message = format!("the tables of this host are too small: {}", all.join("; "));
        return Err(fault::refused(codes::COMPILE, message));
    }
    Err(fault::refused(codes::INTERNAL, format!("the plan is not sound: {}", all.join("; "))))
}

fn source(given: &api::Source) -> Source<'_> {
    Source { name: &given.name, text: &given.text }
}

/// Parses and checks a file and the manifests beside it.
fn check(
    request: &DocumentRequest,
    now: Timestamp,
) -> Result<(policy::Document, Vec<policy::Diagnostics>), Error> {
    let native = source(&request.source);
    let manifests: Vec<Source<'_>> = request.manifests.iter().map(source).collect();
    let variable = |name: &str| request.vars.get(name).cloned();
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let countries =
        |_: &str, _: &BTreeSet<Country>| geography::networks(request.geography.as_ref());
    let outside = policy::Outside { variable: &variable, countries: &countries };
    let checked = policy::kubernetes::load(&native, &manifests, outside, &limits, now);
    let checked = checked.map_err(|found| fault::document(&found))?;
    Ok((checked.document, checked.warnings))
}
