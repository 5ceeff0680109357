//! The reachability matrix and the rules with their counters.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{RuleAt, Verdict};

/// Answer of `GET /v1/matrix`: for every ordered pair what is declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Matrix {
    /// The generation in force.
    pub generation: u64,
    /// Rows and columns: every workload with an endpoint, then `host` and `world`.
    pub parties: Vec<MatrixParty>,
    /// Pairs with at least one service that may pass. A pair that is not listed is closed.
    pub cells: Vec<Cell>,
}

/// A row and column of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct MatrixParty {
    /// As a person writes it: `shop/web`, `host`, `world`.
    pub name: String,
    /// The workload, `<tenant>.<workload>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The first address, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A service that may pass from one party to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cell {
    /// Index of the source in `parties`.
    pub from: u32,
    /// Index of the target in `parties`.
    pub to: u32,
    /// Protocols and ports that share verdict and rule, for example `6379/tcp` or `any`.
    pub service: String,
    /// `allow` or `audit`.
    pub verdict: Verdict,
    /// The rule that lets it pass; absent for an open posture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// The published port that leads there, `shop/https`; `service` is the host's port then. Absent where they reach each other directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
}

/// Answer of `GET /v1/rules`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    /// The generation in force.
    pub generation: u64,
    /// Since when is counted, RFC 3339: since the kernel's tables were made, however often the agent was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Every rule, in file order.
    pub rules: Vec<RuleCount>,
}

/// A rule and how often it decided.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RuleCount {
    /// The rule.
    pub rule: RuleAt,
    /// Whether its `until` has passed.
    pub expired: bool,
    /// Of a policy outside its schedule: that it is, and when it opens next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Flows that it opened since the agent started.
    pub flows: u64,
    /// Packets that it dropped.
    pub drops: u64,
    /// Flows that it let pass and recorded as "would have been dropped".
    pub audits: u64,
    /// When it decided last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}
