//! Files of an earlier version, which held the history beside the document: it moves into its own file once.
//!
//! **Order.** The history is written through before the old one is deleted. A history that was begun already is not added to:
//! a move that a crash cut off between the two ends there, and nothing is in it twice.

use redb::{Database, ReadableDatabase, ReadableTable, TableError, WriteTransaction};

use crate::counts::COUNTS;
use crate::flows::{BYTES, NEXT};
use crate::{Error, FLOWS, META, TEXTS};

const WHAT: &str = "the history of an earlier version";

/// Moves the history out of the file of the document, if there is one.
pub(crate) fn move_history(document: &Database, history: &Database) -> Result<(), Error> {
    let read = document.begin_read().map_err(Error::reading(WHAT))?;
    let flows = match read.open_table(FLOWS) {
        Ok(flows) => flows,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(Error::reading(WHAT)(error)),
    };
    let write = history.begin_write().map_err(Error::writing(WHAT))?;
    if is_new(&write)? {
        copy(&read, &flows, &write)?;
        write.commit().map_err(Error::writing(WHAT))?;
    } else {
        write.abort().map_err(Error::writing(WHAT))?;
    }
    drop((flows, read));
    forget(document)
}

/// Whether nothing was ever written to a history.
fn is_new(write: &WriteTransaction) -> Result<bool, Error> {
    let meta = write.open_table(META).map_err(Error::reading(WHAT))?;
    let next = meta.get(NEXT).map_err(Error::reading(WHAT))?;
    Ok(next.is_none())
}

fn copy(
    read: &redb::ReadTransaction,
    flows: &redb::ReadOnlyTable<u64, &[u8]>,
    write: &WriteTransaction,
) -> Result<(), Error> {
    let mut table = write.open_table(FLOWS).map_err(Error::writing(WHAT))?;
    for entry in flows.iter().map_err(Error::reading(WHAT))? {
        let (number, text) = entry.map_err(Error::reading(WHAT))?;
        table.insert(number.value(), text.value()).map_err(Error::writing(WHAT))?;
    }
    let from = read.open_table(META).map_err(Error::reading(WHAT))?;
    let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
    for key in [NEXT, BYTES] {
        if let Some(number) = from.get(key).map_err(Error::reading(WHAT))? {
            meta.insert(key, number.value()).map_err(Error::writing(WHAT))?;
        }
    }
    let from = read.open_table(TEXTS).map_err(Error::reading(WHAT))?;
    let mut texts = write.open_table(TEXTS).map_err(Error::writing(WHAT))?;
    if let Some(counts) = from.get(COUNTS).map_err(Error::reading(WHAT))? {
        texts.insert(COUNTS, counts.value()).map_err(Error::writing(WHAT))?;
    }
    Ok(())
}

fn forget(document: &Database) -> Result<(), Error> {
    let write = document.begin_write().map_err(Error::writing(WHAT))?;
    write.delete_table(FLOWS).map_err(Error::writing(WHAT))?;
    {
        let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
        for key in [NEXT, BYTES] {
            meta.remove(key).map_err(Error::writing(WHAT))?;
        }
        let mut texts = write.open_table(TEXTS).map_err(Error::writing(WHAT))?;
        texts.remove(COUNTS).map_err(Error::writing(WHAT))?;
    }
    write.commit().map_err(Error::writing(WHAT))
}
