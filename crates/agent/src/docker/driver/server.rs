//! The socket that dockerd asks: one call a connection, bounded in size, time and number, and only from root.
//!
//! **Security.** The socket is 0600, and whoever asks is looked at by the kernel's word (`SO_PEERCRED`): a call of this driver moves links and
//! opens ports.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Blocking;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtimes::docker::driver::{MAX_MESSAGE, refusal};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::may_change;

use super::Driver;

/// Connections at one time; more wait in the kernel's queue. dockerd has one for each container that it starts.
const CONNECTIONS: usize = 256;
/// How long a request's head or body may take.
const TIME: Duration = Duration::from_secs(10);
/// How often is looked whether the agent ends.
const TICK: Duration = Duration::from_millis(100);
/// How long answers may take to finish when the agent ends.
const FAREWELL: Duration = Duration::from_secs(3);
/// What plugins of Docker's speak.
const KIND: &str = "application/vnd.docker.plugins.v1.2+json";

/// Makes the socket and its folder.
pub(super) fn listen(path: &Path) -> Result<UnixListener, String> {
    let told = |what: &str, error: &io::Error| {
        format!(
            "{what} {}: {error}; bulkhead agent --docker-driver SOCKET chooses another one",
            path.display()
        )
    };
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.map_err(|error| told("make the folder of", &error))?;
    }
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("{} is there and is no socket: remove it", path.display()));
        }
        Ok(_) if Blocking::connect(path).is_ok() => {
            return Err(format!(
                "another program serves {}: end it, or bulkhead agent --docker-driver SOCKET",
                path.display()
            ));
        }
        // Of an agent that was killed.
        Ok(_) => fs::remove_file(path).map_err(|error| told("remove", &error))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| told("open", &error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| told("protect", &error))?;
    Ok(listener)
}

/// Serves until `stop` is set.
pub(super) async fn serve(driver: &Arc<Driver>, listener: UnixListener, stop: &AtomicBool) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let accept = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = accept => match accepted {
                Ok((stream, _)) => {
                    let driver = Arc::clone(driver);
                    tasks.spawn(async move {
                        converse(stream, driver).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a connection of dockerd");
                    tokio::time::sleep(TICK).await;
                }
            },
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
    drop(listener);
    let farewell = async { while tasks.join_next().await.is_some() {} };
    // Who is cut off asks again: dockerd tries for half a minute.
    let _late = tokio::time::timeout(FAREWELL, farewell).await;
}

/// One call and its answer.
async fn converse(stream: UnixStream, driver: Arc<Driver>) {
    let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
    let service = service_fn(move |request: Request<Incoming>| {
        let driver = Arc::clone(&driver);
        async move { Ok::<_, std::convert::Infallible>(answer(&driver, uid, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME)
        .keep_alive(false)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a conversation with dockerd broke off");
    }
}

async fn answer(driver: &Driver, uid: Option<u32>, request: Request<Incoming>) -> Response<String> {
    let refused = |status, why: &str| told(status, &refusal(why));
    match uid {
        Some(uid) if may_change(uid) => {}
        Some(uid) => {
            let why = format!("user id {uid} is not dockerd: only root is answered here");
            return refused(StatusCode::FORBIDDEN, &why);
        }
        None => return refused(StatusCode::FORBIDDEN, "the kernel does not tell who asks"),
    }
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "calls of a driver are POST");
    }
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let body = axum::body::to_bytes(Body::new(request.into_body()), MAX_MESSAGE);
    let body = match tokio::time::timeout(TIME, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let why = format!("the message is broken or larger than {MAX_MESSAGE} bytes");
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Err(_) => {
            return refused(StatusCode::REQUEST_TIMEOUT, "the message did not come within 10 s");
        }
    };
    match driver.call(&name, &body).await {
        Some(Ok(value)) => told(StatusCode::OK, &value),
        Some(Err(why)) => {
            tracing::warn!(call = name, "Docker is refused: {why}");
            refused(StatusCode::UNPROCESSABLE_ENTITY, &why)
        }
        None => {
            let shown: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
            refused(StatusCode::NOT_FOUND, &format!("this driver has no call {shown:?}"))
        }
    }
}

fn told(status: StatusCode, value: &Value) -> Response<String> {
    let mut response = Response::new(value.to_string());
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(KIND);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
