//! The dead man: a process that does nothing but wait for the deadline of one change, and then brings back what was confirmed.
//!
//! It is the same binary, started again, in a session of its own: it outlives its agent, however that ends, and the connection over which the
//! change came. It holds the lock of a file for as long as it lives, so that an agent knows whether somebody waits.
//!
//! **At the deadline** it asks the agent to roll back. Does none answer, it starts the binary once (`agent --once`), which puts in
//! force what was confirmed last and ends. If neither works for a minute, the hooks of the uplinks are taken off.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use api::{Client, RevertRequest};

use crate::options::Options;

use super::ledger::{LOCK, Ledger, now_ms};

/// The word that makes the binary a dead man.
pub(crate) const WORD: &str = "dead-man";
/// It says this when it waits.
const READY: &[u8] = b"waiting\n";
/// How often it looks whether anybody still waits for it.
const LOOK: Duration = Duration::from_millis(500);
/// How long it tries to bring back what was confirmed before it takes the hooks off.
const TRY: Duration = Duration::from_mins(1);

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
    let mut output = io::stdout();
    output.write_all(READY).and_then(|()| output.flush())?;
    let deadline_ms = loop {
        let Some(left) = left(&options.state_dir, token) else { return Ok(()) };
        if left.is_zero() {
            break now_ms();
        }
        sleep(left.min(LOOK));
    };
    let give_up_ms = deadline_ms + u64::try_from(TRY.as_millis()).unwrap_or(u64::MAX);
    while left(&options.state_dir, token).is_some() {
        if now_ms() >= give_up_ms {
            return crate::ports::release_uplinks(&options.bpffs);
        }
        if !ask(options, token) {
            settle(options);
        }
        sleep(LOOK);
    }
    Ok(())
}

/// What is left of the change's time; nothing when it no longer waits.
fn left(state_dir: &Path, token: &str) -> Option<Duration> {
    // A file that cannot be read says nothing: the agent that reads it will not let the change stand either.
    let pending = Ledger::read(state_dir).ok()?.pending?;
    (pending.token == token)
        .then(|| if pending.is_over() { Duration::ZERO } else { pending.left() })
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

/// Asks the agent to roll back; whether it did.
fn ask(options: &Options, token: &str) -> bool {
    let request = RevertRequest { token: Some(token.to_owned()) };
    let client = Client::new(&options.socket());
    client.and_then(|client| client.revert(&request)).is_ok()
}

/// Has no agent answered, an agent that ends at once does it.
fn settle(options: &Options) {
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
        .status();
    // What came of it is seen in the file.
    drop(once);
}
