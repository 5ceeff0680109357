//! The last good document and the allocations it was applied with.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, META, Store, TEXTS, attachments, changes};

const DOCUMENT: &str = "document";
const ALLOCATIONS: &str = "allocations";
const GENERATION: &str = "generation";

/// One file of the people's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As messages name it.
    pub name: String,
    /// As it was read, byte for byte.
    pub text: String,
}

/// Networks of countries, as a database had them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geography {
    /// The database's type.
    pub database: String,
    /// When it was built, RFC 3339.
    pub built: String,
    /// CIDRs by country code.
    pub countries: BTreeMap<String, Vec<String>>,
}

/// What was applied last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Rises with every document.
    pub generation: u64,
    /// The files, in the order they were given.
    pub sources: Vec<Source>,
    /// The environment variables that the files use, with the values they had.
    pub env: BTreeMap<String, String>,
    /// The networks of the countries that the files name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geography: Option<Geography>,
    /// When it was applied, in milliseconds since 1970.
    pub applied_at_ms: u64,
}

impl Store {
    /// Keeps a document and its allocations; on disk when this returns.
    ///
    /// # Errors
    /// When the generation is not above every earlier one, or writing fails; nothing changes then.
    pub fn keep<A: Serialize>(&self, document: &Document, allocations: &A) -> Result<(), Error> {
        let what = "the document";
        let write = self.database.begin_write().map_err(Error::writing(what))?;
        let last = last_generation(&write)?;
        if document.generation <= last {
            return Err(Error::GenerationBackwards { offered: document.generation, last });
        }
        changes::forget(&write)?;
        put(&write, DOCUMENT, what, document)?;
        put(&write, ALLOCATIONS, "the allocations", allocations)?;
        set_generation(&write, document.generation)?;
        write.commit().map_err(Error::writing(what))
    }

    /// The last document; `None` when there is none, or it was forgotten.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn document(&self) -> Result<Option<Document>, Error> {
        self.json(DOCUMENT, "the document")
    }

    /// Forgets the document and the attachments, as `down` does. Allocations and generation stay.
    ///
    /// # Errors
    /// When writing fails.
    pub fn forget_document(&self) -> Result<(), Error> {
        let what = "the document";
        let write = self.database.begin_write().map_err(Error::writing(what))?;
        write
            .open_table(TEXTS)
            .map_err(Error::writing(what))?
            .remove(DOCUMENT)
            .map_err(Error::writing(what))?;
        changes::forget(&write)?;
        attachments::forget(&write)?;
        write.commit().map_err(Error::writing(what))
    }

    /// Keeps allocations without a new document.
    ///
    /// # Errors
    /// When writing fails.
    pub fn keep_allocations<A: Serialize>(&self, allocations: &A) -> Result<(), Error> {
        let what = "the allocations";
        let write = self.database.begin_write().map_err(Error::writing(what))?;
        put(&write, ALLOCATIONS, what, allocations)?;
        write.commit().map_err(Error::writing(what))
    }

    /// The allocations kept last.
    ///
    /// # Errors
    /// When they cannot be read or understood.
    pub fn allocations<A: DeserializeOwned>(&self) -> Result<Option<A>, Error> {
        self.json(ALLOCATIONS, "the allocations")
    }

    /// The highest generation so far; 0 before the first document.
    ///
    /// # Errors
    /// When reading fails.
    pub fn generation(&self) -> Result<u64, Error> {
        let what = "the generation";
        let read = self.database.begin_read().map_err(Error::reading(what))?;
        let meta = read.open_table(META).map_err(Error::reading(what))?;
        let found = meta.get(GENERATION).map_err(Error::reading(what))?;
        Ok(found.map_or(0, |guard| guard.value()))
    }

    /// Makes the highest generation at least `floor`: what a kernel still runs after the file was lost.
    ///
    /// # Errors
    /// When writing fails.
    pub fn raise_generation(&self, floor: u64) -> Result<(), Error> {
        let what = "the generation";
        let write = self.database.begin_write().map_err(Error::writing(what))?;
        if last_generation(&write)? >= floor {
            return write.abort().map_err(Error::writing(what));
        }
        set_generation(&write, floor)?;
        write.commit().map_err(Error::writing(what))
    }

    fn json<T: DeserializeOwned>(&self, key: &str, what: &'static str) -> Result<Option<T>, Error> {
        let read = self.database.begin_read().map_err(Error::reading(what))?;
        let texts = read.open_table(TEXTS).map_err(Error::reading(what))?;
        let Some(text) = texts.get(key).map_err(Error::reading(what))? else { return Ok(None) };
        serde_json::from_slice(text.value())
            .map(Some)
            .map_err(|source| Error::Decode { what, source })
    }
}

pub(crate) fn last_generation(write: &WriteTransaction) -> Result<u64, Error> {
    let what = "the generation";
    let meta = write.open_table(META).map_err(Error::reading(what))?;
    let found = meta.get(GENERATION).map_err(Error::reading(what))?;
    Ok(found.map_or(0, |guard| guard.value()))
}

pub(crate) fn set_generation(write: &WriteTransaction, generation: u64) -> Result<(), Error> {
    let what = "the generation";
    let mut meta = write.open_table(META).map_err(Error::writing(what))?;
    meta.insert(GENERATION, generation).map_err(Error::writing(what)).map(drop)
}

fn put<T: Serialize>(
    write: &WriteTransaction,
    key: &str,
    what: &'static str,
    value: &T,
) -> Result<(), Error> {
    let text = serde_json::to_vec(value).map_err(|source| Error::Encode { what, source })?;
    let mut texts = write.open_table(TEXTS).map_err(Error::writing(what))?;
    texts.insert(key, text.as_slice()).map_err(Error::writing(what)).map(drop)
}
