//! What comes in and goes out: bodies bounded in size and time, refusals, and who may change something.

use std::sync::Arc;
use std::time::Duration;

use api::{DocumentRequest, Error, codes};
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use crate::docker::fill;
use crate::fault::{failed, refused};
use crate::shared::Shared;

use super::Peer;
use super::seats::Seat;

/// How long a client may take to send its body.
const BODY: Duration = Duration::from_secs(10);

/// A refusal as an HTTP answer.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = codes::find(&self.0.code).map_or(0, |code| code.status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// A JSON answer, or a refusal.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// Wraps a result.
pub(super) fn answer<T: Serialize>(result: Result<T, Error>) -> Answer<T> {
    result.map(Json).map_err(Refusal)
}

/// A request's body, read within limits.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        Ok(Self(read(request, api::MAX_BODY_BYTES).await?))
    }
}

/// A request's document. How much of it is read depends on who sends it, which is known before the first byte: those who
/// may change things may send the largest file, others no more than any other body, and few of them at one time: each keeps the agent from changes.
pub(super) struct Document {
    pub(super) request: DocumentRequest,
    /// Held until it is answered, by who may only ask.
    pub(super) turn: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<Shared>> for Document {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let large = request.extensions().get::<Peer>().is_some_and(|peer| may_change(peer.uid));
        let (most, turn) = if large {
            (api::MAX_DOCUMENT_BODY_BYTES, None)
        } else {
            let turn = Arc::clone(&shared.planning).try_acquire_owned();
            let busy = |_| {
                let message =
                    "others who may only ask have as many files looked at as is done at one time";
                refused(codes::BUSY, message)
            };
            (api::MAX_BODY_BYTES, Some(turn.map_err(busy)?))
        };
        let request = fill::filled(shared, read(request, most).await?).await;
        Ok(Self { request, turn })
    }
}

/// Reads a body of at most `most` bytes.
async fn read<T: DeserializeOwned>(request: Request, most: usize) -> Result<T, Refusal> {
    let reading = axum::body::to_bytes(request.into_body(), most);
    let Ok(read) = tokio::time::timeout(BODY, reading).await else {
        return Err(refused(codes::BAD_REQUEST, "the body did not come within 10 s").into());
    };
    let bytes = read.map_err(|error| {
        let message = format!("the body is broken or larger than {most} bytes");
        failed(codes::BAD_REQUEST, message, &error)
    })?;
    // A list would be taken for the fields in their order, and an empty one for all of their defaults.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused(codes::BAD_REQUEST, "the body is no JSON object").into());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        failed(codes::BAD_REQUEST, "the body is not what it should be", &error).into()
    })
}

/// A request's query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => {
                Err(failed(codes::BAD_REQUEST, "the query is not what it should be", &error).into())
            }
        }
    }
}

/// A seat for who follows something, when the query says so; see [`Seats`](super::seats::Seats).
pub(super) struct Follower(Peer);

impl<S: Send + Sync> FromRequestParts<S> for Follower {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().copied();
        let unknown = || refused(codes::FORBIDDEN, "the kernel does not tell who asks").into();
        peer.map(Self).ok_or_else(unknown)
    }
}

impl Follower {
    /// Takes the seat.
    pub(super) fn sit(self, shared: &Shared, follow: bool) -> Result<Option<Seat>, Error> {
        follow.then(|| shared.seats.follow(self.0.uid)).transpose()
    }
}

/// Root, and the user that the agent runs as.
pub(crate) fn may_change(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Somebody who may change things: root, or the user that the agent runs as.
pub(super) struct Changer {
    /// Its process id, when the kernel tells.
    pub(super) pid: Option<i32>,
}

impl<S: Send + Sync> FromRequestParts<S> for Changer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>();
        match peer.map(|peer| (peer.uid, peer.pid)) {
            Some((uid, pid)) if may_change(uid) => Ok(Self { pid }),
            Some((uid, _)) => {
                let message = format!("user id {uid} may ask, not change");
                Err(refused(codes::FORBIDDEN, message).into())
            }
            None => Err(refused(codes::FORBIDDEN, "the kernel does not tell who asks").into()),
        }
    }
}
