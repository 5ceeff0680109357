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

use super::object::{self, Program, Programs};
use super::table::Table;
use super::{Datapath, Error, sys};
use crate::linux::runtime::unified;
use crate::ports::Pass;

/// Every program of a cgroup. What refuses packets comes first.
const PROGRAMS: [Program; 8] = [
    Program::SentBySocket,
    Program::SentToSocket,
    Program::Connect4,
    Program::Connect6,
    Program::Sendmsg4,
    Program::Sendmsg6,
    Program::Bind4,
    Program::Bind6,
];

/// Attaches programs to cgroups.
pub struct Cgroups {
    programs: Arc<Programs>,
    table: Table<u64, u32>,
    folder: PathBuf,
}

impl Datapath {
    /// Opens what attaches to cgroups. There should be one at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::ForeignMap`] or [`Error::Folder`].
    pub fn cgroups(&self) -> Result<Cgroups, Error> {
        Cgroups::open(Arc::clone(&self.programs), &self.root)
    }

    /// Whether anything was ever attached to a cgroup.
    #[must_use]
    pub fn has_cgroups(&self) -> bool {
        self.root.join("cgroups").exists()
    }
}

impl Cgroups {
    pub(super) fn open(programs: Arc<Programs>, root: &Path) -> Result<Self, Error> {
        let folder = root.join("cgroups");
        object::make(&folder)?;
        let table = Table::open(&root.join("maps"), "CGROUPS")?;
        Ok(Self { programs, table, folder })
    }

    /// Brings what is attached to what is wanted: cgroups by the number of their endpoint, as paths below the unified hierarchy, all of them
    /// in `parent`.
    pub fn bring(&mut self, wanted: &BTreeMap<u32, PathBuf>, parent: &Path) -> Pass {
        let mut pass = Pass::default();
        let root = match unified() {
            Ok(Some(root)) => root,
            Ok(None) if wanted.is_empty() => PathBuf::new(),
            Ok(None) => {
                pass.failed.push("no unified cgroup hierarchy is mounted (cgroup2)".to_owned());
                return pass;
            }
            Err(error) => {
                pass.failed.push(format!("find the unified cgroup hierarchy: {error}"));
                return pass;
            }
        };
        for (number, path) in wanted {
            match self.attach(*number, &root.join(path)) {
                Ok(false) => {}
                Ok(true) => pass.done.push(format!("bpf link create cgroup {}", path.display())),
                Err(error) => {
                    let path = path.display();
                    pass.failed.push(format!("attach programs to the cgroup {path}: {error}"));
                }
            }
        }
        self.release(wanted, &root.join(parent), &mut pass);
        pass
    }

    /// Whether all programs of this object are attached to the cgroup of an endpoint.
    #[must_use]
    pub fn is_attached(&self, number: u32) -> bool {
        PROGRAMS.iter().all(|program| {
            self.link(number, *program, None).is_ok_and(|state| state == State::Attached)
        })
    }

    /// Attaches what is missing; whether anything was.
    fn attach(&self, number: u32, folder: &Path) -> io::Result<bool> {
        fs::create_dir_all(folder)?;
        let cgroup = File::open(folder)?;
        let id = cgroup.metadata()?.ino();
        let known = self.table.get(&id).map_err(io::Error::other)?;
        let mut changed = known != Some(number);
        if changed {
            self.table.insert(&id, &number).map_err(io::Error::other)?;
        }
        for program in PROGRAMS {
            match self.link(number, program, Some(id))? {
                State::Attached => continue,
                State::Other => {
                    let link = sys::open(&self.pin(number, program))?;
                    sys::relink(link.as_fd(), self.programs.fd(program))?;
                }
                State::Gone => self.renew(number, program, cgroup.as_fd())?,
            }
            changed = true;
        }
        Ok(changed)
    }

    fn renew(&self, number: u32, program: Program, cgroup: BorrowedFd<'_>) -> io::Result<()> {
        let pin = self.pin(number, program);
        forget(&pin)?;
        let place = program.purpose().place;
        let link = sys::link_cgroup(self.programs.fd(program), cgroup, place)?;
        sys::pin(link.as_fd(), &pin)
    }

    fn pin(&self, number: u32, program: Program) -> PathBuf {
        self.folder.join(format!("{number}-{}", program.name()))
    }

    /// How the link of a program is; `cgroup` is the number of the one that it belongs on.
    fn link(&self, number: u32, program: Program, cgroup: Option<u64>) -> io::Result<State> {
        let link = match sys::open(&self.pin(number, program)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Gone),
            other => other?,
        };
        let info = sys::cgroup_link_info(link.as_fd())?;
        // Without a cgroup it has outlived it.
        if info.cgroup == 0 || cgroup.is_some_and(|wanted| info.cgroup != wanted) {
            return Ok(State::Gone);
        }
        let ours = sys::program_info(self.programs.fd(program))?.id;
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
            match forget(&self.folder.join(&name)) {
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

    /// Lets every link run the programs of this object, without a gap.
    pub(super) fn replace_all(&self) -> Result<(), Error> {
        for name in object::list(&self.folder)? {
            let pin = self.folder.join(&name);
            let program = PROGRAMS
                .into_iter()
                .find(|program| name.split_once('-').is_some_and(|(_, of)| of == program.name()));
            let replace = || -> io::Result<()> {
                let Some(program) = program else { return Ok(()) };
                let link = sys::open(&pin)?;
                if sys::cgroup_link_info(link.as_fd())?.cgroup == 0 {
                    return forget(&pin);
                }
                sys::relink(link.as_fd(), self.programs.fd(program))
            };
            replace().map_err(|source| Error::Folder { path: pin.clone(), source })?;
        }
        Ok(())
    }
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
