//! One agent per run folder: an exclusive lock that the kernel releases however the agent ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use api::{Error, codes};

/// Held for as long as the agent lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock of a run folder and writes our process id into it, for people.
///
/// # Errors
/// `BH0213` when another process has it; `BH0220` when the file cannot be made.
pub(crate) fn take(run_dir: &Path) -> Result<Lock, Error> {
    let path = run_dir.join("agent.lock");
    let failed = |error: &dyn std::error::Error| {
        Error::new(codes::SETUP, format!("lock {}", path.display())).with_cause(error)
    };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let mut file = opened.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(&path)),
        Err(TryLockError::Error(error)) => return Err(failed(&error)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| failed(&error))?;
    Ok(Lock { _file: file })
}

fn held(path: &Path) -> Error {
    let pid = std::fs::read_to_string(path).unwrap_or_default();
    let who = match pid.trim() {
        "" => "another agent".to_owned(),
        pid => format!("the agent with pid {pid}"),
    };
    let folder = path.parent().unwrap_or(path);
    Error::new(codes::LOCKED, format!("{who} has the run folder {}", folder.display()))
        .with_hint("bulkhead status, or choose another --run-dir, --state-dir and --bpffs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_agent_is_told_who_the_first_one_is() {
        let folder = tempfile::tempdir().expect("folder");
        let first = take(folder.path()).expect("free");
        let error = take(folder.path()).expect_err("held");
        assert_eq!(error.code, codes::LOCKED);
        assert!(error.message.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        take(folder.path()).expect("free again");
    }
}
