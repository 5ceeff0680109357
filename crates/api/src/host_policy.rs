//! The host's own policy: how a change of it waits for its confirmation.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `PUT /v1/document`: how a change of the host part is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UpQuery {
    /// How long it waits for its confirmation, 5 to 3600 seconds; 60 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u32>,
    /// Apply it although it cuts connections by which the host is managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_connections: Option<bool>,
}

/// The host's own policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct HostPolicy {
    /// The uplinks at which it is enforced; empty when the host is left alone.
    pub uplinks: Vec<String>,
    /// What waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingHost>,
    /// When what is confirmed was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// The console at which it was confirmed: no connection over the network has then shown that it lets anybody in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<String>,
    /// What went back last, and why, until the next change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<RevertedHost>,
}

/// A change of the host's own policy that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PendingHost {
    /// When it was applied.
    pub since: String,
    /// Who applied it.
    pub by: String,
    /// Seconds until it goes back.
    pub left_s: u64,
    /// Whether the process that brings the confirmed one back is there.
    pub guarded: bool,
}

/// A change of the host's own policy that went back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RevertedHost {
    /// When.
    pub at: String,
    /// Why.
    pub why: String,
}

/// Body of `POST /v1/host/revert`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertRequest {
    /// The change that is to go back; without it whichever waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
