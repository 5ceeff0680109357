//! The programs on the endpoints' host-side interfaces.
//!
//! TCX links where the kernel has them, pinned so that they outlive us; else clsact filters, which
//! stay by themselves until their interface goes. Which of the two is decided once, by trying.
//!
//! **Order.** The egress hook (what the endpoint receives) is attached before the ingress hook.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::programs::SchedClassifier;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError, TcHandle,
    qdisc_add_clsact,
};
use verdict::abi::{IFINDEX_BASE, Stray, UPLINKS};

use super::object::{self, Group, Later, Program, Programs};
use super::pins::Held;
use super::{Error, Limits, filters, sys};
use crate::linux::netns::NetNs;

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Pinned TCX links (Linux 6.6 and later).
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

/// A program that is in the kernel.
struct Chosen {
    programs: Arc<Programs>,
    program: Program,
}

impl Chosen {
    fn fd(&self) -> BorrowedFd<'_> {
        self.programs.fd(self.program)
    }

    fn pin(&self) -> PathBuf {
        self.programs.pin(self.program)
    }
}

/// Priority and handle of our filters.
const PRIORITY: u16 = 0xb1;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Attaches and detaches the programs. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Hooks {
    programs: Arc<Programs>,
    /// Those of uplinks and of ports that nobody has.
    at_places: Later,
    pub(super) links: PathBuf,
    pub(super) held: Arc<Held>,
    kind: HookKind,
}

/// One of the two hooks of an endpoint.
#[derive(Clone, Copy)]
pub(super) struct Hook {
    pub(super) suffix: &'static str,
    judges: Program,
    pub(super) tcx: u32,
    pub(super) clsact: TcAttachType,
}

impl Hook {
    /// The program for an endpoint. At an uplink of the host it is the other way round: what enters there is what the host receives. The same two
    /// programs judge at ports that nobody in the file has, which are no uplinks.
    fn program(&self, number: u32) -> Program {
        let is_stray = number >= Stray::FIRST;
        match (number >= UPLINKS, self.judges) {
            (true, Program::FromEndpoint) if is_stray => Program::FromHost,
            (true, Program::ToEndpoint) if is_stray => Program::ToHost,
            (true, Program::ToEndpoint) => Program::FromHost,
            (true, Program::FromEndpoint) => Program::ToHost,
            (_, program) => program,
        }
    }
}

/// An endpoint and the interface that its programs are on, in the namespace of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) number: u32,
    pub(super) index: u32,
}

impl Port {
    /// With the interface that we have made for it.
    fn ours(number: u32) -> Self {
        Self { number, index: IFINDEX_BASE + number }
    }

    fn is_ours(self) -> bool {
        self.index == IFINDEX_BASE + self.number
    }

    /// The interface's name.
    pub(super) fn name(self) -> io::Result<String> {
        let name = nix::net::if_::if_indextoname(self.index)?;
        // The library takes an interface that is not there for one without a name.
        if name.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        name.into_string().map_err(io::Error::other)
    }

    /// Priority and handle of our filters. On an interface of somebody else there may be others, and the first one that
    /// lets a packet through ends the search: ours come first there.
    pub(super) fn filter(self) -> (u16, TcHandle) {
        if self.is_ours() { (PRIORITY, HANDLE) } else { (1, TcHandle::new(0, PRIORITY)) }
    }
}

pub(super) const HOOKS: [Hook; 2] = [
    Hook {
        suffix: "to",
        judges: Program::ToEndpoint,
        tcx: sys::TCX_EGRESS,
        clsact: TcAttachType::Egress,
    },
    Hook {
        suffix: "from",
        judges: Program::FromEndpoint,
        tcx: sys::TCX_INGRESS,
        clsact: TcAttachType::Ingress,
    },
];

impl Hooks {
    pub(super) fn new(programs: Arc<Programs>, at_places: Later, kind: HookKind) -> Self {
        let links = at_places.root().join("links");
        Self { programs, at_places, links, held: Arc::new(Held::none()), kind }
    }

    /// The same for a process that stays: it holds what it attaches.
    pub(super) fn holding(self, held: Arc<Held>) -> Self {
        Self { held, ..self }
    }

    /// Looks at what is pinned below `bpffs`, without loading or changing anything.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the programs of this object are not pinned there.
    pub fn look(bpffs: &Path, kind: HookKind) -> Result<Self, Error> {
        let root = object::root(bpffs)?;
        let at_places = Later::new(&root, Limits::default(), Group::Places);
        Ok(Self::new(Arc::new(object::pinned(&root)?), at_places, kind))
    }

    /// The program of a hook of an endpoint, loaded if it has to be.
    fn wanted(&self, hook: &Hook, number: u32) -> io::Result<Chosen> {
        let program = hook.program(number);
        let programs = match program.group() {
            Group::Places => self.at_places.get().map_err(io::Error::other)?,
            _ => Arc::clone(&self.programs),
        };
        Ok(Chosen { programs, program })
    }

    /// The program of a hook of an endpoint; nothing is attached there while it is not in the kernel.
    fn known(&self, hook: &Hook, number: u32) -> io::Result<Chosen> {
        let program = hook.program(number);
        let programs = match program.group() {
            Group::Places => self.at_places.known().ok_or(io::ErrorKind::NotFound)?,
            _ => Arc::clone(&self.programs),
        };
        Ok(Chosen { programs, program })
    }

    /// The same with another way of attaching. For tests of the older way on newer kernels.
    #[doc(hidden)]
    #[must_use]
    pub fn by(&self, kind: HookKind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// How programs are attached on this kernel.
    #[must_use]
    pub fn kind(&self) -> HookKind {
        self.kind
    }

    /// Attaches the programs to endpoint `number`, whose host-side interface is in `router` and has
    /// the index `IFINDEX_BASE + number`. What is attached already is replaced without a gap.
    ///
    /// # Errors
    ///
    /// [`Error::Attach`], for example when there is no such interface.
    pub fn attach(&self, router: &NetNs, number: u32) -> Result<(), Error> {
        router
            .visit(|| self.attach_here(number))
            .map_err(|source| Error::Attach { endpoint: number, source: source.into_io() })?
    }

    /// As [`Hooks::attach`], in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// As [`Hooks::attach`].
    pub fn attach_here(&self, number: u32) -> Result<(), Error> {
        let at = Port::ours(number);
        let attach = || match self.kind {
            HookKind::Tcx => HOOKS.iter().try_for_each(|hook| self.attach_tcx(hook, at)),
            HookKind::Clsact => self.attach_clsact(at).map(drop),
        };
        attach().map_err(|source| Error::Attach { endpoint: number, source })
    }

    /// Removes the links of an endpoint whose interface has gone, and their pins: filters of clsact and links of TCX end
    /// with their interface. While that is there, this opens it, also when another process holds the links. No error when nothing
    /// is attached.
    ///
    /// # Errors
    ///
    /// [`Error::Detach`] when a pin cannot be removed.
    pub fn detach(&self, number: u32) -> Result<(), Error> {
        HOOKS.iter().try_for_each(|hook| {
            let ended = self.held.end(&self.pin(hook, number));
            ended.map_err(|source| Error::Detach { endpoint: number, source })
        })
    }

    /// Whether both programs of this object are attached to endpoint `number` in `router`.
    #[must_use]
    pub fn is_attached(&self, router: &NetNs, number: u32) -> bool {
        match self.kind {
            HookKind::Tcx => router.visit(|| self.has_links(Port::ours(number))).unwrap_or(false),
            HookKind::Clsact => {
                router.visit(|| self.has_filters(Port::ours(number))).unwrap_or(false)
            }
        }
    }

    /// Whether both hooks of the interface here hold our pinned links with the programs of this
    /// object.
    pub(super) fn has_links(&self, at: Port) -> bool {
        HOOKS.iter().all(|hook| {
            let alive = || -> io::Result<bool> {
                let pin = self.pin(hook, at.number);
                let link = sys::open(&pin)?;
                let info = sys::link_info(link.as_fd())?;
                let program = sys::program_info(self.known(hook, at.number)?.fd())?;
                let is_there = info.program == program.id && is_here(&link, hook, at)?;
                if is_there && !self.held.has(&pin) {
                    self.held.keep(&pin, link, at.number >= UPLINKS);
                }
                Ok(is_there)
            };
            alive().unwrap_or(false)
        })
    }

    /// Whether one of our pinned links of this endpoint is on the interface here, whatever program it has.
    pub(super) fn has_a_link(&self, at: Port) -> io::Result<bool> {
        for hook in &HOOKS {
            match sys::open(&self.pin(hook, at.number)) {
                Ok(link) if is_here(&link, hook, at)? => return Ok(true),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    /// Endpoints with a pinned link, alive or not. Empty for clsact.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] when the pins cannot be listed.
    pub fn pinned(&self) -> Result<BTreeSet<u32>, Error> {
        let number = |name: String| name.split_once('-')?.0.parse().ok();
        Ok(object::list(&self.links)?.into_iter().filter_map(number).collect())
    }

    /// Lets every pinned link run the programs of this object. Links whose interface has gone are
    /// unpinned.
    pub(super) fn replace_all(&self) -> Result<(), Error> {
        for number in self.pinned()? {
            for hook in &HOOKS {
                self.replace(hook, number)
                    .map_err(|source| Error::Attach { endpoint: number, source })?;
            }
        }
        Ok(())
    }

    /// Unpins links whose interface has gone: an agent that was killed had no time to.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        for name in object::list(&self.links)? {
            let pin = self.links.join(name);
            let dead = || Ok(sys::link_info(sys::open(&pin)?.as_fd())?.interface == 0);
            let swept = dead().and_then(|dead| if dead { fs::remove_file(&pin) } else { Ok(()) });
            swept.map_err(|source| Error::Folder { path: pin, source })?;
        }
        Ok(())
    }

    fn replace(&self, hook: &Hook, number: u32) -> io::Result<()> {
        let pin = self.pin(hook, number);
        let link = match sys::open(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if sys::link_info(link.as_fd())?.interface == 0 {
            return fs::remove_file(pin);
        }
        sys::relink(link.as_fd(), self.wanted(hook, number)?.fd())
    }

    pub(super) fn pin(&self, hook: &Hook, number: u32) -> PathBuf {
        self.links.join(format!("{number}-{}", hook.suffix))
    }

    pub(super) fn attach_tcx(&self, hook: &Hook, at: Port) -> io::Result<()> {
        let chosen = self.wanted(hook, at.number)?;
        let program = chosen.fd();
        let (number, pin) = (at.number, self.pin(hook, at.number));
        if let Ok(link) = sys::open(&pin) {
            if is_here(&link, hook, at)? {
                return sys::relink(link.as_fd(), program);
            }
            self.held.take(&pin);
            // While its own interface is there, in a namespace that somebody else unpinned, it stays.
            let info = sys::link_info(link.as_fd())?;
            if info.interface != 0 {
                fs::rename(&pin, self.links.join(format!("{number}-{}-{}", hook.suffix, info.id)))?;
            } else {
                fs::remove_file(&pin)?;
            }
        }
        fs::create_dir_all(&self.links)?;
        let link = match self.held.take(&pin) {
            // Somebody removed the pin alone.
            Some(link) if is_here(&link, hook, at)? => {
                sys::relink(link.as_fd(), program)?;
                link
            }
            _ => sys::link(program, at.index, hook.tcx, !at.is_ours())?,
        };
        sys::pin(link.as_fd(), &pin)?;
        self.held.keep(&pin, link, number >= UPLINKS);
        Ok(())
    }

    /// Adds the queueing discipline, if there is none, and our filters; whether we had to add it.
    pub(super) fn attach_clsact(&self, at: Port) -> io::Result<bool> {
        let name = at.name()?;
        let added = match qdisc_add_clsact(&name) {
            Ok(()) => true,
            Err(TcError::AlreadyAttached) => false,
            Err(error) if errno(&error) == Some(libc::EEXIST) => false,
            Err(error) => return Err(io::Error::other(error)),
        };
        HOOKS.iter().try_for_each(|hook| self.filter(hook, &name, at))?;
        Ok(added)
    }

    /// Adds our filter or replaces the one that is there.
    fn filter(&self, hook: &Hook, interface: &str, at: Port) -> io::Result<()> {
        let pin = self.wanted(hook, at.number)?.pin();
        let mut program = SchedClassifier::from_pin(pin).map_err(io::Error::other)?;
        let (priority, handle) = at.filter();
        let options = NlOptions { priority, handle, classid: None };
        let options = TcAttachOptions::Netlink(options);
        let id = match program.attach_with_options(interface, hook.clsact, options) {
            Ok(id) => id,
            Err(error) if errno(&error) == Some(libc::EEXIST) => {
                let there =
                    SchedClassifierLink::attached(interface, hook.clsact, priority, handle, None)?;
                program.attach_to_link(there).map_err(io::Error::other)?
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        // The library would take the filter away with its handle; it is to stay.
        std::mem::forget(program.take_link(id).map_err(io::Error::other)?);
        Ok(())
    }

    /// Whether both filters of clsact are there with the programs of this object.
    pub(super) fn has_filters(&self, at: Port) -> bool {
        HOOKS.iter().all(|hook| {
            let there = || -> io::Result<bool> {
                let program = sys::program_info(self.known(hook, at.number)?.fd())?;
                let parent = if hook.suffix == "to" { filters::EGRESS } else { filters::INGRESS };
                filters::holds(at.index, parent, program.id)
            };
            there().unwrap_or(false)
        })
    }
}

/// Whether a link belongs to the interface that has the endpoint's index in this namespace. A link
/// to an interface of the same index in a namespace that is about to go does not.
fn is_here(link: &OwnedFd, hook: &Hook, at: Port) -> io::Result<bool> {
    let id = sys::link_info(link.as_fd())?.id;
    let here = sys::attached(at.index, hook.tcx)?;
    Ok(here.iter().any(|(_, link)| *link == id))
}

/// The error number at the end of an error's chain of causes.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}
