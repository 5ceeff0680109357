//! Changes of the last document that are smaller than the document: each is a row of its own.

use redb::ReadableTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::{last_generation, set_generation};
use crate::{CHANGES, Error, META, Store};

const WHAT: &str = "the changes of the document";
/// Generation and time of the last change, in [`META`].
const CHANGED: &str = "changed";
const CHANGED_AT: &str = "changed_at_ms";

/// Everything that has changed since the document was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<C> {
    /// Of the last change, if there was any.
    pub generation: Option<u64>,
    /// When the last change was applied, in milliseconds since 1970.
    pub applied_at_ms: Option<u64>,
    /// The last change of each thing, by its name.
    pub all: Vec<(String, C)>,
}

impl Store {
    /// Keeps a change of one thing in the document, in place of an earlier change of it; on disk when this returns. The next
    /// document makes it be forgotten.
    ///
    /// # Errors
    /// When the generation is not above every earlier one, or writing fails; nothing changes then.
    pub fn keep_change<C: Serialize>(
        &self,
        generation: u64,
        applied_at_ms: u64,
        name: &str,
        change: &C,
    ) -> Result<(), Error> {
        let text =
            serde_json::to_vec(change).map_err(|source| Error::Encode { what: WHAT, source })?;
        let write = self.database.begin_write().map_err(Error::writing(WHAT))?;
        let last = last_generation(&write)?;
        if generation <= last {
            return Err(Error::GenerationBackwards { offered: generation, last });
        }
        set_generation(&write, generation)?;
        {
            let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
            for (key, value) in stamp(generation, applied_at_ms) {
                meta.insert(key, value).map_err(Error::writing(WHAT))?;
            }
            let mut changes = write.open_table(CHANGES).map_err(Error::writing(WHAT))?;
            changes.insert(name, text.as_slice()).map_err(Error::writing(WHAT))?;
        }
        write.commit().map_err(Error::writing(WHAT))
    }

    /// What has changed since the last document was kept.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn changes<C: DeserializeOwned>(&self) -> Result<Changes<C>, Error> {
        let read = self.database.begin_read().map_err(Error::reading(WHAT))?;
        let meta = read.open_table(META).map_err(Error::reading(WHAT))?;
        let number = |key| -> Result<Option<u64>, Error> {
            let found = meta.get(key).map_err(Error::reading(WHAT))?;
            Ok(found.map(|guard| guard.value()))
        };
        let (generation, applied_at_ms) = (number(CHANGED)?, number(CHANGED_AT)?);
        let mut all = Vec::new();
        let table = read.open_table(CHANGES).map_err(Error::reading(WHAT))?;
        for entry in table.iter().map_err(Error::reading(WHAT))? {
            let (name, text) = entry.map_err(Error::reading(WHAT))?;
            let change = serde_json::from_slice(text.value())
                .map_err(|source| Error::Decode { what: WHAT, source })?;
            all.push((name.value().to_owned(), change));
        }
        Ok(Changes { generation, applied_at_ms, all })
    }
}

/// What [`META`] holds of the last change.
pub(crate) fn stamp(generation: u64, applied_at_ms: u64) -> [(&'static str, u64); 2] {
    [(CHANGED, generation), (CHANGED_AT, applied_at_ms)]
}

/// Forgets every change: a whole document takes their place.
pub(crate) fn forget(write: &redb::WriteTransaction) -> Result<(), Error> {
    write.delete_table(CHANGES).map_err(Error::writing(WHAT))?;
    write.open_table(CHANGES).map_err(Error::writing(WHAT))?;
    let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
    for key in [CHANGED, CHANGED_AT] {
        meta.remove(key).map_err(Error::writing(WHAT))?;
    }
    Ok(())
}
