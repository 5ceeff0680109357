//! What the agent and every workload are doing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Geography;

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The agent and the node.
    pub agent: AgentStatus,
    /// Every workload of the document in force, by id.
    pub workloads: Vec<Workload>,
}

/// The agent and the node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    /// Version of the binary.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub since: String,
    /// The generation in force; 0 when there is none.
    pub generation: u64,
    /// When that generation came into force, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Name of the file in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The policy version that the kernel judges by.
    pub epoch: u64,
    /// `tcx` or `clsact`.
    pub kernel_path: String,
    /// Kernel release.
    pub kernel: String,
    /// Since when drops and rules are counted, RFC 3339: since the kernel's tables were made, however often the agent was
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<String>,
    /// The connection table.
    pub flows: TableUse,
    /// Flow events that the kernel could not hand over since the programs were loaded.
    pub events_lost: u64,
    /// Drops by reason since the programs were loaded, most frequent first.
    pub drops: Vec<DropCount>,
    /// Every reconciler and its last pass.
    pub reconcilers: Vec<Reconciled>,
    /// The next moment at which the document means something else by itself (an `until:` ends, a schedule opens or closes), RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expiry: Option<String>,
    /// The host's own policy; absent when the host is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Box<crate::HostPolicy>>,
    /// What stands on bridges of the file and is nobody's in it; absent when no network stands on a bridge of somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Box<crate::Unmanaged>>,
    /// The database that the networks of countries in force are from: its type and build date, without the networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geography: Option<Geography>,
    /// Scopes under audit: what policy would drop there passes and is recorded. The first 1,000 in file order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audits: Vec<AuditScope>,
    /// What others changed of ours and what was put back at once, the newest last; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
    /// What is not as it should be, one sentence each. Empty: all is well.
    pub warnings: Vec<String>,
}

/// Somebody changed what is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Intervention {
    /// When it was noticed, RFC 3339.
    pub at: String,
    /// What was changed: `nftables table inet bulkhead`.
    pub what: String,
    /// Who did it, as the kernel tells: a process, its number, and what started it.
    pub by: String,
    /// How long it took from then until it was as it should be, in microseconds.
    pub took_us: u64,
    /// What was put back, one line each; at most 16.
    pub repaired: Vec<String>,
}

/// A scope under audit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditScope {
    /// `the node`, `tenant shop`, `network shop.main` or `segment shop.main/front`.
    pub scope: String,
    /// Whether it holds for what its workloads receive.
    pub ingress: bool,
    /// Whether it holds for what its workloads send.
    pub egress: bool,
    /// From when on it is enforced, RFC 3339; absent when it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether that is within a day.
    pub ends_soon: bool,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TableUse {
    /// Entries in it.
    pub used: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// Drops of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropCount {
    /// `BH-Dnnn`.
    pub code: String,
    /// A few words.
    pub text: String,
    /// Packets.
    pub packets: u64,
}

/// A reconciler's last pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Reconciled {
    /// Its name.
    pub name: String,
    /// When it ran last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Things that others changed and that it put back, since the agent started.
    pub repairs: u64,
    /// What its last pass could not do, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// What a workload is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadState {
    /// Its endpoint is being made; it passes nothing.
    #[default]
    Pending,
    /// The built-in runtime runs it.
    Running,
    /// It ended and will be started again.
    Restarting,
    /// It ended and stays so.
    Exited,
    /// It could not be made or started, or its adopted namespace has gone away.
    Failed,
    /// Its namespace was there before and is somebody else's.
    Adopted,
}

/// A workload with its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    /// `<tenant>.<workload>`.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// Its name in the tenant.
    pub name: String,
    /// Its network.
    pub network: String,
    /// Its segment, when the network has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Its labels as they are in force.
    pub labels: BTreeMap<String, String>,
    /// Whether the labels were changed at run time and differ from the file.
    pub labels_changed: bool,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What it is doing.
    pub state: WorkloadState,
    /// Why, when that is not obvious: an exit status or an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Process id of its program on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Its network namespace, for `exec` and probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The key under which a runtime attached it; absent for workloads of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<String>,
    /// Endpoint number; absent in a network of mode `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<u32>,
    /// Its identity, 16 hexadecimal digits.
    pub identity: String,
    /// Since when every packet of its endpoint is judged, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_since: Option<String>,
    /// The generation that judges it.
    pub generation: u64,
    /// Packets dropped at its endpoint, both directions.
    pub drops: u64,
    /// Packets it sent that passed.
    pub sent_packets: u64,
    /// Bytes it sent that passed.
    pub sent_bytes: u64,
    /// Packets it received.
    pub received_packets: u64,
    /// Bytes it received.
    pub received_bytes: u64,
}

/// Body of `PATCH /v1/workloads/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelChange {
    /// Labels to set; `null` removes one. They hold until the next `up` or another change.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Answer of `PATCH /v1/workloads/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LabelChanged {
    /// All labels now.
    pub labels: BTreeMap<String, String>,
    /// The generation in force now.
    pub generation: u64,
    /// Table entries that were written or removed.
    pub entries: u64,
    /// From the request to the moment the kernel judged by it, in microseconds.
    pub took_us: u64,
}

/// Answer of `GET /v1/health`. The status is 200 when `ok`, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether everything that was asked for is enforced.
    pub ok: bool,
    /// The generation in force.
    pub generation: u64,
    /// What is not as it should be.
    pub problems: Vec<String>,
}
