//! The supervisor of one workload: a process of one thread that outlives the agent.
//!
//! It listens to three things: signals (SIGTERM asks the workload to end, SIGINT ends it at once; neither starts it
//! again), its init (a pidfd and a pipe of [`Message`]s), and the program's output. Between two runs it sleeps. It writes
//! what happened to `state.json` before it does anything that lasts.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stdout, fchown, pipe2, setsid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal as Sent;

use super::backoff::{Backoff, wants_restart};
use super::fault::{Doing, Fault};
use super::handle::{READY, SPEC_FILE, STATE_FILE};
use super::init::{self, Birth, Message};
use super::logs::{LogWriter, Stream};
use super::process::{Fork, Identity, OneThread, timespec};
use super::run::Run;
use super::seccomp::Filters;
use super::spec::Record;
use super::state::{State, read_json, write_json};
use super::{Exit, Ids, Phase, Status, cgroup, descriptors, ids, landlock};

/// Runs the hidden subcommand `bulkhead shim --dir <dir>`: becomes the supervisor of the workload whose `spec.json` is in
/// `dir`, and returns the exit code for `main`.
///
/// Must be called before the process has a second thread. The calling process returns at once; what it forked says
/// `ready` on standard output when the first start has been tried.
#[must_use]
pub fn shim_main(dir: &Path) -> i32 {
    let thread = OneThread::prove();
    // What the agent had open, or whoever started it, is nothing that a supervisor should keep open for years.
    if let Err(error) = descriptors::close_others(&[]) {
        print!("closing files: {error}");
        return 1;
    }
    match thread.and_then(OneThread::fork) {
        Err(error) => {
            print!("{error}");
            1
        }
        Ok(Fork::Parent(_)) => 0,
        Ok(Fork::Child) => match Supervisor::new(dir) {
            Err(fault) => {
                print!("{fault}");
                1
            }
            Ok(supervisor) => supervisor.supervise(),
        },
    }
}

/// What the supervisor is doing.
enum Stage {
    /// The workload has an init.
    Up(Box<Run>),
    /// The workload is started again then.
    Waiting(Instant),
    /// Nothing is left to do.
    Over,
}

struct Supervisor {
    record: Record,
    dir: PathBuf,
    state: State,
    signals: SignalFd,
    log: LogWriter,
    filters: Filters,
    pid_namespace: File,
    thread: OneThread,
    backoff: Backoff,
    asked_to_end: bool,
    /// The workload's folder is gone: nobody knows of this supervisor, so it must not stay.
    is_abandoned: bool,
    said_ready: bool,
}

impl Supervisor {
    fn new(dir: &Path) -> Result<Self, Fault> {
        setsid().doing(|| "leaving the session".to_owned())?;
        umask(Mode::from_bits_truncate(0o027));
        let mask = SigSet::all();
        mask.thread_block().doing(|| "blocking signals".to_owned())?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .doing(|| "listening to signals".to_owned())?;
        let record: Record = read_json(&dir.join(SPEC_FILE)).map_err(|error| Fault::of(&error))?;
        record.spec.check().map_err(|error| Fault::of(&error))?;
        cgroup::join_shims(&record.spec.cgroup).doing(|| "joining the cgroup".to_owned())?;
        let shim = Identity::of(std::process::id()).doing(|| "looking at itself".to_owned())?;
        let status = Status {
            phase: Phase::Starting,
            running_since_ms: None,
            pid: None,
            restarts: 0,
            last_exit: None,
            error: None,
            next_start_ms: None,
        };
        Ok(Self {
            log: LogWriter::open(&record.spec.log),
            filters: Filters::compile(record.spec.host_network && !landlock::can_scope())
                .map_err(|error| Fault::of(&error))?,
            pid_namespace: File::open("/proc/self/ns/pid")
                .doing(|| "/proc/self/ns/pid".to_owned())?,
            record,
            dir: dir.to_owned(),
            state: State { shim, init: None, status },
            signals,
            backoff: Backoff::default(),
            thread: OneThread::prove().doing(|| "looking at itself".to_owned())?,
            asked_to_end: false,
            is_abandoned: false,
            said_ready: false,
        })
    }

    fn supervise(mut self) -> i32 {
        let mut stage = self.attempt();
        loop {
            stage = match stage {
                Stage::Up(run) => self.attend(run),
                Stage::Waiting(until) => self.wait(until),
                Stage::Over => break,
            };
        }
        self.say_ready();
        0
    }

    /// Tries to start the workload.
    fn attempt(&mut self) -> Stage {
        self.change(|status| {
            status.phase = Phase::Starting;
            status.next_start_ms = None;
        });
        if self.is_abandoned {
            return Stage::Over;
        }
        match self.bear() {
            Ok(run) => {
                self.state.init = Identity::of(run.pid().as_raw().unsigned_abs()).ok();
                self.change(|_| {});
                Stage::Up(Box::new(run))
            }
            Err(fault) => self.not_started(&fault.to_string(), Duration::ZERO),
        }
    }

    /// Forks the init into a new pid namespace.
    fn bear(&mut self) -> Result<Run, Fault> {
        let spec = &self.record.spec;
        cgroup::create(&spec.cgroup, &spec.limits)
            .doing(|| format!("making cgroup {}", spec.cgroup.display()))?;
        if spec.host_network {
            guarded(&spec.cgroup)?;
        }
        let stage = self.dir.join("root");
        fs::create_dir_all(&stage).doing(|| format!("making {}", stage.display()))?;
        if let Some(data) = &spec.data {
            make_data(data, spec.host_user()).doing(|| format!("making {}", data.display()))?;
        }
        let root = self.ids_of_root()?;
        let shown = self.ids_of_shown();
        let pipe = || pipe2(OFlag::O_CLOEXEC).doing(|| "making pipes".to_owned());
        let (reports, report) = pipe()?;
        let (outs, out) = pipe()?;
        let (errs, err) = pipe()?;
        let owner = spec.host_user();
        for end in [&out, &err] {
            // `/dev/stdout` opens the pipe anew, which only its owner may.
            fchown(end, Some(owner.uid.into()), Some(owner.gid.into()))
                .doing(|| "giving away the output".to_owned())?;
        }
        let child = self.fork_into_pid_namespace()?;
        let Fork::Parent(pid) = child else {
            let (record, filters) = (&self.record, &self.filters);
            let thread = self.thread;
            let stage = &stage;
            init::main(Birth { record, filters, thread, stage, root, shown, report, out, err })
        };
        drop((report, out, err));
        Run::new(pid, reports, outs, errs).doing(|| "watching the workload".to_owned())
    }

    /// What root is inside, when the workload runs as root.
    fn ids_of_root(&self) -> Result<Option<OwnedFd>, Fault> {
        let spec = &self.record.spec;
        let Some(ids) = spec.ids.filter(|_| spec.user.is_root()) else { return Ok(None) };
        let lines = ids::of_root(ids, None);
        let made = ids::namespace(self.thread, &lines, &lines);
        made.map(Some).doing(|| {
            "making a user namespace for root (sysctl user.max_user_namespaces bounds them)"
                .to_owned()
        })
    }

    /// How folders of the host are shown. Without it sockets in them are hidden one by one, so it may be missing.
    fn ids_of_shown(&self) -> Option<OwnedFd> {
        let spec = &self.record.spec;
        let groups = ids::own_group(spec.user.gid, spec.ids.unwrap_or(Ids::numbered(0)));
        ids::namespace(self.thread, &ids::everybody(), &groups).ok()
    }

    /// The next child is pid 1 of a new namespace; children after it are not.
    fn fork_into_pid_namespace(&self) -> Result<Fork, Fault> {
        let what = || "making a pid namespace".to_owned();
        unshare(CloneFlags::CLONE_NEWPID).doing(what)?;
        let forked = OneThread::fork(self.thread).doing(what);
        if !matches!(forked, Ok(Fork::Child)) {
            setns(&self.pid_namespace, CloneFlags::CLONE_NEWPID).doing(what)?;
        }
        forked
    }

    /// Waits for something to happen to a workload that is up, and handles it.
    fn attend(&mut self, mut run: Box<Run>) -> Stage {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(run.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // An error is an interruption, or memory that will be there in the next round.
        poll(&mut fds, None).ok();
        drop(fds);
        let now = now_text();
        run.read_output(&mut self.log, &now);
        for message in run.read_messages() {
            self.heard(&run, &message);
        }
        for signal in self.read_signals() {
            self.asked_to_end = true;
            let sent = if signal == Signal::SIGINT { Sent::KILL } else { Sent::TERM };
            run.signal(sent);
            self.change(|status| status.phase = Phase::Stopping);
        }
        if self.is_abandoned {
            run.signal(Sent::KILL);
        }
        if run.is_over() { self.ended(*run) } else { Stage::Up(run) }
    }

    fn heard(&mut self, run: &Run, message: &Message) {
        if *message != Message::Running {
            return;
        }
        let pid = run.pid().as_raw().unsigned_abs();
        self.note(&format!("started, pid {pid}"));
        let asked_to_end = self.asked_to_end;
        self.change(|status| {
            status.phase = if asked_to_end { Phase::Stopping } else { Phase::Running };
            status.running_since_ms = Some(now_ms());
            status.pid = Some(pid);
            status.error = None;
        });
        self.say_ready();
    }

    /// The init is gone, and with it everything in its pid namespace.
    fn ended(&mut self, run: Run) -> Stage {
        let ran = run.age();
        let outcome = run.finish(&mut self.log, &now_text());
        self.state.init = None;
        self.change(|status| {
            status.pid = None;
            status.running_since_ms = None;
        });
        if let Some(fault) = outcome.fault {
            return self.not_started(&fault, ran);
        }
        let exit = Exit { code: outcome.code, signal: outcome.signal, at_ms: now_ms() };
        self.change(|status| status.last_exit = Some(exit));
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let again = wants_restart(self.record.spec.restart, Some(&exit));
        self.conclude(&how, again, Phase::Exited, ran)
    }

    fn not_started(&mut self, fault: &str, ran: Duration) -> Stage {
        self.change(|status| status.error = Some(fault.to_owned()));
        let again = wants_restart(self.record.spec.restart, None);
        self.conclude(&format!("not started: {fault}"), again, Phase::Failed, ran)
    }

    fn conclude(&mut self, what: &str, again: bool, last: Phase, ran: Duration) -> Stage {
        if !again || self.asked_to_end {
            self.note(what);
            // The agent removes it as well; this is for a supervisor that nobody asks any more.
            cgroup::leave().ok();
            cgroup::remove(&self.record.spec.cgroup).ok();
            self.change(|status| status.phase = last);
            return Stage::Over;
        }
        let pause = self.backoff.after(ran);
        self.note(&format!("{what}; again in {:.1} s", pause.as_secs_f32()));
        self.change(|status| {
            status.phase = Phase::Backoff;
            status.next_start_ms = Some(now_ms() + u64::try_from(pause.as_millis()).unwrap_or(0));
        });
        self.say_ready();
        Stage::Waiting(Instant::now() + pause)
    }

    fn wait(&mut self, until: Instant) -> Stage {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.change(|status| status.restarts += 1);
            return self.attempt();
        }
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN)];
        poll(&mut fds, Some(&timespec(left))).ok();
        if self.read_signals().is_empty() {
            return Stage::Waiting(until);
        }
        self.asked_to_end = true;
        let last = if self.state.status.error.is_some() { Phase::Failed } else { Phase::Exited };
        self.conclude("not started again: asked to end", false, last, Duration::ZERO)
    }

    /// The requests to end among the signals that came.
    fn read_signals(&mut self) -> Vec<Signal> {
        let next = || self.signals.read_signal().ok().flatten();
        let signals = std::iter::from_fn(next)
            .filter_map(|info| Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok());
        signals.filter(|signal| matches!(signal, Signal::SIGTERM | Signal::SIGINT)).collect()
    }

    fn change(&mut self, change: impl FnOnce(&mut Status)) {
        change(&mut self.state.status);
        if let Err(error) = write_json(&self.dir.join(STATE_FILE), &self.state) {
            self.note(&Fault::of(&error).to_string());
            self.is_abandoned |= !self.dir.join(SPEC_FILE).exists();
            self.asked_to_end |= self.is_abandoned;
        }
    }

    fn note(&mut self, text: &str) {
        self.log.line(Stream::Shim, text.as_bytes(), false, &now_text());
    }

    /// Tells the agent, once, and lets go of its pipe.
    fn say_ready(&mut self) {
        if self.said_ready {
            return;
        }
        self.said_ready = true;
        let mut stdout = std::io::stdout();
        // An agent that died meanwhile adopts the workload later.
        stdout.write_all(READY.as_bytes()).and_then(|()| stdout.flush()).ok();
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            dup2_stdout(null).ok();
        }
    }
}

/// In the host's namespace nothing but the programs of its cgroup stands between a workload and the network.
fn guarded(path: &Path) -> Result<(), Fault> {
    let what = || format!("looking for the programs of cgroup {}", path.display());
    if crate::linux::bpf::is_guarded(path).doing(what)? {
        return Ok(());
    }
    Err(Fault::new(format!(
        "cgroup {} has no programs: its packets would not be judged",
        path.display()
    )))
}

/// Makes the persistent folder of a workload and gives it to its user.
fn make_data(folder: &Path, user: super::User) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, chown};
    if let Some(parent) = folder.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => chown(folder, Some(user.uid), Some(user.gid)),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn now_text() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
