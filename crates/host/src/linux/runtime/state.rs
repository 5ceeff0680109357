//! What a supervisor says about its workload: a small file, replaced by rename at every change.
//!
//! The supervisor is the only writer. The agent reads it whenever it likes and never needs to ask the supervisor, so a
//! restarted agent, a hurt supervisor and `bulkhead status` all see the same thing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, process::Identity};

/// Largest file of a workload's folder that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a workload is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its namespaces are being made.
    Starting,
    /// Its program runs.
    Running,
    /// Its program ended or could not be started; it is tried again after a pause.
    Backoff,
    /// It was asked to end and has not yet.
    Stopping,
    /// Its program ended and the restart policy leaves it at that.
    Exited,
    /// It could not be started and the restart policy leaves it at that.
    Failed,
    /// Its supervisor is gone without having said so, and the program with it.
    Lost,
}

impl Phase {
    /// Whether the supervisor has nothing more to do in this phase.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Exited | Self::Failed | Self::Lost)
    }
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, when it ended by itself.
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    pub signal: Option<i32>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Exit {
    /// Whether the restart policy counts this as a failure.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.code != Some(0)
    }
}

/// What [`super::status`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Since when the program runs, in milliseconds since 1970.
    pub running_since_ms: Option<u64>,
    /// Process id on the host of the workload's first process (pid 1 inside).
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// How the program ended the last time.
    pub last_exit: Option<Exit>,
    /// Why the last start failed; one sentence.
    pub error: Option<String>,
    /// When the next attempt is made, in milliseconds since 1970; only in [`Phase::Backoff`].
    pub next_start_ms: Option<u64>,
}

/// What `state.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The supervisor.
    pub(super) shim: Identity,
    /// The workload's first process, while there is one.
    pub(super) init: Option<Identity>,
    /// The rest.
    pub(super) status: Status,
}

/// Replaces `path` with the JSON of `value`, so that a reader sees the old text or the new one, also after a crash.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let wrote = |source| Error::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec(value).map_err(|source| wrote(io::Error::other(source)))?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).map_err(wrote)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(wrote)?;
    std::fs::rename(&temporary, path).map_err(wrote)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()).map_err(wrote)
}

/// Reads what [`write_json`] wrote.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_FILE_BYTES {
        return Err(read(io::Error::other("the file is larger than 1 MiB")));
    }
    let text = std::fs::read(path).map_err(read)?;
    serde_json::from_slice(&text).map_err(|source| Error::Decode { path: path.to_owned(), source })
}
