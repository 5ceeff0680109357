//! The BPF file system that the pins live on, mounted when nobody has done so.
//!
//! Under `/sys/fs/bpf` it is mounted there, as systemd does; any other folder gets one of its own.
//! What we mounted carries our name as its source, and goes when the last pin has gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};

use super::Error;

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where distributions mount it.
const USUAL: &str = "/sys/fs/bpf";
/// The source that our mounts show in `/proc/self/mountinfo`.
const SOURCE: &str = "bulkhead";

/// Makes `folder` on a BPF file system.
pub(super) fn prepare(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    let place = place(folder);
    if place != Path::new(USUAL) {
        fs::create_dir_all(&place).map_err(failed)?;
    }
    if !is_bpffs(&nearest(folder)) {
        let none = None::<&str>;
        nix::mount::mount(Some(SOURCE), &place, Some("bpf"), MsFlags::empty(), none)
            .map_err(|errno| failed(errno.into()))?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    if is_bpffs(folder) { Ok(()) } else { Err(Error::NotBpffs(folder.to_owned())) }
}

/// Removes the empty folder and unmounts what [`prepare`] mounted, once that is empty; leaves
/// everybody else's.
pub(super) fn release_folder(folder: &Path) -> Result<(), Error> {
    let place = place(folder);
    if place != folder {
        fs::remove_dir(folder)
            .map_err(|source| Error::Unpin { path: folder.to_owned(), source })?;
    }
    // The kernel's own two files end in `.debug`.
    let empty = fs::read_dir(&place).is_ok_and(|entries| {
        entries.flatten().all(|entry| entry.path().extension().is_some_and(|e| e == "debug"))
    });
    if !empty || !is_ours(&place) {
        return Ok(());
    }
    nix::mount::umount2(&place, MntFlags::MNT_DETACH)
        .map_err(|errno| Error::Unpin { path: place, source: errno.into() })
}

fn place(folder: &Path) -> PathBuf {
    if folder.starts_with(USUAL) { PathBuf::from(USUAL) } else { folder.to_owned() }
}

/// The folder itself or the nearest one above it that exists.
fn nearest(folder: &Path) -> PathBuf {
    folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether a path lies on a BPF file system.
pub(super) fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC))
}

/// Whether we mounted what is mounted there.
fn is_ours(place: &Path) -> bool {
    let read = || -> io::Result<bool> {
        // Fields: id, parent, device, root, mount point, options, ... "-", type, source.
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(table.lines().rev().any(|line| {
            let mut fields = line.split(' ');
            let at_place = fields.nth(4).is_some_and(|point| Path::new(point) == place);
            let mut tail = fields.skip_while(|field| *field != "-").skip(1);
            at_place && tail.next() == Some("bpf") && tail.next() == Some(SOURCE)
        }))
    };
    read().unwrap_or(false)
}
