//! Which process a number means: a pid together with its start time and boot, so that a reused pid is never mistaken for ours.
//!
//! Start times are field 22 of `/proc/<pid>/stat` (clock ticks since boot, `proc_pid_stat(5)`), stable over a process's
//! life. Signals go through a pidfd that was opened first and whose start time was compared afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process that can be told from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Process id on the host.
    pub(super) pid: u32,
    /// Start in clock ticks since boot.
    pub(super) started_ticks: u64,
    /// Which boot: the beginning of the kernel's `boot_id`.
    pub(super) boot: u64,
}

impl Identity {
    /// The process that has `pid` now.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started_ticks = start_ticks(&stat).ok_or_else(|| io::Error::other("odd stat line"))?;
        let boot = boot(&fs::read_to_string("/proc/sys/kernel/random/boot_id")?);
        let boot = boot.ok_or_else(|| io::Error::other("odd boot_id"))?;
        Ok(Self { pid, started_ticks, boot })
    }

    /// A handle to the process, or `None` when it is gone (a zombie is gone).
    pub(super) fn open(self) -> Option<Process> {
        let raw = i32::try_from(self.pid).ok()?;
        let fd = pidfd_open(Pid::from_raw(raw)?, PidfdFlags::empty()).ok()?;
        let process = Process { fd };
        let is_same = Self::of(self.pid).is_ok_and(|now| now == self);
        (is_same && process.is_alive()).then_some(process)
    }
}

fn boot(id: &str) -> Option<u64> {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok()
}

fn start_ticks(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses and may hold anything, so count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A handle to one process; never refers to another one.
#[derive(Debug)]
pub(super) struct Process {
    fd: OwnedFd,
}

impl Process {
    /// A child of the caller, which has not waited for it: its number cannot be another's.
    pub(super) fn of_child(pid: nix::unistd::Pid) -> io::Result<Self> {
        let pid = Pid::from_raw(pid.as_raw()).ok_or(Errno::SRCH)?;
        Ok(Self { fd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Whether it has not ended. A zombie has.
    pub(super) fn is_alive(&self) -> bool {
        !self.wait(Duration::ZERO)
    }

    /// Waits until it ended, at most `limit`; whether it did.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) if left.is_zero() => return false,
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Sends a signal; that the process is gone is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fork {
    /// The new process.
    Child,
    /// The process that forked, and its child.
    Parent(nix::unistd::Pid),
}

/// Proof that this process has one thread. It stays true: nothing in the runtime starts another.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneThread(());

impl OneThread {
    /// Looks; an error when there are more threads.
    pub(super) fn prove() -> io::Result<Self> {
        let threads = fs::read_dir("/proc/self/task")?.count();
        let refused =
            || io::Error::other(format!("this process has {threads} threads, so it cannot fork"));
        (threads == 1).then_some(Self(())).ok_or_else(refused)
    }

    /// Forks.
    #[expect(unsafe_code, reason = "fork has no safe form")]
    pub(super) fn fork(_proof: Self) -> io::Result<Fork> {
        // SAFETY: with one thread, no lock is held and no state is half-written in the child, so it may run any code.
        match unsafe { nix::unistd::fork() }? {
            nix::unistd::ForkResult::Child => Ok(Fork::Child),
            nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        }
    }
}

/// Ends a forked process, whose callers are the parent's code and must not run.
#[expect(clippy::disallowed_methods, reason = "returning would go on as the parent")]
pub(super) fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// `duration` as the kernel wants it.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_with_spaces_and_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks("7 (x) S 1"), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = Identity::of(std::process::id()).expect("own stat line");
        assert!(own.open().is_some());
        let other = Identity { started_ticks: own.started_ticks + 1, ..own };
        assert!(other.open().is_none());
        let earlier = Identity { boot: own.boot ^ 1, ..own };
        assert!(earlier.open().is_none());
    }
}
