//! What a change of the document means: for people first, then for the kernel.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AssertionResult, Diagnostic, RuleAt};

/// The difference between the policy in force and a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PlanReport {
    /// `bulkhead.plan/1`.
    pub schema: String,
    /// The generation in force; 0 when there is none.
    pub generation: u64,
    /// Whether `up` would change anything.
    pub has_changes: bool,
    /// Connections that are gained or lost; each line holds for every pair of its two sides.
    pub connections: Vec<ConnectionChange>,
    /// Policies of the new document that are outside their schedule, so that no connection is told of them; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
    /// How many more there are.
    #[serde(default)]
    pub omitted_paused: u64,
    /// Every segment of the new document and those that go, at most 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<Area>,
    /// Pairs beyond the bound of the comparison, which are not told; 0 when the comparison is complete.
    #[serde(default)]
    pub omitted_connections: u64,
    /// Connections that stay as they are; absent when there are too many workloads or rules to count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_connections: Option<u64>,
    /// Every assertion of the new document.
    pub assertions: Vec<AssertionResult>,
    /// Tenants, networks, segments, workloads, publishes and policies that change.
    pub objects: Vec<ObjectChange>,
    /// How many more objects change than are listed.
    #[serde(default)]
    pub omitted_objects: u64,
    /// Objects that stay as they are.
    pub unchanged_objects: u64,
    /// Warnings about the new document.
    pub warnings: Vec<Diagnostic>,
    /// What would be done on this host, in the words of `ip`, `nft` and `bpftool`; at most 500 lines.
    pub actions: Vec<String>,
}

impl PlanReport {
    /// Value of [`PlanReport::schema`].
    pub const SCHEMA: &str = "bulkhead.plan/1";
}

/// A policy outside its schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    /// Its first rule.
    pub rule: RuleAt,
    /// `outside its schedule, next Mon 2026-11-23 08:00 CET`.
    pub pause: String,
}

/// What happens to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// `+`
    Add,
    /// `~`
    Change,
    /// `-`
    Remove,
}

impl Change {
    /// `+`, `~` or `-`.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }
}

/// A connection that is gained, lost, or judged differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionChange {
    /// Gained, judged differently (allowed became audited, …), or lost.
    pub change: Change,
    /// The sources: as the policy says it where it changes as a whole (`app=web`), else by segment, label or name.
    pub from: String,
    /// The destinations.
    pub to: String,
    /// How many pairs of workloads, zones and ranges this is.
    #[serde(default)]
    pub pairs: u64,
    /// Between which segments and zones, at most 64 pairs; empty for a live flow that no other line tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub between: Vec<Between>,
    /// Protocols and ports, for example `6379/tcp`.
    pub service: String,
    /// The rule that makes it so; absent for a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// Of a loss, the rule that drops it from now on; absent for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<RuleAt>,
    /// What held before, when that is not the plain opposite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// What it gains passes and is recorded as "would be dropped".
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// Live flows that would be cut, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<LiveFlow>,
    /// How many live flows would be cut.
    pub cut_total: u64,
    /// Recorded flows that would be dropped from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// A segment, or a network without segments.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Area {
    /// `shop/main/front`, or `shop/main` of a network without segments.
    pub name: String,
    /// Whether it comes or goes; absent when it is on both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Its workloads' names, at most 8, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// How many more there are.
    #[serde(default)]
    pub omitted_workloads: u64,
}

/// Two segments or zones, by [`Area::name`], or `host`, `world`, `unmanaged`, or a range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Between {
    /// Where the sources stand.
    pub from: String,
    /// Where the destinations stand.
    pub to: String,
}

/// A flow in the connection table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveFlow {
    /// Who opened it: a workload or an address.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Protocol and destination port.
    pub service: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Recorded flows in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recorded {
    /// How many flows.
    pub flows: u64,
    /// From how many workloads.
    pub workloads: u64,
    /// The oldest of them, RFC 3339.
    pub since: String,
    /// Since when records were looked at, RFC 3339: at most seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_since: Option<String>,
}

/// An object that appears, changes or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectChange {
    /// What happens to it.
    pub change: Change,
    /// `tenant`, `network`, `segment`, `workload`, `publish`, `policy`.
    pub kind: String,
    /// Its path, for example `shop/web`.
    pub name: String,
    /// Of a published port: where it leads, for whom it exists, until when, with which limit, and who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
