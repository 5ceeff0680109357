//! Assertions and what became of them: for people, and as one concrete packet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Diagnostic, Reason, RuleAt, Verdict};

/// The shape of [`Proof`]: within it fields are added, never changed.
pub const PROOF_SCHEMA: &str = "bulkhead.proof/1";

/// Answer of `policy prove`: every assertion of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// [`PROOF_SCHEMA`].
    pub schema: String,
    /// The file's name.
    pub file: String,
    /// Whether all of them hold.
    pub holds: bool,
    /// In file order.
    pub assertions: Vec<AssertionResult>,
    /// Warnings about the file.
    pub warnings: Vec<Diagnostic>,
}

/// An assertion and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AssertionResult {
    /// As written: `never: world -> segment=data`.
    pub text: String,
    /// The file's name.
    pub file: String,
    /// 1-based line.
    pub line: u32,
    /// Whether it holds.
    pub holds: bool,
    /// A flow that breaks it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<String>,
    /// The same flow with what both ends say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Example>,
    /// When it breaks, RFC 3339, though it holds now: a schedule opens or closes then, or something ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Times ahead, at which other policies are in force, for which it was not proven for want of time.
    #[serde(default)]
    pub unproven: u64,
}

/// One packet that opens a flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Example {
    /// Who sends it: `shop/web`, `world`, `host`, a range.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Address, and port of protocols that have ports: `10.0.1.10:49152`, `[fd00::1]:49152`.
    pub source: String,
    /// The same of the target.
    pub target: String,
    /// Protocol and destination port or icmp type and code: `6379/tcp`, `icmp/8/0`.
    pub service: String,
    /// Whether it passes.
    pub passes: bool,
    /// The published port that it goes through: `shop/site`. Absent where it goes straight to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// To which address and port of the host it goes for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
    /// Why it is dropped; absent when it passes, or when there is no way between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the ends that are workloads say, and the host at its uplinks; the source's first. After a no nobody else is asked.
    pub ends: Vec<ExampleEnd>,
}

/// What one end says of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExampleEnd {
    /// The workload, `<tenant>.<workload>`; `host` at its uplinks, or some processes of it: `host user=backup`.
    pub workload: String,
    /// `egress` or `ingress`.
    pub direction: String,
    /// `allow`, `audit` or `drop`.
    pub verdict: Verdict,
    /// The rule that decides; absent for the posture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// Whether nothing is enforced there: it is the host, and the file has no `host:`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_alone: bool,
}
