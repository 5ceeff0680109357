//! The API as an OpenAPI 3.1 document, made from the types themselves.
//!
//! `docs/reference/openapi.json` is [`document`] printed; a test compares the two.

use utoipa::OpenApi;

use crate::{
    Attach, Attached, Attachments, BlastRadius, ClusterConnections, ClusterDifferences, Detached,
    Diagnostic, Doctor, DocumentRequest, DownRequest, DownResponse, Error, Flow, FlowQuery, Health,
    LabelChange, LabelChanged, LogLine, LogQuery, Matrix, PlanReport, ProbeRequest, ProbeResponse,
    Proof, Publishes, RadiusQuery, Replay, ReplayQuery, Rules, Status, SuggestQuery, Suggestion,
    UpResponse, Why, WhyRequest, Workload,
};
use crate::{HostPolicy, RevertRequest, UpQuery};

/// The document, pretty-printed JSON with a newline at its end.
#[must_use]
pub fn document() -> String {
    let mut text = Api::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// JSON Schema of [`Why`] alone, pretty-printed: the contract of `why --json`.
#[must_use]
pub fn why_schema() -> String {
    let parts = ["Party", "PartyKind", "Service", "Verdict", "Reason", "Decided", "RuleAt"];
    let parts = parts.into_iter().chain(["NearMiss", "WouldAllow", "Seen", "PublishedWay"]);
    let parts = parts.chain(["Walk", "WalkStep", "WalkState", "Connection"]);
    let parts = parts.chain(["Flow", "FlowEnd", "FlowKind", "FlowLine"]);
    schema(&Api::openapi(), "Why", crate::WHY_SCHEMA, parts)
}

/// JSON Schema of [`ClusterConnections`] alone, pretty-printed: the contract of `policy connections --json`.
#[must_use]
pub fn connections_schema() -> String {
    let parts = ["ClusterConnection", "ClusterEnd", "ClusterPorts", "ClusterRange"];
    let title = crate::CONNECTIONS_SCHEMA;
    schema(&Analysis::openapi(), "ClusterConnections", title, parts.into_iter())
}

/// JSON Schema of [`ClusterDifferences`] alone, pretty-printed: the contract of `policy diff --json`.
#[must_use]
pub fn connections_diff_schema() -> String {
    let parts = ["ClusterDifference", "ClusterEnd", "ClusterPorts", "ClusterRange"];
    let title = crate::CONNECTIONS_DIFF_SCHEMA;
    schema(&Analysis::openapi(), "ClusterDifferences", title, parts.into_iter())
}

/// JSON Schema of [`Proof`] alone, pretty-printed: the contract of `policy prove --json`.
#[must_use]
pub fn proof_schema() -> String {
    let parts = ["AssertionResult", "Example", "ExampleEnd", "RuleAt", "Reason", "Verdict"];
    let parts = parts.into_iter().chain(["Diagnostic", "Severity"]);
    schema(&Analysis::openapi(), "Proof", crate::PROOF_SCHEMA, parts)
}

/// JSON Schema of [`BlastRadius`] alone, pretty-printed: the contract of `policy blast-radius --json`.
#[must_use]
pub fn radius_schema() -> String {
    let parts = ["Radius", "Reached", "RuleAt"].into_iter();
    schema(&Api::openapi(), "BlastRadius", crate::RADIUS_SCHEMA, parts)
}

/// JSON Schema of [`Replay`] alone, pretty-printed: the contract of `replay --json`.
#[must_use]
pub fn replay_schema() -> String {
    let parts = ["Period", "RecordGap", "ReplayTotals", "ReplayLine", "Decision", "Unjudged"];
    let parts = parts.into_iter().chain(["RuleAt", "Verdict"]);
    schema(&Api::openapi(), "Replay", Replay::SCHEMA, parts)
}

/// JSON Schema of [`Suggestion`] alone, pretty-printed: the contract of `policy suggest --json`.
#[must_use]
pub fn suggestion_schema() -> String {
    let parts = ["Period", "RecordGap"];
    schema(&Api::openapi(), "Suggestion", Suggestion::SCHEMA, parts.into_iter())
}

/// The schema of one type with what it refers to, as a document of its own.
fn schema(
    api: &utoipa::openapi::OpenApi,
    name: &str,
    title: &str,
    parts: impl Iterator<Item = &'static str>,
) -> String {
    let api = serde_json::to_value(api).unwrap_or_default();
    let schema = |name: &str| api.pointer(&format!("/components/schemas/{name}")).cloned();
    let definitions: serde_json::Map<_, _> =
        parts.map(|name| (name.to_owned(), schema(name).unwrap_or_default())).collect();
    let mut root = schema(name).unwrap_or_default();
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), title.into());
        root.insert("$defs".into(), definitions.into());
    }
    let text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.replace("#/components/schemas/", "#/$defs/") + "\n"
}

/// What commands answer without an agent.
#[derive(OpenApi)]
#[openapi(components(schemas(ClusterConnections, ClusterDifferences, Proof)))]
struct Analysis;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bulkhead agent",
        description = "HTTP and JSON over the unix socket of the agent on one node.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        up,
        plan,
        replay,
        suggestion,
        down,
        confirm,
        revert,
        status,
        workloads,
        workload,
        relabel,
        flows,
        why,
        probe,
        matrix,
        publishes,
        rules,
        doctor,
        metrics,
        health,
        logs,
        blast_radius,
        blast_radius_after,
        attach,
        attachments,
        detach
    ),
    components(schemas(Diagnostic, Error, LogLine))
)]
struct Api;

macro_rules! operations {
    ($($(#[$docs:meta])* $name:ident = $method:ident $path:literal [$($spec:tt)*] -> [$($ok:tt)*];)*) => {$(
        $(#[$docs])*
        #[utoipa::path(
            $method,
            path = $path,
            $($spec)*
            responses(
                (status = 200, $($ok)*),
                (status = "4XX", body = Error, description = "Refused; nothing was changed."),
                (status = "5XX", body = Error, description = "Failed; the body says what holds now.")
            )
        )]
        #[expect(dead_code, reason = "carries the documentation of one operation")]
        fn $name() {}
    )*};
}

operations! {
    /// Brings a document up: checks it, plans, and applies all of it or nothing.
    up = put "/v1/document" [params(UpQuery), request_body = DocumentRequest,]
        -> [body = UpResponse, description = "Applied, or planned when dry."];
    /// Tells what bringing a document up would mean; changes nothing.
    plan = post "/v1/plan" [request_body = DocumentRequest,]
        -> [body = PlanReport, description = "The difference."];
    /// Judges what was recorded by a document; changes nothing.
    replay = post "/v1/replay" [params(ReplayQuery), request_body = DocumentRequest,]
        -> [body = Replay, description = "What would become of every recorded flow."];
    /// The file in force with the tightest policies that pass what was observed; changes nothing.
    suggestion = get "/v1/suggestion" [params(SuggestQuery),]
        -> [body = Suggestion, description = "A file to look at, with the evidence."];
    /// Takes everything down.
    down = post "/v1/down" [request_body = DownRequest,]
        -> [body = DownResponse, description = "What was done."];
    /// Confirms the change of the host's own policy that waits, over this connection.
    confirm = post "/v1/host/confirm" []
        -> [body = HostPolicy, description = "It stays."];
    /// Takes the change of the host's own policy back that waits.
    revert = post "/v1/host/revert" [request_body = RevertRequest,]
        -> [body = HostPolicy, description = "What was confirmed last is in force."];
    /// The agent, the node and every workload.
    status = get "/v1/status" [] -> [body = Status, description = "Now."];
    /// Every workload.
    workloads = get "/v1/workloads" [] -> [body = Vec<Workload>, description = "By id."];
    /// One workload.
    workload = get "/v1/workloads/{id}" [params(("id" = String, Path, description = "`<tenant>.<workload>`")),]
        -> [body = Workload, description = "Now."];
    /// Changes labels at run time: only the entries that differ are rewritten.
    relabel = patch "/v1/workloads/{id}" [
        params(("id" = String, Path, description = "`<tenant>.<workload>`")),
        request_body = LabelChange,
    ] -> [body = LabelChanged, description = "In force."];
    /// Flow records, oldest first; with `follow` an endless stream.
    flows = get "/v1/flows" [params(FlowQuery),]
        -> [body = Flow, content_type = "application/x-ndjson", description = "One record a line."];
    /// Why a pair may talk or not.
    why = post "/v1/why" [request_body = WhyRequest,]
        -> [body = Why, description = "What the kernel decides, and why."];
    /// Sends real packets and tells what came back.
    probe = post "/v1/probe" [request_body = ProbeRequest,]
        -> [body = ProbeResponse, description = "Observed beside declared."];
    /// Every pair and what may pass.
    matrix = get "/v1/matrix" [] -> [body = Matrix, description = "Declared reachability."];
    /// What falls if a workload is taken over.
    blast_radius = get "/v1/blast-radius" [params(RadiusQuery),]
        -> [body = BlastRadius, description = "Whom it reaches, by hop, as it is in force."];
    /// The same as it is in force and as it would be after a document.
    blast_radius_after = post "/v1/blast-radius" [params(RadiusQuery), request_body = DocumentRequest,]
        -> [body = BlastRadius, description = "Whom it reaches, by hop, before and after."];
    /// A workload joins a network at run time; the same key again is the same attachment.
    attach = post "/v1/attachments" [request_body = Attach,]
        -> [body = Attached, description = "Attached, and enforced from its first packet."];
    /// Every workload that was attached at run time.
    attachments = get "/v1/attachments" [] -> [body = Attachments, description = "By key."];
    /// An attached workload leaves; a key that is not attached is no error.
    detach = delete "/v1/attachments/{key}" [params(("key" = String, Path, description = "The attachment's key, percent-encoded")),]
        -> [body = Detached, description = "Gone."];
    /// Every rule and how often it decided.
    publishes = get "/v1/publishes" [] -> [body = Publishes, description = "By port. Reads the host's sockets and asks Docker, where there is one."];
    rules = get "/v1/rules" [] -> [body = Rules, description = "In file order."];
    /// What this host can promise.
    doctor = get "/v1/doctor" [] -> [body = Doctor, description = "What was found."];
    /// Counters in the `OpenMetrics` text format.
    metrics = get "/v1/metrics" []
        -> [body = String, content_type = "application/openmetrics-text", description = "Counters."];
    /// Whether everything that was asked for is enforced.
    health = get "/v1/health" [] -> [body = Health, description = "It is."];
    /// What a workload wrote; with `follow` an endless stream.
    logs = get "/v1/logs/{id}" [params(
        ("id" = String, Path, description = "`<tenant>.<workload>`"),
        LogQuery,
    ),] -> [body = LogLine, content_type = "application/x-ndjson", description = "One line a line."];
}
