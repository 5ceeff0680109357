//! What can go wrong with the file, one variant per operation.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A failed operation of the store. The cause is the error's source.
#[derive(Debug, Error)]
pub enum Error {
    /// The file could not be opened or made.
    #[error("opening {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another process, an agent most likely, has the file open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error("{} has schema {found}, this version knows up to {known}", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: u64,
        /// The schema of this version.
        known: u64,
    },
    /// The folder or the permissions of the file could not be prepared.
    #[error("preparing {}", path.display())]
    Prepare {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A broken file could not be moved aside.
    #[error("moving the broken {} aside", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A document is not newer than the last one.
    #[error("generation {offered} is not above {last}, the last one")]
    GenerationBackwards {
        /// Of the document.
        offered: u64,
        /// The highest so far.
        last: u64,
    },
    /// Reading failed.
    #[error("reading {what}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Writing failed; nothing of it is kept.
    #[error("writing {what}")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The flow store's folder, or a file in it, could not be read.
    #[error("reading {}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The flow store's files could not be written or removed.
    #[error("writing {}", path.display())]
    Hours {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value could not be turned into JSON.
    #[error("encoding {what}")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A stored value is not what this version expects.
    #[error("understanding {what}")]
    Decode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether nothing will work until the file is opened again ([`Store::reopen`](crate::Store::reopen)).
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let (Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. }) =
            self
        else {
            return false;
        };
        matches!(**source, redb::Error::Io(_) | redb::Error::PreviousIo)
    }

    pub(crate) fn reading<E: Into<redb::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Read { what, source: Box::new(source.into()) }
    }

    pub(crate) fn writing<E: Into<redb::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Write { what, source: Box::new(source.into()) }
    }
}
