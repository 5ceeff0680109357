//! Kubernetes manifests: what they say of namespaces, workloads and policies, and the native document that means the same.
//!
//! [`read`] takes the texts of a folder and makes a [`Cluster`]: typed objects, every mistake at its place. [`lower`] makes
//! the [`Document`](crate::Document) of it that the planner compiles; nothing here decides about a connection
//! (ADR 0016). [`load`] reads policies beside a native file, whose workloads they then select. Sources: the API reference of `NetworkPolicy` (`networking.k8s.io/v1`), and of `AdminNetworkPolicy` and
//! `BaselineAdminNetworkPolicy` (`policy.networking.k8s.io/v1alpha1`).
//!
//! **Limits.** [`Limits`](crate::Limits) bound size, depth and findings of each file; aliases and tags are refused, so that a
//! small file never expands to a large one. Objects of other kinds are counted and left out.

mod beside;
mod blocks;
mod fields;
mod lower;
mod manifest;
mod mistyped;
mod names;
mod peers;
mod ports;
mod relevant;
mod rules;
mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use model::Transport;

use crate::diagnostic::Diagnostics;
use crate::document::Span;

pub(crate) use beside::Declared;
pub use beside::{CheckedSet, MAX_FILES, is_manifest, load, parse};
pub use blocks::{AddressRange, ranges};
pub use lower::{Lowered, Node, lower};
pub use manifest::read;

/// Everything that a folder of manifests says about connections.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Names of files, in the order in which they were given.
    pub files: Vec<Arc<str>>,
    /// Labels of every namespace, declared or only named.
    pub namespaces: BTreeMap<Arc<str>, LabelMap>,
    /// Workloads in the order of their names.
    pub workloads: BTreeMap<WorkloadName, Vec<Pod>>,
    /// Policies of all three kinds, in the order of the files.
    pub policies: Vec<Policy>,
    /// How many objects of other kinds were left out, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Warnings, for files that have some.
    pub warnings: Vec<Diagnostics>,
}

/// Labels as they are written: any text is a value.
pub type LabelMap = BTreeMap<Arc<str>, Arc<str>>;

/// What one line of an answer calls a workload: its top owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name of the top owner.
    pub name: Arc<str>,
    /// Its kind: `Deployment`, `Pod`, …
    pub kind: Arc<str>,
}

/// `namespace/name[Kind]`.
impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}[{}]", self.namespace, self.name, self.kind)
    }
}

/// Pods of a workload that policies cannot tell apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pod {
    /// Labels.
    pub labels: LabelMap,
    /// Named ports of its containers; of two with one name and protocol, the first.
    pub ports: BTreeMap<(Arc<str>, Transport), u16>,
}

/// A policy of any of the three kinds.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which of them, with what only that kind has.
    pub kind: Kind,
    /// Namespace; empty for the cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Position in [`Cluster::files`].
    pub file: usize,
    /// Where the object stands.
    pub span: Span,
    /// The pods that it is about.
    pub subject: Pods,
    /// What it says of their ingress, and of their egress.
    pub sides: [Side; 2],
}

/// The kinds of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `AdminNetworkPolicy` with its priority; a lower number is asked earlier.
    Admin(u32),
    /// `NetworkPolicy`.
    Network,
    /// `BaselineAdminNetworkPolicy`.
    Baseline,
}

/// One direction of a policy.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Whether a `NetworkPolicy` isolates its subjects in this direction (`policyTypes`).
    pub isolates: bool,
    /// Rules in their order.
    pub rules: Vec<Rule>,
}

/// One rule of a policy.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where it stands.
    pub span: Span,
    /// What it says; rules of a `NetworkPolicy` allow.
    pub action: Action,
    /// The other side; `None` is everybody, inside and outside of the cluster.
    pub peers: Option<Vec<Peer>>,
    /// Destination ports; `None` is every protocol and port.
    pub ports: Option<Vec<Port>>,
    /// A peer that is not judged and was left out.
    pub unjudged: Option<Span>,
}

/// What a rule does with a connection that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lets it pass.
    Allow,
    /// Drops it.
    Deny,
    /// Leaves it to `NetworkPolicy` objects, and after them to the baseline.
    Pass,
}

/// The other side of a rule.
#[derive(Debug, Clone)]
pub enum Peer {
    /// Pods of the cluster.
    Pods(Pods),
    /// Addresses outside of the cluster.
    Block(Block),
}

/// Pods by namespace and labels.
#[derive(Debug, Clone)]
pub struct Pods {
    /// In which namespaces.
    pub namespaces: Namespaces,
    /// Which pods there.
    pub pods: Selector,
}

/// Namespaces by name or labels.
#[derive(Debug, Clone)]
pub enum Namespaces {
    /// The one with this name.
    Named(Arc<str>),
    /// Those with these labels.
    Matching(Selector),
}

/// A label selector: all of its requirements hold; none of them is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(pub Vec<Requirement>);

/// What manifests stand beside: a native file that has the workloads.
#[derive(Debug, Clone, Default)]
struct Beside {
    /// Names of its namespaces; `None` when the file itself cannot be read.
    known: Option<BTreeSet<Arc<str>>>,
    /// Whether they are segments, not tenants.
    by_segment: bool,
    /// Its workloads, as pods.
    workloads: BTreeMap<WorkloadName, Vec<Pod>>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold.
    pub operator: Operator,
}

/// What must hold for a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// It is there with one of these values.
    In(Vec<Arc<str>>),
    /// It is missing, or has another value.
    NotIn(Vec<Arc<str>>),
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
}

/// Addresses: a network without others inside of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The network; host bits are zero.
    pub net: IpNet,
    /// What is left out.
    pub except: Vec<IpNet>,
}

/// Destination ports of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// Numbers, first and last, of one protocol.
    Numbers(Transport, u16, u16),
    /// The container's port with this name; of every protocol when none is given.
    Named(Arc<str>, Option<Transport>, Span),
}
