//! The cgroups of a workload, on hosts with version 1, version 2 or both (hybrid) mounted.
//!
//! Every hierarchy that matters gets the same path: the workload in `<spec.cgroup>`, supervisors in `shims` beside it.
//! Hierarchies are the unified one, the version 1 ones with a controller that [`Limits`] needs, and systemd's named one,
//! because systemd kills by it when the agent's service stops. A limit that was asked for and that no mounted controller
//! can hold is an error, never silently dropped.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::spec::DEFAULT_PIDS;
use super::{Error, Limits};

const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];
const BUSY_LIMIT: Duration = Duration::from_secs(3);
const MAX_RACES: usize = 100;
const CPU_PERIOD_US: u64 = 100_000;

/// A mounted cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    One { controllers: Vec<String> },
    Two,
}

/// The hierarchies that are mounted and matter, each once.
fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(root) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut right = right.split(' ');
        let version = match (right.next(), right.nth(1)) {
            (Some("cgroup2"), _) => Version::Two,
            (Some("cgroup"), Some(options)) => {
                let wanted = |name: &&str| CONTROLLERS.contains(name) || *name == "name=systemd";
                let controllers: Vec<String> =
                    options.split(',').filter(wanted).map(str::to_owned).collect();
                if controllers.is_empty() {
                    continue;
                }
                Version::One { controllers }
            }
            _ => continue,
        };
        if !found.iter().any(|other| other.version == version) {
            found.push(Hierarchy { root, version });
        }
    }
    found
}

/// Where the unified hierarchy (version 2) is mounted; `None` where it is not.
pub(crate) fn unified() -> io::Result<Option<PathBuf>> {
    let mut all = hierarchies()?.into_iter();
    Ok(all.find(|one| one.version == Version::Two).map(|one| one.root))
}

impl Hierarchy {
    /// Whether files of `controller` exist in the groups below `parent`.
    fn has(&self, controller: &str, parent: &Path) -> bool {
        match &self.version {
            Version::One { controllers } => controllers.iter().any(|name| name == controller),
            Version::Two => {
                fs::read_to_string(self.root.join(parent).join("cgroup.subtree_control"))
                    .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller))
            }
        }
    }

    /// Makes `parent` and lets its children use the controllers, as far as the host does.
    fn prepare(&self, parent: &Path) -> io::Result<()> {
        let folder = self.root.join(parent);
        fs::create_dir_all(&folder)?;
        if self.version == Version::Two {
            let mut levels: Vec<&Path> = folder.ancestors().collect();
            levels.retain(|level| level.starts_with(&self.root));
            for level in levels.into_iter().rev() {
                for controller in CONTROLLERS {
                    // Refused where the controller is bound to version 1; `has` looks at the result.
                    fs::write(level.join("cgroup.subtree_control"), format!("+{controller}")).ok();
                }
            }
        }
        Ok(())
    }
}

/// Makes the cgroup of a workload and sets its limits. Nothing is in it yet.
pub(super) fn create(path: &Path, limits: &Limits) -> io::Result<()> {
    let hierarchies = hierarchies()?;
    for hierarchy in &hierarchies {
        make_below(hierarchy, path)?;
    }
    let pids = limits.pids.unwrap_or(DEFAULT_PIDS).to_string();
    let held = set(&hierarchies, path, "pids", ("pids.max", "pids.max", pids))?;
    require(held || limits.pids.is_none(), "pids")?;
    if let Some(bytes) = limits.memory_bytes {
        let file = ("memory.limit_in_bytes", "memory.max", bytes.to_string());
        require(set(&hierarchies, path, "memory", file)?, "memory")?;
    }
    if let Some(milli) = limits.cpu_milli {
        // A quota without a period keeps the kernel's period, which is the one assumed here, in both versions.
        let quota = (u64::from(milli) * CPU_PERIOD_US / 1000).to_string();
        let file = ("cpu.cfs_quota_us", "cpu.max", quota);
        require(set(&hierarchies, path, "cpu", file)?, "cpu")?;
    }
    Ok(())
}

fn require(held: bool, controller: &str) -> io::Result<()> {
    let missing = || {
        let text = format!("the host has no {controller} controller for the limit that was asked");
        io::Error::new(ErrorKind::Unsupported, text)
    };
    held.then_some(()).ok_or_else(missing)
}

/// Writes a limit where its controller is; whether one was found.
fn set(
    hierarchies: &[Hierarchy],
    path: &Path,
    controller: &str,
    (old, new, value): (&str, &str, String),
) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut held = false;
    for hierarchy in hierarchies.iter().filter(|one| one.has(controller, parent)) {
        let name = if hierarchy.version == Version::Two { new } else { old };
        fs::write(hierarchy.root.join(path).join(name), &value)?;
        held = true;
    }
    Ok(held)
}

/// Makes a group and its parents, though [`remove`] for the last other workload may be taking them away.
fn make_below(hierarchy: &Hierarchy, path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut made = Ok(());
    for _ in 0..MAX_RACES {
        made = hierarchy.prepare(parent).and_then(|()| make(&hierarchy.root.join(path)));
        if !made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            break;
        }
    }
    made
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The way into a cgroup, opened before the calling process leaves the host's files.
#[derive(Debug)]
pub(super) struct Door(Vec<File>);

impl Door {
    /// Opens it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let procs = |one: Hierarchy| {
            File::options().write(true).open(one.root.join(path).join("cgroup.procs"))
        };
        hierarchies()?.into_iter().map(procs).collect::<io::Result<_>>().map(Self)
    }

    /// Moves the calling process in.
    pub(super) fn pass(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|mut procs| procs.write_all(b"0"))
    }
}

/// Moves the calling process into the cgroup of a workload.
pub(super) fn join(path: &Path) -> io::Result<()> {
    Door::open(path)?.pass()
}

/// Moves the calling process into a cgroup of the unified hierarchy, by its path there.
///
/// # Errors
/// The system's answer; `NotFound` where there is no such cgroup, or no such hierarchy.
pub fn join_unified(path: &Path) -> io::Result<()> {
    let root = unified()?.ok_or(ErrorKind::NotFound)?;
    fs::write(root.join(path).join("cgroup.procs"), "0")
}

/// Moves the calling supervisor out of the agent's cgroup, so that what ends the agent does not end workloads.
pub(super) fn join_shims(path: &Path) -> io::Result<()> {
    let shims = path.parent().unwrap_or(Path::new("")).join("shims");
    for hierarchy in hierarchies()? {
        make_below(&hierarchy, &shims)?;
    }
    join(&shims)
}

/// Moves the calling supervisor to the top, because a group with a process in it cannot be removed.
pub(super) fn leave() -> io::Result<()> {
    join(Path::new(""))
}

fn shims(hierarchy: &Hierarchy, parent: &Path) -> PathBuf {
    hierarchy.root.join(parent).join("shims")
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when the last process left")]
/// Removes the cgroup of a workload whose processes are ending, and the parents that nobody uses any more.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let read = |source| Error::Read { path: "/proc/self/mountinfo".into(), source };
    let parent = path.parent().unwrap_or(Path::new(""));
    for hierarchy in hierarchies().map_err(read)? {
        let folder = hierarchy.root.join(path);
        let until = Instant::now() + BUSY_LIMIT;
        while let Err(source) = remove_one(&folder) {
            if source.kind() != ErrorKind::ResourceBusy || Instant::now() > until {
                return Err(Error::Remove { path: folder, source });
            }
            // Killed processes leave their cgroup a moment after their parent has seen them end.
            std::thread::sleep(Duration::from_millis(5));
        }
        // Fails while others use them, which is how it is known that others use them.
        fs::remove_dir(shims(&hierarchy, parent)).ok();
        for level in parent.ancestors().filter(|level| *level != Path::new("")) {
            fs::remove_dir(hierarchy.root.join(level)).ok();
        }
    }
    Ok(())
}

fn remove_one(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
52 31 0:38 / /mnt/again rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_host_has_each_hierarchy_once() {
        let names = |version: &Version| match version {
            Version::One { controllers } => controllers.join(","),
            Version::Two => "2".to_owned(),
        };
        let found: Vec<String> = parse(HYBRID)
            .iter()
            .map(|one| format!("{} {}", one.root.display(), names(&one.version)))
            .collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/cpu cpu",
                "/sys/fs/cgroup/pids pids",
                "/sys/fs/cgroup/systemd name=systemd",
                "/sys/fs/cgroup/unified 2",
            ]
        );
    }

    #[test]
    fn a_unified_host_has_one() {
        let found =
            parse("25 24 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate");
        assert_eq!(found, [Hierarchy { root: "/sys/fs/cgroup".into(), version: Version::Two }]);
    }
}
