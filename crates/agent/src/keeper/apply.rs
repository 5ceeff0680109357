//! `up`: prepare, prove, apply, remember; or nothing.
//!
//! **Failure.** Until the first stage nothing has changed. A stage that fails is undone by applying what was in force
//! before, and the answer says which stage it was and what holds now. An agent that is killed in between is followed by
//! one that does the same. Every change of the bundle gets a generation of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::{DocumentRequest, Error, Outcome, PlanReport, Step, StepState, UpResponse, codes};
use jiff::Timestamp;
use planner::{Allocations, Compiler, Facts};
use verdict::native::Tables;

use crate::answers::{assertions, plan, status};
use crate::attachments::All;
use crate::confirm::Manner;
use crate::fault::{failed, refused};
use crate::force::{Enforced, Force, Wanted};
use crate::prepare::{Base, Beside, Ground, prepare};
use crate::saved::Saved;
use crate::{desired, edge, outside, ports, reconcile};

use super::Keeper;
use super::guard::Intent;
use super::laps::Laps;
use super::stages::{self, Look};

/// Lines of what would be done that a plan shows.
const ACTIONS: usize = 500;

/// Which host part a document is compiled with.
#[derive(Debug, Clone, Copy)]
enum HostPart {
    /// Its own: somebody wants it.
    Own,
    /// What is in force, or to be: its own may have gone back.
    AsItIs,
}

impl Keeper {
    /// Brings a document up.
    pub(super) fn up(
        &mut self,
        request: &DocumentRequest,
        manner: &Manner,
    ) -> Result<UpResponse, Error> {
        let began = Instant::now();
        let mut laps = Laps::begin();
        self.end_gone();
        let facts = self.facts()?;
        let compiler = if request.dry_run { None } else { self.compiled() };
        let host = if manner.again { HostPart::AsItIs } else { HostPart::Own };
        let (wanted, compiler, mut plan) =
            self.proven(request, host, (&facts, compiler), &mut laps)?;
        if request.dry_run {
            plan.actions = self.actions(&wanted);
            return Ok(UpResponse { plan, ..UpResponse::default() });
        }
        if let Some(broken) = plan.assertions.iter().find(|assertion| !assertion.holds) {
            return Err(assertion(broken));
        }
        let before = self.shared.force();
        let known = before.as_deref().map(|force| &force.wanted.bundle);
        outside::check(&wanted, known, &self.shared.options.run_dir)?;
        reconcile::hosted::load(&self.datapath, &wanted.bundle, &self.shared.options)?;
        ports::load(&self.datapath, &wanted)?;
        laps.lap("look outside");
        // What the agent does by itself puts no host part in force that nobody confirmed.
        let intent = if manner.again { Intent::Same } else { self.guard(&wanted, manner)? };
        let guarded = self.bring(before, (wanted, compiler), facts, began);
        match &guarded {
            Ok(_) => self.guarded(&intent),
            Err(_) => self.unguarded(intent),
        }
        let outcome = guarded?;
        laps.lap("apply");
        laps.tell("up");
        let host = self.shared.condition().host.clone();
        Ok(UpResponse { plan, outcome: Some(outcome), host })
    }

    /// Brings about what was proven.
    fn bring(
        &mut self,
        before: Option<Arc<Force>>,
        (wanted, compiler): (Wanted, Compiler),
        facts: Facts,
        began: Instant,
    ) -> Result<Outcome, Error> {
        match before {
            Some(force) if is_same(&force.wanted, &wanted) => {
                self.compiler = Some((force.generation, compiler));
                self.confirm(&force, began)
            }
            before => {
                let look =
                    before.as_deref().map_or(Look::Everywhere, |it| Look::Since(&it.wanted.bundle));
                let outcome = self.switch(before.as_deref(), wanted, look, began)?;
                self.compiler = Some((outcome.generation, compiler));
                self.sound.clone_from(&facts.addresses);
                self.compiled_for = Some((outcome.generation, facts.addresses));
                self.past = before;
                Ok(outcome)
            }
        }
    }

    /// Tells what bringing a document up would mean.
    pub(super) fn plan(&mut self, request: &DocumentRequest) -> Result<PlanReport, Error> {
        let facts = self.facts()?;
        let (wanted, _, mut plan) =
            self.proven(request, HostPart::Own, (&facts, None), &mut Laps::begin())?;
        plan.actions = self.actions(&wanted);
        Ok(plan)
    }

    /// The compiler of the document in force, to go on from. It is gone then: what fails is compiled as a whole next time.
    pub(super) fn compiled(&mut self) -> Option<Compiler> {
        let generation = self.shared.force()?.generation;
        let compiler = self.compiler.take().filter(|(of, _)| *of == generation);
        compiler.map(|(_, compiler)| compiler)
    }

    /// Checks, compiles and compares a document with what is in force.
    fn proven(
        &mut self,
        request: &DocumentRequest,
        host: HostPart,
        (facts, compiler): (&Facts, Option<Compiler>),
        laps: &mut Laps,
    ) -> Result<(Wanted, Compiler, PlanReport), Error> {
        let request = Arc::new(request.clone());
        let previous;
        let base = if let Some(compiler) = compiler {
            Base::InForce(Box::new(compiler))
        } else {
            previous = self.allocations()?;
            Base::Allocations(&previous)
        };
        laps.lap("look");
        let beside = Beside { attachments: self.attachments(), ..Beside::default() };
        let (mut wanted, compiler) = prepare(&request, &beside, base, facts)?;
        match host {
            HostPart::Own => Self::with_own_host(&mut wanted, facts)?,
            HostPart::AsItIs => self.with_host(&mut wanted, facts)?,
        }
        let force = self.shared.force();
        let known = force.as_deref().map(|force| &force.wanted.bundle);
        edge::check(&wanted.bundle, known, &self.shared.options.state_dir)?;
        laps.lap("compile");
        let mut plan = plan::report(&self.shared, &wanted, |each| {
            if let Err(error) = self.datapath.each_live_flow(each) {
                tracing::warn!("{}", crate::fault::sentence(&error));
            }
        });
        laps.lap("compare");
        let (document, allocations) = (&wanted.document, &wanted.bundle.allocations);
        let whole = (document, wanted.host.as_deref());
        assertions::ahead(&mut plan.assertions, whole, allocations, facts);
        laps.lap("prove");
        Ok((wanted, compiler, plan))
    }

    fn actions(&mut self, wanted: &Wanted) -> Vec<String> {
        let mtu = self.mtu();
        let Ok(desired) = desired::network(&wanted.bundle, mtu) else { return Vec::new() };
        let force = self.shared.force();
        let look = force.as_deref().map_or(Look::Everywhere, |it| Look::Since(&it.wanted.bundle));
        let Ok(scope) = stages::scope(look, &desired, mtu) else { return Vec::new() };
        let (hooks, options) = (self.datapath.hooks(), &self.shared.options);
        let mut lines =
            reconcile::network::preview(&mut self.kernel, hooks, options, &desired, &scope);
        lines.truncate(ACTIONS);
        lines
    }

    /// Applies a bundle as the next generation; on failure what was in force before is in force again.
    pub(super) fn switch(
        &mut self,
        before: Option<&Force>,
        wanted: Wanted,
        look: Look<'_>,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let generation = self.store.generation()? + 1;
        // Whoever compiled this keeps the compiler when it is in force.
        self.compiler = None;
        let current = before.map_or_else(Tables::default, tables);
        let mut laps = Laps::begin();
        let mut steps = self.stages(&current, &wanted, look)?;
        laps.lap("stages");
        let mut failure = None;
        if Self::is_enforced(&steps) {
            let known = before.map(|force| Arc::clone(&force.enforced)).unwrap_or_default();
            let saved = Saved::new(generation, &wanted, self.enforced(&wanted, &known));
            match self.store.keep(&saved) {
                Ok(()) => {
                    laps.lap("remember");
                    self.put_in_force(saved, wanted);
                    laps.tell("switched");
                    return Ok(outcome(generation, steps, began));
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            let mut pass = reconcile::Pass::default();
            pass.failed.push(error.cause.unwrap_or(error.message));
            steps.push(pass.step("remember"));
        }
        Err(self.undo(before, &wanted, steps, began))
    }

    /// A document that is in force already: reconciles, keeps the generation.
    fn confirm(&mut self, force: &Force, began: Instant) -> Result<Outcome, Error> {
        let steps = self.stages(&tables(force), &force.wanted, Look::Everywhere)?;
        Ok(outcome(force.generation, steps, began))
    }

    /// Goes back to what was in force; the error says what failed and what holds.
    pub(super) fn undo(
        &mut self,
        before: Option<&Force>,
        tried: &Wanted,
        steps: Vec<Step>,
        began: Instant,
    ) -> Error {
        let step = steps.iter().find(|step| step.state == StepState::Failed);
        let name = step.map_or("?", |step| step.name.as_str()).to_owned();
        let cause = step.and_then(|step| step.failures.first()).cloned();
        let generation = before.map_or(0, |force| force.generation);
        let (holds, back) = if let Some(force) = before {
            let holds = format!("generation {generation} is in force as before");
            (holds, self.stages(&tables(force), &force.wanted, Look::Everywhere))
        } else {
            let holds = "nothing is in force, as before".to_owned();
            (holds, Ok(self.remove(&tried.bundle.tables)))
        };
        let good = back.is_ok_and(|steps| Self::is_enforced(&steps));
        let tail = if good { "" } else { "; undoing failed in part: bulkhead status" };
        let mut error = refused(codes::APPLY, format!("the step `{name}` failed; {holds}{tail}"));
        error.cause = cause;
        error.outcome = Some(outcome(generation, steps, began));
        error
    }

    /// Publishes a bundle that was applied.
    pub(super) fn put_in_force(&mut self, saved: Saved, wanted: Wanted) {
        let force = Force {
            generation: saved.generation,
            applied: saved.applied,
            enforced: saved.decided.enforced,
            names: self.shared.names(),
            wanted,
        };
        if let Some(before) = self.shared.force() {
            reconcile::network::sweep(&before.wanted.bundle, &force.wanted.bundle);
        }
        let rules = &force.wanted.bundle.rules;
        self.shared.flows().tally.retain(|rule| rules.contains_key(&rule));
        tracing::info!(generation = force.generation, "in force");
        self.shared.set_force(Some(Arc::new(force)));
    }

    /// Since when each endpoint is enforced: those that were stay, the others begin now.
    pub(super) fn enforced(
        &self,
        wanted: &Wanted,
        before: &BTreeMap<String, Enforced>,
    ) -> Arc<BTreeMap<String, Enforced>> {
        let since = Timestamp::now();
        let drops = status::drops(&self.shared.meters);
        let endpoints = wanted.bundle.workloads.iter().filter_map(|(id, workload)| {
            let endpoint = u32::from(workload.endpoint?);
            let known = before.get(&**id).filter(|known| known.endpoint == endpoint).copied();
            let enforced = known.unwrap_or_else(|| Enforced {
                endpoint,
                since,
                before: status::counters(&self.shared.meters, endpoint, &drops),
            });
            Some((id.to_string(), enforced))
        });
        Arc::new(endpoints.collect())
    }

    /// What the planner must know of this node.
    pub(super) fn facts(&mut self) -> Result<Facts, Error> {
        let addresses = self
            .kernel
            .own_addresses()
            .map_err(|error| failed(codes::INTERNAL, "read the addresses of this host", &error))?;
        Ok(Facts {
            addresses: addresses.into_iter().collect(),
            now: Timestamp::now(),
            jiffies_per_second: self.datapath.clock().hz,
        })
    }

    /// What a document is compiled with.
    pub(super) fn ground(&mut self) -> Result<Ground, Error> {
        let (allocations, facts) = (self.allocations()?, self.facts()?);
        Ok(Ground { allocations, facts, attachments: self.attachments() })
    }

    /// Workloads that are attached.
    fn attachments(&self) -> All {
        self.shared.force().map(|force| force.wanted.attachments.clone()).unwrap_or_default()
    }

    /// Numbers and addresses given so far.
    fn allocations(&self) -> Result<Allocations, Error> {
        match self.shared.force() {
            Some(force) => Ok((*force.wanted.bundle.allocations).clone()),
            None => self.store.allocations(),
        }
    }
}

fn tables(force: &Force) -> Tables {
    force.wanted.bundle.tables.clone()
}

fn is_same(one: &Wanted, other: &Wanted) -> bool {
    one.request.source == other.request.source
        && one.request.manifests == other.request.manifests
        && one.relabelled == other.relabelled
        && one.attachments == other.attachments
        && one.bundle == other.bundle
}

fn assertion(broken: &api::AssertionResult) -> Error {
    let place = format!("{}:{}", broken.file, broken.line);
    let message = format!("the assertion `{}` ({place}) does not hold", broken.text);
    let mut error = refused(codes::ASSERTION, message);
    error.cause.clone_from(&broken.counterexample);
    error
}

/// An outcome of steps.
pub(super) fn outcome(generation: u64, steps: Vec<Step>, began: Instant) -> Outcome {
    Outcome {
        generation,
        changed: steps.iter().any(|step| step.changes > 0),
        steps,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
