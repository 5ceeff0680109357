//! `down`: everything is taken down in the reverse order of its making.

use std::time::Instant;

use api::{DownResponse, Error, Step, StepState};
use host::linux::rcu::Expedited;
use host::network::Desired;
use planner::Bundle;
use verdict::abi::Config;
use verdict::native::Tables;

use crate::attach::Attacher;
use crate::clean;
use crate::reconcile::{hosted, network, tables, workloads};

use super::Keeper;
use super::apply::outcome;

impl Keeper {
    /// Takes everything down. With `clean` the agent ends, and nothing of it stays, unless something could not
    /// be removed.
    pub(super) fn down(&mut self, clean: bool) -> Result<DownResponse, Error> {
        let began = Instant::now();
        let current = self.shared.force();
        let tables = current.as_ref().map(|force| force.wanted.bundle.tables.clone());
        let tables = tables.unwrap_or_default();
        self.store.forget_document()?;
        self.forget_host();
        let mut steps = self.remove(&tables);
        if let Some(before) = &current {
            network::sweep(&before.wanted.bundle, &Bundle::default());
        }
        self.shared.set_force(None);
        if clean {
            steps.push(clean::last(&steps, &self.shared.options));
        }
        let agent_ends = clean && steps.iter().all(|step| step.state != StepState::Failed);
        let generation = 0;
        Ok(DownResponse { outcome: outcome(generation, steps, began), agent_ends })
    }

    /// Stops workloads, removes links and namespaces, empties the tables.
    pub(super) fn remove(&mut self, current: &Tables) -> Vec<Step> {
        let _quick = Expedited::begin();
        let options = self.shared.options.clone();
        let nothing = workloads::Wanted::default();
        let stopped = workloads::stop_unwanted(&options.dirs(), &nothing);
        let mut steps = vec![self.told("stop", stopped)];
        let mut attacher =
            Attacher::new(self.datapath.hooks(), &Desired::default(), |name| options.pin(name));
        let mut removed = network::removal(&mut self.kernel, &mut attacher);
        removed.add(self.shared.ports.release());
        removed.add(self.shared.accounts.bring(None));
        removed.add(hosted::pass(&self.datapath, &Bundle::default(), &options));
        steps.push(self.told("network", removed));
        let config = Config { flags: current.config.flags & !Config::HOST, ..current.config };
        let empty = Tables { config, ..Tables::default() };
        let emptied = tables::pass(&mut self.datapath, &empty);
        steps.push(self.told("tables", emptied));
        steps
    }
}
