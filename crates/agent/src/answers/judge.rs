//! Asks the one evaluator about single flows.

use verdict::native::{Simulation, Tables};
use verdict::{Judgement, Question};

/// Tables to ask.
pub(crate) struct Judge<'t> {
    tables: &'t Tables,
    simulation: Simulation<'t>,
}

impl<'t> Judge<'t> {
    /// Over these tables.
    pub(crate) fn new(tables: &'t Tables) -> Self {
        Self { tables, simulation: Simulation::new(tables) }
    }

    /// What the kernel decides about the first packet of a flow.
    pub(crate) fn judge(&self, question: &Question) -> Judgement {
        let mut judgement = Judgement::default();
        verdict::judge(&self.simulation, question, self.tables.config.epoch, &mut judgement);
        judgement
    }
}
