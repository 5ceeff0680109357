//! What this host can promise, what it cannot, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works with a restriction.
    Warning,
    /// Enforcement is refused until this is repaired.
    Blocker,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `BH-H0nn`.
    pub code: String,
    /// How much it matters.
    pub level: Level,
    /// What was looked at: `enforcement`, `nftables`, `forwarding`, ….
    pub topic: String,
    /// What was found.
    pub text: String,
    /// What it means for the product's promises, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Answer of `GET /v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// `bulkhead.doctor/1`.
    pub schema: String,
    /// The first line: host name, kernel, distribution, kind of machine.
    pub host: String,
    /// `full`, `restricted` or `none`.
    pub enforcement: String,
    /// `tcx` or `clsact`; absent when neither works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_path: Option<String>,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl Doctor {
    /// Value of [`Doctor::schema`].
    pub const SCHEMA: &str = "bulkhead.doctor/1";
}
