//! A lab: uniquely named network namespaces and the links between them, removed on drop.
//!
//! **Ownership**: everything is named `bhl<pid>x<n>-…` and lives below `/run/netns`; a lab also
//! removes what a killed test process left there (its pid no longer exists).
//! **Order**: drop servers and processes before the lab; what still runs inside is killed by pid.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Namespace;

/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";
/// First letters of everything a lab makes.
const PREFIX: &str = "bhl";
/// Makes labs of one process distinct.
static NEXT_LAB: AtomicU32 = AtomicU32::new(0);

/// Namespaces, links and a folder of one test.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    spaces: Vec<Namespace>,
    dir: tempfile::TempDir,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn new() -> Result<Self> {
        std::fs::create_dir_all(NETNS_DIR).context("make the folder of namespaces")?;
        share().context("make the folder of namespaces a mount, as `ip netns` does")?;
        remove_what_dead_processes_left();
        let number = NEXT_LAB.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}x{number}", std::process::id());
        let dir =
            tempfile::Builder::new().prefix(&prefix).tempdir().context("make a lab folder")?;
        Ok(Self { prefix, spaces: Vec::new(), dir })
    }

    /// The prefix of all names of this lab.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A folder for files of this lab, removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new namespace called `<prefix>-<name>`, with loopback up.
    ///
    /// # Errors
    /// When it cannot be made, e.g. without root.
    pub fn namespace(&mut self, name: &str) -> Result<Namespace> {
        let space = self.bare_namespace(name)?;
        space.ip("link set lo up")?;
        Ok(space)
    }

    /// As [`Self::namespace`], but untouched: loopback down, which saves running `ip`.
    ///
    /// # Errors
    /// When it cannot be made, e.g. without root.
    pub fn bare_namespace(&mut self, name: &str) -> Result<Namespace> {
        let full = format!("{}-{name}", self.prefix);
        let path = PathBuf::from(NETNS_DIR).join(&full);
        let space = Namespace::create(&full, &path).inspect_err(|_| unpin(&path))?;
        self.spaces.push(space.clone());
        Ok(space)
    }

    /// A veth pair between two (namespace, interface name) ends, both up, without addresses.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn veth(&self, a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
        let ((a_ns, a_dev), (b_ns, b_dev)) = (a, b);
        let peer = b_ns.path().display();
        a_ns.ip(&format!(
            "link add {a_dev} type veth peer name {b_dev} netns {peer}\nlink set {a_dev} up"
        ))?;
        b_ns.ip(&format!("link set {b_dev} up"))
    }

    /// A bridge in `space`, up, with `addresses` (CIDR notation) on it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn bridge(&self, space: &Namespace, name: &str, addresses: &[&str]) -> Result<()> {
        let mut batch = format!("link add {name} type bridge\nlink set {name} up\n");
        for address in addresses {
            batch.push_str(&address_line(address, name));
        }
        space.ip(&batch)
    }

    /// Removes one namespace of this lab early.
    pub fn remove(&mut self, space: &Namespace) {
        end_processes_inside(space);
        unpin(space.path());
        self.spaces.retain(|s| s.path() != space.path());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for space in self.spaces.drain(..).rev() {
            end_processes_inside(&space);
            unpin(space.path());
        }
    }
}

/// One `ip -batch` line that adds `address` to `interface`, IPv6 without duplicate detection.
pub(crate) fn address_line(address: &str, interface: &str) -> String {
    let nodad = if address.contains(':') { " nodad" } else { "" };
    format!("addr add {address} dev {interface}{nodad}\n")
}

impl Namespace {
    /// Adds `address` (CIDR notation) to `interface`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        self.ip(&address_line(address, interface))
    }
}

/// Kills, one by one, the processes whose network namespace is `space`.
fn end_processes_inside(space: &Namespace) {
    let Ok(inode) = space.inode() else { return };
    for pid in processes_inside(inode) {
        if pid.cast_unsigned() != std::process::id() {
            let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Pids of processes whose network namespace has this inode number.
pub(crate) fn processes_inside(inode: u64) -> Vec<i32> {
    let wanted = format!("net:[{inode}]");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|l| l.as_os_str() == wanted.as_str())
        })
        .collect()
}

/// Removes the pin and the file under it; silent when it is gone.
fn unpin(path: &Path) {
    let _not_mounted = umount2(path, MntFlags::MNT_DETACH);
    let _gone_already = std::fs::remove_file(path);
}

/// A test process that was killed could not clean up; what it made is recognised by its pid.
fn remove_what_dead_processes_left() {
    for path in left_in(Path::new(NETNS_DIR)) {
        if let Ok(space) = Namespace::open("left behind", &path) {
            end_processes_inside(&space);
        }
        unpin(&path);
    }
    for path in left_in(&std::env::temp_dir()) {
        unmount_below(&path);
        let _still_in_use = std::fs::remove_dir_all(&path);
    }
}

/// Entries of `folder` that belong to a lab whose process is gone.
fn left_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_left = |path: &PathBuf| {
        let owner = path.file_name().and_then(|name| owner_of(name.to_str()?));
        owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    entries.flatten().map(|entry| entry.path()).filter(is_left).collect()
}

/// Unmounts everything at or below `root`, the deepest first: bpffs and pinned namespaces.
pub fn unmount_below(root: &Path) {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return };
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut points: Vec<&Path> = points.filter(|point| point.starts_with(root)).collect();
    points.sort_unstable();
    for point in points.into_iter().rev() {
        let _already_gone = umount2(point, MntFlags::MNT_DETACH);
    }
}

/// The pid in a lab's namespace name.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('x')?.0.parse().ok()
}

/// Makes the folder a shared mount, under the lock that `ip netns add` takes for this (iproute2, `ip/ipnetns.c`). Whoever did so after
/// namespaces were pinned there would hide these pins for ever.
fn share() -> Result<()> {
    let folder = File::open(NETNS_DIR)?;
    folder.lock()?;
    let none = None::<&str>;
    let shared = MsFlags::MS_SHARED.union(MsFlags::MS_REC);
    match mount(none, NETNS_DIR, none, shared, none) {
        Err(Errno::EINVAL) => {
            let bind = MsFlags::MS_BIND.union(MsFlags::MS_REC);
            mount(Some(NETNS_DIR), NETNS_DIR, none, bind, none)?;
            Ok(mount(none, NETNS_DIR, none, shared, none)?)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_owner() {
        assert_eq!(owner_of("bhl4711x0-host"), Some(4711));
        assert_eq!(owner_of("bhlab"), None);
        assert_eq!(owner_of("dh1"), None);
    }

    #[test]
    fn two_namespaces_ping_and_nothing_is_left_root() {
        crate::root_or_return!("two_namespaces_ping_and_nothing_is_left_root");
        let mut lab = Lab::new().expect("a lab");
        let a = lab.namespace("a").expect("namespace a");
        let b = lab.namespace("b").expect("namespace b");
        lab.veth((&a, "eth0"), (&b, "eth0")).expect("a veth pair");
        a.address("eth0", "10.0.0.1/24").expect("address of a");
        b.address("eth0", "10.0.0.2/24").expect("address of b");
        a.check(&["ping", "-c1", "-W2", "10.0.0.2"]).expect("a reaches b");
        assert!(a.run(|| Path::new("/sys/fs/cgroup").exists()).expect("enter a"));
        let (path, dir) = (a.path().to_owned(), lab.dir().to_owned());
        drop(lab);
        assert!(!path.exists() && !dir.exists(), "the lab left something behind");
    }

    #[test]
    fn a_panic_cleans_up_too_root() {
        crate::root_or_return!("a_panic_cleans_up_too_root");
        let path = std::sync::Mutex::new(PathBuf::new());
        let result = std::panic::catch_unwind(|| {
            let mut lab = Lab::new().expect("a lab");
            let a = lab.namespace("a").expect("namespace a");
            let mut command = std::process::Command::new("sleep");
            let _sleeper = a.spawn(command.arg("100")).expect("a sleeper");
            a.path().clone_into(&mut path.lock().expect("not poisoned"));
            panic!("on purpose");
        });
        assert!(result.is_err());
        assert!(!path.lock().expect("not poisoned").exists(), "the panic left a namespace");
    }
}
