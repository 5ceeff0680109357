//! What the analysis of Kubernetes manifests answers: `policy connections --json` and `policy diff --json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The shape of [`ClusterConnections`]: within it fields are added, never changed.
pub const CONNECTIONS_SCHEMA: &str = "bulkhead.connections/1";
/// The shape of [`ClusterDifferences`]: within it fields are added, never changed.
pub const CONNECTIONS_DIFF_SCHEMA: &str = "bulkhead.connections-diff/1";

/// Every connection that a cluster's policies allow. What is not listed is denied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClusterConnections {
    /// [`CONNECTIONS_SCHEMA`].
    pub schema: String,
    /// Ordered by source and target.
    pub connections: Vec<ClusterConnection>,
    /// Workloads whose pods policies tell apart, as `namespace/name[Kind]`: what is listed of them, some of their pods may do.
    pub mixed: Vec<String>,
    /// How many objects of other kinds were left out, by kind.
    pub ignored: BTreeMap<String, u64>,
    /// How many warnings there are; without `--json` they are printed.
    pub warnings: u64,
}

/// What one end may open to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterConnection {
    /// Who opens.
    pub source: ClusterEnd,
    /// To whom.
    pub target: ClusterEnd,
    /// What passes.
    pub allowed: ClusterPorts,
}

/// Connections that the new cluster allows otherwise than the old one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClusterDifferences {
    /// [`CONNECTIONS_DIFF_SCHEMA`].
    pub schema: String,
    /// Ordered by what became of them, source and target.
    pub differences: Vec<ClusterDifference>,
}

/// A pair of ends for which the two clusters allow different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterDifference {
    /// `changed`, `added` or `removed`.
    pub change: String,
    /// Who opens.
    pub source: ClusterEnd,
    /// To whom.
    pub target: ClusterEnd,
    /// What the old cluster allows.
    pub old: ClusterPorts,
    /// What the new cluster allows.
    pub new: ClusterPorts,
}

/// One end of a connection: a workload, or addresses outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClusterEnd {
    /// `namespace/name[Kind]` or `10.0.0.0-10.255.255.255[External]`.
    pub text: String,
    /// The workload's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The workload's name: that of its top owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kind of the top owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The first address of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The last address of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// `added` or `removed`: a workload that only the new, or only the old cluster has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// A set of protocols and ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClusterPorts {
    /// `TCP 80,443-450,UDP 53`, `All Connections` or `No Connections`.
    pub text: String,
    /// Intervals, ordered by protocol and port.
    pub ports: Vec<ClusterRange>,
}

/// Ports of one protocol, from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterRange {
    /// `SCTP`, `TCP` or `UDP`.
    pub protocol: String,
    /// From 1.
    pub first: u16,
    /// To 65535.
    pub last: u16,
}
