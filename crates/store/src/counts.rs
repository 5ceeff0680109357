//! What was counted: one value that is written often and may be a few seconds old after a crash of the host.

use redb::Durability;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Store, TEXTS};

pub(crate) const COUNTS: &str = "counts";
const WHAT: &str = "the counts";

impl Store {
    /// Keeps what was counted in place of what was kept before; on disk with the flows that are written through next.
    ///
    /// # Errors
    /// When writing fails; what was kept before is then still there.
    pub fn keep_counts<C: Serialize>(&self, counts: &C) -> Result<(), Error> {
        let text =
            serde_json::to_vec(counts).map_err(|source| Error::Encode { what: WHAT, source })?;
        let mut write = self.history.begin_write().map_err(Error::writing(WHAT))?;
        write.set_durability(Durability::None).map_err(Error::writing(WHAT))?;
        let mut texts = write.open_table(TEXTS).map_err(Error::writing(WHAT))?;
        texts.insert(COUNTS, text.as_slice()).map_err(Error::writing(WHAT))?;
        drop(texts);
        write.commit().map_err(Error::writing(WHAT))
    }

    /// The counts kept last; `None` when none ever were.
    ///
    /// # Errors
    /// When they cannot be read or understood.
    pub fn counts<C: DeserializeOwned>(&self) -> Result<Option<C>, Error> {
        let read = self.history.begin_read().map_err(Error::reading(WHAT))?;
        let texts = read.open_table(TEXTS).map_err(Error::reading(WHAT))?;
        let Some(text) = texts.get(COUNTS).map_err(Error::reading(WHAT))? else { return Ok(None) };
        let counts = serde_json::from_slice(text.value());
        counts.map(Some).map_err(|source| Error::Decode { what: WHAT, source })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Bounds, Store};

    #[test]
    fn the_last_counts_are_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("counts.redb");
        {
            let store = Store::open(&path, Bounds::default()).expect("a file").store;
            assert_eq!(store.counts::<Vec<u32>>().expect("readable"), None);
            for counts in [vec![1], vec![2, 3]] {
                store.keep_counts(&counts).expect("kept");
            }
        }
        let store = Store::open(&path, Bounds::default()).expect("the file").store;
        assert_eq!(store.counts::<Vec<u32>>().expect("readable"), Some(vec![2, 3]));
    }
}
