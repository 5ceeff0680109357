//! Bringing a document up and taking it down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Geography, PlanReport};

/// A file as the caller read it. The agent never opens files for a caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, for messages only.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Body of `PUT /v1/document` and `POST /v1/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentRequest {
    /// The file.
    pub source: Source,
    /// Kubernetes manifests beside it, whose policies select the file's workloads: at most 1000, and all texts together no
    /// larger than a file may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Source>,
    /// Values of the variables that the file lists under `vars:`; others are ignored.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
    /// Networks of the countries that sets of the file name; absent if they name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geography: Option<Geography>,
    /// Subnets of the networks of Docker's that the file names, by their name. The agent asks Docker and overwrites what a
    /// client says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub docker: BTreeMap<String, Vec<String>>,
    /// Plan only, change nothing. `POST /v1/plan` is always dry.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer of `PUT /v1/document`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct UpResponse {
    /// What the change means.
    pub plan: PlanReport,
    /// What was done; absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The host's own policy, and what of it waits for a confirmation; absent when the host is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Box<crate::HostPolicy>>,
}

/// What applying did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The generation in force now.
    pub generation: u64,
    /// Whether anything was changed.
    pub changed: bool,
    /// The steps in their order.
    pub steps: Vec<Step>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One step of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// `store`, `network`, `tables`, `workloads`, ….
    pub name: String,
    /// How it ended.
    pub state: StepState,
    /// How many things it changed.
    pub changes: u64,
    /// What it did, in the words of `ip`, `nft` and `bpftool`; at most 200 lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// What failed, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// It changed something.
    Done,
    /// There was nothing to change.
    Unchanged,
    /// Something did not work.
    Failed,
    /// An earlier step failed.
    Skipped,
}

/// Body of `POST /v1/down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownRequest {
    /// Also forget what was remembered (allocations, the last document, flow history, pinned programs), so that the host
    /// is as it was before. The agent then ends.
    #[serde(default)]
    pub clean: bool,
}

/// Answer of `POST /v1/down`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct DownResponse {
    /// What was done.
    pub outcome: Outcome,
    /// Whether the agent ends after this answer.
    pub agent_ends: bool,
}
