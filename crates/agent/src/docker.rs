//! Docker's containers in external networks: found, attached, followed, without Docker knowing.
//!
//! A thread with an event loop of its own. Every pass reads what is: the networks that the document in force names, their members, all
//! containers, the ports of their bridges. What is to be attached follows from that alone ([`members`]); Docker's events, links that come, and a
//! timer only say when to look. Changes go through the keeper like anybody's (ADR 0020).
//!
//! **Order.** Docker puts the host's end of a veth onto the bridge long before it moves the other into the container and sets it
//! up, so a container is attached before its first packet: it waits for nobody, and nothing of Docker's is changed.
//! **Failure.** While dockerd does not answer, what is attached stays attached.
//! **Limits.** A dockerd that hangs costs this thread five seconds a question, and nobody else anything.

pub(crate) mod driver;
pub(crate) mod fill;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use api::{Attach, AttachPort, Error};
use host::linux::bridge::{self, LinkWatch};
use host::linux::netlink::Netlink;
use model::Transport;
use policy::document::External;
use runtimes::docker::{Client, Container, Network, Wakes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

use crate::attachments::Told;
use crate::confirm::Manner;
use crate::fault::sentence;
use crate::force::Force;
use crate::keeper::Command;
use crate::shared::Shared;

use members::{Memory, Place};

/// How often is looked whether the agent ends, or another document is in force.
const TICK: Duration = Duration::from_millis(100);
const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How often everything is looked at without being told.
const EVERY: Duration = Duration::from_secs(10);
/// How soon is looked again while a container is being started.
const SOON: Duration = Duration::from_millis(3);
/// How long a start is followed that closely.
const START: Duration = Duration::from_secs(3);
/// After dockerd was not there.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest rest after a look.
const REST: Duration = Duration::from_millis(20);
/// Problems that are told at one time.
const PROBLEMS: usize = 10;
/// What its problems are called.
const TOPIC: &str = "docker";

/// Finds and follows containers until `stop` is set, in the network namespace of the calling thread.
pub(crate) fn run(shared: &Arc<Shared>, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let opened = runtime.and_then(|runtime| Ok((runtime, LinkWatch::open()?, Netlink::open()?)));
    let changed = Notify::new();
    match opened {
        Ok((runtime, links, netlink)) => {
            let discovery = Discovery {
                shared: Arc::clone(shared),
                client: Client::new(&shared.options.docker),
                netlink,
                memory: BTreeMap::new(),
                starting: None,
                held: BTreeMap::new(),
                awaited: BTreeMap::new(),
                bridges: BTreeMap::new(),
            };
            thread::scope(|scope| {
                scope.spawn(|| watch(links, &changed, stop));
                runtime.block_on(discovery.follow(&changed, stop));
            });
        }
        Err(error) => {
            tracing::error!("containers of Docker cannot be followed: {}", sentence(&error));
        }
    }
}

struct Discovery {
    shared: Arc<Shared>,
    client: Client,
    netlink: Netlink,
    /// What is remembered of each network, by tenant and name.
    memory: BTreeMap<(String, String), Memory>,
    /// Since when a container is being started.
    starting: Option<Instant>,
    /// Ports that are known to be a container's and wait for their attachment, of each network.
    held: BTreeMap<(String, String), BTreeSet<String>>,
    /// Since when it is not known what leads to a container, by the key of its attachment.
    awaited: BTreeMap<String, Instant>,
    /// The bridge of each network of Docker's.
    bridges: BTreeMap<String, String>,
}

/// Tells the event loop of links that come and go.
fn watch(mut links: LinkWatch, changed: &Notify, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&links, PollFlags::IN)];
        if matches!(poll(&mut fds, Some(&INTERVAL)), Ok(1..)) && links.take().unwrap_or(true) {
            changed.notify_one();
        }
    }
}

/// What there is to do for one network.
struct Found {
    place: Place,
    network: Network,
    attach: Vec<Attach>,
    is_starting: bool,
}

impl Discovery {
    async fn follow(mut self, changed: &Notify, stop: &AtomicBool) {
        let mut wakes: Option<Wakes> = None;
        let (mut seen, mut looked) = (None, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let force = self.shared.force();
            let generation = force.as_ref().map(|force| force.generation);
            let places = force.as_deref().map(places).unwrap_or_default();
            if places.is_empty() {
                (wakes, seen) = (None, generation);
                self.starting = None;
                self.held.clear();
                self.awaited.clear();
                self.tell();
                self.problem(None);
                tokio::time::sleep(TICK).await;
                continue;
            }
            let was_there = wakes.is_some();
            if !was_there {
                // Before the look: what happens after it rings.
                wakes = self.client.wakes().await.ok();
            }
            let is_back = !was_there && wakes.is_some();
            let wait = if self.starting.is_some_and(|since| since.elapsed() < START) {
                SOON
            } else {
                TICK
            };
            let woken = tokio::select! {
                () = changed.notified() => true,
                rung = ring(&mut wakes) => { if !rung { wakes = None; } true }
                () = tokio::time::sleep(wait) => self.starting.is_some() || self.is_awaiting(),
            };
            if woken || is_back || seen != generation || looked.elapsed() >= EVERY {
                looked = Instant::now();
                seen = generation;
                // As long as the look took, so that not all of a processor goes into looking.
                let pause = match self.look(&places).await {
                    Ok(problem) => {
                        self.problem(problem);
                        looked.elapsed().min(REST)
                    }
                    Err(problem) => {
                        self.problem(Some(problem));
                        PAUSE
                    }
                };
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Looks at everything once, and brings about what follows; what is wrong with some of it. An error when dockerd does not
    /// answer.
    async fn look(&mut self, places: &[Place]) -> Result<Option<String>, String> {
        let containers = self.client.containers().await.map_err(|error| sentence(&error))?;
        let by_id: BTreeMap<&str, &Container> =
            containers.iter().map(|container| (container.id.as_str(), container)).collect();
        let mut problems = Vec::new();
        let mut is_starting = false;
        let mut awaited = BTreeSet::new();
        for place in places {
            match self.find(place, &by_id).await {
                Ok(found) => {
                    is_starting |= found.is_starting;
                    let pending = found.attach.iter().filter(|attach| attach.publish_pending);
                    awaited.extend(pending.map(|attach| attach.key.clone()));
                    self.hold(&found);
                    problems.extend(self.bring(found).await);
                }
                Err(problem) => problems.push(problem),
            }
        }
        self.starting = is_starting.then(|| self.starting.unwrap_or_else(Instant::now));
        problems.extend(self.wait_for(awaited));
        problems.truncate(PROBLEMS);
        Ok((!problems.is_empty()).then(|| problems.join("; ")))
    }

    /// Notes of which containers it is not known what leads to them, and says of whom it is not known for long.
    fn wait_for(&mut self, awaited: BTreeSet<String>) -> Option<String> {
        let now = Instant::now();
        self.awaited.retain(|key, _| awaited.contains(key));
        for key in awaited {
            self.awaited.entry(key).or_insert(now);
        }
        let mut late = self.awaited.iter().filter(|(_, since)| since.elapsed() >= START);
        let (first, _) = late.next()?;
        let more = match late.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "Docker does not say which ports lead to {first}{more}: until it does, they are closed to whoever is no workload"
        ))
    }

    /// Whether what leads to a container is to be known soon.
    fn is_awaiting(&self) -> bool {
        self.awaited.values().any(|since| since.elapsed() < START)
    }

    /// What there is in one network. Its members first: the port of each is on the bridge before Docker tells of it.
    async fn find(
        &mut self,
        place: &Place,
        containers: &BTreeMap<&str, &Container>,
    ) -> Result<Found, String> {
        let network = self.client.network(&place.docker).await.map_err(|error| sentence(&error))?;
        let ports = bridge::ports(&mut self.netlink, &network.bridge);
        let ports = ports.map_err(|error| format!("ports of {}: {error}", network.bridge))?;
        let ports = ports.map(|(_, ports)| ports).unwrap_or_default();
        let force = self.shared.force();
        let memory = self.memory.entry(place.key()).or_default();
        let taken = |name: &str, key: &str| {
            force.as_deref().is_some_and(|it| is_taken(it, place, name, key))
        };
        if let Some(force) = force.as_deref() {
            memory.recall(place, &network, &ports, attached(force, place));
        }
        let named = force.as_deref().map(|force| named(force, place)).unwrap_or_default();
        let (attach, is_starting) =
            memory.attachments(place, &network, containers, &ports, taken, &named);
        Ok(Found { place: place.clone(), network, attach, is_starting })
    }

    /// Attaches what came or changed, ends what went. What the keeper refuses is a problem of its own.
    async fn bring(&mut self, found: Found) -> Vec<String> {
        let mut problems = Vec::new();
        let Some(force) = self.shared.force() else { return problems };
        if let Some(problem) = self.refresh(&force, &found).await {
            problems.push(problem);
            return problems;
        }
        let keys: BTreeSet<&str> = found.attach.iter().map(|attach| attach.key.as_str()).collect();
        let here = attached(&force, &found.place);
        let gone: Vec<String> = here
            .map(|attach| attach.key.clone())
            .filter(|key| !keys.contains(key.as_str()))
            .collect();
        for key in gone {
            let told = self.shared.commands.ask(|reply| Command::Detach(key, reply)).await;
            problems.extend(told.err().map(|error| told_of(&error)));
        }
        for attach in found.attach {
            let known = force.wanted.attachments.get(&attach.key);
            if known.is_some_and(|known| known.attach == attach) {
                continue;
            }
            let (began, key) = (Instant::now(), attach.key.clone());
            let told = self
                .shared
                .commands
                .ask(|reply| Command::Attach(Box::new(attach), Told::new(), reply))
                .await;
            match told {
                Ok(attached) => tracing::info!(
                    key,
                    workload = attached.workload,
                    interface = attached.interface,
                    took_us = began.elapsed().as_micros(),
                    "a container of Docker is attached"
                ),
                Err(error) => problems.push(told_of(&error)),
            }
        }
        problems
    }

    /// Applies the document again when Docker's network has other subnets than it was compiled with: it was made anew.
    async fn refresh(&self, force: &Force, found: &Found) -> Option<String> {
        let request = &force.wanted.request;
        let subnets = fill::written(&found.network.subnets);
        if request.docker.get(&found.place.docker).is_none_or(|known| *known == subnets) {
            return None;
        }
        for attach in attached(force, &found.place).cloned().collect::<Vec<_>>() {
            let ended = self.shared.commands.ask(|reply| Command::Detach(attach.key, reply)).await;
            if let Err(error) = ended {
                return Some(told_of(&error));
            }
        }
        let mut request = (**request).clone();
        request.docker.insert(found.place.docker.clone(), subnets);
        tracing::info!(network = found.place.docker, "Docker's network has other subnets now");
        let told = self
            .shared
            .commands
            .ask(|reply| Command::Up(Box::new(request), Manner::of_the_agent(), reply))
            .await;
        told.err().map(|error| told_of(&error))
    }

    /// Says which bridge it is, and which of its ports are a container's that is not attached yet: the keeper may be busy or refuse it, and nobody waits
    /// that out.
    fn hold(&mut self, found: &Found) {
        let interfaces = found.attach.iter().filter_map(|attach| match &attach.port {
            AttachPort::InPlace { interface, .. } => Some(interface.clone()),
            AttachPort::Netns { .. } | AttachPort::Handed { .. } => None,
        });
        self.held.insert(found.place.key(), interfaces.collect());
        self.bridges.insert(found.place.docker.clone(), found.network.bridge.clone());
        self.tell();
    }

    fn tell(&self) {
        let held = self.held.values().flatten().cloned().collect();
        let pass = self.shared.ports.found(&self.bridges, held);
        for line in &pass.done {
            tracing::info!("{line}");
        }
        for line in &pass.failed {
            tracing::warn!("{line}");
        }
    }

    fn problem(&self, problem: Option<String>) {
        self.shared.trouble(TOPIC, "containers of Docker", problem);
    }
}

/// All containers, for a question; `None` when there is no Docker.
pub(crate) async fn containers(shared: &Shared) -> Option<Result<Vec<Container>, String>> {
    if !shared.options.docker.exists() {
        return None;
    }
    let asked = Client::new(&shared.options.docker).containers_by_name().await;
    Some(asked.map_err(|error| sentence(&error)))
}

/// The next event of dockerd; `false` when it is gone, and never while there is none to listen to.
async fn ring(wakes: &mut Option<Wakes>) -> bool {
    match wakes {
        Some(wakes) => wakes.next().await,
        None => std::future::pending().await,
    }
}

fn told_of(error: &Error) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.message),
        None => error.message.clone(),
    }
}

/// The networks of Docker's that a document names.
fn places(force: &Force) -> Vec<Place> {
    let networks = force.wanted.document.networks.iter();
    let place = networks.filter_map(|network| match &network.external {
        Some(External::Docker(docker)) => Some(Place {
            tenant: network.tenant.to_string(),
            network: network.name.to_string(),
            docker: docker.clone(),
        }),
        _ => None,
    });
    place.collect()
}

/// Ports of the host that the tenant's entries of `publish` name.
fn named(force: &Force, place: &Place) -> BTreeSet<(Transport, u16)> {
    let all = force.wanted.document.publishes.iter();
    let own = all.filter(|publish| publish.tenant == place.tenant.as_str());
    own.map(|publish| (publish.transport, publish.port)).collect()
}

/// What is attached to one of them.
fn attached<'f>(force: &'f Force, place: &Place) -> impl Iterator<Item = &'f Attach> {
    let place = place.clone();
    let all = force.wanted.attachments.values().map(|kept| &kept.attach);
    all.filter(move |attach| {
        attach.tenant == place.tenant && attach.network == place.network && Place::owns(&attach.key)
    })
}

/// Whether another workload of the tenant has the name.
fn is_taken(force: &Force, place: &Place, name: &str, key: &str) -> bool {
    let id = format!("{}.{name}", place.tenant);
    let own = force.wanted.attachments.get(key).is_some_and(|kept| kept.id() == id);
    !own && force.wanted.document.workload(&id).is_some()
}
