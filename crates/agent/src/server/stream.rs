//! Endless answers: one JSON object a line, as long as somebody reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::LogLine;
use axum::response::{IntoResponse, Response};
use flow::{Filter, Record};
use host::linux::runtime::LogReader;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::mpsc;

use super::seats::Seat;
use crate::answers::audits::Audited;
use crate::answers::flows;
use crate::shared::Shared;

/// Chunks that may wait for a slow reader.
const CHUNKS: usize = 16;
/// Records taken at once.
const BATCH: usize = 1024;
/// How long a follower of a log waits before it looks whether anybody still reads.
const LOG_WAIT: Duration = Duration::from_millis(500);

/// A body that is fed through a channel.
struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

fn response(receiver: mpsc::Receiver<Bytes>) -> Response {
    let body = axum::body::Body::new(Fed(receiver));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// JSON objects, one a line.
fn lines<T: Serialize>(items: impl IntoIterator<Item = T>) -> Bytes {
    let mut text = Vec::new();
    for item in items {
        // Our own types always have a JSON form.
        if serde_json::to_writer(&mut text, &item).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

/// The newest records, and with a follower's seat every new one.
pub(super) fn flows(
    shared: Arc<Shared>,
    filter: Filter,
    limit: usize,
    seat: Option<Seat>,
) -> Response {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let (found, mut last) = {
        let flows = shared.flows();
        (flows.ring.newest(&filter, limit), flows.ring.last_number())
    };
    tokio::spawn(async move {
        // Kept as long as anything is sent.
        let seat = seat;
        if sender.send(shown(&shared, &found)).await.is_err() || seat.is_none() {
            return;
        }
        let (mut newest, mut stopping) = (shared.newest.subscribe(), shared.stopping.subscribe());
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            loop {
                let (found, end) = next(&shared, last, &filter);
                last = end;
                if found.is_empty() {
                    break;
                }
                if sender.send(shown(&shared, &found)).await.is_err() {
                    return;
                }
            }
        }
    });
    response(receiver)
}

/// Records after `last`, and the number up to which nothing more is to be told.
fn next(shared: &Shared, last: u64, filter: &Filter) -> (Vec<Arc<Record>>, u64) {
    let flows = shared.flows();
    let found = flows.ring.after(last, filter, BATCH);
    let full = found.len() == BATCH;
    let end = found.last().filter(|_| full).map_or(flows.ring.last_number(), |last| last.number);
    (found, end)
}

/// Records for the outside, each with the scope whose audit let it pass.
fn shown(shared: &Shared, records: &[Arc<Record>]) -> Bytes {
    let force = shared.force();
    let audited = force.as_ref().and_then(|force| {
        let document = &force.wanted.document;
        Audited::of(document, jiff::Timestamp::now())
    });
    lines(records.iter().map(|record| {
        let mut flow = flows::shown(record);
        if let Some(audited) = &audited {
            audited.mark(&mut flow, record.rule.as_ref());
        }
        flow
    }))
}

/// The lines of a log, and with a follower's seat every new one.
pub(super) fn logs(shared: Arc<Shared>, mut reader: LogReader, seat: Option<Seat>) -> Response {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let follow = seat.is_some();
        let wait = if follow { LOG_WAIT } else { Duration::ZERO };
        loop {
            let text = match reader.next_line(wait) {
                Ok(text) => text,
                Err(error) => {
                    tracing::warn!(%error, "read a log");
                    return;
                }
            };
            let is_over = match text {
                Some(text) => sender.blocking_send(lines([LogLine { text }])).is_err(),
                None => !follow || sender.is_closed() || *shared.stopping.borrow(),
            };
            if is_over {
                return;
            }
        }
    });
    response(receiver)
}
