//! Child processes that always end: commands with a deadline, and guards that kill on drop.
//!
//! Output goes to unlinked temporary files, not to pipes: a daemon that keeps stdout open can then
//! neither block the reader nor be killed by a closed pipe.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output (lossy UTF-8).
    pub stdout: String,
    /// Its standard error (lossy UTF-8).
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Turns a non-zero exit into an error that carries both outputs.
    ///
    /// # Errors
    /// When the command did not exit with 0.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}: stdout: {} stderr: {}", self.status, self.stdout.trim(), self.stderr.trim())
    }
}

/// Runs `command` to its end, at most for `deadline`; it is killed when it takes longer.
///
/// # Errors
/// When it cannot be started or does not end in time. A non-zero exit is not an error here.
pub fn run_with_deadline(
    command: &mut Command,
    stdin: Option<&[u8]>,
    deadline: Duration,
) -> Result<Finished> {
    let mut process = Proc::spawn(command, stdin)?;
    if !process.wait_exit(deadline)? {
        bail!("{} did not end within {deadline:?}", process.name);
    }
    process.finish()
}

/// A running child. Dropping it ends it: SIGTERM, two seconds later SIGKILL.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Proc {
    /// Starts `command` with `stdin` as its whole input.
    ///
    /// # Errors
    /// When a temporary file or the process cannot be made.
    pub fn spawn(command: &mut Command, stdin: Option<&[u8]>) -> Result<Self> {
        let name = format!("{command:?}");
        let stdout = tempfile::tempfile().context("make the stdout file")?;
        let stderr = tempfile::tempfile().context("make the stderr file")?;
        let input = match stdin {
            None => Stdio::null(),
            Some(bytes) => {
                let mut file = tempfile::tempfile().context("make the stdin file")?;
                file.write_all(bytes)?;
                file.seek(SeekFrom::Start(0))?;
                Stdio::from(file)
            }
        };
        let child = command
            .stdin(input)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, stdout, stderr })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True once it has ended; waits for that at most `deadline`.
    ///
    /// # Errors
    /// When the process cannot be watched.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<bool> {
        let end = Instant::now() + deadline;
        if self.child.try_wait()?.is_some() {
            return Ok(true);
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("open a pidfd")?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("turn the deadline into a timespec")?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(self.child.try_wait()?.is_some()),
                Err(rustix::io::Errno::INTR) => {}
                Err(cause) => return Err(cause).context("wait for a child"),
            }
        }
    }

    /// Sends a signal to this process only.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("pid out of range")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// SIGTERM, then SIGKILL after `grace`; gives what it left.
    ///
    /// # Errors
    /// When it cannot be signalled or waited for.
    pub fn stop(mut self, grace: Duration) -> Result<Finished> {
        self.end(grace)?;
        self.finish()
    }

    /// What it has printed so far: (stdout, stderr).
    ///
    /// # Errors
    /// When the temporary files cannot be read.
    pub fn output_so_far(&self) -> Result<(String, String)> {
        Ok((read_all(&self.stdout)?, read_all(&self.stderr)?))
    }

    fn end(&mut self, grace: Duration) -> Result<()> {
        if self.wait_exit(Duration::ZERO)? {
            return Ok(());
        }
        self.signal(Signal::SIGTERM)?;
        if !self.wait_exit(grace)? {
            self.child.kill().context("kill a child")?;
            self.child.wait().context("reap a child")?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Finished> {
        let status = self.child.wait().context("reap a child")?;
        let (stdout, stderr) = self.output_so_far()?;
        Ok(Finished { status, stdout, stderr })
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if self.end(Duration::from_secs(2)).is_err() {
            eprintln!("testkit: could not end {} (pid {})", self.name, self.child.id());
        }
    }
}

/// Reads a file that a child writes through a shared offset, without moving that offset.
fn read_all(file: &File) -> Result<String> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut bytes = Vec::new();
    File::open(&path).context("reopen an output file")?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_code_come_back() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo err >&2; exit 3"]);
        let done = run_with_deadline(&mut command, Some(b"in"), Duration::from_secs(5))
            .expect("sh is there");
        assert_eq!(
            (done.code(), done.stdout.as_str(), done.stderr.as_str()),
            (Some(3), "in", "err\n")
        );
        assert!(done.success().is_err(), "3 is not success");
    }

    #[test]
    fn a_command_that_hangs_is_killed_at_its_deadline() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = run_with_deadline(&mut command, None, Duration::from_millis(50))
            .expect_err("sleep 60 cannot end in 50 ms");
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
