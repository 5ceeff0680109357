//! Which open files pass from one process to the next: the standard streams, and nothing that was not asked for.
//!
//! What the caller of a command had open would be a way out of a workload: with a folder of the host as descriptor 9,
//! `/proc/<pid>/fd/9/..` leads through the host's file system, for every process that has the same user. So `enter` and
//! the supervisor begin by closing everything, and every program is executed with everything marked to be closed.

use std::fs;
use std::io;
use std::os::fd::{AsFd, RawFd};

use rustix::fs::{FileType, fstat};

use super::fault::{Doing, Fault};

/// The last standard stream.
const STANDARD: RawFd = 2;
/// `CLOSE_RANGE_CLOEXEC` of `linux/close_range.h`, since Linux 5.11.
const MARK: libc::c_uint = 1 << 2;

/// Closes every descriptor but the standard streams and `kept`. Nothing in this process may own one of the others.
pub(super) fn close_others(kept: &[RawFd]) -> io::Result<()> {
    for fd in open()?.into_iter().filter(|fd| !kept.contains(fd)) {
        // The listed folder's own descriptor is in the list and closed already.
        nix::unistd::close(fd).ok();
    }
    Ok(())
}

/// Marks every descriptor but the standard streams to be closed when a program is executed.
#[expect(unsafe_code, reason = "marking what this process does not own has no safe form")]
pub(super) fn close_on_exec() -> io::Result<()> {
    // SAFETY: takes three numbers and closes nothing now.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, STANDARD + 1, libc::c_uint::MAX, MARK) };
    if done == 0 {
        return Ok(());
    }
    for fd in open()? {
        // SAFETY: sets a flag of a descriptor; one that is closed already answers EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Everything that is open above the standard streams.
fn open() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|fd| fd.parse::<RawFd>().ok()));
    }
    open.retain(|fd| *fd > STANDARD);
    Ok(open)
}

/// Refuses standard streams that are folders: they would be a way to the host's files as any other descriptor.
pub(super) fn check_streams() -> Result<(), Fault> {
    let refuse = |name: &str, stream: &dyn AsFd| {
        let found = fstat(stream.as_fd()).doing(|| format!("looking at {name}"))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Fault::new(format!("{name} is a folder of the host")));
        }
        Ok(())
    };
    refuse("standard input", &io::stdin())?;
    refuse("standard output", &io::stdout())?;
    refuse("standard error", &io::stderr())
}
