//! Programs that are brought into the kernel when the first thing wants them, and kept from then on: those at cgroups for a network of `mode:
//! host`, those of the host's uplinks and of ports that nobody in the file has.
//!
//! **Failure.** What cannot be loaded is told to who wants it, and tried again the next time; nothing is attached without it, and nothing
//! is started in a cgroup without programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Error, Group, Limits, OBJECT, Programs, has_maps, load_programs, ours};

/// The programs of a group, loaded or not yet. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct Later {
    root: PathBuf,
    limits: Limits,
    group: Group,
    loaded: Arc<Mutex<Option<Arc<Programs>>>>,
}

impl Later {
    /// A group of the object whose pins are below `root`.
    pub(in super::super) fn new(root: &Path, limits: Limits, group: Group) -> Self {
        Self { root: root.to_owned(), limits, group, loaded: Arc::default() }
    }

    /// Where the pins are.
    pub(in super::super) fn root(&self) -> &Path {
        &self.root
    }

    /// Them, if they are in the kernel.
    pub(in super::super) fn known(&self) -> Option<Arc<Programs>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.adopt(&mut loaded)
    }

    /// Them, if this process has them.
    pub(in super::super) fn in_kernel(&self) -> Option<Arc<Programs>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Them, adopted or loaded over the pinned maps.
    pub(in super::super) fn get(&self) -> Result<Arc<Programs>, Error> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.adopt(&mut loaded) {
            return Ok(known);
        }
        let programs = Arc::new(self.load()?);
        *loaded = Some(Arc::clone(&programs));
        Ok(programs)
    }

    fn adopt(&self, loaded: &mut Option<Arc<Programs>>) -> Option<Arc<Programs>> {
        if loaded.is_none() {
            *loaded = Programs::open(ours(&self.root), self.group).ok().map(Arc::new);
        }
        loaded.clone()
    }

    fn load(&self) -> Result<Programs, Error> {
        let (maps, folder) = (self.root.join("maps"), ours(&self.root));
        // A map that was made anew would be another one than that of the programs at interfaces.
        has_maps(&maps)?;
        // Loading was cut short: nothing is attached to these.
        for program in self.group.programs() {
            let pin = folder.join(program.name());
            match fs::remove_file(&pin) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|source| Error::Unpin { path: pin, source })?,
            }
        }
        let began = Instant::now();
        let programs = load_programs(&maps, folder, &self.limits, (OBJECT, self.group))?;
        let took_ms = began.elapsed().as_millis();
        tracing::info!(took_ms, "loaded the programs {}", self.group.what());
        Ok(programs)
    }
}
