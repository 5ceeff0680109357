//! Network namespaces: made, pinned under the run directory, entered, and taken away again.
//!
//! A namespace of ours is pinned by a bind mount at `<run>/netns/<name>`, as `ip netns` does it, so
//! that it outlives the agent. Work of callers is run on a thread of its own that ends afterwards.
//! Only our own short work, such as opening a socket, visits a namespace on the calling thread,
//! because starting a thread costs more than that work; a thread that could not come back would
//! serve the next request in the wrong namespace, so then the process ends. Never through
//! `ip netns exec`, which mounts a fresh `/sys` and thereby hides cgroupfs.
//!
//! **Names.** [`NsName`] is checked when it is made; the folder is held open by descriptor and every
//! name is resolved relative to it without following symbolic links.
//!
//! **Cost.** A namespace costs about 0.3 ms, nearly all of it in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use crate::network::NsName;

/// `f_type` of the file system that holds namespaces, linux/magic.h `NSFS_MAGIC`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Asks for the kind of a namespace, linux/nsfs.h `NS_GET_NSTYPE`: the flag of `clone`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Where a thread finds its own network namespace.
const THREAD_NETNS: &str = "/proc/thread-self/ns/net";

/// What was being done to which namespace when it failed.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The folder of pinned namespaces.
    #[error("could not prepare the namespace folder below {run_dir}")]
    Folder {
        /// The run directory.
        run_dir: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Reading the folder.
    #[error("could not list the pinned namespaces")]
    List(#[source] io::Error),
    /// Making a namespace.
    #[error("could not create network namespace {name}")]
    Create {
        /// Its name.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Opening a namespace.
    #[error("could not open network namespace {name}")]
    Open {
        /// Its name or path.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Opened something else.
    #[error("{0} is not a network namespace")]
    Foreign(String),
    /// Unpinning a namespace.
    #[error("could not delete network namespace {name}")]
    Delete {
        /// Its name.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Entering a namespace.
    #[error("could not enter a network namespace")]
    Enter(#[source] io::Error),
    /// Starting a program in a namespace.
    #[error("could not start {program} in a network namespace")]
    Spawn {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl NetNsError {
    /// Whether the namespace is simply not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The system's answer, for callers that report in their own words.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Folder { source, .. }
            | Self::Create { source, .. }
            | Self::Open { source, .. }
            | Self::Delete { source, .. }
            | Self::Spawn { source, .. }
            | Self::List(source)
            | Self::Enter(source) => source,
            Self::Foreign(name) => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is no network namespace"),
            ),
        }
    }
}

/// An open network namespace. While it is held, the namespace lives.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Open`] when `/proc` is not mounted.
    pub fn current() -> Result<Self, NetNsError> {
        Self::open(Path::new(THREAD_NETNS))
    }

    /// Opens a namespace by path: a pin, or `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Open`] when there is nothing at the path; [`NetNsError::Foreign`] when it is
    /// something else than a namespace.
    pub fn open(path: &Path) -> Result<Self, NetNsError> {
        let name = || path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| NetNsError::Open { name: name(), source: errno.into() })?;
        Self::checked(fd, name)
    }

    fn checked(fd: OwnedFd, name: impl Fn() -> String) -> Result<Self, NetNsError> {
        let stat = rustix::fs::fstatfs(&fd)
            .map_err(|errno| NetNsError::Open { name: name(), source: errno.into() })?;
        if u64::try_from(stat.f_type) != Ok(NSFS_MAGIC) {
            return Err(NetNsError::Foreign(name()));
        }
        if is_of_networks(&fd) { Ok(Self { fd }) } else { Err(NetNsError::Foreign(name())) }
    }

    /// Runs `work` on a thread inside of the namespace and returns its value.
    ///
    /// Sockets opened by `work` stay in the namespace wherever they are used later. A panic in
    /// `work` is passed on.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Enter`] when the thread cannot be started or the namespace not be entered,
    /// for example because the descriptor is of another kind of namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        on_own_thread(|| {
            nix::sched::setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .map_err(NetNsError::Enter)
    }

    /// Runs `work` inside of the namespace on the calling thread. For work of our own that waits for
    /// nothing but the kernel and starts no thread or program.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Enter`] when the namespace cannot be entered.
    pub(crate) fn visit<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetNsError> {
        let home = Home::mark()?;
        nix::sched::setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetNsError::Enter(errno.into()))?;
        let value = work();
        drop(home);
        Ok(value)
    }

    /// Starts a program inside of the namespace; everything else is as `command` says.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Enter`] as for [`NetNs::run`], [`NetNsError::Spawn`] when the program cannot
    /// be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, NetNsError> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(|| command.spawn())?.map_err(|source| NetNsError::Spawn { program, source })
    }

    /// Another descriptor of the same namespace.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Open`] when there are too many open files.
    pub fn try_clone(&self) -> Result<Self, NetNsError> {
        let fd = self.fd.try_clone();
        let fd = fd.map_err(|source| NetNsError::Open { name: "a copy".to_owned(), source })?;
        Ok(Self { fd })
    }

    /// Device and inode: equal for two descriptors of one namespace.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Open`] when the descriptor cannot be read.
    pub fn id(&self) -> Result<(u64, u64), NetNsError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| NetNsError::Open {
            name: "an open namespace".to_owned(),
            source: errno.into(),
        })?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The folder in which our namespaces are pinned.
#[derive(Debug)]
pub struct NetNsDir {
    dir: OwnedFd,
}

impl NetNsDir {
    /// Opens `<run_dir>/netns` and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Folder`] when it cannot be made or is a symbolic link.
    pub fn open(run_dir: &Path) -> Result<Self, NetNsError> {
        let open = || -> io::Result<OwnedFd> {
            std::fs::create_dir_all(run_dir)?;
            let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let run = rustix::fs::open(run_dir, folder, Mode::empty())?;
            match rustix::fs::mkdirat(&run, "netns", Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = folder | OFlags::NOFOLLOW;
            Ok(rustix::fs::openat(&run, "netns", flags, Mode::empty())?)
        };
        let dir = open().map_err(|source| NetNsError::Folder {
            run_dir: run_dir.display().to_string(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Creates a namespace, pins it, runs `init` inside on the calling thread, and returns both.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Create`] when the name is taken or the kernel refuses; nothing is left then.
    pub fn create<T>(
        &self,
        name: &NsName,
        init: impl FnOnce() -> T,
    ) -> Result<(NetNs, T), NetNsError> {
        let failed = |source| NetNsError::Create { name: name.to_string(), source };
        let target = self.reserve(name).map_err(failed)?;
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        let made = Home::mark().map_err(NetNsError::into_io).and_then(|_home| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            let none = None::<&str>;
            nix::mount::mount(Some(THREAD_NETNS), path.as_str(), none, MsFlags::MS_BIND, none)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(THREAD_NETNS, flags, Mode::empty())?;
            Ok((NetNs { fd }, init()))
        });
        made.map_err(|source| {
            // Nothing is mounted yet or only by us; what is left of the file goes with it.
            drop(self.delete(name));
            failed(source)
        })
    }

    /// Makes the file that a namespace is mounted on. A file left by an earlier boot is replaced.
    fn reserve(&self, name: &NsName) -> io::Result<OwnedFd> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make =
            || rustix::fs::openat(&self.dir, name.as_str(), flags, Mode::from_raw_mode(0o444));
        match make() {
            Err(rustix::io::Errno::EXIST)
                if matches!(self.find(name), Err(NetNsError::Foreign(_))) =>
            {
                rustix::fs::unlinkat(&self.dir, name.as_str(), AtFlags::empty())?;
                Ok(make()?)
            }
            other => Ok(other?),
        }
    }

    /// Opens a pinned namespace.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Open`] when there is none of that name, [`NetNsError::Foreign`] when the file
    /// is not a namespace (any more).
    pub fn find(&self, name: &NsName) -> Result<NetNs, NetNsError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = rustix::fs::openat2(&self.dir, name.as_str(), flags, Mode::empty(), resolve)
            .map_err(|errno| NetNsError::Open { name: name.to_string(), source: errno.into() })?;
        NetNs::checked(fd, || name.to_string())
    }

    /// Unpins a namespace. The kernel ends it when nothing else holds it. No error when it is gone
    /// already.
    ///
    /// # Errors
    ///
    /// [`NetNsError::Delete`] when the pin cannot be removed.
    pub fn delete(&self, name: &NsName) -> Result<(), NetNsError> {
        let failed = |source| NetNsError::Delete { name: name.to_string(), source };
        let path = format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd());
        match nix::mount::umount2(path.as_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        match rustix::fs::unlinkat(&self.dir, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Removes the files on which namespaces were pinned that somebody unmounted: plain, empty and with a name as ours have.
    /// Anything else stays, and nothing is followed. Returns the names.
    ///
    /// # Errors
    ///
    /// [`NetNsError::List`] when the folder cannot be read, [`NetNsError::Delete`] when a file cannot be removed.
    pub fn sweep(&self) -> Result<BTreeSet<NsName>, NetNsError> {
        let mut swept = BTreeSet::new();
        for name in self.names().map_err(NetNsError::List)? {
            let found =
                rustix::fs::statat(&self.dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok();
            let is_plain = found.is_some_and(|stat| {
                FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_size == 0
            });
            // A pinned namespace looks like a plain file too.
            if !is_plain || !matches!(self.find(&name), Err(NetNsError::Foreign(_))) {
                continue;
            }
            rustix::fs::unlinkat(&self.dir, name.as_str(), AtFlags::empty()).map_err(|errno| {
                NetNsError::Delete { name: name.to_string(), source: errno.into() }
            })?;
            swept.insert(name);
        }
        Ok(swept)
    }

    /// The names in the folder that a namespace of ours may have.
    fn names(&self) -> io::Result<BTreeSet<NsName>> {
        let mut names = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Ok(text) = entry.file_name().to_str() else { continue };
            names.extend(NsName::parse(text));
        }
        Ok(names)
    }

    /// The names of the namespaces pinned here. Files that are no namespaces are left out.
    ///
    /// # Errors
    ///
    /// [`NetNsError::List`] when the folder cannot be read.
    pub fn list(&self) -> Result<BTreeSet<NsName>, NetNsError> {
        Ok(self.ids()?.into_keys().collect())
    }

    /// As [`NetNsDir::list`], each with its [`NetNs::id`].
    ///
    /// # Errors
    ///
    /// [`NetNsError::List`] when the folder cannot be read.
    pub fn ids(&self) -> Result<BTreeMap<NsName, (u64, u64)>, NetNsError> {
        let names = self.names().map_err(NetNsError::List)?.into_iter();
        let id = |name: NsName| self.find(&name).and_then(|ns| ns.id()).ok().map(|id| (name, id));
        Ok(names.filter_map(id).collect())
    }
}

/// Whether a namespace is one of networks: mount, user and other namespaces are files of the same kind.
#[expect(unsafe_code, reason = "this ioctl has no safe form")]
fn is_of_networks(fd: &OwnedFd) -> bool {
    // SAFETY: the request takes no argument, and the descriptor is open.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

/// The namespace of the calling thread, to which it returns when this is dropped.
struct Home(NetNs);

impl Home {
    fn mark() -> Result<Self, NetNsError> {
        NetNs::current().map(Self)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(errno) = nix::sched::setns(&self.0.fd, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%errno, "a thread cannot return to its network namespace");
            std::process::abort();
        }
    }
}

/// Runs `work` on a new thread and waits for it; the thread's namespace ends with the thread.
pub(super) fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("netns".to_owned());
        match builder.spawn_scoped(scope, work)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
