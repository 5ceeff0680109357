//! The dead man: a process that does nothing but wait for the deadline of one change, and then brings back what was confirmed.
//!
//! It is the same binary, started again, in a session of its own: it outlives its agent, however that ends, and the connection over which the
//! change came. It holds the lock of a file for as long as it lives, so that an agent knows whether somebody waits.
//!
//! **At the deadline** it asks the agent to roll back. Does none answer, it starts the binary once (`agent --once`), which puts in
//! force what was confirmed last and ends. If neither works for a minute, the hooks of the uplinks are taken off, and again whenever
//! an agent that cannot go back puts them on.
//!
//! **Failure.** An agent that hangs, a binary that does not end and a file that cannot be read any more do not hold it up: each wait has an
//! end, and what was read last holds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use api::{Client, ClientError, RevertRequest, codes};

use crate::options::Options;

use super::ledger::{FILE, LOCK, Ledger, boot_id, now_ms};

/// The word that makes the binary a dead man.
pub(crate) const WORD: &str = "dead-man";
/// It says this when it waits.
const READY: &[u8] = b"waiting\n";
/// How often it looks whether anybody still waits for it.
const LOOK: Duration = Duration::from_millis(500);
/// How long it tries to bring back what was confirmed before it takes the hooks off.
const TRY: Duration = Duration::from_mins(1);
/// How long it waits for one answer, and for one start of the binary.
const ANSWER: Duration = Duration::from_secs(15);
/// How long it takes the hooks off again.
const WATCH: Duration = Duration::from_hours(1);

/// Starts the process for the change with this token, and returns when it waits.
///
/// # Errors
/// When it cannot be started, or does not say that it waits.
pub(crate) fn start(exe: &Path, options: &Options, token: &str) -> io::Result<Child> {
    let mut child = Command::new(exe)
        .args([WORD, "--token", token])
        .args([
            Path::new("--run-dir"),
            &options.run_dir,
            Path::new("--state-dir"),
            &options.state_dir,
        ])
        .args([Path::new("--bpffs"), &options.bpffs])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut said = [0; READY.len()];
    let heard = match &mut child.stdout {
        Some(output) => output.read_exact(&mut said),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    if heard.is_ok() && said == READY {
        return Ok(child);
    }
    // It ends by itself when it cannot wait.
    let _ended = child.kill().and_then(|()| child.wait());
    Err(io::Error::other("the process that is to wait for the deadline did not start"))
}

/// Whether one waits.
pub(crate) fn is_waiting(state_dir: &Path) -> bool {
    let Ok(file) = File::open(state_dir.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Is the process: returns when the change with this token no longer waits.
///
/// # Errors
/// When it cannot hold the lock or nobody listens to it.
#[expect(clippy::disallowed_methods, reason = "waits for a clock")]
pub fn dead_man(options: &Options, token: &str) -> io::Result<()> {
    // A leader of a group has a session already, or may not have one: it waits there as well.
    let _session = nix::unistd::setsid();
    let _lock = hold(&options.state_dir)?;
    let mut change = Change::new(&options.state_dir, token);
    if change.left().is_none() {
        return Ok(());
    }
    let mut output = io::stdout();
    output.write_all(READY).and_then(|()| output.flush())?;
    let deadline_ms = loop {
        let Some(left) = change.left() else { return Ok(()) };
        if left.is_zero() {
            break now_ms();
        }
        sleep(left.min(LOOK));
    };
    let give_up_ms = deadline_ms + millis(TRY);
    while change.left().is_some() {
        let left = Duration::from_millis(give_up_ms.saturating_sub(now_ms()));
        if left.is_zero() {
            return let_go(options, &mut change, give_up_ms + millis(WATCH));
        }
        if ask(options, token, left.min(ANSWER)) {
            return Ok(());
        }
        settle(options, left.min(ANSWER));
        sleep(LOOK);
    }
    Ok(())
}

/// Takes the hooks off the uplinks for as long as the change waits.
#[expect(clippy::disallowed_methods, reason = "waits for a clock")]
fn let_go(options: &Options, change: &mut Change, until_ms: u64) -> io::Result<()> {
    loop {
        let gone = crate::ports::release_uplinks(&options.bpffs);
        if change.left().is_none() || now_ms() >= until_ms {
            return gone;
        }
        sleep(LOOK);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The change that is waited for, as the file has it.
#[derive(Debug)]
struct Change {
    state_dir: PathBuf,
    token: String,
    /// The file as it was read last: it holds a whole document, and is read again when it is another one.
    read: Option<(u64, u64, Option<SystemTime>)>,
    /// What it said then: the boot and the deadline.
    known: Option<(String, u64)>,
}

impl Change {
    fn new(state_dir: &Path, token: &str) -> Self {
        Self { state_dir: state_dir.to_owned(), token: token.to_owned(), read: None, known: None }
    }

    /// What is left of its time; nothing when it no longer waits. While the file cannot be read, what was read last holds.
    fn left(&mut self) -> Option<Duration> {
        match fs::metadata(self.state_dir.join(FILE)) {
            Ok(found) => {
                let file = (found.ino(), found.len(), found.modified().ok());
                if self.read != Some(file)
                    && let Ok(ledger) = Ledger::read(&self.state_dir)
                {
                    let pending = ledger.pending.filter(|pending| pending.token == self.token);
                    self.known = pending.map(|pending| (pending.boot, pending.deadline_ms));
                    self.read = Some(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.known = None,
            Err(_) => {}
        }
        let (boot, deadline_ms) = self.known.as_ref()?;
        let is_of_now = *boot == boot_id();
        Some(Duration::from_millis(deadline_ms.saturating_sub(if is_of_now {
            now_ms()
        } else {
            u64::MAX
        })))
    }
}

/// Takes the lock that says that somebody waits; the one before may take a moment to end.
#[expect(clippy::disallowed_methods, reason = "polls a condition with a deadline")]
fn hold(state_dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(state_dir.join(LOCK))?;
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(LOOK),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other("another process waits for a deadline"))
}

/// Asks the agent to roll back; whether nothing waits there any more.
fn ask(options: &Options, token: &str, patience: Duration) -> bool {
    let request = RevertRequest { token: Some(token.to_owned()) };
    let client = Client::new(&options.socket());
    match client.and_then(|client| client.revert_within(&request, patience)) {
        Ok(_) => true,
        Err(ClientError::Refused(error)) => error.code == codes::NOTHING_WAITS,
        Err(_) => false,
    }
}

/// Has no agent answered, an agent that ends at once does it.
#[expect(clippy::disallowed_methods, reason = "polls a condition with a deadline")]
fn settle(options: &Options, patience: Duration) {
    let Ok(exe) = crate::outside::this_program() else { return };
    let folders = [&options.run_dir, &options.state_dir, &options.bpffs];
    let [run, state, bpffs] = folders.map(PathBuf::as_path);
    let once = Command::new(exe)
        .args(["agent", "--once"])
        .args([
            Path::new("--run-dir"),
            run,
            Path::new("--state-dir"),
            state,
            Path::new("--bpffs"),
            bpffs,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    // What came of it is seen in the file.
    let Ok(mut once) = once else { return };
    let until_ms = now_ms() + millis(patience);
    while matches!(once.try_wait(), Ok(None)) {
        if now_ms() >= until_ms {
            let _ended = once.kill().and_then(|()| once.wait());
            return;
        }
        sleep(LOOK / 10);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use jiff::Timestamp;

    use super::super::ledger::Pending;
    use super::*;

    fn written(folder: &Path, token: &str) -> Ledger {
        let pending = Pending {
            part: 7,
            token: token.to_owned(),
            boot: boot_id(),
            applied_ms: 0,
            deadline_ms: now_ms() + 60_000,
            at: Timestamp::UNIX_EPOCH,
            by: "a test".to_owned(),
            request: api::DocumentRequest::default(),
        };
        let ledger = Ledger { pending: Some(pending), ..Ledger::default() };
        ledger.write(folder).expect("written");
        ledger
    }

    #[test]
    fn a_file_that_is_spoilt_while_a_change_waits_ends_no_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut change = Change::new(folder.path(), "t");
        assert_eq!(change.left(), None, "nothing waits");
        written(folder.path(), "t");
        assert!(change.left().expect("it waits") > Duration::from_secs(50));
        for spoilt in ["", "{", "\0\0\0\0"] {
            fs::write(folder.path().join(FILE), spoilt).expect("written");
            assert!(change.left().expect("it waits yet") > Duration::from_secs(50), "{spoilt:?}");
        }
        let mut other = written(folder.path(), "t");
        other.pending.as_mut().expect("it waits").boot = "another boot".to_owned();
        other.write(folder.path()).expect("written");
        assert_eq!(change.left(), Some(Duration::ZERO), "its boot is over");
        written(folder.path(), "another");
        assert_eq!(change.left(), None, "another change waits");
        written(folder.path(), "t");
        assert!(change.left().is_some());
        Ledger::default().write(folder.path()).expect("removed");
        assert_eq!(change.left(), None, "it was confirmed or went back");
    }

    #[test]
    fn an_agent_that_hangs_holds_up_no_rollback() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = || folder.path().to_owned();
        let options = Options {
            run_dir: there(),
            state_dir: there(),
            bpffs: there(),
            group: None,
            flow_days: Options::FLOW_DAYS,
            flow_bytes: Options::FLOW_BYTES,
            docker: there(),
            podman: there(),
            docker_driver: None,
        };
        // Connections are taken in by the kernel and never answered.
        let _hung = UnixListener::bind(options.socket()).expect("a socket");
        let began = Instant::now();
        assert!(!ask(&options, "t", Duration::from_millis(300)));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
