//! A terminal of its own for a command inside a workload: a pair of ends (pty(7)), the far one for the command, and a
//! loop that copies what is typed and what is shown between the near one and the caller's terminal.
//!
//! The caller's own terminal would stay with the workload for as long as a process there keeps it open: it could read what is
//! typed later, and on kernels that let it (`TIOCSTI`, before 6.2) type into the caller's shell. A pair ends with the command.
//!
//! Without any stream that is a terminal, `/dev/tty` would still lead to the caller's: the command then has none ([`leave`]).
//!
//! **Restoring.** While the command runs, the caller's terminal hands every key on as it is (raw mode). A guard puts its settings back
//! however that ends, panics included; only SIGKILL leaves them (`reset` helps then). Signals that would end this process
//! are passed on to the command instead, whose end is then waited for.
//!
//! **Limits.** The far end has no name inside of a workload: `tty` says "not a tty".

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::process::Process;

/// Bytes that are copied at a time.
const PIECE: usize = 4_096;
/// Pieces of last words that are shown after the command has ended; more than a terminal's buffer holds.
const LAST_WORDS: usize = 64;
/// Signals that are read, not suffered, while the command runs.
const WATCHED: [Signal; 5] =
    [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];

/// A command's own terminal and the caller's streams.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The end that we have.
    near: OwnedFd,
    /// The end for the command; kept open, so that a command that closes its streams for a while does not end the conversation.
    far: OwnedFd,
    /// The caller's streams that are terminals: input, output, errors.
    outer: [Option<OwnedFd>; 3],
}

impl Terminal {
    /// For the standard streams of this process; `None` when none of them is a terminal.
    pub(super) fn of_caller() -> io::Result<Option<Self>> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        Self::of([input.as_fd(), output.as_fd(), errors.as_fd()])
    }

    fn of(streams: [BorrowedFd<'_>; 3]) -> io::Result<Option<Self>> {
        let own = |fd: BorrowedFd<'_>| -> io::Result<Option<OwnedFd>> {
            // Above the standard streams: those of a command are put in place one after the other.
            if isatty(fd) { Ok(Some(fcntl_dupfd_cloexec(fd, 3)?)) } else { Ok(None) }
        };
        let [input, output, errors] = streams;
        let outer = [own(input)?, own(output)?, own(errors)?];
        if outer.iter().all(Option::is_none) {
            return Ok(None);
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = openpt(flags)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let far = ioctl_tiocgptpeer(&near, flags)?;
        let this = Self { near, far, outer };
        this.begin_alike()?;
        Ok(Some(this))
    }

    /// Gives the command's terminal the size and the settings of the caller's.
    fn begin_alike(&self) -> io::Result<()> {
        let Some(outer) = self.outer.iter().flatten().next() else { return Ok(()) };
        let mut settings = tcgetattr(outer)?;
        if self.outer[0].is_none() {
            // Nobody types here: the caller's terminal does what is to be done with the lines.
            settings.make_raw();
        }
        if self.shares_screen() {
            settings.output_modes.remove(OutputModes::OPOST);
        }
        tcsetattr(&self.far, OptionalActions::Now, &settings)?;
        self.resize()
    }

    /// Whether others write to the caller's terminal meanwhile, as in `exec .. | grep`: it then ends their lines as before.
    fn shares_screen(&self) -> bool {
        self.outer[1].is_none()
    }

    /// Gives it the size that the caller's has now.
    fn resize(&self) -> io::Result<()> {
        let Some(outer) = self.outer.iter().flatten().next() else { return Ok(()) };
        Ok(tcsetwinsize(&self.near, tcgetwinsize(outer)?)?)
    }

    /// Runs a command on it and waits for its end. The command is to call [`lead`].
    pub(super) fn run(self, mut command: Command) -> io::Result<ExitStatus> {
        let stream = |at: usize| -> io::Result<Stdio> {
            let is_ours = self.outer.get(at).is_some_and(Option::is_some);
            if is_ours { Ok(self.far.try_clone()?.into()) } else { Ok(Stdio::inherit()) }
        };
        command.stdin(stream(0)?).stdout(stream(1)?).stderr(stream(2)?);
        let mut child = command.spawn()?;
        let ended = self.converse(&mut child);
        if ended.is_err() {
            // Without its terminal the command is of no use, and it must not outlive us either.
            child.kill().ok();
            child.wait()?;
        }
        ended
    }

    /// Copies in both directions until the command has ended.
    fn converse(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let process = Process::of_child(pid)?;
        let signals = Watch::begin()?;
        let shared = self.shares_screen();
        let _raw = self.outer[0].as_ref().map(|keys| Raw::begin(keys, shared)).transpose()?;
        fcntl_setfl(&self.near, OFlags::RDWR | OFlags::NONBLOCK)?;
        let mut typed = Typed { waiting: Vec::new(), is_over: self.outer[0].is_none() };
        while process.is_alive() {
            self.wait(&typed, &signals, &process)?;
            signals.each(|signal| match signal {
                // A size that cannot be told stays what it was.
                Signal::SIGWINCH => drop(self.resize()),
                // A command that has ended meanwhile is noticed next.
                other => drop(kill(pid, other)),
            })?;
            if !typed.is_over && typed.waiting.is_empty() {
                typed.is_over = !self.listen(&mut typed.waiting)?;
            }
            self.hand_on(&mut typed.waiting)?;
            self.show()?;
        }
        for _ in 0..LAST_WORDS {
            if !self.show()? {
                break;
            }
        }
        child.wait()
    }

    /// Waits until there is something to do.
    fn wait(&self, typed: &Typed, signals: &Watch, process: &Process) -> io::Result<()> {
        let near =
            if typed.waiting.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![
            PollFd::new(&self.near, near),
            PollFd::new(&signals.fd, PollFlags::IN),
            PollFd::new(process, PollFlags::IN),
        ];
        let input = self.outer[0].as_ref().filter(|_| !typed.is_over && typed.waiting.is_empty());
        fds.extend(input.map(|input| PollFd::new(input, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what was typed, if anything; `false` when nothing more will be.
    fn listen(&self, typed: &mut Vec<u8>) -> io::Result<bool> {
        let Some(input) = &self.outer[0] else { return Ok(false) };
        // Whoever shares the caller's terminal may have taken it meanwhile.
        let mut fds = [PollFd::new(input, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap_or(0) == 0 {
            return Ok(true);
        }
        let mut piece = [0; PIECE];
        match read(input, &mut piece) {
            // The caller's terminal has gone away; SIGHUP tells the command.
            Ok(0) | Err(Errno::IO) => Ok(false),
            Ok(count) => {
                typed.extend(piece.iter().take(count));
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the command what was typed, as far as there is room.
    fn hand_on(&self, typed: &mut Vec<u8>) -> io::Result<()> {
        if typed.is_empty() {
            return Ok(());
        }
        match write(&self.near, typed) {
            Ok(count) => drop(typed.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The session of the command is over.
            Err(Errno::IO) => typed.clear(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Shows a piece of what the command wrote; whether there was any.
    fn show(&self) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let count = match read(&self.near, &mut piece) {
            Ok(0) | Err(Errno::IO | Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(count) => count,
        };
        let [input, output, errors] = &self.outer;
        let Some(screen) = output.as_ref().or(errors.as_ref()).or(input.as_ref()) else {
            return Ok(true);
        };
        let mut rest = piece.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            match write(screen, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(screen, PollFlags::OUT)], None).ok();
                }
                // Nobody looks any more.
                Err(_) => break,
            }
        }
        Ok(true)
    }
}

/// What the caller typed.
struct Typed {
    /// Not handed on yet.
    waiting: Vec<u8>,
    /// Whether nothing more comes.
    is_over: bool,
}

/// The signals that are read, not suffered; as they were when dropped.
struct Watch {
    fd: SignalFd,
    before: SigSet,
}

impl Watch {
    fn begin() -> io::Result<Self> {
        let watched: SigSet = WATCHED.into_iter().collect();
        let fd = SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&watched), Some(&mut before))?;
        Ok(Self { fd, before })
    }

    /// Hands on every signal that has come.
    fn each(&self, mut each: impl FnMut(Signal)) -> io::Result<()> {
        while let Some(info) = self.fd.read_signal()? {
            let signal = i32::try_from(info.ssi_signo).ok();
            if let Some(signal) = signal.and_then(|raw| Signal::try_from(raw).ok()) {
                each(signal);
            }
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Can only fail for a number that is none of the three.
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None).ok();
    }
}

/// Makes this process the leader of a new session on the terminal among its standard streams. The command it then runs gets the
/// terminal's signals, and when this process ends whatever is left of the session loses the terminal.
pub(super) fn lead() -> io::Result<()> {
    setsid()?;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), errors.as_fd()];
    let terminal = streams.into_iter().find(|fd| isatty(fd));
    Ok(terminal.map_or(Err(Errno::NOTTY), ioctl_tiocsctty)?)
}

/// Makes this process, which leads no session, forget the caller's terminal. Keys of that terminal still make signals.
#[expect(unsafe_code, reason = "this call has no safe form")]
pub(super) fn leave() -> io::Result<()> {
    let terminal = match File::open("/dev/tty") {
        Ok(terminal) => terminal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // There is none.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
        Err(error) => return Err(error),
    };
    // SAFETY: takes nothing but the descriptor, which is open.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Settings of the caller's terminal, put back when dropped.
struct Raw<'a> {
    terminal: &'a OwnedFd,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// With `shared`, what is written to it looks as before.
    fn begin(terminal: &'a OwnedFd, shared: bool) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        if shared {
            raw.output_modes = before.output_modes;
        }
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        tcsetattr(self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

#[cfg(test)]
mod tests;
