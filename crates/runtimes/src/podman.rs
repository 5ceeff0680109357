//! Podman: what its containers are called and labelled, from its REST API (`podman system service`).
//!
//! Its Docker-compatible paths answer with Docker's keys, so the list of containers and the labels of images are read as Docker's are. One thing differs: while
//! Podman starts a container it holds the container's lock, and whoever asks for it, or for the list, waits until the start is over, which waits for the
//! network. Its events take no lock (`libpod/events`, seen in 4.3): the event of a container's making has its name, its image's name and its labels.
//!
//! **An image says nothing about who its container is.** The event names the image, and a name may mean another image by now. So labels count as the
//! container's own only while no image was pulled, built or tagged since; else all of them count as the image's, until the list tells which image it is.
//!
//! **Who is believed.** A socket that a process of root's listens at. **Limits.** 2 seconds for a container that starts, 5 for the list; 4 MiB of events.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::docker::{Client, Container, Error, escape, is_id};

/// How long a container that is being started may wait for its name.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of events.
const MAX_EVENTS: usize = 4 << 20;
/// Labels that are read.
const MAX_LABELS: usize = 1_024;
/// Whose process listens.
const ROOT: u32 = 0;
/// What Podman puts among the labels of an event.
const NOT_LABELS: [&str; 4] = ["containerExitCode", "image", "name", "podId"];

/// Asks one Podman.
#[derive(Debug, Clone)]
pub struct Podman {
    client: Client,
    quick: Client,
}

/// One event; every key may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "timeNano")]
    time_ns: i64,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: std::collections::BTreeMap<String, String>,
}

/// What is read of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Image {
    #[serde(rename = "Id")]
    id: String,
}

impl Podman {
    /// Of the service on `socket`; nothing is opened yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let mut client = Client::new(socket);
        client.who = "podman";
        client.served_by = Some(ROOT);
        let quick = client.clone().with_patience(PATIENCE);
        Self { client, quick }
    }

    /// Believes whoever this user's process is, and is as patient as this.
    #[cfg(test)]
    fn served_by(mut self, uid: u32, patience: Duration) -> Self {
        for client in [&mut self.client, &mut self.quick] {
            client.served_by = Some(uid);
            *client = client.clone().with_patience(patience);
        }
        self
    }

    /// All containers as they are; waits while one of them is being started.
    ///
    /// # Errors
    /// Everything that can happen on the way.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        self.client.containers().await
    }

    /// A container that is being started, by its full id, as far as events tell of it: its addresses and ports are not among that. `None` when Podman does not know
    /// of it, or not any more.
    ///
    /// # Errors
    /// Everything that can happen on the way, all of it within 2 seconds.
    pub async fn starting(&self, id: &str) -> Result<Option<Container>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        self.quick.in_time("/events", self.told(id)).await
    }

    async fn told(&self, id: &str) -> Result<Option<Container>, Error> {
        let filters = format!(r#"{{"container":["{id}"],"event":["create"]}}"#);
        let made = self.events(&format!("filters={}", escape(&filters))).await?;
        // A filter also finds a container that is called as another one's id is.
        let Some(made) = made.into_iter().rfind(|event| event.actor.id == id) else {
            return Ok(None);
        };
        let since = made.time_ns.div_euclid(1_000_000_000);
        let filters = escape(r#"{"type":["image"]}"#);
        let images = self.events(&format!("since={since}&filters={filters}")).await?;
        let is_sure = images.iter().all(|event| event.time_ns <= made.time_ns);
        let mut attributes = made.actor.attributes;
        let take = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        let (name, image) = (take("name"), take("image"));
        attributes.retain(|key, _| !NOT_LABELS.contains(&key.as_str()));
        let mut container = Container {
            id: id.to_owned(),
            name,
            image,
            image_id: String::new(),
            labels: attributes.into_iter().take(MAX_LABELS).collect(),
            image_labels: Vec::new(),
            ports: Vec::new(),
            settled: Vec::new(),
        };
        let known = if is_sure { self.image(&container.image).await? } else { None };
        match known {
            Some(id) => {
                let labels = self.quick.image(&id).await?;
                container.tell_apart(labels.as_deref());
                container.image_id = id;
            }
            None => container.tell_apart(None),
        }
        Ok(Some(container))
    }

    /// The id of the image that a name means now.
    async fn image(&self, name: &str) -> Result<Option<String>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        let answer: Result<Image, Error> =
            self.quick.ask(&format!("/images/{}/json", escape(name))).await;
        match answer {
            Ok(image) => Ok(Some(image.id).filter(|id| !id.is_empty())),
            Err(Error::Refused { .. } | Error::Decode { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Events that were, one in each line.
    async fn events(&self, query: &str) -> Result<Vec<Event>, Error> {
        let path = format!("/events?stream=false&{query}");
        let bytes = self.quick.bytes(&path, MAX_EVENTS).await?;
        let all = serde_json::Deserializer::from_slice(&bytes).into_iter::<Event>();
        let decode = |source| Error::Decode { who: self.quick.who, path: path.clone(), source };
        all.collect::<Result<_, _>>().map_err(decode)
    }
}

#[cfg(test)]
mod tests;
