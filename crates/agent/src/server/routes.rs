//! Every method of the API, each a few lines: who may, what comes in, who answers.

use std::sync::Arc;
use std::time::Duration;

use api::{
    Attach, Attached, Attachments, BlastRadius, Detached, Doctor, DownRequest, DownResponse, Error,
    FlowQuery, Health, LabelChange, LabelChanged, LogQuery, Matrix, PlanReport, ProbeRequest,
    ProbeResponse, Publishes, RadiusQuery, Replay, ReplayQuery, Rules, Status, SuggestQuery,
    Suggestion, UpResponse, Why, WhyRequest, Workload, codes,
};
use api::{HostPolicy, RevertRequest, UpQuery};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;

use crate::answers::{
    attachments, audits, doctor, flows, health, logs, matrix, probe, publishes, radius, replay,
    rules, status, suggest, unmanaged, why,
};
use crate::confirm::{Manner, WITHIN, session};
use crate::docker;
use crate::fault::refused;
use crate::keeper::Command;
use crate::metrics;
use crate::podman;
use crate::shared::Shared;

use super::body::{Answer, Asked, Body, Changer, Document, Follower, Refusal, answer};
use super::stream;

type Node = State<Arc<Shared>>;

/// The API.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/document", put(up))
        .route("/v1/plan", post(plan))
        .route("/v1/replay", post(replay_recorded))
        .route("/v1/suggestion", get(show_suggestion))
        .route("/v1/down", post(down))
        .route("/v1/host/confirm", post(confirm))
        .route("/v1/host/revert", post(revert))
        .route("/v1/status", get(show_status))
        .route("/v1/attachments", get(show_attachments).post(attach))
        .route("/v1/attachments/{key}", axum::routing::delete(detach))
        .route("/v1/workloads", get(show_workloads))
        .route("/v1/workloads/{id}", get(show_workload).patch(relabel))
        .route("/v1/flows", get(show_flows))
        .route("/v1/why", post(explain))
        .route("/v1/probe", post(send_probe))
        .route("/v1/matrix", get(show_matrix))
        .route("/v1/blast-radius", get(radius_now).post(radius_after))
        .route("/v1/publishes", get(show_publishes))
        .route("/v1/rules", get(show_rules))
        .route("/v1/doctor", get(show_doctor))
        .route("/v1/metrics", get(show_metrics))
        .route("/v1/health", get(show_health))
        .route("/v1/logs/{id}", get(show_logs))
        .fallback(unknown)
        .method_not_allowed_fallback(not_so)
        .with_state(shared)
}

async fn unknown(request: axum::extract::Request) -> Refusal {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    refused(codes::NOT_FOUND, message).into()
}

/// A path that is known, asked in a way that it does not have.
async fn not_so(request: axum::extract::Request) -> Response {
    let message = format!("{} cannot be asked with {}", request.uri().path(), request.method());
    (StatusCode::METHOD_NOT_ALLOWED, Json(refused(codes::NOT_FOUND, message))).into_response()
}

/// Answers off the event loop: reading the kernel and judging take a while.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        Err(refused(codes::INTERNAL, "the answer ended in a panic; see the log"))
    })
}

async fn up(
    State(shared): Node,
    changer: Changer,
    Asked(query): Asked<UpQuery>,
    Document { request, turn: _turn }: Document,
) -> Answer<UpResponse> {
    let manner = manner(&query, changer.pid)?;
    answer(shared.commands.ask(|reply| Command::Up(Box::new(request), manner, reply)).await)
}

/// How a change of the host part is to be made.
fn manner(query: &UpQuery, pid: Option<i32>) -> Result<Manner, Error> {
    let within = query.confirm_within_s.unwrap_or(60);
    if !WITHIN.contains(&within) {
        let (least, most) = (WITHIN.start(), WITHIN.end());
        let message = format!("{within} s to confirm in: it may be {least} s to {most} s");
        return Err(refused(codes::BAD_REQUEST, message));
    }
    let within = Duration::from_secs(within.into());
    let may_cut = query.cut_connections.unwrap_or(false);
    Ok(Manner { within, may_cut, by: session::origin(pid), again: false })
}

async fn confirm(State(shared): Node, changer: Changer) -> Answer<HostPolicy> {
    let by = session::origin(changer.pid);
    answer(shared.commands.ask(|reply| Command::Confirm(by, reply)).await)
}

async fn revert(
    State(shared): Node,
    _: Changer,
    Body(request): Body<RevertRequest>,
) -> Answer<HostPolicy> {
    answer(shared.commands.ask(|reply| Command::Revert(request.token, reply)).await)
}

async fn plan(
    State(shared): Node,
    Document { request, turn: _turn }: Document,
) -> Answer<PlanReport> {
    answer(shared.commands.ask(|reply| Command::Plan(Box::new(request), reply)).await)
}

async fn replay_recorded(
    State(shared): Node,
    Asked(query): Asked<ReplayQuery>,
    Document { request, turn: _turn }: Document,
) -> Answer<Replay> {
    // Dropped with this answer's future when its client is gone.
    let (turn, _waiting) = shared.replays.take()?;
    let ground = shared.commands.ask(Command::Ground).await?;
    answer(
        apart(move || {
            let wanted = ground.prepare(&Arc::new(request))?;
            replay::replay(&shared, &wanted, query, &turn)
        })
        .await,
    )
}

/// The answer holds the file in force, which is for those who may change it.
async fn show_suggestion(
    State(shared): Node,
    _: Changer,
    Asked(query): Asked<SuggestQuery>,
) -> Answer<Suggestion> {
    let (turn, _waiting) = shared.replays.take()?;
    let ground = shared.commands.ask(Command::Ground).await?;
    answer(apart(move || suggest::suggest(&shared, &query, &ground, &turn)).await)
}

async fn down(
    State(shared): Node,
    _: Changer,
    Body(request): Body<DownRequest>,
) -> Answer<DownResponse> {
    answer(shared.commands.ask(|reply| Command::Down(request.clean, reply)).await)
}

async fn relabel(
    State(shared): Node,
    _: Changer,
    Path(id): Path<String>,
    Body(change): Body<LabelChange>,
) -> Answer<LabelChanged> {
    answer(shared.commands.ask(|reply| Command::Relabel(id, change, reply)).await)
}

async fn attach(State(shared): Node, _: Changer, Body(attach): Body<Attach>) -> Answer<Attached> {
    let told = podman::starting(&shared, &attach).await;
    answer(shared.commands.ask(|reply| Command::Attach(Box::new(attach), told, reply)).await)
}

async fn detach(State(shared): Node, _: Changer, Path(key): Path<String>) -> Answer<Detached> {
    answer(shared.commands.ask(|reply| Command::Detach(key, reply)).await)
}

async fn show_attachments(State(shared): Node) -> Answer<Attachments> {
    answer(apart(move || Ok(attachments::attachments(&shared))).await)
}

async fn show_status(State(shared): Node) -> Answer<Status> {
    answer(apart(move || Ok(status::status(&shared))).await)
}

async fn show_workloads(State(shared): Node) -> Answer<Vec<Workload>> {
    answer(apart(move || Ok(status::status(&shared).workloads)).await)
}

async fn show_workload(State(shared): Node, Path(id): Path<String>) -> Answer<Workload> {
    answer(apart(move || status::workload(&shared, &id)).await)
}

async fn show_flows(
    State(shared): Node,
    follower: Follower,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, Refusal> {
    let (filter, limit) = flows::filter(&shared, &query)?;
    let seat = follower.sit(&shared, query.follow.unwrap_or(false))?;
    Ok(stream::flows(shared, filter, limit, seat))
}

async fn explain(State(shared): Node, Body(request): Body<WhyRequest>) -> Answer<Why> {
    answer(apart(move || why::why(&shared, &request)).await)
}

async fn send_probe(
    State(shared): Node,
    _: Changer,
    Body(request): Body<ProbeRequest>,
) -> Answer<ProbeResponse> {
    answer(apart(move || probe::probe(&shared, &request)).await)
}

async fn show_matrix(State(shared): Node) -> Answer<Matrix> {
    answer(apart(move || matrix::matrix(&shared)).await)
}

async fn radius_now(State(shared): Node, Asked(query): Asked<RadiusQuery>) -> Answer<BlastRadius> {
    answer(apart(move || radius::radius(&shared, &query, None)).await)
}

async fn radius_after(
    State(shared): Node,
    Asked(query): Asked<RadiusQuery>,
    Document { request, turn: _turn }: Document,
) -> Answer<BlastRadius> {
    let ground = shared.commands.ask(Command::Ground).await?;
    answer(
        apart(move || {
            let wanted = ground.prepare(&Arc::new(request))?;
            radius::radius(&shared, &query, Some(&wanted))
        })
        .await,
    )
}

async fn show_publishes(State(shared): Node) -> Result<Json<Arc<Publishes>>, Refusal> {
    let node = Arc::clone(&shared);
    let look = || async move {
        let docker = docker::containers(&node).await;
        apart(move || Ok(publishes::publishes(&node, docker))).await.ok()
    };
    let lost = || refused(codes::INTERNAL, "the answer ended in a panic; see the log");
    Ok(Json(shared.publishes.ask(look).await.ok_or_else(lost)?))
}

async fn show_rules(State(shared): Node) -> Answer<Rules> {
    answer(apart(move || rules::rules(&shared)).await)
}

async fn show_doctor(State(shared): Node) -> Answer<Doctor> {
    let options = shared.options.clone();
    answer(
        apart(move || {
            let mut found = doctor::examine(&options.run_dir, &options.state_dir, &options.bpffs);
            found.findings.extend(audits::findings(&shared));
            found.findings.extend(publishes::findings(&shared));
            found.findings.extend(unmanaged::findings(&shared));
            Ok(found)
        })
        .await,
    )
}

async fn show_metrics(State(shared): Node) -> Result<Response, Refusal> {
    let text = apart(move || metrics::text(&shared)).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn show_health(State(shared): Node) -> Result<Response, Refusal> {
    let health: Health = apart(move || Ok(health::health(&shared))).await?;
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)).into_response())
}

async fn show_logs(
    State(shared): Node,
    Path(id): Path<String>,
    follower: Follower,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, Refusal> {
    let seat = follower.sit(&shared, query.follow.unwrap_or(false))?;
    let (node, lines) = (Arc::clone(&shared), query.lines);
    let reader = apart(move || logs::open(&node, &id, lines)).await?;
    Ok(stream::logs(shared, reader, seat))
}
