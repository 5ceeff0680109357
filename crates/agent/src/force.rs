//! What is in force: an immutable snapshot that questions are answered from.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{DocumentRequest, Error, codes};
use jiff::Timestamp;
use model::{CopyOnWrite, Labels};
use planner::{Bundle, Compiler, Facts, HostPlane};
use policy::{Diagnostics, Document};

use crate::attachments::All;
use crate::fault::refused;
use crate::names::Names;

/// A document that was checked and compiled for this node. Copies share what neither of them changes.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The file as it came, with the values of its variables.
    pub(crate) request: Arc<DocumentRequest>,
    /// Labels that were changed at run time, by workload id: all labels of that workload.
    pub(crate) relabelled: CopyOnWrite<BTreeMap<String, Labels>>,
    /// Workloads that were attached at run time, by key.
    pub(crate) attachments: All,
    /// What the file means, with the changed labels and the attached workloads.
    pub(crate) document: Document,
    /// What this node does about it.
    pub(crate) bundle: Bundle,
    /// Warnings about the file, and then about manifests that have some.
    pub(crate) warnings: Arc<Vec<Diagnostics>>,
    /// The host's own policy, as far as the bundle has one.
    pub(crate) host: Option<Arc<HostPlane>>,
}

impl Wanted {
    /// The same request as `compiler` has it now. The host's own policy is about neither labels nor workloads, and stays.
    pub(crate) fn recompiled(&self, compiler: &Compiler) -> Self {
        let mut bundle = compiler.bundle().clone();
        if let Some(host) = &self.host {
            host.enter(&mut bundle);
        }
        Self {
            request: Arc::clone(&self.request),
            relabelled: self.relabelled.clone(),
            attachments: self.attachments.clone(),
            document: compiler.document().clone(),
            bundle,
            warnings: Arc::clone(&self.warnings),
            host: self.host.clone(),
        }
    }

    /// A compiler that goes on from this.
    ///
    /// # Errors
    /// `BH0207`.
    pub(crate) fn compiler(&self, facts: &Facts) -> Result<Compiler, Error> {
        let compiler = Compiler::new(self.document.clone(), &self.bundle.allocations, facts);
        compiler.map_err(|errors| refused(codes::COMPILE, errors.to_string()))
    }
}

/// A document in force.
#[derive(Debug)]
pub(crate) struct Force {
    /// Its number.
    pub(crate) generation: u64,
    /// Since when.
    pub(crate) applied: Timestamp,
    /// What it is.
    pub(crate) wanted: Wanted,
    /// Numbers to names.
    pub(crate) names: Arc<Names>,
    /// For each workload with an endpoint: since when it is enforced, and its counters then.
    pub(crate) enforced: Arc<BTreeMap<String, Enforced>>,
}

/// Since when an endpoint is enforced, and what its number had counted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Enforced {
    /// The endpoint's number.
    pub(crate) endpoint: u32,
    /// Since when every packet is judged.
    pub(crate) since: Timestamp,
    /// Counters at that moment: an earlier owner's.
    pub(crate) before: Counters,
}

/// What an endpoint's number has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counters {
    /// Packets and bytes that it sent.
    pub(crate) sent: [u64; 2],
    /// Packets and bytes that it received.
    pub(crate) received: [u64; 2],
    /// Packets that were dropped at it.
    pub(crate) drops: u64,
}

impl Counters {
    /// What was counted after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let less =
            |a: [u64; 2], b: [u64; 2]| [a[0].saturating_sub(b[0]), a[1].saturating_sub(b[1])];
        Self {
            sent: less(self.sent, before.sent),
            received: less(self.received, before.received),
            drops: self.drops.saturating_sub(before.drops),
        }
    }
}
