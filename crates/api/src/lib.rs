//! HTTP and JSON types of the agent's unix socket, and a blocking client for it.
//!
//! This is the boundary: the CLI, plugins and consoles know these types and nothing of the agent. The agent's server
//! and [`openapi::document`] are made from them too, so the committed `docs/reference/openapi.json` cannot drift.
//!
//! **Shapes.** Times are RFC 3339 in UTC, durations and sizes carry their unit in the name, identities are 16 hexadecimal
//! digits, workloads go by their id `<tenant>.<workload>`. New fields may appear in answers at any time; a field never
//! changes its meaning within `/v1`. Unknown fields in requests are refused.

mod attachment;
mod client;
mod cluster;
pub mod codes;
mod doctor;
mod document;
mod error;
mod flows;
mod geography;
mod host_policy;
pub mod openapi;
mod plan;
mod probe;
mod proof;
mod publishes;
mod radius;
mod reach;
mod replay;
mod status;
mod suggest;
mod unmanaged;
mod walk;
mod why;

pub use attachment::{
    Attach, AttachPort, AttachPublish, Attached, AttachedAddress, Attachment, Attachments, Detached,
};
pub use client::{Client, ClientError, Lines};
pub use cluster::{
    CONNECTIONS_DIFF_SCHEMA, CONNECTIONS_SCHEMA, ClusterConnection, ClusterConnections,
    ClusterDifference, ClusterDifferences, ClusterEnd, ClusterPorts, ClusterRange,
};
pub use doctor::{BridgeNf, Doctor, Finding, Forwarding, HostFacts, Level};
pub use document::{
    DocumentRequest, DownRequest, DownResponse, Outcome, Source, Step, StepState, UpResponse,
};
pub use error::{Diagnostic, Error, Severity};
pub use flows::{Flow, FlowEnd, FlowKind, FlowLine, FlowQuery, LogLine, LogQuery};
pub use geography::Geography;
pub use host_policy::{HostPolicy, PendingHost, RevertRequest, RevertedHost, UpQuery};
pub use plan::{
    Area, Between, Change, ConnectionChange, LiveFlow, ObjectChange, Paused, PlanReport, Recorded,
};
pub use probe::{Observed, ProbeRequest, ProbeResponse};
pub use proof::{AssertionResult, Example, ExampleEnd, PROOF_SCHEMA, Proof};
pub use publishes::{OpenPort, Opener, PUBLISHES_SCHEMA, Publishes, World};
pub use radius::{BlastRadius, RADIUS_SCHEMA, Radius, RadiusQuery, Reached};
pub use reach::{Cell, Matrix, MatrixParty, RuleCount, Rules};
pub use replay::{
    Decision, Period, RecordGap, Replay, ReplayLine, ReplayQuery, ReplayTotals, Unjudged,
};
pub use status::{
    AgentStatus, AuditScope, DropCount, Health, Intervention, LabelChange, LabelChanged,
    Reconciled, Status, TableUse, Workload, WorkloadState,
};
pub use suggest::{SuggestQuery, Suggestion};
pub use unmanaged::{Unmanaged, UnmanagedPort};
pub use walk::{Walk, WalkState, WalkStep};
pub use why::{
    Connection, Decided, NearMiss, Party, PartyKind, PublishedWay, Reason, RuleAt, Seen, Service,
    Verdict, WHY_SCHEMA, Why, WhyRequest, WouldAllow,
};

/// Name of the socket in the run folder.
pub const SOCKET: &str = "agent.sock";
/// Largest request body that the agent reads of anybody, in bytes.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Largest body with a document that the agent reads of those who may change things, in bytes: the largest file (64 MiB),
/// and what JSON adds to it.
pub const MAX_DOCUMENT_BODY_BYTES: usize = 72 * 1024 * 1024;
