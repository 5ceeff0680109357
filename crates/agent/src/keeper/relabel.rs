//! Labels of a workload change at run time: only the table entries that differ are rewritten.

use std::sync::Arc;
use std::time::Instant;

use api::{Error, LabelChange, LabelChanged, codes};
use host::linux::rcu::Expedited;
use model::{LabelKey, LabelValue, Labels};
use planner::PlanErrors;
use policy::document::owner;

use crate::answers::party;
use crate::fault::refused;
use crate::force::{Force, Wanted};
use crate::names::Names;
use crate::reconcile::tables;
use crate::saved::Saved;

use super::Keeper;

impl Keeper {
    /// Changes labels of a workload; they hold until the next `up`.
    pub(super) fn relabel(
        &mut self,
        name: &str,
        change: &LabelChange,
    ) -> Result<LabelChanged, Error> {
        let began = Instant::now();
        let _quick = Expedited::begin();
        let force = self.shared.forced()?;
        // Labels are the workload's, at whichever attachment.
        let id: Arc<str> = owner(&party::workload_id(&force.wanted.bundle, name)?).into();
        let labels = changed(current(&force.wanted.document, &id), change)?;
        let wanted = self.relabelled(&force, &id, &labels)?;
        self.shared.set_names(Arc::new(Names::new(&wanted.bundle, Some(&self.shared.names()))));
        let compiled = began.elapsed();
        let outcome = self.datapath.apply(&wanted.bundle.tables);
        let effective = outcome.as_ref().map(|outcome| outcome.effective).unwrap_or_default();
        let step = self.told("tables", tables::told(outcome));
        let took = compiled + effective;
        let generation = self.store.generation()? + 1;
        let saved = Saved::new(generation, &wanted, Arc::clone(&force.enforced));
        let cause = match step.failures.into_iter().next() {
            Some(failure) => Some(failure),
            None => self.store.keep_labels(&saved, &id).err().map(|error| error.to_string()),
        };
        if let Some(cause) = cause {
            self.compiler = None;
            let back = tables::pass(&mut self.datapath, &force.wanted.bundle.tables);
            drop(self.told("tables", back));
            let mut error = refused(codes::DATAPATH, format!("the labels of {id} are as before"));
            error.cause = Some(cause);
            return Err(error);
        }
        // Other labels need no other look at the host's addresses.
        if let Some((of, _)) = self.compiled_for.as_mut().filter(|(of, _)| *of == force.generation)
        {
            *of = generation;
        }
        self.put_in_force(saved, wanted);
        Ok(LabelChanged {
            labels: labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            generation,
            entries: step.changes,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

impl Keeper {
    /// What is in force with other labels of one workload. Only what they touch is compiled.
    fn relabelled(&mut self, force: &Force, id: &str, labels: &Labels) -> Result<Wanted, Error> {
        let wanted = &force.wanted;
        let mut compiler = match self.compiled() {
            Some(compiler) => compiler,
            None => wanted.compiler(&self.facts()?)?,
        };
        let collided = |errors: PlanErrors| refused(codes::COMPILE, errors.to_string());
        for (each, _) in wanted.bundle.attachments(id) {
            compiler.relabel(each, labels.clone()).map_err(collided)?;
        }
        let mut wanted = wanted.recompiled(&compiler);
        wanted.relabelled.insert(id.to_owned(), labels.clone());
        self.compiler = Some((self.store.generation()? + 1, compiler));
        Ok(wanted)
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
