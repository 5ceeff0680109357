//! Workloads that were attached at run time: each is a row of its own, beside the document.
//!
//! They outlive documents: the next one takes them over, or is refused. [`Store::forget_document`] ends them too.

use redb::ReadableTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::{last_generation, set_generation};
use crate::{ATTACHMENTS, CHANGES, Error, META, Store, changes};

const WHAT: &str = "the attachments";

/// One thing that came, changed or went.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a, A> {
    /// Its key.
    pub key: &'a str,
    /// What it is; `None` when it went.
    pub value: Option<&'a A>,
    /// The workload in the document of which changes are forgotten: it is another one now.
    pub workload: Option<&'a str>,
}

impl Store {
    /// Keeps attachments that came, changed or went; all of them, and on disk, when this returns.
    ///
    /// # Errors
    /// When the generation is not above every earlier one, or writing fails; nothing changes then.
    pub fn keep_attachments<A: Serialize>(
        &self,
        generation: u64,
        applied_at_ms: u64,
        all: &[Attachment<'_, A>],
    ) -> Result<(), Error> {
        let write = self.database.begin_write().map_err(Error::writing(WHAT))?;
        let last = last_generation(&write)?;
        if generation <= last {
            return Err(Error::GenerationBackwards { offered: generation, last });
        }
        set_generation(&write, generation)?;
        {
            let mut meta = write.open_table(META).map_err(Error::writing(WHAT))?;
            for (key, value) in changes::stamp(generation, applied_at_ms) {
                meta.insert(key, value).map_err(Error::writing(WHAT))?;
            }
            let mut rows = write.open_table(ATTACHMENTS).map_err(Error::writing(WHAT))?;
            let mut changes = write.open_table(CHANGES).map_err(Error::writing(WHAT))?;
            for each in all {
                if let Some(workload) = each.workload {
                    changes.remove(workload).map_err(Error::writing(WHAT))?;
                }
                let Some(value) = each.value else {
                    rows.remove(each.key).map_err(Error::writing(WHAT))?;
                    continue;
                };
                let text = serde_json::to_vec(value)
                    .map_err(|source| Error::Encode { what: WHAT, source })?;
                rows.insert(each.key, text.as_slice()).map_err(Error::writing(WHAT))?;
            }
        }
        write.commit().map_err(Error::writing(WHAT))
    }

    /// Forgets attachments that are over; the generation and the time of the last change stay.
    ///
    /// # Errors
    /// When writing fails; nothing changes then.
    pub fn forget_attachments(&self, keys: &[String]) -> Result<(), Error> {
        let write = self.database.begin_write().map_err(Error::writing(WHAT))?;
        {
            let mut rows = write.open_table(ATTACHMENTS).map_err(Error::writing(WHAT))?;
            for key in keys {
                rows.remove(key.as_str()).map_err(Error::writing(WHAT))?;
            }
        }
        write.commit().map_err(Error::writing(WHAT))
    }

    /// Every attachment, by key.
    ///
    /// # Errors
    /// When they cannot be read or understood.
    pub fn attachments<A: DeserializeOwned>(&self) -> Result<Vec<(String, A)>, Error> {
        let read = self.database.begin_read().map_err(Error::reading(WHAT))?;
        let rows = match read.open_table(ATTACHMENTS) {
            Ok(rows) => rows,
            // A file of an agent that knew none.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(Error::reading(WHAT)(error)),
        };
        let mut all = Vec::new();
        for entry in rows.iter().map_err(Error::reading(WHAT))? {
            let (key, text) = entry.map_err(Error::reading(WHAT))?;
            let value = serde_json::from_slice(text.value())
                .map_err(|source| Error::Decode { what: WHAT, source })?;
            all.push((key.value().to_owned(), value));
        }
        Ok(all)
    }
}

/// Forgets every attachment: nothing is in force that they could be attached to.
pub(crate) fn forget(write: &redb::WriteTransaction) -> Result<(), Error> {
    write.delete_table(ATTACHMENTS).map(drop).map_err(Error::writing(WHAT))
}

#[cfg(test)]
mod tests {
    use crate::{Attachment, Bounds, Document, Error, Store};

    fn document(generation: u64) -> Document {
        let (sources, env) = (Vec::new(), std::collections::BTreeMap::new());
        Document { generation, sources, env, geography: None, applied_at_ms: 5 }
    }

    fn row<'a>(key: &'a str, value: Option<&'a u32>) -> Attachment<'a, u32> {
        Attachment { key, value, workload: Some("shop.pod") }
    }

    #[test]
    fn attachments_outlive_documents_and_end_with_the_last_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bulkhead.redb");
        let store = Store::open(&path, Bounds::default()).expect("a new file").store;
        assert_eq!(store.attachments::<u32>().expect("none"), []);
        store.keep(&document(1), &()).expect("kept");
        store.keep_change(2, 6, "shop.pod", &"other").expect("kept");
        store
            .keep_attachments(3, 7, &[row("cni/a/eth0", Some(&1)), row("b", Some(&2))])
            .expect("kept");
        assert_eq!(store.changes::<String>().expect("read").all, [], "of another workload");
        assert_eq!(store.changes::<String>().expect("read").generation, Some(3));
        let back = store.keep_attachments(3, 8, &[row("b", None)]);
        assert!(matches!(back, Err(Error::GenerationBackwards { offered: 3, last: 3 })));
        store.keep_attachments(4, 8, &[row("b", None), row("gone", None)]).expect("kept");
        store.keep(&document(5), &()).expect("kept");
        drop(store);
        let store = Store::open(&path, Bounds::default()).expect("the same file").store;
        assert_eq!(store.attachments::<u32>().expect("read"), [("cni/a/eth0".to_owned(), 1)]);
        store.forget_document().expect("forgotten");
        assert_eq!(store.attachments::<u32>().expect("none"), []);
        store.keep_attachments(6, 9, &[row("b", Some(&2))]).expect("kept");
        assert_eq!(store.attachments::<u32>().expect("one").len(), 1);
    }
}
