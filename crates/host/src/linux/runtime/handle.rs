//! The agent's side: start, adopt, ask, stop. Nothing here forks; supervisors are spawned, and outlive the caller.

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::process::{Process, timespec};
use super::spec::{Record, is_id};
use super::state::{State, read_json, write_json};
use super::{Dirs, Error, Phase, Spec, Status, cgroup};

pub(super) const SPEC_FILE: &str = "spec.json";
pub(super) const STATE_FILE: &str = "state.json";
/// What a supervisor says on its standard output when the first start has been tried.
pub(super) const READY: &str = "ready\n";

const READY_LIMIT: Duration = Duration::from_secs(20);
const KILL_LIMIT: Duration = Duration::from_secs(5);
const MAX_REPORT_BYTES: usize = 4096;

/// A workload that was started or adopted. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    spec: Arc<Spec>,
    dir: PathBuf,
    shim: Option<Arc<Process>>,
}

impl Handle {
    /// `<tenant>.<workload>`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    /// What it was started from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether its supervisor is there.
    #[must_use]
    pub fn is_supervised(&self) -> bool {
        self.shim.as_ref().is_some_and(|shim| shim.is_alive())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn open(dir: &Path) -> Result<Self, Error> {
        let record: Record = read_json(&dir.join(SPEC_FILE))?;
        let state: State = read_json(&dir.join(STATE_FILE))?;
        let shim = state.shim.open().map(Arc::new);
        Ok(Self { spec: Arc::new(record.spec), dir: dir.to_owned(), shim })
    }
}

/// What [`list`] found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Workloads with a supervisor, or with a supervisor's last words.
    pub handles: Vec<Handle>,
    /// Folders that cannot be understood, by workload id; [`discard`] removes them.
    pub damaged: Vec<(String, Error)>,
}

/// Starts a workload under a new supervisor and returns when the first attempt to run its program has been made.
///
/// Whether that attempt succeeded is in [`status`]: a program that does not exist is tried again, as the restart policy
/// says, and is no error here. The network namespace must be complete and enforced before: the program's first
/// instruction may send. `exe` is the `bulkhead` binary, run as `bulkhead shim --dir <folder>`.
///
/// # Errors
/// When the spec is unusable, the workload runs already, its folder cannot be written, or the supervisor does not come up.
pub fn start(dirs: &Dirs, spec: &Spec, exe: &Path) -> Result<Handle, Error> {
    spec.check()?;
    let dir = dirs.workload(&spec.id);
    clear_stale(dirs, spec)?;
    let made = |source| Error::Write { path: dir.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dirs.workloads()).map_err(made)?;
    fs::DirBuilder::new().mode(0o700).create(&dir).map_err(made)?;
    let record = Record { spec: spec.clone(), hidden: vec![dirs.run.clone(), dirs.state.clone()] };
    let started = write_json(&dir.join(SPEC_FILE), &record)
        .and_then(|()| spawn_shim(&spec.id, &dir, exe))
        .and_then(|()| Handle::open(&dir));
    if started.is_err() {
        discard(dirs, &spec.id)?;
    }
    started
}

/// Removes what an ended supervisor left under the same id.
fn clear_stale(dirs: &Dirs, spec: &Spec) -> Result<(), Error> {
    let dir = dirs.workload(&spec.id);
    if !dir.exists() {
        return Ok(());
    }
    match Handle::open(&dir) {
        // A supervisor that has said its last word may still be ending.
        Ok(handle) if handle.is_supervised() && !status(&handle)?.phase.is_final() => {
            Err(Error::AlreadyRunning { id: spec.id.clone() })
        }
        Ok(handle) => stop(&handle, Duration::ZERO),
        Err(_) => discard(dirs, &spec.id),
    }
}

fn spawn_shim(id: &str, dir: &Path, exe: &Path) -> Result<(), Error> {
    let spawned = |source| Error::Spawn { id: id.to_owned(), exe: exe.to_owned(), source };
    let mut child = Command::new(exe)
        .args(["shim", "--dir"])
        .arg(dir)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(spawned)?;
    let report = report_of(&mut child);
    if report == READY {
        // The process that was spawned ends as soon as it has forked the supervisor.
        child.wait().map_err(spawned)?;
        return Ok(());
    }
    child.kill().and_then(|()| child.wait()).map_err(spawned)?;
    let report = if report.is_empty() { "it said nothing".to_owned() } else { report };
    Err(Error::NotReady { id: id.to_owned(), report })
}

/// Everything the supervisor says until it closes its standard output.
fn report_of(child: &mut Child) -> String {
    let Some(mut stdout) = child.stdout.take() else { return String::new() };
    let until = Instant::now() + READY_LIMIT;
    let mut report = Vec::new();
    let mut chunk = [0; 512];
    while report.len() < MAX_REPORT_BYTES {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(1..) => {}
            Err(Errno::INTR) if !left.is_zero() => continue,
            Ok(0) | Err(_) => return "it stayed silent for 20 s".to_owned(),
        }
        match stdout.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => report.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    String::from_utf8_lossy(&report).into_owned()
}

/// Finds every workload of this agent again, after a restart of the agent or of the host.
///
/// # Errors
/// When the folder of workloads exists and cannot be read.
pub fn list(dirs: &Dirs) -> Result<Listing, Error> {
    let folder = dirs.workloads();
    let read = |source| Error::Read { path: folder.clone(), source };
    let mut listing = Listing::default();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(read(error)),
    };
    for entry in entries {
        let entry = entry.map_err(read)?;
        let Some(id) = entry.file_name().to_str().filter(|id| is_id(id)).map(str::to_owned) else {
            continue;
        };
        match Handle::open(&entry.path()) {
            Ok(handle) => listing.handles.push(handle),
            Err(error) => listing.damaged.push((id, error)),
        }
    }
    listing.handles.sort_by(|a, b| a.id().cmp(b.id()));
    Ok(listing)
}

/// What the workload is doing. A supervisor that is gone without a last word makes it [`Phase::Lost`].
///
/// # Errors
/// When the supervisor's file cannot be read.
pub fn status(handle: &Handle) -> Result<Status, Error> {
    let supervised = handle.is_supervised();
    // Read after looking, so that the last words of one that ends in between are seen.
    let mut status = state(handle)?.status;
    if !supervised && !status.phase.is_final() {
        status.phase = Phase::Lost;
        status.error = Some("its supervisor was killed, and the workload with it".to_owned());
        status.pid = None;
        status.running_since_ms = None;
        status.next_start_ms = None;
    }
    Ok(status)
}

pub(super) fn state(handle: &Handle) -> Result<State, Error> {
    read_json(&handle.dir.join(STATE_FILE))
}

/// Ends a workload and removes its cgroup and its folder; its log and its data stay.
///
/// The program gets SIGTERM and, after `grace`, its whole pid namespace SIGKILL.
///
/// # Errors
/// When something survives being killed, or cannot be removed.
pub fn stop(handle: &Handle, grace: Duration) -> Result<(), Error> {
    let failed = |what: &str| Error::Stop { id: handle.id().to_owned(), what: what.to_owned() };
    if let Some(shim) = &handle.shim {
        end_shim(shim, grace).map_err(|()| failed("its supervisor survives SIGKILL"))?;
    }
    if let Some(init) = state(handle).ok().and_then(|state| state.init?.open()) {
        let killed = init.signal(Signal::KILL).is_ok() && init.wait(KILL_LIMIT);
        if !killed {
            return Err(failed("its first process survives SIGKILL"));
        }
    }
    cgroup::remove(&handle.spec.cgroup)?;
    remove_dir(&handle.dir)
}

fn end_shim(shim: &Process, grace: Duration) -> Result<(), ()> {
    let steps = [(Signal::TERM, grace), (Signal::INT, KILL_LIMIT), (Signal::KILL, KILL_LIMIT)];
    for (signal, limit) in steps {
        if shim.signal(signal).is_ok() && shim.wait(limit) {
            return Ok(());
        }
    }
    Err(())
}

/// Removes the folder of a workload that cannot be understood; for what [`list`] calls damaged.
///
/// # Errors
/// When the id is none, or the folder cannot be removed.
pub fn discard(dirs: &Dirs, id: &str) -> Result<(), Error> {
    if !is_id(id) {
        let reason = "is not <tenant>.<workload>".to_owned();
        return Err(Error::InvalidSpec { id: id.to_owned(), field: "id", reason });
    }
    remove_dir(&dirs.workload(id))
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Remove { path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}
