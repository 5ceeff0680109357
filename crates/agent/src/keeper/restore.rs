//! After a start: the last document again, with the same generation, numbers and addresses, so that the tables come out
//! as they are in the kernel and nothing that is enforced has a gap.

use std::time::Instant;

use api::{Error, codes};
use host::linux::rcu;
use planner::Facts;

use crate::attachments::All;
use crate::prepare::{Base, Beside, prepare};

use super::Keeper;
use super::attachment::is_gone;
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
        self.recall_host();
        if let Err(error) = self.resume() {
            let cause = error.cause.as_deref().unwrap_or_default();
            let problem = format!("the last document cannot be restored: {error} {cause}");
            tracing::error!("{problem}");
            self.shared.condition().problems.insert("document", problem);
        }
        self.recalled_host();
    }

    fn resume(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let Some(mut saved) = self.store.document()? else { return Ok(()) };
        let facts = self.facts()?;
        let attachments = self.remembered()?;
        let leased = attachments.values().filter_map(|kept| Some((kept.id().into(), kept.lease?)));
        saved.decided.allocations.endpoints.extend(leased);
        let decided = &saved.decided;
        let beside = Beside { relabelled: decided.relabelled.clone(), attachments };
        let prepared = |facts: &Facts| {
            prepare(&saved.request, &beside, Base::Allocations(&decided.allocations), facts)
        };
        let (facts, (mut wanted, compiler)) = match prepared(&facts) {
            Ok(done) => (facts, done),
            // An address that the host has got meanwhile, be it from a router on its link, is no reason to enforce nothing: without any, the host
            // is a stranger like others until it is compiled again.
            Err(error) if error.code == codes::COMPILE && !facts.addresses.is_empty() => {
                let none = Facts { addresses: Vec::new(), ..facts };
                let done = prepared(&none).map_err(|_| error.clone())?;
                let problem =
                    format!("the document is restored without this host's addresses: {error}");
                tracing::warn!("{problem}");
                self.shared.condition().problems.insert("compile", problem);
                (none, done)
            }
            Err(error) => return Err(error),
        };
        self.with_host(&mut wanted, &facts)?;
        // The tables come first and whole: what is enforced stays so, what is missing is judged from its first packet.
        let steps = self.stages(&wanted.bundle.tables, &wanted, Look::Everywhere)?;
        let changes: u64 = steps.iter().map(|step| step.changes).sum();
        let took_ms = began.elapsed().as_millis();
        tracing::info!(generation = saved.generation, changes, took_ms, "restored");
        saved.decided.enforced = self.enforced(&wanted, &saved.decided.enforced);
        self.compiler = Some((saved.generation, compiler));
        self.sound.clone_from(&facts.addresses);
        self.compiled_for = Some((saved.generation, facts.addresses));
        self.put_in_force(saved, wanted);
        Ok(())
    }

    /// The attachments that there were and that have a namespace still: after a reboot there is none.
    fn remembered(&self) -> Result<All, Error> {
        let mut all = self.store.attachments()?;
        let mut gone: Vec<String> = Vec::new();
        all.retain(|key, kept| {
            let stays = !is_gone(kept);
            gone.extend((!stays).then(|| key.clone()));
            stays
        });
        if !gone.is_empty() {
            tracing::info!(
                attachments = gone.len(),
                "ended: their namespaces or interfaces are gone"
            );
            self.store.forget_attachments(&gone)?;
        }
        Ok(all.into())
    }
}
