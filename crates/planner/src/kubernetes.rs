//! Which connections a Kubernetes cluster's policies allow, and in what two clusters differ.
//!
//! Made from the document that `policy::kubernetes` lowers manifests to (ADR 0016): it is compiled like any other, and every
//! answer is `verdict`'s over those tables. Pods that the tables do not tell apart are asked about once, and pairs of which
//! the tables say the same share one answer, so the work follows what policies distinguish; only the listing follows the number
//! of pairs.
//!
//! Connections are those of TCP, UDP and SCTP at the ports 1 to 65535, as Kubernetes policies know them. A workload always
//! reaches itself; that is not listed.

mod allowed;
mod compare;
mod view;

use std::fmt;
use std::sync::Arc;

use policy::kubernetes::{AddressRange, Lowered, WorkloadName};

pub use allowed::Allowed;
pub use compare::{Change, Difference, Presence, compare};

use crate::PlanErrors;
use crate::compiler::Compiler;
use rustc_hash::FxHashMap;
use view::{Class, View};

/// One end of a connection. Ordered: ranges before workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End<'c> {
    /// Addresses outside of the cluster.
    External(AddressRange),
    /// A workload.
    Workload(&'c WorkloadName),
}

/// `10.0.0.0-10.255.255.255[External]`, `namespace/name[Kind]`.
impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(range) => write!(f, "{range}[External]"),
            Self::Workload(name) => name.fmt(f),
        }
    }
}

/// What one end may open to another; never nothing.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'c> {
    /// Who opens.
    pub source: End<'c>,
    /// To whom.
    pub target: End<'c>,
    /// What passes.
    pub allowed: &'c Allowed,
}

/// `source => target : TCP 80`.
impl fmt::Display for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} => {} : {}", self.source, self.target, self.allowed)
    }
}

/// Hands every allowed connection to `visit`, ordered by source and target. With `v6`, ranges of IPv6 too.
///
/// Returns the workloads whose pods policies tell apart: what is listed of them is what some of their pods may do.
///
/// # Errors
///
/// What the compiler cannot give numbers to: more different pods than there are endpoints.
pub fn connections<'c>(
    cluster: &'c Lowered,
    v6: bool,
    visit: &mut dyn FnMut(Connection<'_>),
) -> Result<Vec<&'c WorkloadName>, PlanErrors> {
    let bundle = Compiler::detached(cluster.document.clone())?.into_bundle();
    let mut view = View::new(cluster, &bundle);
    let [sources, targets] = [0, 1].map(|side| view::ranges(&[cluster], side, v6));
    for range in sources {
        let group = view.external(range.first);
        for (target, class) in cluster.nodes.iter().zip(view.classes.clone()) {
            let allowed = view.between_external(group, class, true);
            let (source, target) = (End::External(range), End::Workload(&target.name));
            show(source, target, &allowed, visit);
        }
    }
    let targets: Vec<_> =
        targets.into_iter().map(|range| (range, view.external(range.first))).collect();
    let members = view.members_by_class();
    let mut known: FxHashMap<Class, Arc<Reached>> = FxHashMap::default();
    for (from, (source, class)) in cluster.nodes.iter().zip(view.classes.clone()).enumerate() {
        for (range, group) in &targets {
            let allowed = view.between_external(*group, class, false);
            show(End::Workload(&source.name), End::External(*range), &allowed, visit);
        }
        let reached = known.get(&class).cloned();
        let reached = reached.unwrap_or_else(|| Arc::new(reached_by(&mut view, class, &members)));
        // Of a class with one workload nobody asks again.
        if members.get(&class).is_some_and(|members| members.len() > 1) {
            known.insert(class, Arc::clone(&reached));
        }
        for (to, allowed) in reached.iter().filter(|(to, _)| *to != from) {
            let Some(target) = cluster.nodes.get(*to) else { continue };
            let (source, target) = (End::Workload(&source.name), End::Workload(&target.name));
            show(source, target, allowed, visit);
        }
    }
    Ok(view.mixed())
}

/// Positions of workloads, in order, and what may be opened to them.
type Reached = Vec<(usize, Arc<Allowed>)>;

fn reached_by(
    view: &mut View<'_, '_>,
    class: Class,
    members: &FxHashMap<Class, Vec<usize>>,
) -> Reached {
    let mut all = Vec::new();
    for (other, allowed) in view.reach(class) {
        let nodes = members.get(&other).into_iter().flatten();
        all.extend(nodes.map(|node| (*node, Arc::clone(&allowed))));
    }
    all.sort_unstable_by_key(|(node, _)| *node);
    all
}

fn show(
    source: End<'_>,
    target: End<'_>,
    allowed: &Allowed,
    visit: &mut dyn FnMut(Connection<'_>),
) {
    if !allowed.is_empty() {
        visit(Connection { source, target, allowed });
    }
}
