//! The first process of a workload: confines itself, starts the program, forwards signals and reaps.
//!
//! It runs the code of this binary but belongs to the workload: same user, same filters, no capability. It cannot be
//! traced or read from inside (not dumpable), and signals that it does not forward do not reach it: it is pid 1. When
//! the program ends, it says how and ends, and the kernel kills whatever is left in the pid namespace.
//!
//! **Order.** Cgroup first, so that nothing is ever unaccounted; network namespace before anything can send; the view of
//! files while still root; then user and capabilities; the system call filters last, because they refuse the rest.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, sethostname, setsid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal as DeathSignal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};

use super::fault::{Doing, Fault};
use super::process::{Fork, OneThread, end};
use super::program::Program;
use super::seccomp::Filters;
use super::spec::Record;
use super::{cgroup, descriptors, landlock, privileges, view};

/// What the init tells its supervisor, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Message {
    /// The program runs: its `execve` succeeded.
    Running,
    /// The program could not be started, and why.
    Failed(String),
    /// The program ended: exit status or signal.
    Ended {
        /// Exit status.
        code: Option<i32>,
        /// Signal number.
        signal: Option<i32>,
    },
}

/// What the init is given by its supervisor.
pub(super) struct Birth<'a> {
    /// The workload.
    pub(super) record: &'a Record,
    /// The compiled filters.
    pub(super) filters: &'a Filters,
    /// Inherited with the only thread.
    pub(super) thread: OneThread,
    /// An existing folder that the new root is mounted on, in the workload's mount namespace only.
    pub(super) stage: &'a Path,
    /// The user namespace of a workload that runs as root.
    pub(super) root: Option<OwnedFd>,
    /// The ids that what is shown has, where the host can have that.
    pub(super) shown: Option<OwnedFd>,
    /// Where [`Message`]s go.
    pub(super) report: OwnedFd,
    /// The program's standard output.
    pub(super) out: OwnedFd,
    /// The program's standard error.
    pub(super) err: OwnedFd,
}

/// The life of the init, in the child of the supervisor's fork. Never returns.
pub(super) fn main(birth: Birth<'_>) -> ! {
    let Birth { record, filters, thread, stage, root, shown, report, out, err } = birth;
    let places = Places { stage, root: root.as_ref(), shown: shown.as_ref() };
    let program = Program::of(&record.spec);
    let kept = [&report, &out, &err].into_iter().chain(&root).chain(&shown);
    let kept: Vec<RawFd> = kept.map(AsRawFd::as_raw_fd).collect();
    let begun = keep_only(&kept)
        .and_then(|()| confine(record, filters, &places, &report))
        .and_then(|()| start(thread, &program, out, err));
    let mut report = File::from(report);
    let child = match begun {
        Ok(child) => child,
        Err(fault) => {
            tell(&mut report, &Message::Failed(fault.to_string()));
            end(1)
        }
    };
    tell(&mut report, &Message::Running);
    let (code, signal) = serve(child);
    tell(&mut report, &Message::Ended { code, signal });
    end(0)
}

fn tell(report: &mut File, message: &Message) {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    // Without a supervisor there is nobody to tell, and the death signal is on its way.
    report.write_all(&line).ok();
}

/// Closes every descriptor but `kept` and the standard streams, which become `/dev/null`.
fn keep_only(kept: &[RawFd]) -> Result<(), Fault> {
    let what = || "closing the supervisor's files".to_owned();
    let null = File::options().read(true).write(true).open("/dev/null").doing(what)?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .doing(what)?;
    drop(null);
    descriptors::close_others(kept).doing(what)
}

/// Where a workload lives.
struct Places<'a> {
    stage: &'a Path,
    root: Option<&'a OwnedFd>,
    shown: Option<&'a OwnedFd>,
}

fn confine(
    record: &Record,
    filters: &Filters,
    places: &Places<'_>,
    report: &OwnedFd,
) -> Result<(), Fault> {
    let spec = &record.spec;
    let named = |what: &'static str| move || what.to_owned();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(named("hiding from traces"))?;
    cgroup::join(&spec.cgroup).doing(|| format!("joining cgroup {}", spec.cgroup.display()))?;
    lose_protection().doing(named("giving up protection from the memory killer"))?;
    if !spec.host_network {
        join_network(&spec.netns)?;
    }
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(rest).doing(named("making namespaces"))?;
    sethostname(&spec.hostname).doing(named("setting the host name"))?;
    umask(Mode::from_bits_truncate(0o022));
    view::enter(record, places.stage, places.shown)?;
    // One byte, not none: with none the kernel still runs a core_pattern program (fs/coredump.c).
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Core, one).doing(named("refusing core dumps"))?;
    // Everything above needed the host's root.
    if let Some(root) = places.root {
        setns(root, CloneFlags::CLONE_NEWUSER).doing(named("becoming root of its own"))?;
    }
    privileges::drop_to(spec.user, spec.host_network)
        .doing(|| format!("becoming user {}", spec.user.uid))?;
    if spec.host_network && landlock::can_scope() {
        landlock::scope().doing(named("leaving the host's abstract sockets"))?;
    }
    // Becoming another user resets both.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(named("hiding from traces"))?;
    die_with_supervisor(report)?;
    filters.install().map_err(|error| Fault::new(format!("installing the filters: {error}")))
}

/// The agent may be protected when memory runs out, as its systemd unit asks; a workload is not.
fn lose_protection() -> std::io::Result<()> {
    let file = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(file)?;
    if score.starts_with('-') { fs::write(file, "0") } else { Ok(()) }
}

/// Joins the workload's network and lets unprivileged programs in it bind every port and send pings.
fn join_network(netns: &Path) -> Result<(), Fault> {
    let what = || format!("joining network namespace {}", netns.display());
    let file = File::open(netns).doing(what)?;
    setns(file, CloneFlags::CLONE_NEWNET).doing(what)?;
    // `/proc/sys/net` is that of the reader's network namespace, not of the mount's.
    for (file, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")]
    {
        fs::write(format!("/proc/sys/net/ipv4/{file}"), value)
            .doing(|| format!("setting {file}"))?;
    }
    Ok(())
}

/// Asks for SIGKILL when the supervisor ends, and makes sure that it had not ended before.
fn die_with_supervisor(report: &OwnedFd) -> Result<(), Fault> {
    let what = || "watching the supervisor".to_owned();
    set_parent_process_death_signal(Some(DeathSignal::KILL)).doing(what)?;
    let mut fds = [PollFd::new(report, PollFlags::empty())];
    poll(&mut fds, Some(&super::process::timespec(std::time::Duration::ZERO))).doing(what)?;
    let [watched] = fds;
    if watched.revents().contains(PollFlags::ERR) {
        return Err(Fault::new("the supervisor is gone"));
    }
    Ok(())
}

/// Forks the program and waits until it is one, or has failed to become it.
fn start(thread: OneThread, program: &Program, out: OwnedFd, err: OwnedFd) -> Result<Pid, Fault> {
    let what = || "starting the program".to_owned();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(what)?;
    match OneThread::fork(thread).doing(what)? {
        Fork::Child => {
            drop(reader);
            let fault = become_program(program, &out, &err);
            File::from(writer).write_all(fault.to_string().as_bytes()).ok();
            end(127)
        }
        Fork::Parent(child) => {
            drop((writer, out, err));
            let mut text = String::new();
            File::from(reader).read_to_string(&mut text).doing(what)?;
            if text.is_empty() { Ok(child) } else { Err(Fault::new(text)) }
        }
    }
}

fn become_program(program: &Program, out: &OwnedFd, err: &OwnedFd) -> Fault {
    let streams = || -> Result<(), Errno> {
        setsid()?;
        dup2_stdout(out.as_fd())?;
        dup2_stderr(err.as_fd())
    };
    match streams().doing(|| "connecting the output".to_owned()) {
        Ok(()) => program.exec(),
        Err(fault) => fault,
    }
}

/// Reaps and forwards until the program ended; how it did.
fn serve(child: Pid) -> (Option<i32>, Option<i32>) {
    let Ok(signals) = SignalFd::new(&SigSet::all()) else { return (None, None) };
    loop {
        if let Some(end) = reap(child) {
            return end;
        }
        let Ok(Some(info)) = signals.read_signal() else { continue };
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|raw| Signal::try_from(raw).ok());
        if let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD) {
            // A program that ended in the meantime is reaped next.
            kill(child, signal).ok();
        }
    }
}

fn reap(child: Pid) -> Option<(Option<i32>, Option<i32>)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some((Some(code), None)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some((None, Some(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) => return None,
            Err(Errno::ECHILD) => return Some((None, None)),
            _ => {}
        }
    }
}
