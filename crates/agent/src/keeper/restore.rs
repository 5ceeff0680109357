//! After a start: the last document again, with the same generation, numbers and addresses, so that the tables come out
//! as they are in the kernel and nothing that is enforced has a gap.

use std::time::Instant;

use api::Error;
use host::linux::rcu;

use crate::prepare::{Base, prepare};

use super::Keeper;
use super::stages::Look;

impl Keeper {
    /// Puts the last document in force again. Without one, or when it cannot be compiled any more, whatever the kernel
    /// enforces goes on as it is.
    pub(crate) fn restore(&mut self) {
        match rcu::put_right() {
            Ok(true) => tracing::warn!(
                "an agent was killed while it changed something: put rcu_expedited back"
            ),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "rcu_expedited cannot be put back"),
        }
        if let Err(error) = self.resume() {
            let cause = error.cause.as_deref().unwrap_or_default();
            let problem = format!("the last document cannot be restored: {error} {cause}");
            tracing::error!("{problem}");
            self.shared.condition().problems.insert("document", problem);
        }
    }

    fn resume(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let Some(mut saved) = self.store.document()? else { return Ok(()) };
        let facts = self.facts()?;
        let decided = &saved.decided;
        let (wanted, compiler) = prepare(
            &saved.request,
            &decided.relabelled,
            Base::Allocations(&decided.allocations),
            &facts,
        )?;
        // The tables come first and whole: what is enforced stays so, what is missing is judged from its first packet.
        let steps = self.stages(&wanted.bundle.tables, &wanted, Look::Everywhere)?;
        let changes: u64 = steps.iter().map(|step| step.changes).sum();
        let took_ms = began.elapsed().as_millis();
        tracing::info!(generation = saved.generation, changes, took_ms, "restored");
        saved.decided.enforced = self.enforced(&wanted, &saved.decided.enforced);
        self.compiler = Some((saved.generation, compiler));
        self.compiled_for = Some((saved.generation, facts.addresses));
        self.put_in_force(saved, wanted);
        Ok(())
    }
}
