//! Our programs on the cgroups of endpoints that share the host's stack (docs/adr/0022-host-mode.md).
//!
//! Links are pinned, so that they enforce without the agent; `CGROUPS` tells the programs whose a cgroup is, by its number, which is its
//! inode's. A cgroup that is removed takes its programs along, and another one of the same name has another number.
//!
//! **Order.** The cgroup is made first, then the programs learn whose it is, then they are attached. Nothing runs in it before that, see
//! [`is_guarded`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::object::{self, Group, Later, Program, Programs};
use super::pins::Held;
use super::table::Table;
use super::{Datapath, Error, Limits, sys};
use crate::linux::runtime::unified;
use crate::ports::Pass;

/// Attaches programs to cgroups.
pub struct Cgroups {
    programs: Later,
    table: Table<u64, u32>,
    folder: PathBuf,
    held: Arc<Held>,
}

impl Datapath {
    /// Opens what attaches to cgroups. There should be one at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::ForeignMap`] or [`Error::Folder`].
    pub fn cgroups(&self) -> Result<Cgroups, Error> {
        let cgroups = Cgroups::open(self.at_cgroups.clone(), &self.root)?;
        Ok(Cgroups { held: Arc::clone(&self.held), ..cgroups })
    }

    /// Brings the programs at cgroups into the kernel, unless they are there. What is refused then is refused before anything has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] and others when the kernel does not take them; [`Error::MapGone`].
    pub fn load_for_cgroups(&self) -> Result<(), Error> {
        self.at_cgroups.get().map(drop)
    }

    /// Whether anything was ever attached to a cgroup.
    #[must_use]
    pub fn has_cgroups(&self) -> bool {
        self.root.join("cgroups").exists()
    }
}

impl Cgroups {
    pub(super) fn open(programs: Later, root: &Path) -> Result<Self, Error> {
        let folder = root.join("cgroups");
        object::make(&folder)?;
        let table = Table::open(&root.join("maps"), "CGROUPS")?;
        Ok(Self { programs, table, folder, held: Arc::new(Held::none()) })
    }

    /// Brings what is attached to what is wanted: cgroups by the number of their endpoint, as paths below the unified hierarchy, all of them
    /// in `parent`.
    ///
    /// # Errors
    ///
    /// As [`Datapath::load_for_cgroups`]: what is attached stays then, and nothing is taken off.
    pub fn bring(&mut self, wanted: &BTreeMap<u32, PathBuf>, parent: &Path) -> Result<Pass, Error> {
        let mut pass = Pass::default();
        let root = match unified() {
            Ok(Some(root)) => root,
            Ok(None) if wanted.is_empty() => PathBuf::new(),
            Ok(None) => {
                pass.failed.push("no unified cgroup hierarchy is mounted (cgroup2)".to_owned());
                return Ok(pass);
            }
            Err(error) => {
                pass.failed.push(format!("find the unified cgroup hierarchy: {error}"));
                return Ok(pass);
            }
        };
        if !wanted.is_empty() {
            self.attach_all(wanted, &root, &mut pass)?;
        }
        self.release(wanted, &root.join(parent), &mut pass);
        Ok(pass)
    }

    fn attach_all(
        &self,
        wanted: &BTreeMap<u32, PathBuf>,
        root: &Path,
        pass: &mut Pass,
    ) -> Result<(), Error> {
        let programs = self.programs.get()?;
        for (number, path) in wanted {
            match self.attach(&programs, *number, &root.join(path)) {
                Ok(false) => {}
                Ok(true) => pass.done.push(format!("bpf link create cgroup {}", path.display())),
                Err(error) => {
                    let path = path.display();
                    pass.failed.push(format!("attach programs to the cgroup {path}: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Whether all programs of this object are attached to the cgroup of an endpoint.
    #[must_use]
    pub fn is_attached(&self, number: u32) -> bool {
        self.has_links(number, None)
    }

    fn has_links(&self, number: u32, cgroup: Option<u64>) -> bool {
        let Some(programs) = self.programs.known() else { return false };
        Group::Cgroups.programs().iter().all(|program| {
            let state = self.link(&programs, (number, *program), cgroup);
            state.is_ok_and(|state| state == State::Attached)
        })
    }

    /// Looks at what is pinned below `bpffs`, without loading or changing anything.
    ///
    /// # Errors
    ///
    /// [`Error::OtherAbi`], [`Error::Open`] or [`Error::ForeignMap`].
    pub fn look(bpffs: &Path) -> Result<Self, Error> {
        let root = object::root(bpffs)?;
        let table = Table::open(&root.join("maps"), "CGROUPS")?;
        let programs = Later::new(&root, Limits::default(), Group::Cgroups);
        let held = Arc::new(Held::none());
        Ok(Self { programs, table, folder: root.join("cgroups"), held })
    }

    /// How the cgroup of an endpoint is, a path below the unified hierarchy.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] or [`Error::Read`] when that cannot be told.
    pub fn guard(&self, number: u32, path: &Path) -> Result<Guard, Error> {
        let failed = |source| Error::Folder { path: path.to_owned(), source };
        let Some(root) = unified().map_err(failed)? else { return Ok(Guard::default()) };
        let cgroup = match File::open(root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Guard::default()),
            other => other.map_err(failed)?,
        };
        let id = cgroup.metadata().map_err(failed)?.ino();
        let is_whole = self.table.get(&id)? == Some(number) && self.has_links(number, Some(id));
        let mut others = 0;
        for program in Group::Cgroups.programs().iter().filter(|_| is_whole) {
            let all = sys::programs_on(cgroup.as_fd(), program.purpose().place).map_err(failed)?;
            others = others.max(all.saturating_sub(1));
        }
        Ok(Guard { cgroup: Some(id), is_whole, others })
    }

    /// Attaches what is missing; whether anything was.
    fn attach(&self, programs: &Programs, number: u32, folder: &Path) -> io::Result<bool> {
        fs::create_dir_all(folder)?;
        let cgroup = File::open(folder)?;
        let id = cgroup.metadata()?.ino();
        let known = self.table.get(&id).map_err(io::Error::other)?;
        let mut changed = known != Some(number);
        if changed {
            self.table.insert(&id, &number).map_err(io::Error::other)?;
        }
        for program in Group::Cgroups.programs().iter().copied() {
            match self.link(programs, (number, program), Some(id))? {
                State::Attached => continue,
                State::Other => {
                    let link = sys::open(&self.pin(number, program))?;
                    sys::relink(link.as_fd(), programs.fd(program))?;
                }
                State::Gone => self.renew(programs, (number, program), cgroup.as_fd())?,
            }
            changed = true;
        }
        Ok(changed)
    }

    fn renew(
        &self,
        programs: &Programs,
        (number, program): (u32, Program),
        cgroup: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let pin = self.pin(number, program);
        forget(&pin)?;
        let place = program.purpose().place;
        let link = sys::link_cgroup(programs.fd(program), cgroup, place)?;
        sys::pin(link.as_fd(), &pin)?;
        self.held.keep(&pin, link, false);
        Ok(())
    }

    fn pin(&self, number: u32, program: Program) -> PathBuf {
        self.folder.join(format!("{number}-{}", program.name()))
    }

    /// How the link of a program is; `cgroup` is the number of the one that it belongs on.
    fn link(
        &self,
        programs: &Programs,
        (number, program): (u32, Program),
        cgroup: Option<u64>,
    ) -> io::Result<State> {
        let pin = self.pin(number, program);
        let link = match sys::open(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Gone),
            other => other?,
        };
        let info = sys::cgroup_link_info(link.as_fd())?;
        // Without a cgroup it has outlived it.
        if info.cgroup == 0 || cgroup.is_some_and(|wanted| info.cgroup != wanted) {
            return Ok(State::Gone);
        }
        let ours = sys::program_info(programs.fd(program))?.id;
        if !self.held.has(&pin) {
            self.held.keep(&pin, link, false);
        }
        Ok(if info.program == ours { State::Attached } else { State::Other })
    }

    /// Detaches what is not wanted, and removes empty cgroups in `parent` that were for it.
    fn release(&self, wanted: &BTreeMap<u32, PathBuf>, parent: &Path, pass: &mut Pass) {
        let pinned = match object::list(&self.folder) {
            Ok(pinned) => pinned,
            Err(error) => return pass.failed.push(error.to_string()),
        };
        let mut gone = BTreeSet::new();
        for name in pinned {
            let number = name.split_once('-').and_then(|(number, _)| number.parse::<u32>().ok());
            if number.is_some_and(|number| wanted.contains_key(&number)) {
                continue;
            }
            match self.held.end(&self.folder.join(&name)) {
                Ok(()) => gone.extend(number),
                Err(error) => pass.failed.push(format!("unpin cgroups/{name}: {error}")),
            }
        }
        let mut old = Vec::new();
        let read = self.table.each(|id, number| {
            if !wanted.contains_key(&number) {
                old.push(id);
            }
        });
        let removed = read.and_then(|()| self.table.remove_all(&old));
        if let Err(error) = removed {
            pass.failed.push(error.to_string());
        }
        for entry in fs::read_dir(parent).into_iter().flatten().flatten().take(FOLDERS) {
            let is_old = entry.metadata().is_ok_and(|found| old.contains(&found.ino()));
            if is_old {
                // With a process in it, it stays: whoever ends that removes it.
                fs::remove_dir(entry.path()).ok();
            }
        }
        pass.done
            .extend(gone.into_iter().map(|number| format!("bpf link detach cgroup of {number}")));
    }

    /// Lets every link run the programs of this object, without a gap. They are loaded if there is such a link.
    pub(super) fn replace_all(&self) -> Result<(), Error> {
        for name in object::list(&self.folder)? {
            let pin = self.folder.join(&name);
            let failed = |source| Error::Folder { path: pin.clone(), source };
            let program = Group::Cgroups
                .programs()
                .iter()
                .find(|program| name.split_once('-').is_some_and(|(_, of)| of == program.name()));
            let Some(program) = program else { continue };
            let link = sys::open(&pin).map_err(failed)?;
            if sys::cgroup_link_info(link.as_fd()).map_err(failed)?.cgroup == 0 {
                forget(&pin).map_err(failed)?;
                continue;
            }
            let programs = self.programs.get()?;
            sys::relink(link.as_fd(), programs.fd(*program)).map_err(failed)?;
        }
        Ok(())
    }
}

/// How the cgroup of an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Its number; absent when it is not there.
    pub cgroup: Option<u64>,
    /// Whether everything that its sockets send, receive and ask for is judged as the endpoint's.
    pub is_whole: bool,
    /// Programs of others at one place of it, those of cgroups above it among them.
    pub others: u32,
}

/// Folders in a cgroup that are looked through.
const FOLDERS: usize = 65_536;

/// How a pinned link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On its cgroup, with the program of this object.
    Attached,
    /// On its cgroup, with another program.
    Other,
    /// Not there, or its cgroup is gone.
    Gone,
}

/// Whether programs judge what sockets of a cgroup send and receive: a path below the unified hierarchy.
///
/// # Errors
///
/// The system's answer; `NotFound` when there is no such cgroup.
pub(crate) fn is_guarded(path: &Path) -> io::Result<bool> {
    let Some(root) = unified()? else { return Ok(false) };
    let cgroup = File::open(root.join(path))?;
    for program in [Program::SentBySocket, Program::SentToSocket] {
        if sys::programs_on(cgroup.as_fd(), program.purpose().place)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn forget(pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
