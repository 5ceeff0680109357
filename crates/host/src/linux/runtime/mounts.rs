//! Small mount operations that the view of a workload is made of. All of them happen in its mount namespace.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::User;
use super::fault::{Doing, Fault};

/// No set-user-id programs, no devices: the flags of everything a workload sees.
pub(super) const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const NONE: Option<&str> = None;

/// Shows `source` (one file system, nothing mounted below it) at `target` with `flags`.
pub(super) fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<(), Fault> {
    let what = || format!("showing {}", target.display());
    mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE).doing(what)?;
    let mut flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    if statvfs(target).doing(what)?.flags().contains(FsFlags::ST_NOEXEC) {
        flags |= MsFlags::MS_NOEXEC;
    }
    mount(NONE, target, NONE, flags, NONE).doing(what)
}

/// Shows a file or a folder read-only, making an empty file or folder to show it at; whether with `ids`, as
/// [`super::ids`] says. Not every file system, and no kernel before 5.12, can do that.
pub(super) fn show(source: &Path, target: &Path, ids: Option<&OwnedFd>) -> Result<bool, Fault> {
    make_place(source, target).doing(|| format!("making a place for {}", target.display()))?;
    if let Some(ids) = ids
        && let Ok(tree) = mapped(source, ids)
    {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(&tree, "", CWD, target, flags)
            .doing(|| format!("showing {}", target.display()))?;
        return Ok(true);
    }
    bind(source, target, PLAIN | MsFlags::MS_RDONLY).map(|()| false)
}

/// A copy of the mount that `source` is on, seen through the maps of a user namespace; not mounted yet.
#[expect(unsafe_code, reason = "mount_setattr has no safe form")]
fn mapped(source: &Path, ids: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attributes = libc::mount_attr {
        attr_set: set | libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(ids.as_raw_fd()).map_err(io::Error::other)?,
    };
    // SAFETY: the path ends with NUL, and the kernel reads as many bytes of `attributes` as are named, which lives on.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(tree) } else { Err(io::Error::last_os_error()) }
}

fn make_place(source: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    if fs::metadata(source)?.is_dir() {
        return fs::create_dir_all(target);
    }
    target.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(target).map(drop)
}

/// A file system in memory.
pub(super) struct Memory {
    /// Permission bits of its root.
    pub(super) mode: u32,
    /// Bound in bytes.
    pub(super) bytes: u64,
    /// Whose its root is; `None` is the host's root.
    pub(super) owner: Option<User>,
    /// Added to "no set-user-id programs".
    pub(super) flags: MsFlags,
}

impl Memory {
    /// Mounts it at `target`, which is made when missing.
    pub(super) fn mount(&self, target: &Path) -> Result<(), Fault> {
        let what = || format!("mounting memory at {}", target.display());
        fs::create_dir_all(target).doing(what)?;
        let (uid, gid) = self.owner.map_or((0, 0), |user| (user.uid, user.gid));
        let inodes = (self.bytes / 1024).clamp(64, 65_536);
        let options = format!(
            "mode={:o},size={},nr_inodes={inodes},uid={uid},gid={gid}",
            self.mode, self.bytes
        );
        let flags = self.flags | MsFlags::MS_NOSUID;
        mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str())).doing(what)
    }
}

/// Makes a folder or a file unreadable: an empty folder or an empty file takes its place. What is not there stays so.
pub(super) fn mask(target: &Path, null: &Path) -> Result<(), Fault> {
    let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(()) };
    if metadata.is_symlink() {
        return Ok(());
    }
    if metadata.is_dir() {
        let flags = PLAIN | MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
        return Memory { mode: 0o555, bytes: 4096, owner: None, flags }.mount(target);
    }
    bind(null, target, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY)
}

/// Makes a mount, or a folder of one, read-only, keeping it where it is.
pub(super) fn freeze(target: &Path) -> Result<(), Fault> {
    if !target.exists() {
        return Ok(());
    }
    bind(target, target, PLAIN | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY)
}

/// Mounts a kernel file system.
pub(super) fn kernel(
    name: &str,
    target: &Path,
    flags: MsFlags,
    options: &str,
) -> Result<(), Fault> {
    let what = || format!("mounting {name} at {}", target.display());
    fs::create_dir_all(target).doing(what)?;
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(name), target, Some(name), flags, Some(options)).doing(what)
}

/// A folder with exactly these permissions.
pub(super) fn folder(target: &Path, mode: u32, owner: Option<User>) -> Result<(), Fault> {
    let what = || format!("making {}", target.display());
    fs::create_dir_all(target).doing(what)?;
    fs::set_permissions(target, Permissions::from_mode(mode)).doing(what)?;
    let owner = owner.map(|user| (Some(user.uid), Some(user.gid)));
    let (uid, gid) = owner.unwrap_or_default();
    std::os::unix::fs::chown(target, uid, gid).doing(what)
}
