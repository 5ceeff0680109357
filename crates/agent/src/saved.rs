//! What the agent remembers on disk: the document in force with everything that was decided for it, and flow records.
//!
//! A document is remembered when it is in force, not before: an agent that dies in the middle of an `up` goes back to the
//! document before it.

mod tally;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::{DocumentRequest, Error, codes};
use flow::Record;
use jiff::Timestamp;
use model::{CopyOnWrite, Labels};
use planner::Allocations;
use serde::{Deserialize, Serialize};

use crate::attachments::Kept;
use crate::fault::{failed, sentence};
use crate::force::{Enforced, Wanted};

/// Name of the document's file in the state folder; that of the history is beside it.
pub(crate) const FILE: &str = "bulkhead.redb";

/// A document and what was decided for it.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    /// Its number.
    pub(crate) generation: u64,
    /// When it was applied.
    pub(crate) applied: Timestamp,
    /// The file as it came.
    pub(crate) request: Arc<DocumentRequest>,
    /// What else was decided.
    pub(crate) decided: Decided,
}

/// What was decided for a document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Decided {
    /// Numbers and addresses.
    pub(crate) allocations: CopyOnWrite<Allocations>,
    /// Labels that were changed at run time.
    pub(crate) relabelled: CopyOnWrite<BTreeMap<String, Labels>>,
    /// Since when each endpoint is enforced.
    pub(crate) enforced: Arc<BTreeMap<String, Enforced>>,
    /// Subnets of the networks of Docker's that the file names.
    pub(crate) docker: BTreeMap<String, Vec<String>>,
}

impl Saved {
    /// A new document; only the variables that the file lists are remembered.
    pub(crate) fn new(
        generation: u64,
        wanted: &Wanted,
        enforced: Arc<BTreeMap<String, Enforced>>,
    ) -> Self {
        Self {
            generation,
            applied: Timestamp::now(),
            request: Arc::clone(&wanted.request),
            decided: Decided {
                allocations: wanted.bundle.allocations.clone(),
                relabelled: wanted.relabelled.clone(),
                enforced,
                docker: wanted.request.docker.clone(),
            },
        }
    }
}

/// The state folder.
#[derive(Debug)]
pub(crate) struct Store(store::Store);

impl Store {
    /// Opens the files in the state folder. A broken one is moved aside and told in the log.
    ///
    /// # Errors
    /// `BH0214` when it can neither be read nor moved aside.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let opened = store::Store::open(&state_dir.join(FILE), store::Bounds::default());
        let opened = opened.map_err(|error| told("open what is remembered", &error))?;
        for path in &opened.set_aside {
            tracing::error!(path = %path.display(), "what was remembered is broken and was moved aside");
        }
        Ok(Self(opened.store))
    }

    /// The document in force when the agent ended.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn document(&self) -> Result<Option<Saved>, Error> {
        let read = |error: store::Error| self.told("read what is remembered", &error);
        let Some(document) = self.0.document().map_err(read)? else { return Ok(None) };
        let mut decided = self.0.allocations::<Decided>().map_err(read)?.unwrap_or_default();
        // The file first, then the manifests beside it.
        let sources = document.sources.into_iter();
        let mut sources = sources.map(|each| api::Source { name: each.name, text: each.text });
        let Some(source) = sources.next() else { return Ok(None) };
        let manifests = sources.collect();
        let changes = self.0.changes::<Labels>().map_err(read)?;
        let applied = changes.applied_at_ms.unwrap_or(document.applied_at_ms);
        let generation = changes.generation.unwrap_or(document.generation);
        decided.relabelled.extend(changes.all);
        let applied = i64::try_from(applied).unwrap_or_default();
        Ok(Some(Saved {
            generation,
            applied: Timestamp::from_millisecond(applied).unwrap_or_default(),
            request: Arc::new(DocumentRequest {
                source,
                manifests,
                vars: document.env,
                geography: document.geography.map(|kept| api::Geography {
                    database: kept.database,
                    built: kept.built,
                    countries: kept.countries,
                }),
                docker: decided.docker.clone(),
                dry_run: false,
            }),
            decided,
        }))
    }

    /// The highest generation ever given.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn generation(&self) -> Result<u64, Error> {
        self.0.generation().map_err(|error| self.told("read the generation", &error))
    }

    /// Numbers and addresses given so far.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn allocations(&self) -> Result<Allocations, Error> {
        let decided = self.0.allocations::<Decided>();
        let decided = decided.map_err(|error| self.told("read the allocations", &error))?;
        Ok((*decided.unwrap_or_default().allocations).clone())
    }

    /// Remembers a document; on disk when this returns.
    ///
    /// # Errors
    /// `BH0214`; what was remembered before is then still there.
    pub(crate) fn keep(&self, saved: &Saved) -> Result<(), Error> {
        let document = store::Document {
            generation: saved.generation,
            sources: std::iter::once(&saved.request.source)
                .chain(&saved.request.manifests)
                .map(|each| store::Source { name: each.name.clone(), text: each.text.clone() })
                .collect(),
            env: saved.request.vars.clone(),
            geography: saved.request.geography.clone().map(|given| store::Geography {
                database: given.database,
                built: given.built,
                countries: given.countries,
            }),
            applied_at_ms: u64::try_from(saved.applied.as_millisecond()).unwrap_or_default(),
        };
        let kept = self.0.keep(&document, &saved.decided);
        kept.map_err(|error| self.told("remember the document", &error))
    }

    /// Remembers that a workload of the document has other labels; on disk when this returns.
    ///
    /// # Errors
    /// `BH0214`; what was remembered before is then still there.
    pub(crate) fn keep_labels(&self, saved: &Saved, workload: &str) -> Result<(), Error> {
        let applied = u64::try_from(saved.applied.as_millisecond()).unwrap_or_default();
        let labels = saved.decided.relabelled.get(workload);
        let kept = self.0.keep_change(saved.generation, applied, workload, &labels);
        kept.map_err(|error| self.told("remember the labels", &error))
    }

    /// Remembers attachments that came, changed or went; on disk when this returns. Labels that were changed of a workload
    /// that is another one now, or that went, are forgotten.
    ///
    /// # Errors
    /// `BH0214`; what was remembered before is then still there.
    pub(crate) fn keep_attachments(
        &self,
        saved: &Saved,
        before: &Wanted,
        changes: &BTreeMap<String, Option<Kept>>,
    ) -> Result<(), Error> {
        let applied = u64::try_from(saved.applied.as_millisecond()).unwrap_or_default();
        let ids: Vec<Option<String>> =
            changes.keys().map(|key| before.attachments.get(key).map(Kept::id)).collect();
        let rows = changes.iter().zip(&ids).map(|((key, kept), id)| store::Attachment {
            key,
            value: kept.as_ref(),
            workload: id.as_deref(),
        });
        let rows: Vec<_> = rows.collect();
        let kept = self.0.keep_attachments(saved.generation, applied, &rows);
        kept.map_err(|error| self.told("remember the attachments", &error))
    }

    /// The attachments when the agent ended, by key.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn attachments(&self) -> Result<BTreeMap<String, Kept>, Error> {
        let all = self.0.attachments::<Kept>();
        let all = all.map_err(|error| self.told("read what is attached", &error))?;
        Ok(all.into_iter().collect())
    }

    /// Forgets attachments that ended while no agent ran. The generation stays.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn forget_attachments(&self, keys: &[String]) -> Result<(), Error> {
        let forgotten = self.0.forget_attachments(keys);
        forgotten.map_err(|error| self.told("forget attachments", &error))
    }

    /// Adds flow records to the history, oldest first.
    ///
    /// # Errors
    /// `BH0214`; none of them is in the history then.
    pub(crate) fn append(&self, records: &[Arc<Record>]) -> Result<(), Error> {
        let records: Vec<&Record> = records.iter().map(AsRef::as_ref).collect();
        self.0
            .append_flows(&records)
            .map_err(|error| self.told_of_history("write the flow history", &error))
    }

    /// The newest records of the history, at most `limit`, oldest first.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn history(&self, limit: usize) -> Result<Vec<Record>, Error> {
        let page = self.0.flows(|_: &Record| true, limit);
        let mut page =
            page.map_err(|error| self.told_of_history("read the flow history", &error))?;
        if page.skipped > 0 {
            tracing::warn!(records = page.skipped, "of another version in the flow history");
        }
        page.flows.reverse();
        Ok(page.flows)
    }

    /// Writes the history through to the disk.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.0.sync().map_err(|error| self.told_of_history("write the flow history", &error))
    }

    /// Forgets the document, not the numbers and addresses.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn forget_document(&self) -> Result<(), Error> {
        self.0.forget_document().map_err(|error| self.told("forget the document", &error))
    }

    /// What failed, for people. After a disk has failed, or was full, the file is opened again, so that the next try can work.
    fn told(&self, what: &str, error: &store::Error) -> Error {
        opened_again(error, || self.0.reopen());
        told(what, error)
    }

    /// The same of the history.
    fn told_of_history(&self, what: &str, error: &store::Error) -> Error {
        opened_again(error, || self.0.reopen_history());
        told(what, error)
    }
}

fn opened_again(error: &store::Error, reopen: impl FnOnce() -> Result<(), store::Error>) {
    if error.is_lasting()
        && let Err(again) = reopen()
    {
        tracing::warn!("what is remembered cannot be opened again yet: {}", sentence(&again));
    }
}

fn told(what: &str, error: &store::Error) -> Error {
    failed(codes::STATE, what, error)
}
