//! Reads the kernel, and does what a plan says.

use std::collections::BTreeSet;

use super::{
    Attach, AttachError, Desired, Kernel, KernelError, LookedAt, Ns, NsName, Observed, Plan, Scope,
    Step, Unit, lan, script,
};

/// What one pass did, step by step.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that worked, in order, as the commands that would do the same.
    pub done: Vec<String>,
    /// Steps that failed.
    pub failed: Vec<StepError>,
    /// Steps that were not tried because an earlier one of their subject failed.
    pub skipped: Vec<String>,
}

impl Outcome {
    /// Whether the pass found nothing to do and nothing wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.done.is_empty() && self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// A step that did not work, and for whom.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A namespace could not be read; what is missing in it is not known.
    #[error("could not read {subject}")]
    Read {
        /// The namespace.
        subject: String,
        /// The kernel's answer.
        #[source]
        source: KernelError,
    },
    /// The kernel refused.
    #[error("{subject} could not be set up")]
    Kernel {
        /// The subject of the unit.
        subject: String,
        /// What was asked and answered.
        #[source]
        source: KernelError,
    },
    /// Packet programs could not be attached.
    #[error("packet programs of {subject} could not be attached")]
    Attach {
        /// The subject of the unit.
        subject: String,
        /// The loader's answer.
        #[source]
        source: AttachError,
    },
    /// Packet programs could not be forgotten; their link was deleted before.
    #[error("packet programs of {subject} could not be detached")]
    Detach {
        /// The subject of the unit.
        subject: String,
        /// The loader's answer.
        #[source]
        source: AttachError,
    },
}

/// Runs one pass over everything: observe, diff, apply.
///
/// # Errors
///
/// Fails only when the host itself cannot be read. Failed steps are in [`Outcome::failed`].
pub fn reconcile(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
    desired: &Desired,
) -> Result<Outcome, KernelError> {
    reconcile_in(kernel, attach, desired, &Scope::All)
}

/// As [`reconcile`], for a part of it. What is outside of `scope` is neither read nor changed.
///
/// # Errors
///
/// As [`reconcile`].
pub fn reconcile_in(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
    desired: &Desired,
    scope: &Scope,
) -> Result<Outcome, KernelError> {
    let (observed, unread) = observe(kernel, attach, desired, scope)?;
    let mut outcome = apply(kernel, attach, &Plan::diff(desired, &observed));
    if outcome.failed.is_empty()
        && let Some(ruleset) = script::host_ruleset(desired, &observed)
    {
        kernel.note(&ruleset);
    }
    outcome.failed.extend(unread);
    Ok(outcome)
}

/// Removes everything that is ours and puts the host's sysctls back.
///
/// # Errors
///
/// As [`reconcile`].
pub fn teardown(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
) -> Result<Outcome, KernelError> {
    reconcile(kernel, attach, &Desired::default())
}

/// Reads what the desired state is compared with. Namespaces that cannot be read are returned as
/// errors beside it, and nothing is planned in them: what is taken for missing would be made twice.
///
/// # Errors
///
/// Fails when the host itself cannot be read.
pub fn observe(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
    desired: &Desired,
    scope: &Scope,
) -> Result<(Observed, Vec<StepError>), KernelError> {
    let mut observed = Observed { namespaces: kernel.namespaces()?, ..Observed::default() };
    let mut unread = Vec::new();
    let host = kernel.read(&Ns::Host)?.unwrap_or_default();
    for key in script::sysctl_keys(desired, &host, scope) {
        if let Some(value) = kernel.sysctl(&key)? {
            observed.sysctls.insert(key, value);
        }
    }
    observed.sysctls_before = kernel.sysctls_before()?;
    observed.states.insert(Ns::Host, host);
    let places = places(desired, &observed, scope);
    for ns in &places {
        let read = match scope.glance(ns) {
            Some(glance) => kernel.glance(ns, glance),
            None => kernel.read(ns),
        };
        match read {
            Ok(Some(state)) => drop(observed.states.insert(ns.clone(), state)),
            Ok(None) => {}
            Err(source) => {
                observed.unread.insert(ns.clone());
                unread.push(StepError::Read { subject: ns.to_string(), source });
            }
        }
    }
    if let Scope::Only(part) = scope {
        let places = places.into_iter().chain([Ns::Host]).collect();
        observed.looked_at = LookedAt::Only { places, part: part.clone() };
    }
    read_tables(kernel, &mut observed, &mut unread)?;
    read_edges(kernel, desired, &mut observed, &mut unread);
    let endpoints = desired.routers.iter().flat_map(|router| &router.endpoints);
    for endpoint in endpoints.filter(|endpoint| scope.has_endpoint(endpoint.number)) {
        if attach.is_attached(endpoint) {
            observed.attached.insert(endpoint.number);
        }
    }
    Ok((observed, unread))
}

/// The namespaces that matter: pinned ones, and adopted ones of desired endpoints. In a part of the
/// network, those of its routers and endpoints, and pinned ones that nobody wants.
fn places(desired: &Desired, observed: &Observed, scope: &Scope) -> Vec<Ns> {
    let endpoints = || desired.routers.iter().flat_map(|router| &router.endpoints);
    let Scope::Only(part) = scope else {
        let pinned = observed.namespaces.iter().cloned().map(Ns::Ours);
        let adopted = endpoints().map(super::EndpointDesired::ns);
        return pinned.chain(adopted.filter(|ns| matches!(ns, Ns::At(_)))).collect();
    };
    let wanted: BTreeSet<&NsName> = desired.pinned().collect();
    let unwanted = observed.namespaces.iter().filter(|name| !wanted.contains(name));
    let changed = endpoints().filter(|endpoint| part.endpoints.contains(&endpoint.number));
    let ours = part.routers.keys().chain(unwanted).cloned().map(Ns::Ours);
    ours.chain(changed.map(super::EndpointDesired::ns)).collect()
}

fn read_tables(
    kernel: &mut impl Kernel,
    observed: &mut Observed,
    unread: &mut Vec<StepError>,
) -> Result<(), KernelError> {
    if let Some(table) = kernel.table(&Ns::Host)? {
        observed.tables.insert(Ns::Host, table);
    }
    let routers: Vec<Ns> = observed.states.keys().filter(|ns| is_router(ns)).cloned().collect();
    for ns in routers {
        match kernel.table(&ns) {
            Ok(Some(table)) => drop(observed.tables.insert(ns, table)),
            Ok(None) => {}
            Err(source) => unread.push(StepError::Read { subject: ns.to_string(), source }),
        }
    }
    Ok(())
}

fn read_edges(
    kernel: &mut impl Kernel,
    desired: &Desired,
    observed: &mut Observed,
    unread: &mut Vec<StepError>,
) {
    let known = observed.states.keys().filter(|ns| **ns == Ns::Host || is_router(ns));
    let edges: Vec<Ns> = known.filter(|ns| lan::is_edge(ns, desired, observed)).cloned().collect();
    for ns in edges {
        match kernel.edge(&ns) {
            Ok(Some(table)) => drop(observed.edges.insert(ns, table)),
            Ok(None) => {}
            Err(source) => unread.push(StepError::Read { subject: ns.to_string(), source }),
        }
    }
}

fn is_router(ns: &Ns) -> bool {
    matches!(ns, Ns::Ours(name) if name.is_router())
}

/// Does every step of `plan`. A failure ends its unit and no other.
pub fn apply(kernel: &mut impl Kernel, attach: &mut impl Attach, plan: &Plan) -> Outcome {
    let mut outcome = Outcome::default();
    for unit in &plan.units {
        apply_unit(kernel, attach, unit, &mut outcome);
    }
    outcome
}

fn apply_unit(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
    unit: &Unit,
    outcome: &mut Outcome,
) {
    let mut steps = unit.steps.iter();
    for step in steps.by_ref() {
        match apply_step(kernel, attach, unit, step) {
            Ok(()) => outcome.done.push(step.to_string()),
            Err(error @ StepError::Detach { .. }) => outcome.failed.push(error),
            Err(error) => {
                outcome.failed.push(error);
                break;
            }
        }
    }
    outcome.skipped.extend(steps.map(ToString::to_string));
}

fn apply_step(
    kernel: &mut impl Kernel,
    attach: &mut impl Attach,
    unit: &Unit,
    step: &Step,
) -> Result<(), StepError> {
    let subject = || unit.subject.clone();
    let refused = |source| StepError::Kernel { subject: subject(), source };
    match step {
        Step::Kernel(op) => kernel.execute(op).map_err(refused),
        Step::Attach { router, endpoint } => {
            let netns = kernel.open(router).map_err(refused)?;
            attach
                .attach(&netns, endpoint.number.ifindex(), endpoint)
                .map_err(|source| StepError::Attach { subject: subject(), source })
        }
        Step::Detach { endpoint } => attach
            .detach(*endpoint)
            .map_err(|source| StepError::Detach { subject: subject(), source }),
    }
}
