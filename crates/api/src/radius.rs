//! What falls if one workload is taken over.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::RuleAt;

/// The shape of [`BlastRadius`]: within it fields are added, never changed.
pub const RADIUS_SCHEMA: &str = "bulkhead.blast-radius/1";

/// Whose radius is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RadiusQuery {
    /// A workload: `shop/web`, `shop.web`, or `web` when that is unique.
    pub workload: String,
}

/// Answer of `policy blast-radius`: whom a workload can open flows to, and whom those can, as it is and as it would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct BlastRadius {
    /// [`RADIUS_SCHEMA`].
    pub schema: String,
    /// The workload, `<tenant>.<workload>`.
    pub workload: String,
    /// What is in force; absent when no agent was asked, and when the workload is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Radius>,
    /// What a file would make of it; absent without one, and when the workload is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Radius>,
}

/// Everybody whom one workload reaches under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Radius {
    /// The file.
    pub file: String,
    /// The generation in force; absent for a file that is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Workloads with a network, this one left out.
    pub workloads: u64,
    /// How many of them are reached.
    pub fallen: u64,
    /// By hop, at most 2000.
    pub reached: Vec<Reached>,
    /// How many more are reached than are listed.
    #[serde(default)]
    pub omitted: u64,
}

/// Somebody that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Reached {
    /// As a person writes it: `shop/db`, `host`, `world`, `unmanaged`, a range.
    pub party: String,
    /// The workload, `<tenant>.<workload>`; absent for others, which are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// How many flows after one another it takes, from 1.
    pub hop: u32,
    /// From which workload, `<tenant>.<workload>`.
    pub from: String,
    /// With which flows, for example `6379/tcp`; of a published port, as the target sees them.
    pub service: String,
    /// Whether all of them pass on trial only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// The rule at the source; absent for a posture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_rule: Option<RuleAt>,
    /// The rule at the target; absent for a posture, and where no workload is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_rule: Option<RuleAt>,
    /// The published port that it takes: `shop/site`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// The port of the host that this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_port: Option<u16>,
}
