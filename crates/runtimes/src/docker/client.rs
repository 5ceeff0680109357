//! Questions to dockerd over its unix socket: a connection each, bounded in time and size; and its events, as a bell.
//!
//! Paths carry no version: every dockerd answers those with its own newest, and the keys that are read are the same in all since 2016.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::answer::{
    ContainerAnswer, ImageAnswer, InspectAnswer, MAX_CONTAINERS, NetworkAnswer, is_image,
};
use super::{Container, End, Error, Network};

/// Longest wait for an answer, the connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer, bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Largest head of an answer, bytes.
const MAX_HEAD: usize = 64 << 10;
/// What changes who is where: nothing else is to wake us, least of all the checks of health, which go on for ever.
const EVENTS: &str = r#"{"type":["container","network","daemon"],"event":["create","start","restart","die","destroy","rename","update","connect","disconnect","remove","reload"]}"#;

/// Images whose labels are remembered.
const MAX_IMAGES: usize = 1024;

/// Labels by the id of their image, which always has the same.
type Images = Arc<Mutex<BTreeMap<String, Arc<BTreeMap<String, String>>>>>;

/// Asks one dockerd.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
    images: Images,
    /// What it is called in errors.
    pub(crate) who: &'static str,
    /// Whose process has to listen, if that matters.
    pub(crate) served_by: Option<u32>,
}

/// Dockerd's events, reduced to a bell.
#[derive(Debug)]
pub struct Wakes {
    body: Incoming,
    _connection: Connection,
}

/// A connection's other half ends with it.
#[derive(Debug)]
struct Connection(JoinHandle<Result<(), hyper::Error>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Of the dockerd on `socket`; nothing is opened yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            patience: PATIENCE,
            images: Images::default(),
            who: "dockerd",
            served_by: None,
        }
    }

    /// As patient as this instead of 5 seconds, for every answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// One network by its name or full id, with what is connected to it.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::Unfit`], and everything that can happen on the way.
    pub async fn network(&self, name: &str) -> Result<Network, Error> {
        let path = format!("/networks/{}", escape(name));
        let answer: Result<NetworkAnswer, Error> = self.ask(&path).await;
        match answer {
            Err(Error::Refused { status: 404, .. }) => {
                Err(Error::NoNetwork { name: name.to_owned() })
            }
            other => other?.understood(name),
        }
    }

    /// The ends of a network of any driver, by its full id.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], and everything that can happen on the way.
    pub async fn ends(&self, id: &str) -> Result<Vec<End>, Error> {
        let path = format!("/networks/{}", escape(id));
        let answer: Result<NetworkAnswer, Error> = self.ask(&path).await;
        match answer {
            Err(Error::Refused { status: 404, .. }) => {
                Err(Error::NoNetwork { name: id.to_owned() })
            }
            other => other?.ends(id),
        }
    }

    /// All containers, those that do not run among them; at most 65,536. Each image that is new is asked for once, in the time that one
    /// answer may take.
    ///
    /// # Errors
    /// Everything that can happen on the way.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        let mut all = self.listed().await?;
        let about = "/images";
        self.in_time(about, async {
            for container in all.iter_mut().filter(|container| !container.labels.is_empty()) {
                let image = self.image(&container.image_id).await?;
                container.tell_apart(image.as_deref());
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// The same for who needs no labels: all of them count as their image's.
    ///
    /// # Errors
    /// Everything that can happen on the way.
    pub async fn containers_by_name(&self) -> Result<Vec<Container>, Error> {
        let mut all = self.listed().await?;
        for container in &mut all {
            container.tell_apart(None);
        }
        Ok(all)
    }

    /// The first process of a container, by its full id; `None` when it does not run or is not there. Until it runs, dockerd does not answer.
    ///
    /// # Errors
    /// Everything that can happen on the way.
    pub async fn process(&self, id: &str) -> Result<Option<u32>, Error> {
        let answer: Result<InspectAnswer, Error> =
            self.ask(&format!("/containers/{}/json", escape(id))).await;
        match answer {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            other => Ok(other?.process(id)),
        }
    }

    async fn listed(&self) -> Result<Vec<Container>, Error> {
        let answers: Vec<ContainerAnswer> = self.ask("/containers/json?all=1").await?;
        Ok(answers
            .into_iter()
            .filter_map(ContainerAnswer::understood)
            .take(MAX_CONTAINERS)
            .collect())
    }

    /// What an image labels its containers with; `None` when Docker does not tell.
    pub(crate) async fn image(
        &self,
        id: &str,
    ) -> Result<Option<Arc<BTreeMap<String, String>>>, Error> {
        if !is_image(id) {
            return Ok(None);
        }
        if let Some(known) = self.images().get(id) {
            return Ok(Some(Arc::clone(known)));
        }
        let answer: Result<ImageAnswer, Error> =
            self.ask(&format!("/images/{}/json", escape(id))).await;
        let labels = match answer {
            Ok(answer) => Arc::new(answer.labels()),
            // It was removed, or is broken.
            Err(Error::Refused { .. } | Error::Decode { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut images = self.images();
        if images.len() >= MAX_IMAGES {
            images.clear();
        }
        images.insert(id.to_owned(), Arc::clone(&labels));
        Ok(Some(labels))
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<String, Arc<BTreeMap<String, String>>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings when something may have changed.
    ///
    /// # Errors
    /// Everything that can happen until dockerd agrees.
    pub async fn wakes(&self) -> Result<Wakes, Error> {
        let path = format!("/events?filters={}", escape(EVENTS));
        self.in_time(&path, async {
            let (response, connection) = self.open(&path).await?;
            Ok(Wakes { body: self.checked(response, &path)?.into_body(), _connection: connection })
        })
        .await
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(path, MAX_ANSWER).await?)
            .map_err(|source| Error::Decode { who: self.who, path: path.to_owned(), source })
    }

    /// An answer of at most so many bytes, as it is.
    pub(crate) async fn bytes(&self, path: &str, most: usize) -> Result<Bytes, Error> {
        self.in_time(path, async {
            let (response, _connection) = self.open(path).await?;
            let body = Limited::new(self.checked(response, path)?.into_body(), most);
            let read = |source| Error::Read { who: self.who, path: path.to_owned(), source };
            Ok(body.collect().await.map_err(read)?.to_bytes())
        })
        .await
    }

    pub(crate) async fn in_time<T>(
        &self,
        path: &str,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let seconds = self.patience.as_secs();
        let late = || Error::Late { who: self.who, path: path.to_owned(), seconds };
        tokio::time::timeout(self.patience, asking).await.unwrap_or_else(|_| Err(late()))
    }

    fn checked(
        &self,
        response: Response<Incoming>,
        path: &str,
    ) -> Result<Response<Incoming>, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(Error::Refused { who: self.who, path: path.to_owned(), status: status.as_u16() })
    }

    async fn open(&self, path: &str) -> Result<(Response<Incoming>, Connection), Error> {
        let (who, socket) = (self.who, self.socket.clone());
        let connect = |source| Error::Connect { who, socket: socket.clone(), source };
        let talk = |source| Error::Talk { who, path: path.to_owned(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(connect)?;
        if let Some(wanted) = self.served_by {
            let uid = stream.peer_cred().map_err(connect)?.uid();
            if uid != wanted {
                return Err(Error::Peer { socket: self.socket.clone(), uid });
            }
        }
        let mut builder = http1::Builder::new();
        let (mut sender, connection) =
            builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await.map_err(talk)?;
        let connection = Connection(tokio::spawn(connection));
        let request = Request::builder()
            .uri(path)
            .header("host", "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|source| Error::Request { path: path.to_owned(), source })?;
        let response = sender.send_request(request).await.map_err(talk)?;
        Ok((response, connection))
    }
}

impl Wakes {
    /// Waits for the next ring; `false` when dockerd is gone. What is rung about is thrown away unread.
    pub async fn next(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}

/// Everything but letters, digits and `-._` as `%XX`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for digit in [byte >> 4, byte & 15] {
                escaped.extend(char::from_digit(u32::from(digit), 16));
            }
        }
    }
    escaped
}
