//! The way of a packet, step by step, beside what the policy says of it. Part of the answer of `POST /v1/why`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a step of the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WalkState {
    /// As it should be.
    Ok,
    /// The packet, or its answer, ends here.
    Fault,
    /// It cannot be told.
    #[default]
    Unknown,
}

impl WalkState {
    /// `ok`, `fault` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

/// One step of the way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct WalkStep {
    /// Where: `shop/web`, `router shop/main`, `host`.
    pub place: String,
    /// What was looked at: `workload`, `namespace`, `link`, `address`, `route`, `neighbour`, `forwarding`, `firewall`, `tracking`,
    /// `translation`, `programs`, `policy`, `mtu`, `service`.
    pub topic: String,
    /// How it is.
    pub state: WalkState,
    /// Of a fault: `BH-Wnnn`, or the reason of the policy, `BH-Dnnn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence.
    pub text: String,
    /// The command that shows it, as root on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The way of a first packet and of its answer, as far as this host has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Walk {
    /// The code of the first fault; absent when none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// In the order of the way.
    pub steps: Vec<WalkStep>,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

impl Walk {
    /// The faults, the first one first.
    pub fn faults(&self) -> impl Iterator<Item = &WalkStep> {
        self.steps.iter().filter(|step| step.state == WalkState::Fault)
    }
}
