//! What is remembered of the host part: what was confirmed last, what waits, what went back. One small file in the state folder.
//!
//! **Order.** A change is written here before it is made, and what came of it after it was made: whoever finds a change here whose
//! time is over takes it back, whether it was made or not.
//!
//! **Failure.** The file is replaced as a whole and written through. One that cannot be read counts as "nothing confirmed": the host part then
//! goes off, which cuts nobody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::DocumentRequest;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The file in the state folder.
pub(crate) const FILE: &str = "host.json";
/// The file whose lock says that a dead man lives.
pub(crate) const LOCK: &str = "dead-man.lock";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ledger {
    /// What was confirmed last; `None` is no host part.
    pub(crate) confirmed: Option<Confirmed>,
    /// What waits for its confirmation.
    pub(crate) pending: Option<Pending>,
    /// What went back last, until the next change.
    pub(crate) reverted: Option<Reverted>,
    /// How the host was connected when this was written last: before the network is up, nothing else tells.
    pub(crate) seen: Seen,
}

/// How the host was connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// The links that carried a default route.
    pub(crate) uplinks: Vec<String>,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
}

/// A host part that somebody confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    /// Number of the host part.
    pub(crate) part: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// The console at which that was.
    #[serde(default)]
    pub(crate) console: Option<String>,
    /// The file that it stands in.
    pub(crate) request: DocumentRequest,
}

/// A host part that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Number of the host part.
    pub(crate) part: u64,
    /// Tells this change from every other one.
    pub(crate) token: String,
    /// The boot to which the times below belong.
    pub(crate) boot: String,
    /// When it was applied; connections that are younger are new ones. Milliseconds of `CLOCK_BOOTTIME`.
    pub(crate) applied_ms: u64,
    /// When it goes back. Milliseconds of `CLOCK_BOOTTIME`.
    pub(crate) deadline_ms: u64,
    /// When it was applied, for people.
    pub(crate) at: Timestamp,
    /// Who applied it, for people.
    pub(crate) by: String,
    /// The file that it stands in.
    pub(crate) request: DocumentRequest,
}

/// A host part that went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reverted {
    /// Number of the host part.
    pub(crate) part: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// Why, for people.
    pub(crate) why: String,
}

impl Pending {
    /// Whether its time is over, or its boot.
    pub(crate) fn is_over(&self) -> bool {
        self.boot != boot_id() || self.deadline_ms <= now_ms()
    }

    /// What is left of its time.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.saturating_sub(now_ms()))
    }
}

impl Ledger {
    /// Number of the confirmed host part; 0 without one.
    pub(crate) fn confirmed_part(&self) -> u64 {
        self.confirmed.as_ref().map_or(0, |confirmed| confirmed.part)
    }

    /// What waits goes back.
    pub(crate) fn revert(&mut self, why: &str) {
        if let Some(pending) = self.pending.take() {
            let (part, at) = (pending.part, Timestamp::now());
            self.reverted = Some(Reverted { part, at, why: why.to_owned() });
        }
    }

    /// Reads the file. None there is an empty one.
    ///
    /// # Errors
    /// When it cannot be read or is not what was written.
    pub(crate) fn read(state_dir: &Path) -> io::Result<Self> {
        match fs::read(state_dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file; on disk when this returns. An empty one is removed.
    ///
    /// # Errors
    /// When it cannot be written; what was there stays then.
    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<()> {
        let path = state_dir.join(FILE);
        if self.confirmed.is_none() && self.pending.is_none() && self.reverted.is_none() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let draft = state_dir.join(format!("{FILE}.new"));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(state_dir)?.sync_all()
    }
}

/// Every file that may be there, for who removes them.
pub(crate) fn files(state_dir: &Path) -> [PathBuf; 3] {
    [FILE.to_owned(), format!("{FILE}.new"), LOCK.to_owned()].map(|name| state_dir.join(name))
}

/// Milliseconds of `CLOCK_BOOTTIME`, which goes on in suspend.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1000) + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}

/// Tells one boot from another.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(boot: &str, deadline_ms: u64) -> Pending {
        Pending {
            part: 7,
            token: "t".to_owned(),
            boot: boot.to_owned(),
            applied_ms: 0,
            deadline_ms,
            at: Timestamp::UNIX_EPOCH,
            by: "a test".to_owned(),
            request: DocumentRequest::default(),
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Ledger::read(folder.path()).expect("read"), Ledger::default());
        let mut ledger = Ledger { pending: Some(pending("b", 5)), ..Ledger::default() };
        ledger.write(folder.path()).expect("written");
        assert_eq!(Ledger::read(folder.path()).expect("read"), ledger);
        ledger.revert("nobody confirmed");
        assert!(ledger.pending.is_none());
        assert_eq!(ledger.reverted.as_ref().map(|reverted| reverted.part), Some(7));
        Ledger::default().write(folder.path()).expect("removed");
        assert!(!folder.path().join(FILE).exists());
        fs::write(folder.path().join(FILE), "{").expect("written");
        assert!(Ledger::read(folder.path()).is_err());
    }

    #[test]
    fn a_change_is_over_at_its_deadline_and_with_its_boot() {
        let far = now_ms() + 60_000;
        assert!(!pending(&boot_id(), far).is_over());
        assert!(pending(&boot_id(), now_ms()).is_over());
        assert!(pending("another boot", far).is_over());
        assert!(pending(&boot_id(), far).left() > Duration::from_secs(50));
    }
}
