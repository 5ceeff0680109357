//! What a workload sees of the host's files: programs read-only, secrets not at all, everything writable private.
//!
//! The new root is a small tmpfs. On it:
//! * read-only from the host, as far as they exist: [`SHOWN`], with disks mounted below them; the program itself when
//!   `run:` names it by an absolute path outside of these; and what [`super::Spec::read_only`] adds;
//! * private and writable: `/tmp`, `/run`, `/var` (with `tmp`, `log`, `lib`, `cache`), `/dev/shm`, `/data`;
//! * made for it: `/proc` of its own pid namespace, `/sys` of its own network (read-only, without firmware, kernel and
//!   cgroup files), a `/dev` with seven nodes, `/etc/passwd` and `/etc/group` with its user, `/etc/hosts`,
//!   `/etc/hostname`, `/etc/resolv.conf` without resolvers that listen on the host's loopback;
//! * empty: [`MASKED`], whatever the agent keeps, and everything else of the host, which is not there at all.
//!
//! Not a recursive read-only bind of the host's root: that would show every mount of the host (other containers' root file
//! systems, network shares) and every world-connectable unix socket below `/var`. A list of what is shown fails closed.
//! Sockets below that list are seen and not reached: it is mounted with the ids of [`super::ids`], or where the file
//! system cannot have that, those that exist at the start are hidden.
//!
//! **Limits.** Without `pivot_root` (a host that runs from its initramfs) the root is moved and entered by `chroot`
//! instead; leaving that needs `CAP_SYS_CHROOT`, which no workload has, and a system call that the filter refuses.

mod etc;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, pivot_root};

use super::Spec;
use super::fault::{Doing, Fault};
use super::mounts::{Memory, PLAIN, bind, folder, freeze, kernel, mask, show};
use super::program::DATA;
use super::spec::Record;

/// Folders of the host that a workload sees read-only. A symbolic link among them is copied.
pub(super) const SHOWN: [&str; 12] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "srv", "nix", "gnu"];

/// Shown as well, in the private `/var`.
const SHOWN_VAR: &str = "/var/www";

/// Of these, programs and what they load, where no daemon has its socket: not searched for any.
const PROGRAMS: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu"];
/// Most files that are searched for sockets; a start must not take longer for all of somebody's data.
const SEARCHED: u32 = 200_000;

/// Secrets in what is shown. Nobody inside could read them anyway; this way their names lead nowhere.
const MASKED: [&str; 19] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/wireguard",
    "/etc/ipsec.secrets",
    "/etc/ppp",
    "/etc/bulkhead",
    "/etc/kubernetes",
    "/etc/docker",
    "/etc/NetworkManager",
    "/etc/systemd/network",
    "/etc/netplan",
];

const PROC_READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const PROC_MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
];
const SYS_MASKED: [&str; 7] = [
    "/sys/firmware",
    "/sys/kernel",
    "/sys/fs",
    "/sys/power",
    "/sys/module",
    "/sys/hypervisor",
    "/sys/dev",
];
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// File systems of the host that may be mounted below [`SHOWN`] and are shown, too.
const DISKS: [&str; 12] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "erofs", "squashfs",
    "overlay", "virtiofs",
];

/// Where the host's root is while the view is made.
const OLD: &str = "/.host";
const SKELETON_BYTES: u64 = 4 * 1024 * 1024;
const DEV_BYTES: u64 = 64 * 1024;

/// What was looked up on the host before its root was left.
struct Plan {
    /// Folders, files and disks to show: canonical path on the host, place in the view.
    shown: Vec<(PathBuf, PathBuf)>,
    /// The program, when it is named by an absolute path.
    program: Option<(PathBuf, PathBuf)>,
    /// Canonical path of the persistent data folder.
    data: Option<PathBuf>,
    /// Texts for `/etc`.
    etc: etc::Texts,
}

/// Replaces the calling process's root by the view. It is in a mount namespace of its own, and root.
///
/// `ids` is how what is shown is seen; see [`super::ids`].
pub(super) fn enter(record: &Record, stage: &Path, ids: Option<&OwnedFd>) -> Result<(), Fault> {
    let spec = &record.spec;
    let plan = look(spec)?;
    let mut shown = Shown { ids, plain: Vec::new() };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(not_private)?;
    change_root(stage)?;
    show_host(&plan, &mut shown)?;
    make_writable(spec, &plan, &mut shown)?;
    make_proc()?;
    make_sys()?;
    make_dev(spec)?;
    plan.etc.place()?;
    hide(&record.hidden)?;
    show_named(&plan, &mut shown)?;
    shown.hide_sockets()?;
    leave_host()
}

/// Why mounts could not be made private. `mount` refuses to change what is no mount point: the root of most chroots.
fn not_private(errno: Errno) -> Fault {
    let what = "making mounts private";
    if errno != Errno::EINVAL {
        return Fault::new(format!("{what}: {}", io::Error::from(errno)));
    }
    Fault::new(format!(
        "{what}: the root folder of the agent is no mount point, it runs in a chroot; start the agent outside of it, or make that \
         folder a mount point first: mount --bind DIR DIR, then chroot DIR bulkhead agent"
    ))
}

/// What is shown of the host, and how.
struct Shown<'a> {
    ids: Option<&'a OwnedFd>,
    /// Shown as it is, because its file system can do no better.
    plain: Vec<PathBuf>,
}

impl Shown<'_> {
    fn show(&mut self, source: &Path, target: &Path) -> Result<(), Fault> {
        if !show(source, target, self.ids)? {
            self.plain.push(target.to_owned());
        }
        Ok(())
    }

    /// Hides the sockets in what is shown as it is: reading only does not keep anybody from connecting.
    fn hide_sockets(&self) -> Result<(), Fault> {
        let null = old(Path::new("/dev/null"));
        let searched = |path: &&PathBuf| !PROGRAMS.iter().any(|top| path.starts_with(top));
        // Level by level: daemons have their sockets near the top, the deep trees are data.
        let mut folders: VecDeque<PathBuf> = self.plain.iter().filter(searched).cloned().collect();
        let mut left = SEARCHED;
        while let Some(folder) = folders.pop_front() {
            // A single file, or a folder that cannot be read.
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push_back(entry.path()),
                    Ok(kind) if kind.is_socket() => mask(&entry.path(), &null)?,
                    _ => {}
                }
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn look(spec: &Spec) -> Result<Plan, Fault> {
    let canonical =
        |path: &Path| fs::canonicalize(path).doing(|| format!("finding {}", path.display()));
    let mut shown = disks().doing(|| "reading the host's mounts".to_owned())?;
    for path in &spec.read_only {
        shown.push((canonical(path)?, path.clone()));
    }
    let program = spec.argv.first().map(PathBuf::from).filter(|path| path.is_absolute());
    let program = program.and_then(|path| Some((fs::canonicalize(&path).ok()?, path)));
    let program = program.filter(|(canonical, _)| canonical.is_file());
    let data = spec.data.as_deref().map(canonical).transpose()?;
    Ok(Plan { shown, program, data, etc: etc::Texts::read(spec)? })
}

/// Disks of the host that are mounted below what is shown.
fn disks() -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mountinfo.lines().filter_map(shown_disk).map(|path| (path.clone(), path)).collect())
}

fn shown_disk(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    // Blanks in paths are written as octal escapes; such a disk is left out.
    let path = left.split(' ').nth(4).filter(|path| !path.contains('\\'))?;
    let is_disk = DISKS.contains(&right.split(' ').next()?);
    let below =
        |top: &str| path.strip_prefix('/').is_some_and(|path| path.starts_with(&format!("{top}/")));
    (is_disk && SHOWN.into_iter().any(below)).then(|| PathBuf::from(path))
}

/// The place of a host path while the view is made.
fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn change_root(stage: &Path) -> Result<(), Fault> {
    let skeleton =
        Memory { mode: 0o755, bytes: SKELETON_BYTES, owner: None, flags: MsFlags::MS_NODEV };
    skeleton.mount(stage)?;
    let host = stage.join(OLD.trim_start_matches('/'));
    folder(&host, 0o700, None)?;
    let what = || "leaving the host's root".to_owned();
    match pivot_root(stage, &host) {
        Ok(()) => {}
        Err(Errno::EINVAL) => {
            // The initramfs cannot be left, only covered.
            let all = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some("/"), &host, None::<&str>, all, None::<&str>).doing(what)?;
            chdir(stage).doing(what)?;
            mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).doing(what)?;
            chroot(".").doing(what)?;
        }
        Err(errno) => return Err(errno).doing(what),
    }
    chdir("/").doing(what)
}

fn leave_host() -> Result<(), Fault> {
    let what = || "leaving the host's files".to_owned();
    umount2(OLD, MntFlags::MNT_DETACH).doing(what)?;
    fs::remove_dir(OLD).doing(what)?;
    let frozen = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | PLAIN | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/", None::<&str>, frozen, None::<&str>).doing(what)
}

fn show_host(plan: &Plan, shown: &mut Shown<'_>) -> Result<(), Fault> {
    for name in SHOWN {
        let (source, target) = (Path::new(OLD).join(name), Path::new("/").join(name));
        let Ok(metadata) = fs::symlink_metadata(&source) else { continue };
        if metadata.is_symlink() {
            fs::read_link(&source)
                .and_then(|link| std::os::unix::fs::symlink(link, &target))
                .doing(|| format!("copying the link /{name}"))?;
        } else {
            shown.show(&source, &target)?;
        }
    }
    // Parents come before what is mounted below them, as in the host's own list.
    let mut below = plan.shown.iter().filter(|(_, target)| is_below_shown(target));
    below.try_for_each(|(source, target)| shown.show(&old(source), target))
}

fn is_below_shown(target: &Path) -> bool {
    SHOWN.iter().any(|name| target.starts_with(Path::new("/").join(name)))
}

/// What lies outside of the shown folders comes last, because its place may be on a private file system.
fn show_named(plan: &Plan, shown: &mut Shown<'_>) -> Result<(), Fault> {
    let mut beside = plan.shown.iter().filter(|(_, target)| !is_below_shown(target));
    beside.try_for_each(|(source, target)| shown.show(&old(source), target))?;
    let mut program = plan.program.iter().filter(|(_, target)| !target.exists());
    program.try_for_each(|(source, target)| shown.show(&old(source), target))
}

fn make_writable(spec: &Spec, plan: &Plan, shown: &mut Shown<'_>) -> Result<(), Fault> {
    let (sizes, owner) = (spec.tmpfs, Some(spec.host_user()));
    let memory = |mode, bytes, owner| Memory { mode, bytes, owner, flags: MsFlags::MS_NODEV };
    memory(0o1777, sizes.tmp_bytes, None).mount(Path::new("/tmp"))?;
    memory(0o755, sizes.run_bytes, owner).mount(Path::new("/run"))?;
    memory(0o755, sizes.var_bytes, None).mount(Path::new("/var"))?;
    folder(Path::new("/var/tmp"), 0o1777, None)?;
    for name in ["log", "lib", "cache"] {
        folder(&Path::new("/var").join(name), 0o755, owner)?;
    }
    std::os::unix::fs::symlink("/run", "/var/run").doing(|| "making /var/run".to_owned())?;
    let www = old(Path::new(SHOWN_VAR));
    if fs::symlink_metadata(&www).is_ok_and(|metadata| metadata.is_dir()) {
        shown.show(&www, Path::new(SHOWN_VAR))?;
    }
    folder(Path::new("/root"), 0o700, owner.filter(|_| spec.user.is_root()))?;
    folder(Path::new("/home"), 0o755, None)?;
    match &plan.data {
        None => memory(0o700, sizes.data_bytes, owner).mount(Path::new(DATA)),
        Some(source) => {
            folder(Path::new(DATA), 0o755, None)?;
            bind(&old(source), Path::new(DATA), PLAIN)
        }
    }
}

fn make_proc() -> Result<(), Fault> {
    kernel("proc", Path::new("/proc"), MsFlags::MS_NODEV, "")?;
    PROC_READ_ONLY.iter().try_for_each(|path| freeze(Path::new(path)))?;
    mask_all(&PROC_MASKED)
}

fn make_sys() -> Result<(), Fault> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    kernel("sysfs", Path::new("/sys"), flags, "")?;
    mask_all(&SYS_MASKED)
}

fn mask_all(paths: &[&str]) -> Result<(), Fault> {
    let null = old(Path::new("/dev/null"));
    paths.iter().try_for_each(|path| mask(Path::new(path), &null))
}

fn make_dev(spec: &Spec) -> Result<(), Fault> {
    let dev = Path::new("/dev");
    let flags = MsFlags::MS_NOEXEC;
    Memory { mode: 0o755, bytes: DEV_BYTES, owner: None, flags }.mount(dev)?;
    for name in NODES {
        let target = dev.join(name);
        fs::write(&target, []).doing(|| format!("making {}", target.display()))?;
        bind(&old(&target), &target, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)?;
    }
    kernel("devpts", &dev.join("pts"), MsFlags::empty(), "newinstance,ptmxmode=0666,mode=0620")?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (link, name) in links {
        std::os::unix::fs::symlink(link, dev.join(name)).doing(|| format!("making /dev/{name}"))?;
    }
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let shm = Memory { mode: 0o1777, bytes: spec.tmpfs.shm_bytes, owner: None, flags };
    shm.mount(&dev.join("shm"))?;
    let frozen = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | flags_of_dev();
    mount(None::<&str>, dev, None::<&str>, frozen, None::<&str>)
        .doing(|| "making /dev read-only".to_owned())
}

fn flags_of_dev() -> MsFlags {
    MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY
}

/// Hides secrets, and the folders of the agent where they lie in what is shown.
fn hide(hidden: &[PathBuf]) -> Result<(), Fault> {
    mask_all(&MASKED)?;
    let null = old(Path::new("/dev/null"));
    hidden.iter().filter(|path| is_below_shown(path)).try_for_each(|path| mask(path, &null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_in_a_chroot_is_told_what_to_do() {
        let told = not_private(Errno::EINVAL).to_string();
        assert!(told.contains("runs in a chroot") && told.contains("mount --bind"), "{told}");
        let other = not_private(Errno::EPERM).to_string();
        assert!(other.starts_with("making mounts private: Operation not permitted"), "{other}");
    }

    #[test]
    fn only_disks_below_what_is_shown_are_shown() {
        let line = |path: &str, kind: &str| format!("31 23 0:28 / {path} rw - {kind} none rw");
        let shown = |path, kind| shown_disk(&line(path, kind)).is_some();
        assert!(shown("/opt/site", "ext4"));
        assert!(!shown("/opt/site", "tmpfs"));
        assert!(!shown("/usr", "ext4"), "crossed by the folder itself");
        assert!(!shown("/var/lib/docker/overlay2/x/merged", "overlay"));
        assert!(!shown("/optical", "ext4"));
        assert!(!shown("/opt/a\\040b", "ext4"));
    }
}
