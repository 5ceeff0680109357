//! One run of a workload, as its supervisor sees it: a pidfd of the init, its messages, and the program's output.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;

use super::init::Message;
use super::logs::{Lines, LogWriter, Stream};
use super::process::Process;

/// Bytes of output taken per stream before signals are looked at again.
const CHUNK_BYTES: usize = 16 * 1024;
/// Messages are a few words; an init that sends more than this without a line end is not ours any more.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Why the program was never started.
    pub(super) fault: Option<String>,
    /// The program's exit status.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
}

/// A stream of the program.
struct Output {
    pipe: File,
    lines: Lines,
    is_open: bool,
}

impl Output {
    fn new(pipe: OwnedFd, stream: Stream) -> io::Result<Self> {
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self { pipe: File::from(pipe), lines: Lines::new(stream), is_open: true })
    }

    /// Takes one chunk; whether there may be more.
    fn read(&mut self, log: &mut LogWriter, now: &str) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        match self.pipe.read(&mut chunk) {
            Ok(0) => self.is_open = false,
            Ok(count) => {
                self.lines.push(chunk.get(..count).unwrap_or_default(), log, now);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.is_open = false,
        }
        false
    }
}

/// A workload that has an init.
pub(super) struct Run {
    pid: Pid,
    process: Process,
    reports: File,
    unread: Vec<u8>,
    messages: Vec<Message>,
    outputs: [Output; 2],
    begun: Instant,
}

impl Run {
    /// Watches the child `pid` and the reading ends of its pipes.
    pub(super) fn new(pid: Pid, reports: OwnedFd, out: OwnedFd, err: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&reports, OFlags::NONBLOCK)?;
        Ok(Self {
            pid,
            process: Process::of_child(pid)?,
            reports: File::from(reports),
            unread: Vec::new(),
            messages: Vec::new(),
            outputs: [Output::new(out, Stream::Out)?, Output::new(err, Stream::Err)?],
            begun: Instant::now(),
        })
    }

    /// The init, as the host numbers it.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Since when it is there.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What becomes readable when something happened. Closed streams would be readable for ever and are left out.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let outputs = self.outputs.iter().filter(|output| output.is_open);
        let reports = self.messages.last().is_none_or(|last| *last == Message::Running);
        [self.process.as_fd()]
            .into_iter()
            .chain(reports.then(|| self.reports.as_fd()))
            .chain(outputs.map(|output| output.pipe.as_fd()))
    }

    /// Sends a signal to the init, which forwards it.
    pub(super) fn signal(&self, signal: Signal) {
        // A process that is gone is noticed by its pidfd.
        self.process.signal(signal).ok();
    }

    /// Whether the init is gone.
    pub(super) fn is_over(&self) -> bool {
        !self.process.is_alive()
    }

    /// Moves a chunk of each stream to the log.
    pub(super) fn read_output(&mut self, log: &mut LogWriter, now: &str) {
        for output in self.outputs.iter_mut().filter(|output| output.is_open) {
            output.read(log, now);
        }
    }

    /// The messages that came since the last call.
    pub(super) fn read_messages(&mut self) -> Vec<Message> {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.reports.read(&mut chunk) {
            self.unread.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if self.unread.len() > MAX_MESSAGE_BYTES {
                self.signal(Signal::KILL);
                break;
            }
        }
        let mut heard = Vec::new();
        while let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            heard.extend(serde_json::from_slice::<Message>(&line).ok());
        }
        self.messages.extend(heard.iter().cloned());
        heard
    }

    /// Takes what is left of output and messages, reaps the init, and says how the run ended.
    pub(super) fn finish(mut self, log: &mut LogWriter, now: &str) -> Outcome {
        self.read_messages();
        for output in &mut self.outputs {
            // Nobody writes any more, so this ends.
            while output.is_open && output.read(log, now) {}
            output.lines.finish(log, now);
        }
        let status = waitpid(self.pid, None);
        match self.messages.pop() {
            Some(Message::Failed(fault)) => Outcome { fault: Some(fault), ..Outcome::default() },
            Some(Message::Ended { code, signal }) => Outcome { fault: None, code, signal },
            // Killed from outside, or out of memory, and the program with it.
            Some(Message::Running) => of_init(status.ok()),
            None => {
                let fault = "it was killed while it was being started".to_owned();
                Outcome { fault: Some(fault), ..of_init(status.ok()) }
            }
        }
    }
}

fn of_init(status: Option<WaitStatus>) -> Outcome {
    match status {
        Some(WaitStatus::Exited(_, code)) => Outcome { code: Some(code), ..Outcome::default() },
        Some(WaitStatus::Signaled(_, signal, _)) => {
            Outcome { signal: Some(signal as i32), ..Outcome::default() }
        }
        _ => Outcome::default(),
    }
}
