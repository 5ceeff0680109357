//! One open file, which is opened again after the disk has failed it.
//!
//! The library refuses everything after one failed read or write, be it that a disk was full for a moment: what it has in memory may differ from
//! what is on the disk. Only opening the file again helps, and that is to be possible without ending the agent.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase as _, WriteTransaction};

use crate::Error;
use crate::open::verified;

/// Opening verifies everything, so it is not done more often than this.
const REST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// Nothing while it could not be opened again.
    open: RwLock<Option<Database>>,
    /// When it was opened again last.
    again: Mutex<Option<Instant>>,
}

impl File {
    pub(crate) fn new(path: &Path, database: Database) -> Self {
        let (path, open) = (path.to_owned(), RwLock::new(Some(database)));
        Self { path, open, again: Mutex::default() }
    }

    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_read()?),
            None => Err(redb::Error::PreviousIo),
        }
    }

    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_write()?),
            None => Err(redb::Error::PreviousIo),
        }
    }

    /// Opens the file again, at most once in [`REST`]. No transaction of it may be open in this thread.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        if again.is_some_and(|last| last.elapsed() < REST) {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // It is locked as long as it is open.
        *open = None;
        let opened = verified(&self.path);
        *again = Some(Instant::now());
        let failed =
            |source: redb::Error| Error::Open { path: self.path.clone(), source: Box::new(source) };
        *open = Some(opened.map_err(|error| failed(error.into()))?);
        Ok(())
    }
}
