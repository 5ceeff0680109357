//! What the driver remembers: networks, endpoints and addresses that Docker has of it, in one file of the state folder.
//!
//! Docker tells each of them once and expects them to be known after any restart. The file is written whole, beside itself, and then
//! put in its place, before Docker is answered. **Limits.** [`NETWORKS`], [`ENDPOINTS`] and [`ADDRESSES`]; a larger file is no file of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use runtimes::docker::driver::{Id, Published};
use serde::{Deserialize, Serialize};

use super::place::Place;

/// The file's name.
pub(crate) const FILE: &str = "docker-driver.json";
/// Networks at one time.
pub(super) const NETWORKS: usize = 1_024;
/// Endpoints at one time.
pub(super) const ENDPOINTS: usize = 8_192;
/// Addresses that are given at one time.
pub(super) const ADDRESSES: usize = 32_768;
/// Largest file, bytes.
const MAX_FILE: u64 = 32 << 20;

/// A network of Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Network {
    pub(super) place: Place,
    /// Its containers get no default route.
    pub(super) internal: bool,
}

/// An end of a container in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) network: Id,
    pub(super) addresses: Vec<IpAddr>,
    /// A container has it.
    pub(super) joined: bool,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub(super) ports: Vec<Published>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Held {
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    /// Addresses that were given, by pool.
    pub(super) given: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// All of it, with its file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    held: Mutex<Held>,
}

impl Ledger {
    /// Reads the file in a state folder. One that cannot be understood is moved aside, and told in the log.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let held = match read(&path) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Held::default(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let aside = path.with_extension("json.broken");
                fs::rename(&path, &aside)?;
                tracing::error!(path = %aside.display(), %error, "what was known of Docker's networks is broken and was moved aside");
                Held::default()
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path, held: Mutex::new(held) })
    }

    /// A copy.
    pub(super) fn read(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it; what is refused, or cannot be written, has not happened.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Held) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = held.clone();
        let told = change(&mut new)?;
        if new != *held {
            write(&self.path, &new).map_err(|error| {
                format!("cannot write {}: {error}; nothing was changed", self.path.display())
            })?;
            *held = new;
        }
        Ok(told)
    }
}

fn read(path: &Path) -> io::Result<Held> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write(path: &Path, held: &Held) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(held)?)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

/// The files that are removed when the host is left as it was.
pub(crate) fn files(state_dir: &Path) -> [PathBuf; 3] {
    let path = state_dir.join(FILE);
    [path.with_extension("json.new"), path.with_extension("json.broken"), path]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network { place: Place::parse("shop/front").expect("a place"), internal: false }
    }

    #[test]
    fn what_is_changed_is_there_again_and_what_is_refused_never_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(folder.path()).expect("opened");
        let id = "a".repeat(64);
        let added = ledger.change(|held| {
            held.networks.insert(id.clone(), network());
            held.given
                .entry("shop/front#4".to_owned())
                .or_default()
                .extend(["10.0.0.2".parse::<IpAddr>().expect("one")]);
            Ok(())
        });
        added.expect("written");
        let refused: Result<(), String> = ledger.change(|held| {
            held.networks.clear();
            Err("no".to_owned())
        });
        refused.expect_err("refused");
        let again = Ledger::open(folder.path()).expect("opened");
        assert_eq!(again.read(), ledger.read());
        assert_eq!(again.read().networks.get(&id), Some(&network()));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(folder.path().join(FILE)).expect("a file").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{", "{\"networks\": {\"a\": {\"place\": \"../..\"}}}", "[]"] {
            fs::write(folder.path().join(FILE), text).expect("written");
            let ledger = Ledger::open(folder.path()).expect("opened");
            assert_eq!(ledger.read(), Held::default(), "{text}");
            assert!(folder.path().join("docker-driver.json.broken").exists());
        }
    }
}
