//! What an agent remembers on disk: the last good document, its allocations, and the flows of the last days.
//!
//! One `redb` file, mode 0600, with a schema number. The agent is the only user; a second process that opens the same
//! file is refused. What the file holds is enough to come up after a reboot without the people's files at hand.
//!
//! **Order.** [`Store::keep`] writes the document and the allocations it was applied with in one transaction and returns
//! after `fsync`. Its generation must be higher than any before, also after [`Store::forget_document`].
//!
//! **Failure.** Opening verifies every checksum. A file that is broken is moved aside, never deleted and never fatal:
//! [`Opened::set_aside`] says where it went, and the agent starts from what it is given and from what is pinned in the
//! kernel ([`Store::raise_generation`]). A file that cannot be read for another reason is an error, and stays.
//!
//! **Limits.** The history is bounded by [`Bounds`], the oldest flows go first. Flows reach the disk within
//! [`SYNC_BATCHES`] batches, or with the next document, or by [`Store::sync`]; a crash of the host may lose the newest.

mod changes;
mod counts;
mod document;
mod error;
mod flows;
mod open;

#[cfg(test)]
mod tests;

use redb::{Database, TableDefinition};

pub use changes::Changes;
pub use document::{Document, Source};
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

/// An open file. Methods may be called from several threads; writers take turns.
#[derive(Debug)]
pub struct Store {
    database: Database,
    bounds: Bounds,
    unsynced: std::sync::atomic::AtomicU32,
}
