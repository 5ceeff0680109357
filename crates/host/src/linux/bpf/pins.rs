//! Pins that somebody removed: what they stood for goes on meanwhile, and they come back.
//!
//! A pin keeps an object of the kernel without a process, and a link without pin and descriptor ends, which opens what it closed. So as
//! long as an agent runs it holds a descriptor of every map and program, and of links; a clean-up of a BPF file system then opens nothing.
//!
//! **Limits.** [`MOST`] links, and no more than a quarter of the files that this process may open; those of the host's uplinks always. What is not
//! held ends with its pin, and is attached again by the next pass.
//! **Failure.** While no agent runs, nothing is held: whoever is root and removes pins then takes programs off.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::object::{self, Later, Program};
use super::{Datapath, Error, mount, sys};
use crate::ports::Pass;

/// Links that are held at most.
const MOST: usize = 16_384;

/// Descriptors of links by their pin.
#[derive(Debug)]
pub(super) struct Held {
    links: Mutex<BTreeMap<PathBuf, OwnedFd>>,
    most: usize,
}

impl Held {
    /// For a process that is to stay.
    pub(super) fn new() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let quarter = files.map_or(MOST, |files| usize::try_from(files / 4).unwrap_or(MOST));
        Self { links: Mutex::default(), most: quarter.min(MOST) }
    }

    /// Holds nothing: for who only looks.
    pub(super) fn none() -> Self {
        Self { links: Mutex::default(), most: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, OwnedFd>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the link of a pin is held.
    pub(super) fn has(&self, pin: &Path) -> bool {
        self.lock().contains_key(pin)
    }

    /// Holds the link of a pin, in the place of the one that was held for it. `always` tells that there is room for it in any case.
    pub(super) fn keep(&self, pin: &Path, link: OwnedFd, always: bool) {
        let mut links = self.lock();
        let has_room = self.most > 0 && (always || links.len() < self.most);
        if has_room || links.contains_key(pin) {
            links.insert(pin.to_owned(), link);
        }
    }

    /// Gives the link of a pin away.
    pub(super) fn take(&self, pin: &Path) -> Option<OwnedFd> {
        self.lock().remove(pin)
    }

    /// A pin has another name now.
    pub(super) fn rename(&self, from: &Path, to: &Path) {
        let mut links = self.lock();
        if let Some(link) = links.remove(from) {
            links.insert(to.to_owned(), link);
        }
    }

    /// Takes a link off, whoever else holds it, and its pin away. No error when there is none.
    pub(super) fn end(&self, pin: &Path) -> io::Result<()> {
        let held = self.take(pin);
        let pinned = sys::open(pin);
        for link in held.iter().chain(&pinned) {
            // Kernels before 5.9 cannot, and who is left without its interface need not: such a link ends with its last descriptor.
            drop(sys::unlink(link.as_fd()));
        }
        match fs::remove_file(pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Pins again what lost its pin, and lets go of what is on nothing any more.
    fn put_back(&self, pass: &mut Pass) {
        let mut links = self.lock();
        links.retain(|pin, link| {
            if pin.exists() {
                return true;
            }
            let is_on = sys::link_info(link.as_fd()).is_ok_and(|info| info.interface != 0);
            if is_on {
                told(pass, "link", pin, || {
                    pin.parent().map_or(Ok(()), fs::create_dir_all)?;
                    sys::pin(link.as_fd(), pin)
                });
            }
            is_on
        });
    }
}

impl Datapath {
    /// Puts back pins that somebody removed or changed.
    pub fn put_back(&self) -> Pass {
        let mut pass = Pass::default();
        if let Err(error) = self.folders() {
            pass.failed.push(error.to_string());
            return pass;
        }
        for (name, map) in &self.held_maps {
            put(&mut pass, ("map", &self.maps().join(name)), map.as_fd(), map_number);
        }
        let later = [&self.at_places, &self.at_cgroups].map(Later::in_kernel);
        for programs in [&self.programs].into_iter().chain(later.iter().flatten()) {
            for (pin, program) in programs.all() {
                put(&mut pass, ("program", &pin), program, program_number);
            }
        }
        self.held.put_back(&mut pass);
        pass
    }

    /// Makes the folders of pins that are missing.
    fn folders(&self) -> Result<(), Error> {
        mount::prepare(&self.bpffs)?;
        let programs = self.programs.pin(Program::FromEndpoint);
        let programs = programs.parent().unwrap_or(&self.root);
        for name in ["maps", "links", "places", "qdiscs"] {
            object::make(&self.root.join(name))?;
        }
        object::make(programs)?;
        Ok(())
    }
}

fn map_number(map: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(sys::map_shape(map)?.id)
}

fn program_number(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(sys::program_info(program)?.id)
}

/// Pins an object unless it is pinned there already; something else there is not ours and goes.
fn put(
    pass: &mut Pass,
    (what, pin): (&str, &Path),
    object: BorrowedFd<'_>,
    number: fn(BorrowedFd<'_>) -> io::Result<u32>,
) {
    let is_there = || -> io::Result<bool> {
        match sys::open(pin) {
            // Another kind of object has no such description.
            Ok(found) => Ok(number(found.as_fd()).ok() == Some(number(object)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    };
    if is_there().unwrap_or(false) {
        return;
    }
    told(pass, what, pin, || {
        match fs::remove_file(pin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sys::pin(object, pin)
    });
}

fn told(pass: &mut Pass, what: &str, pin: &Path, done: impl FnOnce() -> io::Result<()>) {
    let pin = pin.display();
    match done() {
        Ok(()) => pass.done.push(format!("bpftool {what} pin {pin}")),
        Err(error) => pass.failed.push(format!("pin the {what} {pin}: {error}")),
    }
}
