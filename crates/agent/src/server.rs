//! The API server: HTTP/1.1 on a unix socket, bounded in connections, sizes and times.
//!
//! **Security.** The socket is 0660. Whoever may open it may ask; changes need root or the agent's own user, by the
//! kernel's word (`SO_PEERCRED`), not by what the request says.

mod body;
mod routes;
mod seats;
mod stream;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, codes};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fault::{failed, refused};
use crate::notify::Notify;
use crate::shared::Shared;
pub(crate) use body::may_change;
use seats::CONNECTIONS;
pub(crate) use seats::Seats;

/// Clients that are heard at one time before they are told that there is no seat; more are told unheard.
const TOLD: usize = 64;
/// How long such a client may take to send anything.
const TELLING: Duration = Duration::from_secs(1);
/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long answers may take to finish when the agent ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its user id.
    pub(crate) uid: u32,
    /// Its process id, when the kernel tells.
    pub(crate) pid: Option<i32>,
}

/// Serves until a signal or `down --clean` ends the agent; then removes the socket.
///
/// # Errors
/// `BH0220` when the socket cannot be made.
pub(crate) async fn serve(shared: &Arc<Shared>, notify: &Notify) -> Result<(), Error> {
    let path = shared.options.socket();
    let setup = |error: std::io::Error| {
        failed(codes::SETUP, format!("open the socket {}", path.display()), &error)
    };
    let listener = listen(&path, shared.options.group.as_deref())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(setup)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(setup)?;
    let mut stopping = shared.stopping.subscribe();
    let mut watchdog = tokio::time::interval(notify.watchdog().unwrap_or(Duration::from_hours(1)));
    notify.tell("READY=1\nSTATUS=enforcing");
    tracing::info!(socket = %path.display(), "ready");
    let connections = Connections::new(shared);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connections.accept(&listener) => match accepted {
                Ok(connection) => drop(tasks.spawn(connection)),
                Err(error) => tracing::warn!(%error, "accept a connection"),
            },
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            _ = watchdog.tick() => notify.tell("WATCHDOG=1"),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    tracing::info!("stopping; what is enforced stays enforced");
    notify.tell("STOPPING=1");
    drop(listener);
    // Already gone after `down --clean`.
    let _gone = fs::remove_file(&path);
    shared.stopping.send_replace(true);
    let farewell = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::info!("some answers were cut off");
    }
    Ok(())
}

/// Makes the socket; the lock on the folder says that an old one is nobody's.
fn listen(path: &Path, group: Option<&str>) -> Result<UnixListener, Error> {
    let about = format!("open the socket {}", path.display());
    let setup = |error: std::io::Error| failed(codes::SETUP, about.clone(), &error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(setup(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(setup)?;
    if let Some(name) = group {
        let group = nix::unistd::Group::from_name(name).ok().flatten();
        let group = group
            .ok_or_else(|| refused(codes::SETUP, format!("the host has no group `{name}`")))?;
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw())).map_err(setup)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(setup)?;
    Ok(listener)
}

/// Takes connections in, as many as are allowed.
struct Connections {
    router: axum::Router,
    free: Arc<Semaphore>,
    told: Arc<Semaphore>,
    seats: Arc<Seats>,
}

impl Connections {
    fn new(shared: &Arc<Shared>) -> Self {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let told = Arc::new(Semaphore::new(TOLD));
        let seats = Arc::clone(&shared.seats);
        Self { router: routes::router(Arc::clone(shared)), free, told, seats }
    }

    /// Waits for room and for a connection; the future serves it.
    async fn accept(
        &self,
        listener: &UnixListener,
    ) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
        let (router, told) = (self.router.clone(), Arc::clone(&self.told));
        let seat = self.seats.ask(peer.uid);
        // Who finds no seat must not take one from others meanwhile.
        let permit = seat.is_ok().then_some(permit);
        Ok(async move {
            match seat {
                Ok(seat) => {
                    converse(stream, peer, router).await;
                    drop((seat, permit));
                }
                Err(error) => {
                    let heard = told.try_acquire();
                    let telling = turn_away(stream, &error, heard.is_ok());
                    // A client that does not listen is not told.
                    let _late = tokio::time::timeout(TELLING, telling).await;
                }
            }
        })
    }
}

/// Answers whatever is asked with `error`: once something is, if it is to be heard.
async fn turn_away(mut stream: UnixStream, error: &Error, hear: bool) -> std::io::Result<()> {
    if hear {
        // Some clients take an answer before their question for none.
        let _asked = stream.read(&mut [0; 4096]).await?;
    }
    let body = serde_json::to_string(error)?;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// One request and its answer.
async fn converse(stream: UnixStream, peer: Peer, router: axum::Router) {
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&service, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, pid = peer.pid, "a conversation broke off");
    }
}
