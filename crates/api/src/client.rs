//! A blocking client of the agent's socket: one connection per request, answers bounded in size and time.
//!
//! **Failure.** A refusal by the agent is [`ClientError::Refused`] with the agent's own words; everything else says what
//! broke. [`ClientError::to_error`] makes one printable shape of both.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::{
    Attach, Attached, Attachments, BlastRadius, Detached, Doctor, DocumentRequest, DownRequest,
    DownResponse, Error, Flow, FlowQuery, Health, LabelChange, LabelChanged, LogLine, LogQuery,
    Matrix, PlanReport, ProbeRequest, ProbeResponse, Publishes, RadiusQuery, Replay, ReplayQuery,
    Rules, Status, SuggestQuery, Suggestion, UpResponse, Why, WhyRequest, Workload, codes,
};
use crate::{HostPolicy, RevertRequest, UpQuery};

/// Longest wait for the connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the answer to a question.
const QUESTION: Duration = Duration::from_mins(1);
/// Longest wait for the answer to a change: starting many workloads takes a while.
const CHANGE: Duration = Duration::from_mins(10);
/// Largest answer that is read at once, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// Longest line of a stream, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// A client of one agent. Not for use inside of an async runtime.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent listens on {}", socket.display())]
    NoAgent {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The socket may not be opened.
    #[error("this user may not open {}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The client could not be set up.
    #[error("set up the client")]
    Setup(#[source] std::io::Error),
    /// The request could not be made of its parts.
    #[error("make the request {path}")]
    Request {
        /// Its path.
        path: String,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
    /// The request's body could not be written as JSON.
    #[error("write the request {path}")]
    Encode {
        /// Its path.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The conversation broke off.
    #[error("talk to the agent about {path}")]
    Talk {
        /// The request's path.
        path: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The answer did not come in time.
    #[error("the agent did not answer {path} within {seconds} s")]
    Late {
        /// The request's path.
        path: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The answer could not be read.
    #[error("read the answer to {path}")]
    Read {
        /// The request's path.
        path: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not what was expected.
    #[error("understand the answer to {path}")]
    Decode {
        /// The request's path.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The agent refused, in its own words.
    #[error("{0}")]
    Refused(Box<Error>),
}

impl ClientError {
    /// The error in the shape in which everything is printed.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let code = match self {
            Self::Refused(error) => return (**error).clone(),
            Self::NoAgent { .. } => codes::NO_AGENT,
            Self::Forbidden { .. } => codes::FORBIDDEN,
            Self::Talk { .. } | Self::Late { .. } | Self::Read { .. } => codes::BROKEN,
            Self::Decode { .. } => codes::NOT_FOUND,
            Self::Setup(_) | Self::Request { .. } | Self::Encode { .. } => codes::INTERNAL,
        };
        let mut error = Error::new(code, self.to_string());
        error.hint = codes::find(code).map(|known| known.hint.to_owned());
        match std::error::Error::source(self) {
            Some(cause) => error.with_cause(cause),
            None => error,
        }
    }

    /// Whether there is no agent at all, so that starting one would help.
    #[must_use]
    pub fn is_no_agent(&self) -> bool {
        matches!(self, Self::NoAgent { .. })
    }
}

impl Client {
    /// A client of the agent whose socket is `socket`; nothing is opened yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`] when the process has no room for an event loop.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { socket: socket.to_owned(), runtime })
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `PUT /v1/document`.
    ///
    /// # Errors
    /// What the agent refuses, and everything that can happen on the way. So for all methods.
    pub fn up(&self, request: &DocumentRequest) -> Result<UpResponse, ClientError> {
        self.send(Method::PUT, "/v1/document", Some(request), CHANGE)
    }

    /// `PUT /v1/document`, with how a change of the host part is made.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn up_as(
        &self,
        request: &DocumentRequest,
        query: &UpQuery,
    ) -> Result<UpResponse, ClientError> {
        self.send(Method::PUT, &with_query("/v1/document", query)?, Some(request), CHANGE)
    }

    /// `POST /v1/host/confirm`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn confirm(&self) -> Result<HostPolicy, ClientError> {
        self.send(Method::POST, "/v1/host/confirm", None::<&()>, CHANGE)
    }

    /// `POST /v1/host/revert`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn revert(&self, request: &RevertRequest) -> Result<HostPolicy, ClientError> {
        self.send(Method::POST, "/v1/host/revert", Some(request), CHANGE)
    }

    /// As [`Client::revert`], for who cannot wait as long as others do for a change.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn revert_within(
        &self,
        request: &RevertRequest,
        patience: Duration,
    ) -> Result<HostPolicy, ClientError> {
        self.send(Method::POST, "/v1/host/revert", Some(request), patience)
    }

    /// `POST /v1/plan`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn plan(&self, request: &DocumentRequest) -> Result<PlanReport, ClientError> {
        self.send(Method::POST, "/v1/plan", Some(request), QUESTION)
    }

    /// `POST /v1/replay`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn replay(
        &self,
        request: &DocumentRequest,
        query: &ReplayQuery,
    ) -> Result<Replay, ClientError> {
        self.send(Method::POST, &with_query("/v1/replay", query)?, Some(request), CHANGE)
    }

    /// `GET /v1/suggestion`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn suggestion(&self, query: &SuggestQuery) -> Result<Suggestion, ClientError> {
        let path = with_query("/v1/suggestion", query)?;
        self.send(Method::GET, &path, None::<&()>, CHANGE)
    }

    /// `POST /v1/down`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn down(&self, clean: bool) -> Result<DownResponse, ClientError> {
        self.send(Method::POST, "/v1/down", Some(&DownRequest { clean }), CHANGE)
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.ask("/v1/status")
    }

    /// `GET /v1/workloads`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn workloads(&self) -> Result<Vec<Workload>, ClientError> {
        self.ask("/v1/workloads")
    }

    /// `GET /v1/workloads/{id}`; `web`, `shop/web` and `shop.web` are understood.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn workload(&self, id: &str) -> Result<Workload, ClientError> {
        self.ask(&format!("/v1/workloads/{}", escape(id)))
    }

    /// `PATCH /v1/workloads/{id}`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn relabel(&self, id: &str, change: &LabelChange) -> Result<LabelChanged, ClientError> {
        self.send(Method::PATCH, &format!("/v1/workloads/{}", escape(id)), Some(change), CHANGE)
    }

    /// `POST /v1/attachments`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn attach(&self, attach: &Attach) -> Result<Attached, ClientError> {
        self.send(Method::POST, "/v1/attachments", Some(attach), CHANGE)
    }

    /// `DELETE /v1/attachments/{key}`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn detach(&self, key: &str) -> Result<Detached, ClientError> {
        let path = format!("/v1/attachments/{}", escape(key));
        self.send(Method::DELETE, &path, None::<&()>, CHANGE)
    }

    /// `GET /v1/attachments`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn attachments(&self) -> Result<Attachments, ClientError> {
        self.ask("/v1/attachments")
    }

    /// `GET /v1/flows`: the records there are, and with `follow` every new one.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn flows(&self, query: &FlowQuery) -> Result<Lines<'_, Flow>, ClientError> {
        self.stream(&with_query("/v1/flows", query)?)
    }

    /// `GET /v1/logs/{id}`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn logs(&self, id: &str, query: &LogQuery) -> Result<Lines<'_, LogLine>, ClientError> {
        self.stream(&with_query(&format!("/v1/logs/{}", escape(id)), query)?)
    }

    /// `POST /v1/why`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn why(&self, request: &WhyRequest) -> Result<Why, ClientError> {
        self.send(Method::POST, "/v1/why", Some(request), QUESTION)
    }

    /// `POST /v1/probe`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn probe(&self, request: &ProbeRequest) -> Result<ProbeResponse, ClientError> {
        self.send(Method::POST, "/v1/probe", Some(request), QUESTION)
    }

    /// `GET /v1/matrix`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn matrix(&self) -> Result<Matrix, ClientError> {
        self.ask("/v1/matrix")
    }

    /// `GET /v1/blast-radius`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn blast_radius(&self, query: &RadiusQuery) -> Result<BlastRadius, ClientError> {
        self.ask(&with_query("/v1/blast-radius", query)?)
    }

    /// `POST /v1/blast-radius`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn blast_radius_after(
        &self,
        query: &RadiusQuery,
        request: &DocumentRequest,
    ) -> Result<BlastRadius, ClientError> {
        self.send(Method::POST, &with_query("/v1/blast-radius", query)?, Some(request), QUESTION)
    }

    /// `GET /v1/rules`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn rules(&self) -> Result<Rules, ClientError> {
        self.ask("/v1/rules")
    }

    /// `GET /v1/publishes`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn publishes(&self) -> Result<Publishes, ClientError> {
        self.ask("/v1/publishes")
    }

    /// `GET /v1/doctor`.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn doctor(&self) -> Result<Doctor, ClientError> {
        self.ask("/v1/doctor")
    }

    /// `GET /v1/metrics`: `OpenMetrics` text.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn metrics(&self) -> Result<String, ClientError> {
        let path = "/v1/metrics";
        let bytes = self.fetch(Method::GET, path, Bytes::new(), QUESTION)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `GET /v1/health`; an unhealthy agent is an answer too.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub fn health(&self) -> Result<Health, ClientError> {
        self.ask("/v1/health")
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None::<&()>, QUESTION)
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(body) => Bytes::from(
                serde_json::to_vec(body)
                    .map_err(|source| ClientError::Encode { path: path.to_owned(), source })?,
            ),
            None => Bytes::new(),
        };
        let bytes = self.fetch(method, path, body, limit)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| ClientError::Decode { path: path.to_owned(), source })
    }

    fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        let conversation = async {
            let response = self.open(method, path, body).await?;
            let status = response.status();
            let bytes = read_all(response.into_body(), path).await?;
            let unhealthy = path == "/v1/health" && status.as_u16() == 503;
            if status.is_success() || unhealthy { Ok(bytes) } else { Err(refusal(&bytes, path)) }
        };
        let late = || ClientError::Late { path: path.to_owned(), seconds: limit.as_secs() };
        self.runtime.block_on(async {
            tokio::time::timeout(limit, conversation).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn stream<T>(&self, path: &str) -> Result<Lines<'_, T>, ClientError> {
        let path = path.to_owned();
        let response = self.runtime.block_on(async {
            let response = self.open(Method::GET, &path, Bytes::new()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let bytes = read_all(response.into_body(), &path).await?;
            Err(refusal(&bytes, &path))
        })?;
        let body = response.into_body();
        Ok(Lines { client: self, body, path, buffer: Vec::new(), over: false, item: PhantomData })
    }

    /// Connects and sends one request; the connection lives as long as its answer is read.
    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let talk = |source| ClientError::Talk { path: path.to_owned(), source };
        let connecting = tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket));
        let seconds = CONNECT.as_secs();
        let late = |_| ClientError::Late { path: path.to_owned(), seconds };
        let stream = connecting.await.map_err(late)?.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(talk)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bulkhead")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|source| ClientError::Request { path: path.to_owned(), source })?;
        sender.send_request(request).await.map_err(talk)
    }

    fn unreachable(&self, source: std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            ClientError::Forbidden { socket, source }
        } else {
            ClientError::NoAgent { socket, source }
        }
    }
}

async fn read_all(body: Incoming, path: &str) -> Result<Bytes, ClientError> {
    let read = |source| ClientError::Read { path: path.to_owned(), source };
    Ok(Limited::new(body, MAX_ANSWER).collect().await.map_err(read)?.to_bytes())
}

fn refusal(bytes: &[u8], path: &str) -> ClientError {
    match serde_json::from_slice(bytes) {
        Ok(error) => ClientError::Refused(Box::new(error)),
        Err(source) => ClientError::Decode { path: path.to_owned(), source },
    }
}

/// Appends the fields of a flat struct as a query.
fn with_query(path: &str, query: &impl Serialize) -> Result<String, ClientError> {
    let value = serde_json::to_value(query)
        .map_err(|source| ClientError::Encode { path: path.to_owned(), source })?;
    let mut text = path.to_owned();
    for (n, (key, value)) in value.as_object().into_iter().flatten().enumerate() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push(if n == 0 { '?' } else { '&' });
        text.extend([key.as_str(), "=", &escape(&value)]);
    }
    Ok(text)
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The lines of a stream, as they come; each `next` waits for one.
#[derive(Debug)]
pub struct Lines<'c, T> {
    client: &'c Client,
    body: Incoming,
    path: String,
    buffer: Vec<u8>,
    over: bool,
    item: PhantomData<fn() -> T>,
}

impl<T> Lines<'_, T> {
    /// Cuts the next line out of what was read.
    fn cut(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        Some(line)
    }

    fn too_long(&self) -> ClientError {
        let source = format!("a line is longer than {MAX_LINE} bytes").into();
        ClientError::Read { path: self.path.clone(), source }
    }
}

impl<T: DeserializeOwned> Iterator for Lines<'_, T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.cut() {
                let path = &self.path;
                let decode = |source| ClientError::Decode { path: path.clone(), source };
                return Some(serde_json::from_slice(&line).map_err(decode));
            }
            if self.over {
                return None;
            }
            if self.buffer.len() > MAX_LINE {
                self.over = true;
                return Some(Err(self.too_long()));
            }
            match self.client.runtime.block_on(self.body.frame()) {
                Some(Ok(frame)) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Some(Err(source)) => {
                    self.over = true;
                    return Some(Err(ClientError::Talk { path: self.path.clone(), source }));
                }
                None => self.over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
