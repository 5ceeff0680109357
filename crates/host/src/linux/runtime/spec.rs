//! What a workload is to the runtime: everything its supervisor must know, as one value that is written to disk once.
//!
//! The agent makes a [`Spec`] from the file and from its allocations; the supervisor reads it back and needs nothing
//! else. Every field that came from people is checked by [`Spec::check`] before it becomes a path or a cgroup name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// First user id of unprivileged workloads; endpoint number `n` runs as `UID_BASE + n`.
///
/// Far above what distributions give to people, services, `systemd-homed` and `DynamicUser=`, and below the ranges that
/// `useradd` hands out in `/etc/subuid` by default for the second user on.
pub const UID_BASE: u32 = 196_608;

/// Processes a workload may have when its [`Limits`] do not say.
pub const DEFAULT_PIDS: u64 = 4096;

const MEBIBYTE: u64 = 1024 * 1024;
const MAX_ARGS: usize = 1024;
const MAX_TEXT_BYTES: usize = 128 * 1024;

/// The folders of one agent that the runtime works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Volatile folder, for example `/run/bulkhead`; a workload's own folder is `workloads/<id>` below it.
    pub run: PathBuf,
    /// Persistent folder, for example `/var/lib/bulkhead`; never visible to a workload, but for its own data folder.
    pub state: PathBuf,
}

impl Dirs {
    /// The folder of workload `id`; the caller has checked the id.
    pub(super) fn workload(&self, id: &str) -> PathBuf {
        self.workloads().join(id)
    }

    /// The folder that holds one folder per workload.
    pub(super) fn workloads(&self) -> PathBuf {
        self.run.join("workloads")
    }
}

/// User and group a workload runs as. Supplementary groups are always empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id, the host's unless it is 0: the workload's root is one of its [`Ids`].
    pub uid: u32,
    /// Group id, likewise.
    pub gid: u32,
}

impl User {
    /// The default: the unprivileged user that belongs to endpoint number `endpoint` alone.
    #[must_use]
    pub fn of_endpoint(endpoint: u16) -> Self {
        let uid = UID_BASE + u32::from(endpoint);
        Self { uid, gid: uid }
    }

    /// A user of the host by `uid` or by name, as `user:` gives it. A number gets a group of the same number unless the
    /// host knows the user.
    ///
    /// # Errors
    /// When the host has no such user.
    pub fn named(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownUser { name: text.to_owned() };
        if let Ok(uid) = text.parse::<u32>() {
            let known = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            return Ok(Self { uid, gid: known.map_or(uid, |user| user.gid.as_raw()) });
        }
        let known = nix::unistd::User::from_name(text).ok().flatten().ok_or_else(unknown)?;
        Ok(Self { uid: known.uid.as_raw(), gid: known.gid.as_raw() })
    }

    /// Whether this is root, which keeps a small set of capabilities over what belongs to the workload.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// Ids of the host that belong to one workload and stand for its root and the users of its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    first: u32,
}

impl Ids {
    /// Ids for workload number `number`, at most [`Ids::LAST`]: 2,048 in a range that systemd names unused
    /// (`UIDS-GIDS.md`: `0x7000_0000` and up) and `useradd` does not hand out.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self { first: 0x7000_0000 + number.min(Self::LAST) * 2048 }
    }

    /// The highest number.
    pub const LAST: u32 = 0xFFFF;

    /// The one that stands for root.
    #[must_use]
    pub fn first(self) -> u32 {
        self.first
    }
}

/// When a workload is started again after its program ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whatever the exit status was.
    Always,
    /// When it ended by a signal or with a status other than 0, or could not be started.
    #[default]
    OnFailure,
    /// Never.
    No,
}

/// Bounds on what a workload may use. `None` means the default where there is one, else no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Processes and threads; `None` is [`DEFAULT_PIDS`] where the host has a pids controller.
    pub pids: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of one processor.
    pub cpu_milli: Option<u32>,
}

/// Sizes in bytes of the private, writable in-memory file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tmpfs {
    /// `/tmp`.
    pub tmp_bytes: u64,
    /// `/run`.
    pub run_bytes: u64,
    /// `/var`, with `/var/tmp`, `/var/log`, `/var/lib` and `/var/cache` in it.
    pub var_bytes: u64,
    /// `/dev/shm`.
    pub shm_bytes: u64,
    /// `/data`, when the workload has no persistent data folder.
    pub data_bytes: u64,
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self {
            tmp_bytes: 64 * MEBIBYTE,
            run_bytes: 16 * MEBIBYTE,
            var_bytes: 64 * MEBIBYTE,
            shm_bytes: 64 * MEBIBYTE,
            data_bytes: 64 * MEBIBYTE,
        }
    }
}

/// Where the output of a workload goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The current file; the previous one has `.1` appended.
    pub path: PathBuf,
    /// Size in bytes at which the current file becomes the previous one.
    pub max_bytes: u64,
}

impl Log {
    /// A log at `path` with the default bound: twice 4 MiB.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 4 * MEBIBYTE }
    }
}

/// A line of the workload's `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The address the names stand for.
    pub address: IpAddr,
    /// One or more host names.
    pub names: Vec<String>,
}

/// Everything the supervisor of one workload must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `<tenant>.<workload>`; names the workload's folder.
    pub id: String,
    /// Program and arguments; a program without a `/` is looked up in the workload's `PATH`.
    pub argv: Vec<String>,
    /// Added to the few variables that every workload has (`PATH`, `HOME`, `HOSTNAME`); nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory inside the workload's view; `None` is `/data`.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// Who it runs as.
    pub user: User,
    /// What root stands for inside; without them nothing runs as root.
    #[serde(default)]
    pub ids: Option<Ids>,
    /// Host name inside.
    pub hostname: String,
    /// When it is started again.
    #[serde(default)]
    pub restart: Restart,
    /// A pinned network namespace, set up and enforced before [`super::start`] is called. Not looked at when the network is the host's.
    pub netns: PathBuf,
    /// It stays in the network namespace of the host; the programs are on its cgroup by then.
    #[serde(default)]
    pub host_network: bool,
    /// Cgroup below every hierarchy's root, for example `bulkhead/shop.web`; its parent also holds the supervisors.
    pub cgroup: PathBuf,
    /// Where the output goes.
    pub log: Log,
    /// Host folder mounted writable at `/data`, made and given to `user` when missing; `None` is a tmpfs that is lost at
    /// every restart.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Sizes of the private file systems.
    #[serde(default)]
    pub tmpfs: Tmpfs,
    /// Bounds on what it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Added to `/etc/hosts`.
    #[serde(default)]
    pub hosts: Vec<HostEntry>,
    /// More host paths to show read-only at the same place; missing ones are an error.
    #[serde(default)]
    pub read_only: Vec<PathBuf>,
}

impl Spec {
    /// A spec with every default: `argv` as `user` in `netns`, output to `log`.
    #[must_use]
    pub fn new(id: &str, argv: Vec<String>, user: User, netns: &Path, log: Log) -> Self {
        Self {
            id: id.to_owned(),
            argv,
            env: BTreeMap::new(),
            workdir: None,
            user,
            ids: None,
            hostname: id.rsplit('.').next().unwrap_or(id).to_owned(),
            restart: Restart::default(),
            netns: netns.to_owned(),
            host_network: false,
            cgroup: Path::new("bulkhead").join(id),
            log,
            data: None,
            tmpfs: Tmpfs::default(),
            limits: Limits::default(),
            hosts: Vec::new(),
            read_only: Vec::new(),
        }
    }

    /// Whether every field has the shape that the runtime relies on.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] with the field and what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field: &'static str, reason: &str| {
            Err(Error::InvalidSpec { id: self.id.clone(), field, reason: reason.to_owned() })
        };
        if !is_id(&self.id) {
            return wrong("id", "is not <tenant>.<workload>");
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return wrong("argv", "names no program");
        }
        if self.argv.len() > MAX_ARGS || self.text_bytes() > MAX_TEXT_BYTES {
            return wrong("argv", "is too long (1024 arguments, 128 KiB with the environment)");
        }
        if self.argv.iter().chain(self.env.values()).any(|text| text.contains('\0')) {
            return wrong("argv", "holds a NUL byte");
        }
        if self.env.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return wrong("env", "has a variable without a usable name");
        }
        if self.user.is_root() && self.ids.is_none() {
            return wrong("ids", "are needed for root");
        }
        if !is_hostname(&self.hostname) {
            return wrong("hostname", "is not a host name of at most 63 characters");
        }
        if !is_cgroup(&self.cgroup) {
            return wrong("cgroup", "is not a relative path of plain names, two or more deep");
        }
        let absolute = [Some(&self.netns), Some(&self.log.path), self.data.as_ref()];
        if absolute.into_iter().flatten().chain(&self.read_only).any(|path| !is_plain(path)) {
            return wrong("netns, log, data, read_only", "must be absolute paths without `..`");
        }
        Ok(())
    }

    /// Who it runs as, in the numbers of the host.
    pub(super) fn host_user(&self) -> User {
        match self.ids {
            Some(ids) if self.user.is_root() => User { uid: ids.first(), gid: ids.first() },
            _ => self.user,
        }
    }

    fn text_bytes(&self) -> usize {
        let env = self.env.iter().map(|(key, value)| key.len() + value.len() + 2);
        self.argv.iter().map(|arg| arg.len() + 1).chain(env).sum()
    }
}

/// Whether `id` is `<tenant>.<workload>` in the characters that names of the file may have.
pub(super) fn is_id(id: &str) -> bool {
    let is_name = |name: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !name.is_empty() && name.len() <= 32 && name.bytes().all(inner) && !name.starts_with('-')
    };
    id.split_once('.').is_some_and(|(tenant, workload)| is_name(tenant) && is_name(workload))
}

fn is_hostname(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    !name.is_empty() && name.len() <= 63 && name.bytes().all(inner)
}

fn is_cgroup(path: &Path) -> bool {
    path.components().count() >= 2
        && path.components().all(|part| matches!(part, Component::Normal(name) if name != "shims"))
}

fn is_plain(path: &Path) -> bool {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain)
}

/// What `spec.json` in the workload's folder holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The workload.
    pub(super) spec: Spec,
    /// Host paths that the workload must not see.
    pub(super) hidden: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(id: &str) -> Spec {
        let log = Log::at("/var/log/x.log");
        Spec::new(id, vec!["true".into()], User::of_endpoint(1), Path::new("/run/netns/x"), log)
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for id in ["shop", "shop.", ".web", "../x", "shop.web.x", "shop./web", "Shop.web", ""] {
            assert!(spec(id).check().is_err(), "{id}");
        }
        spec("shop.web-1").check().expect("a plain id");
    }

    #[test]
    fn cgroups_stay_below_their_parent() {
        for cgroup in ["x", "/a/b", "a/../b", "a/shims", "../a/b"] {
            let spec = Spec { cgroup: cgroup.into(), ..spec("a.b") };
            assert!(spec.check().is_err(), "{cgroup}");
        }
    }

    #[test]
    fn a_spec_needs_a_program_and_plain_text() {
        assert!(Spec { argv: vec![], ..spec("a.b") }.check().is_err());
        assert!(Spec { argv: vec!["a\0b".into()], ..spec("a.b") }.check().is_err());
        let env = BTreeMap::from([("A=B".to_owned(), String::new())]);
        assert!(Spec { env, ..spec("a.b") }.check().is_err());
        assert!(Spec { data: Some("data/x".into()), ..spec("a.b") }.check().is_err());
    }

    #[test]
    fn root_is_nobody_on_the_host() {
        let root = Spec { user: User { uid: 0, gid: 0 }, ..spec("a.b") };
        assert!(root.check().is_err());
        let root = Spec { ids: Some(Ids::numbered(7)), ..root };
        root.check().expect("it has ids");
        assert_eq!(root.host_user().uid, 0x7000_0000 + 7 * 2048);
        assert_eq!(spec("a.b").host_user(), User::of_endpoint(1));
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert!(User::named("root").expect("every host has it").is_root());
        assert_eq!(User::named("4000000").expect("a number").gid, 4_000_000);
        assert!(User::named("no-such-user-here").is_err());
    }
}
