//! Real packets from one workload to another, beside what the policy says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Flow, Why};

/// Body of `POST /v1/probe`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// A workload of this node, or `host`.
    pub from: String,
    /// A workload, `host`, or an address.
    pub to: String,
    /// `tcp/5432`, `udp/53`, `sctp/3868`, `icmp`.
    pub service: String,
    /// How long to wait for an answer, in milliseconds (default 1,000; 1 to 10,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// The port to send from (default: one that is free). ICMP has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// TCP: the handshake was completed.
    Connected,
    /// UDP, SCTP (an INIT ACK) or ICMP: an answer came.
    Answered,
    /// The target itself refused: the packet got through, nothing listens.
    Refused,
    /// Nothing came back in time: dropped, or (UDP) taken in silence.
    NoAnswer,
    /// An ICMP error of a router came, or the source has no route.
    Unreachable,
}

impl Observed {
    /// As printed: `connected`, `no answer`, ….
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NoAnswer => "no answer",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Answer of `POST /v1/probe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeResponse {
    /// What came back.
    pub observed: Observed,
    /// The same as a sentence.
    pub text: String,
    /// How long the answer took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// The source port that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The flow record that the probe made, when it was seen in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
    /// Whether what came back is what the policy says. Absent when it cannot be told (UDP without an answer,
    /// or nothing could be sent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agrees: Option<bool>,
    /// What the policy says.
    pub why: Why,
}
