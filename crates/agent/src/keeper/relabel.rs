//! Labels of a workload change at run time: only the table entries that differ are rewritten.

use std::time::Instant;

use api::{Error, LabelChange, LabelChanged, codes};
use model::{LabelKey, LabelValue, Labels};

use crate::answers::party;
use crate::fault::refused;
use crate::prepare::prepare;
use crate::reconcile::tables;
use crate::saved::Saved;

use super::Keeper;

impl Keeper {
    /// Changes labels of a workload; they hold until the next `up`.
    pub(super) fn relabel(&mut self, name: &str, change: &LabelChange) -> Result<LabelChanged, Error> {
        let began = Instant::now();
        let force = self.shared.forced()?;
        let id = party::workload_id(&force.wanted.bundle, name)?;
        let labels = changed(current(&force.wanted.document, &id), change)?;
        let mut relabelled = force.wanted.relabelled.clone();
        relabelled.insert(id.to_string(), labels.clone());
        let facts = self.facts()?;
        let allocations = &force.wanted.bundle.allocations;
        let wanted = prepare(&force.wanted.request, &relabelled, allocations, &facts)?;
        let pass = tables::pass(&mut self.datapath, &wanted.bundle.tables);
        let took = began.elapsed();
        let step = self.told("tables", pass);
        let generation = self.store.generation()? + 1;
        let saved = Saved::new(generation, &wanted, force.enforced.clone());
        let cause = match step.failures.into_iter().next() {
            Some(failure) => Some(failure),
            None => self.store.keep(&saved).err().map(|error| error.to_string()),
        };
        if let Some(cause) = cause {
            let back = tables::pass(&mut self.datapath, &force.wanted.bundle.tables);
            drop(self.told("tables", back));
            let mut error = refused(codes::DATAPATH, format!("the labels of {id} are as before"));
            error.cause = Some(cause);
            return Err(error);
        }
        self.put_in_force(saved, wanted);
        Ok(LabelChanged {
            labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            generation,
            entries: step.changes,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

fn current(document: &policy::Document, id: &str) -> Labels {
    document.workload(id).map(|workload| workload.labels.clone()).unwrap_or_default()
}

/// Labels after a change.
fn changed(labels: Labels, change: &LabelChange) -> Result<Labels, Error> {
    let wrong = |error: &dyn std::error::Error| {
        refused(codes::BAD_REQUEST, "a label cannot be changed").with_cause(error)
    };
    let mut pairs: Vec<(LabelKey, LabelValue)> =
        labels.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in &change.labels {
        let key = LabelKey::new(key).map_err(|error| wrong(&error))?;
        pairs.retain(|(known, _)| *known != key);
        if let Some(value) = value {
            pairs.push((key, LabelValue::new(value).map_err(|error| wrong(&error))?));
        }
    }
    Ok(pairs.into_iter().collect())
}
