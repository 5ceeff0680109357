//! One network namespace of a lab: run closures and commands in it, configure it, look into it.
//!
//! Entering is `setns` on a thread made for the call, so mounts stay as they are: cgroupfs and
//! tracefs are visible inside, which `ip netns exec` would hide.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process::{Finished, Proc, run_with_deadline};

/// Deadline of every configuration command.
const COMMAND_DEADLINE: Duration = Duration::from_mins(1);

/// A handle; cheap to clone. The namespace lives until its [`crate::Lab`] is dropped.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace pinned at `path`, loopback down as the kernel makes it.
    pub(crate) fn create(name: &str, path: &Path) -> Result<Self> {
        File::create(path).with_context(|| format!("create {}", path.display()))?;
        std::thread::scope(|scope| {
            scope.spawn(|| pin_new(path)).join().expect("pinning panicked")
        })?;
        Self::open(name, path)
    }

    /// Opens a namespace that somebody else pinned, e.g. one the agent made.
    ///
    /// # Errors
    /// When `path` cannot be opened.
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), file: Arc::new(file) })
    }

    /// The name below `/run/netns`, unique on the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is pinned.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Inode number of the namespace: what `/proc/<pid>/ns/net` of its processes shows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn inode(&self) -> Result<u64> {
        Ok(std::os::unix::fs::MetadataExt::ino(&self.file.metadata().context("stat a namespace")?))
    }

    /// Runs `work` on a thread inside the namespace and gives its result; panics travel on.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The same with the user `uid` as the owner of the files and sockets that it makes.
    ///
    /// # Errors
    /// As [`Namespace::run`].
    pub fn run_as<T: Send>(&self, uid: u32, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.run(|| {
            // Of this thread alone, which ends with the work.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(uid));
            work()
        })
    }

    /// Moves the calling thread into the namespace, for good. For threads the caller made itself.
    ///
    /// # Errors
    /// When `setns` is refused.
    pub fn enter(&self) -> Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter namespace {}", self.name))
    }

    /// Runs a command to its end inside; any exit code is fine.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Finished> {
        self.command_with_input(argv, None)
    }

    /// As [`Self::command`]; an exit code other than 0 is an error with the output in it.
    ///
    /// # Errors
    /// When it cannot be started, does not end, or fails.
    pub fn check<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Finished> {
        let name = argv.first().map(|s| s.as_ref().to_string_lossy().into_owned());
        self.command(argv)?
            .success()
            .with_context(|| format!("{} in {}", name.unwrap_or_default(), self.name))
    }

    /// Starts a command inside; the guard ends it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Proc> {
        self.run(|| Proc::spawn(command, None))?
    }

    /// One `ip -batch` inside the namespace; one command a line, without the leading `ip`.
    ///
    /// # Errors
    /// When a line fails; the message carries what `ip` said and the batch.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.command_with_input(&["ip", "-batch", "-"], Some(batch.as_bytes()))?
            .success()
            .with_context(|| format!("ip -batch in {}:\n{batch}", self.name))
            .map(drop)
    }

    /// Loads an nftables script (`nft -f -`) inside the namespace.
    ///
    /// # Errors
    /// When `nft` refuses it.
    pub fn nft(&self, script: &str) -> Result<()> {
        let script = format!("{script}\n");
        self.command_with_input(&["nft", "-f", "-"], Some(script.as_bytes()))?
            .success()
            .with_context(|| format!("nft -f in {}", self.name))
            .map(drop)
    }

    /// Writes a sysctl by its dotted name; an interface name with a dot in it is not supported.
    ///
    /// # Errors
    /// When it does not exist or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("set {key}={value} in {}", self.name))
    }

    /// The MAC address of an interface inside.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let shown = self.check(&["ip", "-j", "link", "show", "dev", interface])?.stdout;
        let links: serde_json::Value = serde_json::from_str(&shown).context("parse ip -j link")?;
        let text = links[0]["address"].as_str().context("a link without an address")?;
        let mut mac = [0; 6];
        for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
            *byte = u8::from_str_radix(hex, 16).context("parse a MAC address")?;
        }
        Ok(mac)
    }

    /// Runs a command with `input` on stdin.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn command_with_input<S: AsRef<OsStr>>(
        &self,
        argv: &[S],
        input: Option<&[u8]>,
    ) -> Result<Finished> {
        let (program, rest) = argv.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(rest);
        self.run(move || run_with_deadline(&mut command, input, COMMAND_DEADLINE))?
    }
}

/// On a thread of its own: leaves for a new namespace and pins that at `path`.
fn pin_new(path: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
    nix::mount::mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("pin a namespace at {}", path.display()))
}
