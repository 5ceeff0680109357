//! What a new policy would have decided about the flows that were recorded.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{RuleAt, Verdict};

/// Which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReplayQuery {
    /// Only of the last so many seconds; all there are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u32>,
}

/// Recorded flows, judged by another policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Replay {
    /// `bulkhead.replay/1`.
    pub schema: String,
    /// The file whose policy judged.
    pub file: String,
    /// The generation in force; 0 when there is none.
    pub generation: u64,
    /// What was judged.
    pub period: Period,
    /// Flows that passed, and would be dropped: most flows first.
    pub breaks: Vec<ReplayLine>,
    /// Flows that were dropped, and would pass.
    pub passes: Vec<ReplayLine>,
    /// Flows that cannot be judged, and why.
    pub unjudged: Vec<Unjudged>,
    /// How many flows each of them are, told or not.
    pub totals: ReplayTotals,
    /// Lines beyond the bound of each list.
    pub omitted_lines: u64,
}

impl Replay {
    /// Value of [`Replay::schema`].
    pub const SCHEMA: &str = "bulkhead.replay/1";
    /// Most lines of each list.
    pub const LINES: usize = 500;
}

/// A time of which there are records, and what is missing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Period {
    /// Since when, RFC 3339: what was asked for, or the first record.
    pub since: String,
    /// Until when.
    pub until: String,
    /// When recording began, if that was later than what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<String>,
    /// Rows of the flow store that were read.
    pub rows: u64,
    /// Times of which records are missing; of more than 200 the longest.
    pub gaps: Vec<RecordGap>,
    /// Gaps beyond that bound.
    #[serde(default)]
    pub omitted_gaps: u64,
}

/// A time of which records are missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RecordGap {
    /// Since when, RFC 3339.
    pub from: String,
    /// Until when.
    pub to: String,
    /// `down`, `lost`, `full`, `unwritten`, `unreadable`, `clock`, or `unread`: the time to read was over.
    pub kind: String,
    /// The same in words.
    pub text: String,
    /// How many events are missing; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

/// How many flows, by what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ReplayTotals {
    /// Passed, and would be dropped.
    pub breaks: u64,
    /// Were dropped, and would pass.
    pub passes: u64,
    /// Passed, and would pass.
    pub kept: u64,
    /// Of these, those that would be recorded as "would have dropped".
    pub audited: u64,
    /// Were dropped, and would be.
    pub dropped: u64,
    /// Passed, and are dropped by the policy in force already.
    pub ended_already: u64,
    /// Were dropped, and pass by the policy in force already.
    pub passing_already: u64,
    /// Cannot be judged: who opened them, or to whom, is not in the file, or is somebody else now.
    pub unjudged: u64,
    /// Cannot be judged: there were more in an hour than are told apart.
    pub folded: u64,
    /// Were dropped for a reason that is no matter of policy: forged, malformed, out of order.
    pub beyond_policy: u64,
}

/// Flows between two parties to one port, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayLine {
    /// Who opened them: a workload, `host`, `world` or `unmanaged`.
    pub from: String,
    /// To whom.
    pub to: String,
    /// `6379/tcp`, `icmp/8/0`.
    pub service: String,
    /// How many flows; of drops, packets.
    pub flows: u64,
    /// The first, RFC 3339.
    pub first: String,
    /// The last.
    pub last: String,
    /// What was decided.
    pub was: Decision,
    /// What would be decided.
    pub becomes: Decision,
    /// Some of the addresses, where one end is no workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What else is to be known: for example that a workload has other labels now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A decision and the rule behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Allow, drop or audit.
    pub verdict: Verdict,
    /// The rule that decided; absent for a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// Where no rule decided: `default deny`, `open`, `not published any more`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// Flows that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Unjudged {
    /// Who opened them.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Why, one clause: `shop/old is not in the file`.
    pub why: String,
    /// How many flows.
    pub flows: u64,
    /// The last, RFC 3339.
    pub last: String,
}
