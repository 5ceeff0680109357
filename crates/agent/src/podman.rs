//! Podman: its containers come by CNI, which says nothing of their labels, and its API says who they are.
//!
//! **When.** While a container is being attached, before its first program runs, its event tells its name and labels (at most 2 seconds; a Podman that did not answer is
//! not asked for [`PAUSE`]). When it runs, the list tells it again, with the image that it really has: what differs is put right, and so is what was attached while no
//! Podman answered. After that the list is read every [`EVERY`], as labels never change and names seldom do.
//!
//! **What is believed.** Labels of the network's configuration and those that people changed stand above what Podman says; `io.kubernetes.*` is
//! a kubelet's to say. What an image says of itself becomes `image/KEY`, as with Docker. **Failure.** Without an answer a container has the
//! labels of its network alone: policies that name others do not mean it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::Attach;
use runtimes::docker::{Container, workload_labels};
use runtimes::podman::Podman;

use crate::attachments::Told;
use crate::fault::sentence;
use crate::force::Force;
use crate::keeper::Command;
use crate::shared::Shared;

/// How often it is looked whether there is something to ask.
const TICK: Duration = Duration::from_millis(250);
/// How long a Podman that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// How often all is read again while there is something of Podman's.
const EVERY: Duration = Duration::from_mins(1);
/// Times that it may not answer before that is a problem: it does not while a container is being started.
const PATIENT: u32 = 3;
/// Digits of a container's id.
const ID: usize = 64;
/// Under which the agent's condition speaks of it.
const TOPIC: &str = "podman";
/// Keys of labels that are not Podman's to say.
const OTHERS: [&str; 3] = ["io.kubernetes.", "io.podman.", "bulkhead/"];

/// When a Podman that did not answer may be asked again, by those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Patience(std::sync::Mutex<Option<Instant>>);

impl Patience {
    fn is_up(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn lose(&self) {
        let mut until = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *until = Some(Instant::now() + PAUSE);
    }
}

/// What Podman says of a container that is about to be attached; nothing when it is none of its own, or it does not say.
pub(crate) async fn starting(shared: &Shared, attach: &Attach) -> Told {
    let socket = &shared.options.podman;
    let Some(id) = container(&attach.key) else { return Told::new() };
    if shared.podman.is_up() || !socket.exists() {
        return Told::new();
    }
    match Podman::new(socket).starting(id).await {
        Ok(Some(container)) => labels(&container),
        Ok(None) => Told::new(),
        Err(error) => {
            tracing::warn!("podman does not tell who {} is: {}", attach.key, sentence(&error));
            shared.podman.lose();
            Told::new()
        }
    }
}

/// Puts right what is attached, until `stop` is set.
pub(crate) fn run(shared: &Arc<Shared>, stop: &AtomicBool) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(Follow::new(shared).follow(stop)),
        Err(error) => tracing::error!("podman cannot be asked: {}", sentence(&error)),
    }
}

struct Follow<'s> {
    shared: &'s Arc<Shared>,
    podman: Podman,
    /// Attachments that were compared with the list, and since when they are attached.
    compared: BTreeMap<String, jiff::Timestamp>,
    /// Those of them that are Podman's.
    own: BTreeSet<String>,
    /// The generation that was looked through for new ones, and had none.
    seen: Option<u64>,
    missed: u32,
}

impl<'s> Follow<'s> {
    fn new(shared: &'s Arc<Shared>) -> Self {
        let podman = Podman::new(&shared.options.podman);
        let (compared, own) = (BTreeMap::new(), BTreeSet::new());
        Self { shared, podman, compared, own, seen: None, missed: 0 }
    }

    async fn follow(mut self, stop: &AtomicBool) {
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(TICK).await;
            let Some(force) = self.shared.force() else { continue };
            let is_due = !self.own.is_empty() && last.elapsed() >= EVERY;
            if !is_due && self.seen == Some(force.generation) {
                continue;
            }
            self.forget(&force);
            if !is_due && !self.is_new(&force) {
                self.seen = Some(force.generation);
                continue;
            }
            if !self.shared.options.podman.exists() {
                self.problem(None);
                continue;
            }
            last = Instant::now();
            let pause = match self.look(&force).await {
                Ok(problem) => {
                    self.missed = 0;
                    self.problem(problem);
                    // As long as it took: what hangs is not asked all the time.
                    last.elapsed().min(PAUSE)
                }
                Err(problem) => {
                    self.missed += 1;
                    if self.missed >= PATIENT {
                        self.problem(Some(problem));
                    }
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Forgets what is not attached any more.
    fn forget(&mut self, force: &Force) {
        let all = &force.wanted.attachments;
        self.compared.retain(|key, since| all.get(key).is_some_and(|kept| kept.since == *since));
        self.own.retain(|key| self.compared.contains_key(key));
    }

    fn is_new(&self, force: &Force) -> bool {
        let mut all = force.wanted.attachments.keys();
        all.any(|key| container(key).is_some() && !self.compared.contains_key(key))
    }

    /// Compares everything that is attached with the list; what the keeper refuses is told. An error when Podman does not answer.
    async fn look(&mut self, force: &Force) -> Result<Option<String>, String> {
        let containers = self.podman.containers().await.map_err(|error| sentence(&error))?;
        let by_id: BTreeMap<&str, &Container> =
            containers.iter().map(|each| (each.id.as_str(), each)).collect();
        let mut problem = None;
        for (key, kept) in &force.wanted.attachments {
            let Some(id) = container(key) else { continue };
            self.compared.insert(key.clone(), kept.since);
            let Some(known) = by_id.get(id) else { continue };
            self.own.insert(key.clone());
            let told = labels(known);
            if told == kept.told {
                continue;
            }
            let (key, name) = (key.clone(), known.name.clone());
            match self.shared.commands.ask(|reply| Command::Tell(key, told, reply)).await {
                Ok(()) => tracing::info!(name, "podman told who a container is"),
                Err(error) => problem = Some(error.message),
            }
        }
        Ok(problem)
    }

    fn problem(&self, problem: Option<String>) {
        self.shared.trouble(TOPIC, "containers of podman", problem);
    }
}

/// The container of an attachment that may be Podman's: `cni/<network>/<id>/<interface>`, `oci/<id>/<interface>`.
fn container(key: &str) -> Option<&str> {
    let mut parts = key.split('/');
    let id = match parts.next()? {
        "cni" => parts.nth(1)?,
        "oci" => parts.next()?,
        _ => return None,
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == ID && id.bytes().all(is_digit)).then_some(id)
}

fn labels(container: &Container) -> Told {
    let all = workload_labels(container).into_iter();
    let all = all.map(|(key, value)| (key.to_string(), value.to_string()));
    all.filter(|(key, _)| OTHERS.iter().all(|other| !key.starts_with(other))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_cni_and_of_the_hook_have_podmans_ids() {
        let id = "fc41b90c".repeat(8);
        assert_eq!(container(&format!("cni/pods/{id}/eth0")), Some(id.as_str()));
        assert_eq!(container(&format!("oci/{id}/eth0")), Some(id.as_str()));
        for key in ["cni/pods/web-0/eth0", "cni/pods", "", "oci/web-1/eth0"] {
            assert_eq!(container(key), None, "{key}");
        }
        assert_eq!(container(&format!("docker/{id}/lan")), None);
        assert_eq!(container(&format!("cni/pods/{}/eth0", id.to_uppercase())), None);
    }

    #[test]
    fn podman_does_not_speak_for_a_kubelet() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let liar = Container {
            id: "a".repeat(64),
            name: "web".to_owned(),
            image: "localhost/busybox:test".to_owned(),
            image_id: String::new(),
            labels: vec![
                pair("app", "web"),
                pair("io.kubernetes.pod.namespace", "kube-system"),
                pair("io.podman.compose.project", "x"),
                pair("bulkhead/name", "db"),
                pair("container", "db"),
            ],
            image_labels: vec![pair("app", "db"), pair("tier", "data")],
            ports: Vec::new(),
            settled: Vec::new(),
        };
        let told: Vec<String> =
            labels(&liar).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            told,
            [
                "app=web",
                "container=web",
                "image=localhost.busybox",
                "image.tag=test",
                "image/app=db",
                "image/tier=data"
            ]
        );
    }
}
