//! The keeper: the one thread that changes anything, one thing after the other.
//!
//! It owns the kernel and the datapath, and keeps documents in the store. Commands come over a bounded channel; between them it wakes by itself
//! for the drift timer, for changes of the host's addresses and for the next `until:` that ends.
//!
//! **Failure.** A pass that fails is told in the status and tried again by the drift timer; the keeper goes on.

mod apply;
mod attachment;
mod down;
mod guard;
mod laps;
mod order;
mod relabel;
mod restore;
mod stages;
mod tend;
mod touched;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use api::{
    Attach, Attached, Detached, DocumentRequest, DownResponse, Error, HostPolicy, LabelChange,
    LabelChanged, PlanReport, UpResponse, codes,
};
use host::linux::bpf::Datapath;
use host::linux::kernel::Linux;
use host::linux::nft::monitor::Touch;
use tokio::sync::oneshot;

use crate::attachments::Told;
use crate::confirm::Manner;
use crate::confirm::session::Origin;
use crate::fault;
use crate::force::Force;
use crate::prepare::Ground;
use crate::saved::Store;
use crate::shared::Shared;

/// Commands that may wait: a runtime starts a hundred containers at once.
const QUEUE: usize = 128;

/// A change that somebody wants, and where the answer goes.
pub(crate) enum Command {
    /// Bring a document up.
    Up(Box<DocumentRequest>, Manner, Reply<UpResponse>),
    /// Tell what that would mean.
    Plan(Box<DocumentRequest>, Reply<PlanReport>),
    /// Tell what a document would be compiled with.
    Ground(Reply<Ground>),
    /// Take everything down; with `true` leave the host as it was.
    Down(bool, Reply<DownResponse>),
    /// Attach a workload.
    Attach(Box<Attach>, Told, Reply<Attached>),
    /// Take over what a runtime says of who an attachment is.
    Tell(String, Told, Reply<()>),
    /// End an attachment.
    Detach(String, Reply<Detached>),
    /// Change labels of a workload.
    Relabel(String, LabelChange, Reply<LabelChanged>),
    /// Somebody changed our nftables table on the host, at that moment.
    Touched(Touch, Instant),
    /// Confirm the host part that waits, over this connection.
    Confirm(Origin, Reply<HostPolicy>),
    /// Take the host part back that waits: that of this token, or whichever.
    Revert(Option<String>, Reply<HostPolicy>),
    /// End.
    Stop,
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Asks the keeper. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    sender: SyncSender<Command>,
    /// Questions that the keeper has not taken yet.
    waiting: Arc<AtomicUsize>,
    /// Whether the keeper has been told of a change by others and has not looked yet.
    touched: Arc<AtomicBool>,
}

impl Commands {
    /// Both ends of the channel.
    pub(crate) fn channel() -> (Self, Receiver<Command>) {
        let (sender, receiver) = sync_channel(QUEUE);
        (Self { sender, waiting: Arc::default(), touched: Arc::default() }, receiver)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// `BH0205` when too many wait already, `BH0219` when the keeper has ended, and what the keeper refuses.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.try_send(command(reply)).map_err(|error| {
            self.took_one();
            match error {
                TrySendError::Full(_) => {
                    fault::refused(codes::BUSY, "too many changes are waiting")
                }
                TrySendError::Disconnected(_) => stopping(),
            }
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Tells the keeper that somebody changed our table. Once is enough until it has looked; when too many wait, the drift timer
    /// looks.
    pub(crate) fn touched(&self, touch: Touch) {
        if self.touched.swap(true, Ordering::AcqRel) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Command::Touched(touch, Instant::now())).is_err() {
            self.took_one();
            self.touched.store(false, Ordering::Release);
        }
    }

    /// Lets the keeper end after what it is doing.
    pub(crate) fn stop(&self) {
        // A keeper that is gone has stopped.
        let _gone = self.sender.send(Command::Stop);
    }

    /// Whether somebody waits for the keeper.
    fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn took_one(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn stopping() -> Error {
    fault::refused(codes::STOPPING, "the agent is stopping")
}

/// The one that changes things.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    kernel: Linux,
    datapath: Datapath,
    store: Arc<Store>,
    timers: tend::Timers,
    /// Compiles changes of labels; belongs to the generation beside it.
    compiler: Option<(u64, planner::Compiler)>,
    /// Generation and addresses of the host that the document was last compiled again for.
    compiled_for: Option<(u64, Vec<IpAddr>)>,
    /// Addresses of the host with which a document was compiled last.
    sound: Vec<IpAddr>,
    /// What was in force before the last change: taking it apart takes a while, and nobody is to wait for that.
    past: Option<Arc<Force>>,
    /// It ends when all is in force, and starts no workloads: the agent that follows does.
    brief: bool,
    /// The host's own policy: what was confirmed and what waits.
    hosts: guard::Hosts,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        kernel: Linux,
        datapath: Datapath,
        store: Arc<Store>,
    ) -> Self {
        let timers = tend::Timers::new(Instant::now());
        Self {
            shared,
            kernel,
            datapath,
            store,
            timers,
            compiler: None,
            compiled_for: None,
            sound: Vec::new(),
            past: None,
            brief: false,
            hosts: guard::Hosts::default(),
        }
    }

    /// The same for somebody who puts in force what was in force, and ends.
    pub(crate) fn brief(self) -> Self {
        Self { brief: true, ..self }
    }

    /// Works until it is told to stop or everything was taken down for good.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let next = self.next_expiry().into_iter().chain(self.host_deadline()).min();
            let due = self.timers.next(next);
            let wait = due.saturating_duration_since(Instant::now());
            match commands.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => {
                    self.shared.commands.took_one();
                    if self.serve(command) {
                        self.shared.stopping.send_replace(true);
                        return;
                    }
                    self.past = None;
                    let now = Instant::now();
                    self.timers.changed(now);
                    self.announce();
                    if due <= now && self.timers.is_overdue(now) {
                        self.tend();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tend(),
            }
        }
    }

    /// Serves a command; `true` when the agent is to end. Nobody waiting for the answer any more does not matter.
    fn serve(&mut self, command: Command) -> bool {
        match command {
            Command::Confirm(by, reply) => {
                let answer = self.confirm_host(&by);
                let _gone = reply.send(answer);
            }
            Command::Revert(token, reply) => {
                let answer = self.revert_host(token.as_deref());
                let _gone = reply.send(answer);
            }
            Command::Up(request, manner, reply) => {
                let answer = self.up(&request, &manner);
                let _gone = reply.send(answer);
            }
            // Whoever asked and went away is not to keep others waiting.
            Command::Plan(_, reply) if reply.is_closed() => {}
            Command::Plan(request, reply) => {
                let answer = self.plan(&request);
                let _gone = reply.send(answer);
            }
            Command::Relabel(id, change, reply) => {
                let answer = self.relabel(&id, &change);
                let _gone = reply.send(answer);
            }
            Command::Touched(touch, when) => {
                self.shared.commands.touched.store(false, Ordering::Release);
                self.touched(&touch, when);
            }
            Command::Attach(attach, told, reply) => {
                let answer = self.attach(&attach, told);
                let _gone = reply.send(answer);
            }
            Command::Tell(key, told, reply) => {
                let answer = self.tell(&key, told);
                let _gone = reply.send(answer);
            }
            Command::Detach(key, reply) => {
                let answer = self.detach(&key);
                let _gone = reply.send(answer);
            }
            Command::Ground(reply) => {
                let ground = self.ground();
                let _gone = reply.send(ground);
            }
            Command::Down(clean, reply) => {
                let answer = self.down(clean);
                let ends = answer.as_ref().is_ok_and(|answer| answer.agent_ends);
                let _gone = reply.send(answer);
                return ends;
            }
            Command::Stop => return true,
        }
        false
    }
}
