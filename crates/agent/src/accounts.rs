//! Who the accounts are that rules tell apart on the host: numbers of users, and the cgroups of services, which come and go
//! (docs/adr/0027-processes-of-the-host.md).

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use host::linux::bpf::Accounts as Kernel;
use host::linux::{runtime, services};
use model::{Account, HostProcesses};
use planner::HostPlane;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::reconcile::Pass;
use crate::shared::Shared;

/// How long a look for what changed waits for it.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The accounts in force.
#[derive(Debug)]
pub(crate) struct Accounts(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    kernel: Kernel,
    /// With the place of each; none without a plane of the host.
    wanted: planner::Accounts,
    begun: bool,
}

impl Inner {
    fn pass(&self) -> Pass {
        let mut users = BTreeMap::new();
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for (processes, place) in self.wanted.iter() {
            match &processes.account {
                Account::Service(name) => drop(names.insert(name.as_str(), place)),
                Account::Uid(uid) => drop(users.insert(*uid, place)),
                // Somebody who is gone sends nothing.
                Account::User(name) => {
                    if let Ok(user) = runtime::User::named(name.as_str()) {
                        users.insert(user.uid, place);
                    }
                }
            }
        }
        let running = if names.is_empty() { Ok(BTreeMap::new()) } else { services::running() };
        let running = match running {
            Ok(running) => running,
            Err(error) => return Pass::failed(&error),
        };
        let services = running.into_iter();
        let services = services.filter_map(|(id, name)| Some((id, *names.get(name.as_str())?)));
        let done = self.kernel.bring(&users, &services.collect());
        Pass { changes: done.done.len() as u64, done: done.done, failed: done.failed }
    }
}

impl Accounts {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self(Mutex::new(Inner { kernel, wanted: planner::Accounts::default(), begun: false }))
    }

    /// Brings about what a plane of the host wants.
    pub(crate) fn bring(&self, plane: Option<&HostPlane>) -> Pass {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.wanted = plane.map(|plane| plane.accounts.clone()).unwrap_or_default();
        inner.begun = true;
        inner.pass()
    }

    /// Whether rules name any.
    fn are_named(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).wanted.is_empty()
    }

    /// Looks again who they are.
    fn look(&self) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.begun || inner.wanted.is_empty() {
            return;
        }
        let pass = inner.pass();
        for line in &pass.done {
            tracing::info!("{line}");
        }
        for line in &pass.failed {
            tracing::warn!("{line}");
        }
    }
}

/// A user of the plane's that this host does not have.
pub(crate) fn unknown(plane: &HostPlane) -> Option<&HostProcesses> {
    let is_unknown = |processes: &HostProcesses| match &processes.account {
        Account::User(name) => runtime::User::named(name.as_str()).is_err(),
        Account::Uid(_) | Account::Service(_) => false,
    };
    plane.accounts.iter().map(|(processes, _)| processes).find(|processes| is_unknown(processes))
}

/// Looks again whenever a service comes or goes, until `stop` is set.
pub(crate) fn run(shared: &Shared, stop: &AtomicBool) {
    let mut watch = Watch::open();
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &watch else {
            std::thread::park_timeout(std::time::Duration::from_secs(1));
            watch = Watch::open();
            continue;
        };
        let mut fds = [PollFd::new(&open.fd, PollFlags::IN)];
        let heard = matches!(poll(&mut fds, Some(&PATIENCE)), Ok(1..));
        if heard {
            open.drain();
        }
        if !shared.accounts.are_named() {
            continue;
        }
        // What came while it was being opened was not heard.
        let moved = services::folders().is_ok_and(|folders| folders != open.folders);
        if moved {
            watch = Watch::open();
        }
        if heard || moved {
            shared.accounts.look();
        }
    }
}

/// Hears of folders that come and go where services are.
struct Watch {
    fd: OwnedFd,
    /// What is watched, with the numbers of the folders.
    folders: BTreeMap<PathBuf, u64>,
}

impl Watch {
    /// Nothing when they cannot be watched: then they are looked at every few seconds.
    fn open() -> Option<Self> {
        let folders = services::folders().ok().filter(|folders| !folders.is_empty())?;
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        for folder in folders.keys() {
            let kinds = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
            match add_watch(&fd, folder, kinds) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        Some(Self { fd, folders })
    }

    fn drain(&self) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        while reader.next().is_ok() {}
    }
}
