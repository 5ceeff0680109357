//! Opening the files, or moving a broken one aside and starting a new one.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError,
    WriteTransaction,
};

use crate::file::File;
use crate::{Bounds, CHANGES, Error, FLOWS, META, SCHEMA, Store, TEXTS, earlier};

/// Memory for pages, in bytes: reads are rare and small.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Broken files that are kept beside the good one.
const MAX_ASIDE: u32 = 100;

/// What [`Store::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// Ready to use.
    pub store: Store,
    /// Where broken files were moved to; what they held is not in `store`.
    pub set_aside: Vec<PathBuf>,
}

/// What came of trying a file.
enum Attempt {
    Good(Database),
    Broken,
}

impl Store {
    /// Opens the file at `path` and that of the history beside it, or makes them. The folder is made when missing, for its owner only.
    ///
    /// # Errors
    /// When a file is in use, cannot be read or made, was written by a later version, or is broken and cannot be moved.
    pub fn open(path: &Path, bounds: Bounds) -> Result<Opened, Error> {
        let mut set_aside = Vec::new();
        let database = open(path, &mut set_aside)?;
        check_schema(&database, path, |write| write.open_table(CHANGES).map(drop))?;
        let beside = Self::history_beside(path);
        let history = open(&beside, &mut set_aside)?;
        check_schema(&history, &beside, |write| write.open_table(FLOWS).map(drop))?;
        earlier::move_history(&database, &history)?;
        let (database, history) = (File::new(path, database), File::new(&beside, history));
        let store = Self { database, history, bounds, unsynced: 0.into() };
        Ok(Opened { store, set_aside })
    }

    /// Opens the document's file again, which cannot be used since a read or write of it failed; to be called when an error
    /// [says so](Error::is_lasting). What was not on disk is lost.
    ///
    /// # Errors
    /// When the file cannot be opened; calling this again tries again.
    pub fn reopen(&self) -> Result<(), Error> {
        self.database.reopen()
    }

    /// As [`Store::reopen`], the file of the history and of what was counted.
    ///
    /// # Errors
    /// As [`Store::reopen`].
    pub fn reopen_history(&self) -> Result<(), Error> {
        self.history.reopen()
    }

    /// Where the history of a document at `path` is: `bulkhead-flows.redb` beside `bulkhead.redb`.
    #[must_use]
    pub fn history_beside(path: &Path) -> PathBuf {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push("-flows");
        path.with_file_name(name).with_extension(path.extension().unwrap_or_default())
    }
}

/// Opens or makes one file; a broken one is added to those set aside.
fn open(path: &Path, all_aside: &mut Vec<PathBuf>) -> Result<Database, Error> {
    prepare(path).map_err(|source| Error::Prepare { path: path.to_owned(), source })?;
    match attempt(path)? {
        Attempt::Good(database) => Ok(database),
        Attempt::Broken => {
            all_aside.push(set_aside(path)?);
            prepare(path).map_err(|source| Error::Prepare { path: path.to_owned(), source })?;
            fresh(path)
        }
    }
}

/// Makes the tables and the schema number of a new file; refuses a later schema. `table` makes the one that only this file has.
fn check_schema(
    database: &Database,
    path: &Path,
    table: impl FnOnce(&WriteTransaction) -> Result<(), TableError>,
) -> Result<(), Error> {
    let what = "the schema number";
    let write = database.begin_write().map_err(Error::writing(what))?;
    {
        let mut meta = write.open_table(META).map_err(Error::writing(what))?;
        let found = meta.get("schema").map_err(Error::reading(what))?.map(|guard| guard.value());
        if let Some(found) = found.filter(|found| *found > SCHEMA) {
            return Err(Error::NewerSchema { path: path.to_owned(), found, known: SCHEMA });
        }
        meta.insert("schema", SCHEMA).map_err(Error::writing(what))?;
        write.open_table(TEXTS).map_err(Error::writing(what))?;
        table(&write).map_err(Error::writing(what))?;
    }
    write.commit().map_err(Error::writing(what))
}

/// Makes the folder and an empty file that only its owner may read: documents may hold secrets.
fn prepare(path: &Path) -> io::Result<()> {
    use fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn attempt(path: &Path) -> Result<Attempt, Error> {
    // A broken file may also trip the library's own assertions; the value is dropped then.
    let opened = catch_unwind(AssertUnwindSafe(|| verified(path)));
    match opened {
        Ok(Ok(database)) => Ok(Attempt::Good(database)),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(Error::InUse { path: path.to_owned() })
        }
        Ok(Err(error)) if !is_broken(&error) => {
            Err(Error::Open { path: path.to_owned(), source: Box::new(error.into()) })
        }
        Ok(Err(_)) | Err(_) => Ok(Attempt::Broken),
    }
}

/// Opens the file, verifies every page, and looks at every table once, so that a broken one shows here and not later.
pub(crate) fn verified(path: &Path) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let database = builder.create(path)?;
    let broken =
        |error: redb::Error| DatabaseError::Storage(StorageError::Corrupted(error.to_string()));
    let read = database.begin_read().map_err(|error| broken(error.into()))?;
    let tables = [
        read.open_table(META).map(drop),
        read.open_table(TEXTS).map(drop),
        read.open_table(FLOWS).map(drop),
        read.open_table(CHANGES).map(drop),
    ];
    for table in tables {
        match table {
            Ok(()) | Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(broken(error.into())),
        }
    }
    Ok(database)
}

fn is_broken(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Renames a broken file to the first free `<name>.broken-<n>`.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::SetAside { path: path.to_owned(), source };
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".broken-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=MAX_ASIDE).map(name).find(|aside| !aside.exists());
    let full = || failed(io::Error::other(format!("there are {MAX_ASIDE} of them already")));
    let aside = free.ok_or_else(full)?;
    fs::rename(path, &aside).map_err(failed)?;
    Ok(aside)
}

fn fresh(path: &Path) -> Result<Database, Error> {
    let mut builder = Database::builder();
    let opened = builder.set_cache_size(CACHE_BYTES).create(path);
    opened.map_err(|error| Error::Open { path: path.to_owned(), source: Box::new(error.into()) })
}
