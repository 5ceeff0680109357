//! The history of flows: a ring on disk, appended in batches, read from the newest on.

use std::sync::atomic::Ordering;

use redb::{Durability, ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Bounds, Error, FLOWS, META, SYNC_BATCHES, Store};

pub(crate) const BYTES: &str = "flow-bytes";
pub(crate) const NEXT: &str = "flow-next";
const WHAT: &str = "the flow history";

/// What [`Store::flows`] found, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The flows.
    pub flows: Vec<T>,
    /// Flows that this version does not understand and left out.
    pub skipped: u64,
    /// Whether there may be more than the limit.
    pub is_cut: bool,
}

impl Store {
    /// Appends flows, oldest first, and drops the oldest ones beyond the bounds.
    ///
    /// # Errors
    /// When a flow cannot be encoded or writing fails; nothing of the batch is kept then.
    pub fn append_flows<T: Serialize>(&self, batch: &[T]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let texts = encoded(batch, self.bounds)?;
        let is_due = self.unsynced.fetch_add(1, Ordering::Relaxed) + 1 >= SYNC_BATCHES;
        let mut write = self.history.begin_write().map_err(Error::writing(WHAT))?;
        if !is_due {
            write.set_durability(Durability::None).map_err(Error::writing(WHAT))?;
        }
        append(&write, &texts, self.bounds)?;
        write.commit().map_err(Error::writing(WHAT))?;
        if is_due {
            self.unsynced.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The newest flows that `wanted` holds for, at most `limit`.
    ///
    /// # Errors
    /// When reading fails.
    pub fn flows<T: DeserializeOwned>(
        &self,
        mut wanted: impl FnMut(&T) -> bool,
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let mut page = Page { flows: Vec::new(), skipped: 0, is_cut: false };
        let read = self.history.begin_read().map_err(Error::reading(WHAT))?;
        let table = read.open_table(FLOWS).map_err(Error::reading(WHAT))?;
        for entry in table.iter().map_err(Error::reading(WHAT))?.rev() {
            let (_, text) = entry.map_err(Error::reading(WHAT))?;
            match serde_json::from_slice::<T>(text.value()) {
                Err(_) => page.skipped += 1,
                Ok(flow) if !wanted(&flow) => {}
                Ok(_) if page.flows.len() == limit => {
                    page.is_cut = true;
                    break;
                }
                Ok(flow) => page.flows.push(flow),
            }
        }
        Ok(page)
    }

    /// How many flows are kept.
    ///
    /// # Errors
    /// When reading fails.
    pub fn flow_count(&self) -> Result<u64, Error> {
        let read = self.history.begin_read().map_err(Error::reading(WHAT))?;
        let table = read.open_table(FLOWS).map_err(Error::reading(WHAT))?;
        table.len().map_err(Error::reading(WHAT))
    }

    /// Writes the history through to the disk.
    ///
    /// # Errors
    /// When writing fails.
    pub fn sync(&self) -> Result<(), Error> {
        let write = self.history.begin_write().map_err(Error::writing(WHAT))?;
        write.commit().map_err(Error::writing(WHAT))?;
        self.unsynced.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// The flows as they are written. Of a batch that is larger than the ring, only the end would stay.
fn encoded<T: Serialize>(batch: &[T], bounds: Bounds) -> Result<Vec<Vec<u8>>, Error> {
    let what = "a flow";
    let fitting = usize::try_from(bounds.flows).unwrap_or(usize::MAX).min(batch.len());
    let flows = batch.iter().skip(batch.len() - fitting);
    let texts = flows.map(serde_json::to_vec).collect::<Result<_, _>>();
    texts.map_err(|source| Error::Encode { what, source })
}

fn append(write: &WriteTransaction, texts: &[Vec<u8>], bounds: Bounds) -> Result<(), Error> {
    let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
    let number = |key| -> Result<u64, Error> {
        let found = meta.get(key).map_err(Error::reading(WHAT))?;
        Ok(found.map_or(0, |guard| guard.value()))
    };
    let (mut next, mut bytes) = (number(NEXT)?, number(BYTES)?);
    let mut table = write.open_table(FLOWS).map_err(Error::writing(WHAT))?;
    for text in texts {
        table.insert(next, text.as_slice()).map_err(Error::writing(WHAT))?;
        next += 1;
        bytes += text.len() as u64;
    }
    let mut count = table.len().map_err(Error::reading(WHAT))?;
    while count > bounds.flows || bytes > bounds.bytes {
        let Some((_, text)) = table.pop_first().map_err(Error::writing(WHAT))? else { break };
        bytes = bytes.saturating_sub(text.value().len() as u64);
        count -= 1;
    }
    for (key, value) in [(NEXT, next), (BYTES, bytes)] {
        meta.insert(key, value).map_err(Error::writing(WHAT))?;
    }
    Ok(())
}
