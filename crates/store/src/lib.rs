//! What an agent remembers on disk: the last good document, its allocations, and the flows of the last days.
//!
//! Two `redb` files, mode 0600, each with a schema number: `bulkhead.redb` for the document, and beside it `bulkhead-flows.redb` for
//! the history and what was counted. The agent is the only user; a second process that opens the same files is refused. What
//! the first holds is enough to come up after a reboot without the people's files at hand.
//!
//! The folder `flows` beside them holds the flow store: aggregated flows, one file for each hour, see [`hours`].
//!
//! **Why two.** A file has one writer at a time, and whatever is written through takes everything along that is not yet: in
//! one file, a change of the policy would wait for thousands of flows.
//!
//! **Order.** [`Store::keep`] writes the document and the allocations it was applied with in one transaction and returns
//! after `fdatasync`. Its generation must be higher than any before, also after [`Store::forget_document`].
//!
//! **Failure.** Opening verifies every checksum. A file that is broken is moved aside, never deleted and never fatal:
//! [`Opened::set_aside`] says where it went, and the agent starts from what it is given and from what is pinned in the
//! kernel ([`Store::raise_generation`]). After a disk has failed or was full, [`Store::reopen`] makes a file usable again. A file that cannot be read for another reason is an error, and stays.
//!
//! **Limits.** The history is bounded by [`Bounds`], the oldest flows go first. Flows reach the disk within
//! [`SYNC_BATCHES`] batches, or by [`Store::sync`]; a crash of the host may lose the newest.

mod attachments;
mod changes;
mod counts;
mod document;
mod earlier;
mod error;
mod file;
mod flows;
pub mod hours;
mod open;

#[cfg(test)]
mod tests;

use redb::TableDefinition;

pub use attachments::Attachment;
pub use changes::Changes;
pub use document::{Document, Geography, Source};
pub use error::Error;
pub use flows::Page;
pub use open::Opened;

/// Number of the layout of tables and of the JSON in them.
pub const SCHEMA: u64 = 1;

/// Batches of flows after which one is written through to the disk.
pub const SYNC_BATCHES: u32 = 32;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TEXTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("texts");
const CHANGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("changes");
const ATTACHMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attachments");
const FLOWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("flows");

/// Bounds of the flow history; whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Number of flows.
    pub flows: u64,
    /// Bytes of all encoded flows; the file is somewhat larger.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { flows: 200_000, bytes: 64 * 1024 * 1024 }
    }
}

/// The open files. Methods may be called from several threads; writers of one file take turns.
#[derive(Debug)]
pub struct Store {
    database: file::File,
    history: file::File,
    bounds: Bounds,
    unsynced: std::sync::atomic::AtomicU32,
}
