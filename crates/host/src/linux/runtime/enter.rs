//! `bulkhead enter <request>`: runs one command inside a workload, confined as the workload is.
//!
//! The command joins the workload's cgroup and all of its namespaces by the pidfd of its init, becomes its user, drops
//! what the workload dropped and gets the same filters. It keeps the caller's standard streams, none of the
//! caller's other files, and dies with this process. A terminal among its streams is its own (`terminal.rs`), and this process leads
//! that terminal's session: Ctrl-C comes from there, what others send is passed on.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chroot, fchdir};
use rustix::process::{
    DumpableBehavior, Signal as DeathSignal, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::exec::{Exec, Place, Request};
use super::fault::{Doing, Fault};
use super::handle::{SPEC_FILE, STATE_FILE};
use super::process::{Fork, OneThread, end};
use super::program::Program;
use super::seccomp::Filters;
use super::spec::Record;
use super::state::{State, read_json};
use super::{Spec, User, cgroup, descriptors, ids, landlock, privileges, terminal};

/// Exit code when the workload cannot be entered, as `docker exec` has it.
const NOT_ENTERED: i32 = 125;
/// `ssi_code` of a signal that the kernel made, for example for a key of the terminal; `asm-generic/siginfo.h`.
const SI_KERNEL: i32 = 0x80;
/// Exit code when the command cannot be run, as shells have it.
const NOT_FOUND: i32 = 127;

const WORKLOAD: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Runs the hidden subcommand `bulkhead enter <request>` and returns the exit code for `main`.
///
/// Must be called before the process has a second thread. The request is made by [`super::command_in`].
#[must_use]
pub fn enter_main(request: &str) -> i32 {
    match enter(request) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("bulkhead: {fault}");
            NOT_ENTERED
        }
    }
}

fn enter(request: &str) -> Result<i32, Fault> {
    let thread = OneThread::prove().doing(|| "looking at itself".to_owned())?;
    // Before anything is opened: what the caller had open stays the caller's.
    descriptors::close_others(&[]).doing(|| "closing the caller's files".to_owned())?;
    let request: Request =
        serde_json::from_str(request).doing(|| "reading the request".to_owned())?;
    if let Some(caller) = request.caller {
        end_with(caller)?;
    }
    if request.exec.terminal {
        terminal::lead().doing(|| "taking the terminal".to_owned())?;
    }
    match &request.place {
        Place::Workload(dir) => enter_workload(thread, dir, request.exec),
        Place::Netns(netns) => enter_netns(thread, netns, &request.exec),
    }
}

/// Gets SIGTERM, and passes it on to the command, when the process that has spawned this one ends.
fn end_with(caller: u32) -> Result<(), Fault> {
    let what = || "waiting for the caller's end".to_owned();
    set_parent_process_death_signal(Some(DeathSignal::TERM)).doing(what)?;
    if nix::unistd::getppid().as_raw().cast_unsigned() == caller {
        return Ok(());
    }
    Err(Fault::new("whoever asked for the command has ended"))
}

fn enter_workload(thread: OneThread, dir: &Path, exec: Exec) -> Result<i32, Fault> {
    descriptors::check_streams()?;
    if !exec.terminal {
        terminal::leave().doing(|| "leaving the caller's terminal".to_owned())?;
    }
    let unread = |error: super::Error| Fault::of(&error);
    let record: Record = read_json(&dir.join(SPEC_FILE)).map_err(unread)?;
    let state: State = read_json(&dir.join(STATE_FILE)).map_err(unread)?;
    let spec = &record.spec;
    let not_running = || Fault::new(format!("workload {} is not running", spec.id));
    let running = state.status.running_since_ms.and(state.init).ok_or_else(not_running)?;
    let init = running.open().ok_or_else(not_running)?;
    let walled = spec.host_network && !landlock::can_scope();
    let filters = Filters::compile(walled).map_err(|error| Fault::of(&error))?;
    let program = Program::of(spec).with(exec.argv, exec.env, exec.workdir);
    let user = exec.user.unwrap_or(spec.user);
    let ids = UserIds::of(thread, spec, user)?;
    let what = || format!("entering {}", spec.id);
    // From here on this process can be seen from inside, but not read.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(what)?;
    let door = cgroup::Door::open(&spec.cgroup).doing(what)?;
    let root = File::open(format!("/proc/{}/root", running.pid)).doing(what)?;
    if !init.is_alive() {
        return Err(not_running());
    }
    setns(&init, WORKLOAD).doing(what)?;
    // The root of a mount namespace is not always the root of its processes: see the limits of `view`.
    fchdir(&root).and_then(|()| chroot(".")).doing(what)?;
    run(thread, || {
        // Only the command is of the workload; this process must not keep its cgroup busy.
        door.pass().doing(what)?;
        match &ids {
            UserIds::OfHost => Ok(()),
            UserIds::OfWorkload => setns(&init, CloneFlags::CLONE_NEWUSER),
            UserIds::Own(ids) => setns(ids, CloneFlags::CLONE_NEWUSER),
        }
        .doing(what)?;
        confine(user, spec, &filters)?;
        Err(program.exec())
    })
}

/// Whose ids a command has.
enum UserIds {
    /// Those of the host: no root.
    OfHost,
    /// Those of a workload that runs as root.
    OfWorkload,
    /// Root over what belongs to the workload, in a namespace of the command's own.
    Own(OwnedFd),
}

impl UserIds {
    fn of(thread: OneThread, spec: &Spec, user: User) -> Result<Self, Fault> {
        if !spec.user.is_root() && !user.is_root() {
            return Ok(Self::OfHost);
        }
        let old = || Fault::new(format!("{} has no ids for root; restart it", spec.id));
        let ids = spec.ids.ok_or_else(old)?;
        if spec.user.is_root() {
            return Ok(Self::OfWorkload);
        }
        let users = ids::of_root(ids, Some(spec.user.uid));
        let groups = ids::of_root(ids, Some(spec.user.gid));
        let made = ids::namespace(thread, &users, &groups);
        made.map(Self::Own).doing(|| "making a user namespace for root".to_owned())
    }
}

fn confine(user: User, spec: &Spec, filters: &Filters) -> Result<(), Fault> {
    let what = || "giving up privileges".to_owned();
    privileges::drop_to(user, spec.host_network).doing(what)?;
    if spec.host_network && landlock::can_scope() {
        landlock::scope().doing(what)?;
    }
    set_parent_process_death_signal(Some(DeathSignal::KILL)).doing(what)?;
    filters.install().map_err(|error| Fault::new(format!("installing the filters: {error}")))
}

/// For adopted workloads: the host's files and the caller's rights, only the network is the workload's.
fn enter_netns(thread: OneThread, netns: &Path, exec: &Exec) -> Result<i32, Fault> {
    let what = || format!("joining network namespace {}", netns.display());
    let file = File::open(netns).doing(what)?;
    setns(file, CloneFlags::CLONE_NEWNET).doing(what)?;
    let workdir = match &exec.workdir {
        Some(workdir) => workdir.clone(),
        None => std::env::current_dir().doing(|| "finding the working directory".to_owned())?,
    };
    let mut env: std::collections::BTreeMap<String, String> = std::env::vars().collect();
    env.extend(exec.env.clone());
    let program = Program::new(exec.argv.clone(), env, workdir);
    run(thread, || {
        if let Some(user) = exec.user {
            privileges::drop_to(user, false).doing(|| "giving up privileges".to_owned())?;
        }
        Err(program.exec())
    })
}

/// Forks, lets the child become the program, waits for it.
fn run(
    thread: OneThread,
    become_program: impl FnOnce() -> Result<std::convert::Infallible, Fault>,
) -> Result<i32, Fault> {
    let what = || "running the command".to_owned();
    let mut mask = SigSet::all();
    for stop in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        // Ctrl-Z stops both.
        mask.remove(stop);
    }
    mask.thread_block().doing(what)?;
    match OneThread::fork(thread).doing(what)? {
        Fork::Child => {
            let Err(fault) = become_program();
            eprintln!("bulkhead: {fault}");
            end(NOT_FOUND)
        }
        Fork::Parent(child) => wait(child).doing(what),
    }
}

fn wait(child: Pid) -> io::Result<i32> {
    let signals = SignalFd::new(&SigSet::all())?;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => return Ok(code),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
            _ => {}
        }
        let Some(info) = signals.read_signal()? else { continue };
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|raw| Signal::try_from(raw).ok());
        // The terminal has told the child itself.
        let is_typed = info.ssi_code == SI_KERNEL;
        let is_passed = match signal {
            Some(Signal::SIGTERM | Signal::SIGHUP) => true,
            Some(Signal::SIGINT | Signal::SIGQUIT) => !is_typed,
            _ => false,
        };
        if let Some(signal) = signal.filter(|_| is_passed) {
            // A child that ended meanwhile is reaped next.
            kill(child, signal).ok();
        }
    }
}
