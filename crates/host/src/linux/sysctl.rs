//! Reads and writes sysctls, and remembers what a value of the host was before we changed it.
//!
//! Keys are paths below `/proc/sys`, such as `net/ipv4/ip_forward`, and mean the namespace of the
//! calling thread. A kernel without IPv6 or without the bridge filter lacks some keys: a profile
//! leaves those out.
//!
//! **Putting back.** The [`Ledger`] is a file in the run directory, written by rename after fsync
//! *before* the value is changed, so that a crash in between restores too much rather than too
//! little. Switching IPv4 forwarding also changes the forwarding of every link and
//! `accept_redirects` (net/ipv4/devinet.c, `inet_forward_change`); those are remembered with it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::network::NsProfile;

const ROOT: &str = "/proc/sys";

/// The longest value that is read, bytes.
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// Of a router: it forwards, believes no redirect and no router, and filters nothing by itself.
const ROUTER: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    ("net/ipv4/conf/all/promote_secondaries", "1"),
    ("net/ipv4/conf/default/promote_secondaries", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
];

/// Of a workload: addresses are the ones we give, at once; it forwards nothing, whatever the host does, whose values a new
/// namespace begins with; its unprivileged user may use low ports and ping, since nobody else shares the namespace.
const WORKLOAD: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/default/promote_secondaries", "1"),
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];

/// Writes the sysctls of a new namespace of ours; to be called inside of it.
///
/// # Errors
///
/// The first refusal. Keys that this kernel lacks are left out.
pub fn apply_profile(profile: NsProfile) -> io::Result<()> {
    let values = match profile {
        NsProfile::Router => ROUTER,
        NsProfile::Workload => WORKLOAD,
    };
    // The dentries of one folder of every namespace share a hash chain, so that each walk from the
    // root gets slower with the number of namespaces: walk to each family's folder only once.
    let mut folder: Option<(&str, Option<OwnedFd>)> = None;
    for (key, value) in values {
        let (family, name) = split_family(key);
        if folder.as_ref().is_none_or(|(open, _)| *open != family) {
            folder = Some((family, open_folder(family)?));
        }
        if let Some((_, Some(folder))) = &folder {
            write_in(folder, name, value).map_err(|error| {
                io::Error::new(error.kind(), format!("sysctl {key}={value}: {error}"))
            })?;
        }
    }
    Ok(())
}

/// `net/ipv4` and the rest of a key.
fn split_family(key: &str) -> (&str, &str) {
    let end = key.match_indices('/').nth(1).map_or(key.len(), |(at, _)| at);
    (&key[..end], key[end..].trim_start_matches('/'))
}

fn open_folder(family: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(path(family)?, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn write_in(folder: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file).write_all(value.as_bytes()),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads a value without its line end; `None` when this kernel has no such key.
///
/// # Errors
///
/// The system's answer; `InvalidInput` for a key that is not below `net/`.
pub fn read(key: &str) -> io::Result<Option<String>> {
    let mut text = String::new();
    match std::fs::File::open(path(key)?) {
        Ok(file) => file.take(MAX_VALUE_BYTES).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Reads a small file of `/proc` of the calling thread's namespace.
///
/// # Errors
///
/// The system's answer.
pub(crate) fn small_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_VALUE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a value.
///
/// # Errors
///
/// The system's answer; `InvalidInput` for a key that is not below `net/`.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path(key)?)?;
    file.write_all(value.as_bytes())
}

fn path(key: &str) -> io::Result<PathBuf> {
    let is_plain =
        key.starts_with("net/") && key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_plain {
        return Ok(Path::new(ROOT).join(key));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{key} is not a network sysctl")))
}

/// Remembers the host's earlier values in a file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    before: BTreeMap<String, String>,
}

impl Ledger {
    /// Opens `<run_dir>/sysctl.json`; an absent file is an empty ledger.
    ///
    /// # Errors
    ///
    /// The system's answer; `InvalidData` when the file is not what we write.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        let path = run_dir.join("sysctl.json");
        let before = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, before })
    }

    /// The value before our first change; `None` when we changed nothing.
    #[must_use]
    pub fn before(&self, key: &str) -> Option<&str> {
        self.before.get(key).map(String::as_str)
    }

    /// Every value that was remembered.
    #[must_use]
    pub const fn all(&self) -> &BTreeMap<String, String> {
        &self.before
    }

    /// Remembers the present value, unless an earlier one is known, and writes the new one.
    ///
    /// # Errors
    ///
    /// The system's answer; `NotFound` when this kernel has no such key.
    pub fn set(&mut self, key: &str, value: &str) -> io::Result<()> {
        let mut known = self.before.clone();
        for affected in affected_by(key)? {
            if let Some(present) = read(&affected)? {
                known.entry(affected).or_insert(present);
            }
        }
        if known != self.before {
            replace_file(&self.path, &serde_json::to_vec_pretty(&known)?)?;
            self.before = known;
        }
        write(key, value)
    }

    /// Puts every value back and forgets it. Keys that are gone, with their link, are skipped.
    ///
    /// # Errors
    ///
    /// The first refusal; the ledger is then kept.
    pub fn restore(&mut self) -> io::Result<()> {
        // The switches that change other keys go first.
        let (switches, others): (Vec<_>, Vec<_>) =
            self.before.iter().partition(|(key, _)| is_switch(key));
        for (key, value) in switches.into_iter().chain(others) {
            if read(key)?.is_some_and(|present| present != *value) {
                write(key, value)?;
            }
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.before.clear(),
        }
        Ok(())
    }
}

const SWITCH_V4: &str = "net/ipv4/ip_forward";
const SWITCH_V6: &str = "net/ipv6/conf/all/forwarding";

fn is_switch(key: &str) -> bool {
    key == SWITCH_V4 || key == SWITCH_V6
}

/// The key itself and, for a forwarding switch, what the kernel changes along with it.
fn affected_by(key: &str) -> io::Result<Vec<String>> {
    let mut keys = vec![key.to_owned()];
    let family = match key {
        SWITCH_V4 => "ipv4",
        SWITCH_V6 => "ipv6",
        _ => return Ok(keys),
    };
    let conf = format!("net/{family}/conf");
    let folder = match std::fs::read_dir(path(&conf)?) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
        Err(error) => return Err(error),
    };
    for entry in folder {
        let Ok(link) = entry?.file_name().into_string() else { continue };
        let is_ours = crate::network::NetworkNumber::from_link_name(&link).is_some();
        if !is_ours {
            keys.push(format!("{conf}/{link}/forwarding"));
        }
    }
    if family == "ipv4" {
        keys.push(format!("{conf}/all/accept_redirects"));
    }
    Ok(keys)
}

/// Writes a file so that a reader, or a crash, finds the old content or the new one.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_the_network_sysctls() {
        for key in ["kernel/core_pattern", "net/../kernel/core_pattern", "net//x", "/net/x", ""] {
            assert_eq!(read(key).expect_err(key).kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn an_absent_key_is_no_error() {
        assert_eq!(read("net/ipv4/no_such_thing").expect("readable"), None);
    }

    #[test]
    fn a_replaced_file_holds_the_new_content() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("sysctl.json");
        replace_file(&path, b"{}").expect("written");
        replace_file(&path, b"{\"a\":\"b\"}").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("there"), b"{\"a\":\"b\"}");
        let ledger = Ledger::open(folder.path()).expect("opens");
        assert_eq!(ledger.before("a"), Some("b"));
    }
}
