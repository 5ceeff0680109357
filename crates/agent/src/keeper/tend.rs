//! What the keeper does by itself: repairs what others changed, follows the host's addresses, lets `until:` end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use host::network::Scope;
use jiff::Timestamp;
use planner::Facts;

use crate::answers::audits;
use crate::answers::flows::moment;
use crate::force::{Force, Wanted};
use crate::prepare::{Base, Beside, prepare};
use crate::reconcile::{Pass, hosted, network, tables, workloads};
use crate::{desired, outside, uplinks};

use super::Keeper;
use super::laps::Laps;
use super::stages::Look;

/// How often everything is compared with what is wanted.
const DRIFT: Duration = Duration::from_secs(10);
/// How often the host's addresses are looked at.
const FACTS: Duration = Duration::from_secs(5);

/// How many endpoints are compared at a time: a change that somebody asks for waits for no more.
const ENDPOINTS_AT_ONCE: usize = 32;
/// How long the comparison waits for a pause while one change follows the other, at most and each time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long commands that follow each other may put off what is due.
const PUT_OFF: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(500);

/// When the keeper wakes by itself.
#[derive(Debug)]
pub(super) struct Timers {
    /// When what is due was done last.
    tended: Instant,
    /// When everything is compared next.
    drift: Instant,
    /// Since when that is due, should it be put off.
    due: Option<Instant>,
    /// When the last change was over.
    changed: Option<Instant>,
    facts: Instant,
    round: Round,
    /// The end of a policy that was acted upon; should that have failed, it is tried again with the facts.
    ended: Option<Timestamp>,
    /// Audits of which was said that they end soon; no more than are in force.
    announced: BTreeSet<(String, Timestamp)>,
}

/// A comparison of the network that is under way.
#[derive(Debug, Default)]
struct Round {
    /// What is still to be looked at, the last first.
    rest: Vec<Scope>,
    /// What was found so far.
    found: Pass,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tended: now,
            drift: now + DRIFT,
            due: None,
            changed: None,
            facts: now + FACTS,
            round: Round::default(),
            ended: None,
            announced: BTreeSet::new(),
        }
    }

    /// Notes that a change is over.
    pub(super) fn changed(&mut self, now: Instant) {
        self.changed = Some(now);
    }

    /// Whether what is due has been put off for long enough by commands that follow each other: whoever asks without a pause would otherwise
    /// keep rules beyond their end, and what is broken from being repaired.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.tended + PUT_OFF
    }

    /// Lets the comparison begin before its time.
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.drift = self.drift.min(now + PAUSE);
    }

    /// Whether the comparison is to wait: somebody changes one thing after the other. Not for ever.
    fn is_to_wait(&mut self, now: Instant) -> bool {
        let due = *self.due.get_or_insert(self.drift);
        let is_busy = self.changed.is_some_and(|changed| now < changed + PAUSE);
        is_busy && now < due + PATIENCE
    }

    /// The next moment at which there is something to do.
    pub(super) fn next(&self, expiry: Option<Instant>) -> Instant {
        if !self.round.rest.is_empty() {
            return Instant::now();
        }
        let timers = self.drift.min(self.facts);
        expiry.map_or(timers, |expiry| expiry.min(timers))
    }
}

impl Keeper {
    /// When the next policy ends, unless that was acted upon already.
    fn expires(&self) -> Option<Timestamp> {
        let expires = self.shared.force()?.wanted.bundle.expires?;
        (self.timers.ended != Some(expires)).then_some(expires)
    }

    /// The moment at which the next policy ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let left = Timestamp::now().duration_until(self.expires()?);
        // A moment later, so that the comparison with the clock cannot miss it.
        let left = Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1);
        Instant::now().checked_add(left)
    }

    /// Does what is due.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        self.timers.tended = now;
        self.tend_host();
        let ended = self.expires().filter(|expires| *expires <= Timestamp::now());
        if self.timers.facts <= now || ended.is_some() {
            self.timers.facts = now + FACTS;
            self.timers.ended = ended.or(self.timers.ended);
            self.recompile(ended.is_some());
            self.announce();
        }
        if self.timers.drift <= now {
            self.end_gone();
            if self.timers.is_to_wait(now) || !self.repair() {
                self.timers.drift = Instant::now() + PAUSE;
            } else {
                self.timers.drift = Instant::now() + DRIFT;
                self.timers.due = None;
            }
        }
        self.go_round();
    }

    /// Says once of every audit that it ends within a day.
    pub(super) fn announce(&mut self) {
        let Some(force) = self.shared.force() else { return };
        let now = Timestamp::now();
        let soon =
            force.wanted.document.audits().filter(|(_, audit)| audits::ends_soon(audit, now));
        let soon = soon.filter_map(|(place, audit)| Some((place.to_string(), audit.until?)));
        let soon: BTreeSet<_> = soon.take(audits::LISTED).collect();
        for (scope, until) in soon.difference(&self.timers.announced) {
            tracing::warn!("{}", audits::notice(scope, &moment(*until)));
        }
        self.timers.announced = soon;
    }

    /// Compiles the document in force again when a policy has ended or the host has other addresses than when that was
    /// done last; switches when the result is another one.
    fn recompile(&mut self, ended: bool) {
        let Some(force) = self.shared.force() else { return };
        let facts = self.facts();
        let looked = facts.as_ref().ok().map(|facts| (force.generation, facts.addresses.clone()));
        if !ended && looked.is_some() && self.compiled_for == looked {
            return;
        }
        let wanted = facts.and_then(|facts| {
            let compiled = self.compiled_again(&force, &facts);
            if compiled.is_ok() {
                self.sound.clone_from(&facts.addresses);
            } else if ended {
                // Whoever can give this host an address, a router on its link among them, would otherwise keep a rule beyond its end.
                let before = Facts { addresses: self.sound.clone(), ..facts };
                let wanted = self.compiled_again(&force, &before)?;
                self.readjust(&force, wanted)?;
            }
            compiled
        });
        let problem = match wanted {
            Ok(wanted) if wanted.bundle == force.wanted.bundle => None,
            Ok(wanted) => self.readjust(&force, wanted).err().map(|error| error.to_string()),
            Err(error) => Some(format!("the document cannot be compiled any more: {error}")),
        };
        // What failed is tried again.
        self.compiled_for = looked.filter(|_| problem.is_none());
        let mut condition = self.shared.condition();
        match problem {
            None => drop(condition.problems.remove("compile")),
            Some(problem) => {
                tracing::warn!("{problem}");
                condition.problems.insert("compile", problem);
            }
        }
    }

    /// The document in force as these facts have it, with the host part that is to be in force.
    pub(super) fn compiled_again(
        &self,
        force: &Force,
        facts: &Facts,
    ) -> Result<Wanted, api::Error> {
        let wanted = &force.wanted;
        let base = Base::Allocations(&wanted.bundle.allocations);
        let (relabelled, attachments) = (wanted.relabelled.clone(), wanted.attachments.clone());
        let beside = Beside { relabelled, attachments };
        let (mut wanted, _) = prepare(&wanted.request, &beside, base, facts)?;
        self.with_host(&mut wanted, facts)?;
        Ok(wanted)
    }

    /// The same document means something else now: an address of the host came or went, or a policy ended.
    fn readjust(&mut self, force: &Force, wanted: Wanted) -> Result<(), api::Error> {
        tracing::info!("the document in force means something else now: applying it again");
        // No more than what differs: whoever breaks its own namespace would otherwise keep a rule beyond its end.
        let look = Look::Since(&force.wanted.bundle);
        self.switch(Some(force), wanted, look, Instant::now()).map(drop)
    }

    /// Compares everything with what is wanted and repairs it; what had to be repaired is counted as drift. A large network
    /// is gone round bit by bit, and reading the tables is given up when somebody asks for a change, unless that has been
    /// done for too long: then it is `false`.
    fn repair(&mut self) -> bool {
        if let Ok(clock) = self.datapath.set_clock() {
            self.shared.set_clock(clock);
        }
        let Some(force) = self.shared.force() else { return true };
        let mut laps = Laps::begin();
        let options = self.shared.options.clone();
        let bundle = &force.wanted.bundle;
        let mtu = self.mtu();
        let specs = workloads::Wanted::of(bundle, &options);
        let is_patient = self.timers.due.is_none_or(|due| Instant::now() < due + PATIENCE);
        let commands = self.shared.commands.clone();
        let stop = || is_patient && commands.are_waiting();
        let pins = crate::ports::told(self.datapath.put_back());
        let Some((mut pass, drift)) = tables::verify(&mut self.datapath, &bundle.tables, &stop)
        else {
            return false;
        };
        laps.lap("tables");
        let repairs = drift as u64 + pins.changes;
        pass.add(pins);
        self.repaired("tables", pass, repairs);
        match desired::network(bundle, mtu) {
            Ok(desired) => {
                let endpoints = desired.routers.iter().map(|router| router.endpoints.len());
                let mut rest = if endpoints.sum::<usize>() > ENDPOINTS_AT_ONCE {
                    Scope::parts(&desired, ENDPOINTS_AT_ONCE)
                } else {
                    vec![Scope::All]
                };
                rest.reverse();
                self.timers.round = Round { rest, found: Pass::default() };
            }
            Err(error) => self.repaired("network", Pass::failed(&error), 0),
        }
        let mut pass = hosted::pass(&self.datapath, bundle, &options);
        if let Ok(exe) = outside::this_program() {
            pass.add(workloads::start_missing(&options.dirs(), &specs, &exe));
        }
        let repairs = pass.changes;
        self.repaired("workloads", pass, repairs);
        laps.lap("workloads");
        laps.tell("looked after");
        true
    }

    /// The next bit of the network, by what is in force now.
    fn go_round(&mut self) {
        let Some(scope) = self.timers.round.rest.pop() else { return };
        let mtu = self.mtu();
        let desired = self.shared.force().map(|force| desired::network(&force.wanted.bundle, mtu));
        let Some(Ok(desired)) = desired else {
            self.timers.round = Round::default();
            return;
        };
        let (hooks, options) = (self.datapath.hooks(), self.shared.options.clone());
        if let Some(force) = self.shared.force() {
            self.kernel.expect(outside::expected(&force.wanted));
        }
        let mut laps = Laps::begin();
        let mut pass = network::pass(&mut self.kernel, hooks, &options, &desired, &scope);
        if let Some(force) = self.shared.force().filter(|_| self.timers.round.rest.is_empty()) {
            pass.add(
                self.shared
                    .ports
                    .bring(&force.wanted.bundle, &uplinks::of(force.wanted.host.as_deref())),
            );
            pass.add(self.shared.accounts.bring(force.wanted.host.as_deref()));
        }
        laps.lap("network");
        laps.tell("looked after a part");
        self.timers.round.found.add(pass);
        if self.timers.round.rest.is_empty() {
            let found = std::mem::take(&mut self.timers.round.found);
            let repairs = found.changes;
            self.repaired("network", found, repairs);
        }
    }

    /// Says and counts what had to be repaired.
    pub(super) fn repaired(&mut self, name: &'static str, pass: Pass, repairs: u64) {
        for line in &pass.done {
            tracing::warn!(reconciler = name, "repaired: {line}");
        }
        drop(self.told(name, pass));
        if repairs > 0 {
            let mut condition = self.shared.condition();
            condition.reconcilers.entry(name).or_default().repairs += repairs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_waits_for_a_pause_between_changes_but_not_for_ever() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let due = start + DRIFT;
        assert!(!timers.is_to_wait(due), "nothing has changed");
        timers.changed(due);
        assert!(timers.is_to_wait(due + PAUSE / 2));
        assert!(!timers.is_to_wait(due + PAUSE));
        timers.drift = due + PATIENCE;
        timers.changed(due + PATIENCE);
        assert!(!timers.is_to_wait(due + PATIENCE), "it has waited for long enough");
    }

    #[test]
    fn commands_that_follow_each_other_put_off_what_is_due_for_a_moment_only() {
        let start = Instant::now();
        let timers = Timers::new(start);
        assert!(!timers.is_overdue(start + PUT_OFF / 2));
        assert!(timers.is_overdue(start + PUT_OFF));
    }
}
