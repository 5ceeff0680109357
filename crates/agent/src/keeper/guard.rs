//! The host part of a change: proven, guarded by a dead man, confirmed or taken back (docs/adr/0021-host-policy.md).

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Error, HostPolicy, codes};
use host::linux::rcu::Expedited;
use ipnet::IpNet;
use jiff::Timestamp;
use planner::{Facts, HostPlane};
use policy::Document;
use policy::document::Uplink;

use crate::answers::flows::moment;
use crate::confirm::ledger::{self, Confirmed, Ledger, Pending, Seen, now_ms};
use crate::confirm::session::Origin;
use crate::confirm::{Manner, dead_man, proof};
use crate::fault::{failed, refused};
use crate::force::Wanted;
use crate::names::Names;
use crate::prepare::{self, Base, Beside, prepare};
use crate::reconcile::tables;
use crate::saved::Saved;
use crate::{accounts, outside, ports, uplinks};

use super::Keeper;

/// What the keeper knows of the host part.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// What is remembered.
    ledger: Ledger,
    /// The process that waits for the deadline, when this agent started it: to be reaped.
    dead_man: Option<std::process::Child>,
    /// Whether the file says something else than what is remembered here.
    unwritten: bool,
    /// Not before this moment is tried again what failed: to go back, or to write it down.
    rest: Option<Instant>,
}

/// Between two tries.
const REST: Duration = Duration::from_secs(1);

/// What becomes of a change's host part when it is in force.
#[derive(Debug)]
pub(super) enum Intent {
    /// Nothing new: what was remembered stays.
    Same,
    /// There is none any more.
    Gone,
    /// It is what was confirmed.
    Confirmed,
    /// It waits: a dead man has been started. This is what was remembered before.
    Waits(Box<Ledger>),
}

impl Hosts {
    /// Reads what is remembered. What cannot be read counts as nothing confirmed.
    pub(super) fn recall(state_dir: &std::path::Path) -> Self {
        let ledger = Ledger::read(state_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "what is remembered of the host's own policy cannot be read: it is off until the next up");
            Ledger::default()
        });
        Self { ledger, ..Self::default() }
    }

    /// Ends the process that waits, if it has not ended by itself: nothing waits any more.
    fn dismiss(&mut self) {
        if let Some(mut child) = self.dead_man.take() {
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }

    /// Takes note of a process that has ended.
    fn reap(&mut self) {
        let ended = |child: &mut std::process::Child| !matches!(child.try_wait(), Ok(None));
        if self.dead_man.as_mut().is_some_and(ended) {
            self.dead_man = None;
        }
    }

    /// Whether what failed last is to be left alone for a moment yet.
    fn rests(&self) -> bool {
        self.rest.is_some_and(|until| until > Instant::now())
    }
}

impl Keeper {
    /// Gives a compiled document the host plane that is to be in force with it: its own, or while its own went back, the confirmed one.
    pub(super) fn with_host(&self, wanted: &mut Wanted, facts: &Facts) -> Result<(), Error> {
        let ledger = &self.hosts.ledger;
        let (seen, facts) = (&ledger.seen, facts.clone());
        let facts = &if facts.addresses.is_empty() {
            Facts { addresses: seen.addresses.clone(), ..facts }
        } else {
            facts
        };
        let part = wanted.document.host_part();
        let waits = ledger.pending.as_ref().is_some_and(|pending| pending.part == part);
        if part == 0 || part == ledger.confirmed_part() || waits {
            let document = wanted.document.clone();
            plane(wanted, &document, facts)?;
            remembered(wanted, seen);
            return Ok(());
        }
        let Some(confirmed) = &ledger.confirmed else { return Ok(()) };
        let nothing = planner::Allocations::default();
        let request = Arc::new(confirmed.request.clone());
        let (old, _) = prepare(&request, &Beside::default(), Base::Allocations(&nothing), facts)?;
        plane(wanted, &old.document, facts)?;
        remembered(wanted, seen);
        Ok(())
    }

    /// Gives a compiled document its own host plane, as a change wants it.
    pub(super) fn with_own_host(wanted: &mut Wanted, facts: &Facts) -> Result<(), Error> {
        let document = wanted.document.clone();
        plane(wanted, &document, facts)
    }

    /// Before a change: proves that its host part cuts nobody off who manages this host, and starts the dead man.
    pub(super) fn guard(&mut self, wanted: &Wanted, manner: &Manner) -> Result<Intent, Error> {
        self.hosts.reap();
        let part = wanted.document.host_part();
        let ledger = &self.hosts.ledger;
        if part == 0 {
            return Ok(Intent::Gone);
        }
        if part == ledger.confirmed_part() {
            return Ok(Intent::Confirmed);
        }
        if ledger.pending.as_ref().is_some_and(|pending| pending.part == part && !pending.is_over())
        {
            return Ok(Intent::Same);
        }
        there(wanted)?;
        if !manner.may_cut {
            let ways = proof::ways(&manner.by);
            proof::prove(&wanted.bundle, &wanted.document.file, &ways)?;
        }
        let applied_ms = now_ms();
        let within = u64::try_from(manner.within.as_millis()).unwrap_or(u64::MAX);
        let token = format!("{applied_ms:x}-{:x}", std::process::id());
        let before = self.hosts.ledger.clone();
        self.hosts.ledger.reverted = None;
        self.hosts.ledger.pending = Some(Pending {
            part,
            token: token.clone(),
            boot: ledger::boot_id(),
            applied_ms,
            deadline_ms: applied_ms.saturating_add(within),
            at: Timestamp::now(),
            by: manner.by.to_string(),
            request: (*wanted.request).clone(),
        });
        // Who waits for the change before this one goes on until this one is written down.
        let armed = self.remember_host().and_then(|()| {
            self.hosts.dismiss();
            self.arm(&token)
        });
        if let Err(error) = armed {
            self.back_to(before);
            return Err(error);
        }
        self.hosts.rest = None;
        Ok(Intent::Waits(Box::new(before)))
    }

    /// What was remembered before a change that came to nothing is remembered again. A change that waited then goes on to wait, and
    /// somebody waits for its deadline.
    fn back_to(&mut self, before: Ledger) {
        self.hosts.ledger = before;
        if let Err(error) = self.remember_host() {
            tracing::error!(%error, "a change of the host's own policy that failed is still remembered");
        }
        let Some(token) = self.hosts.ledger.pending.as_ref().map(|pending| pending.token.clone())
        else {
            return;
        };
        if !dead_man::is_waiting(&self.shared.options.state_dir)
            && let Err(error) = self.arm(&token)
        {
            tracing::error!(%error, "nobody but this agent waits for the deadline of the host's own policy");
        }
    }

    fn arm(&mut self, token: &str) -> Result<(), Error> {
        let exe = outside::this_program()?;
        let child = dead_man::start(&exe, &self.shared.options, token).map_err(|error| {
            failed(codes::SETUP, "start the process that takes the change back", &error)
        })?;
        self.hosts.dead_man = Some(child);
        Ok(())
    }

    /// After a change that is in force.
    pub(super) fn guarded(&mut self, intent: &Intent) {
        let force = self.shared.force();
        let ledger = &mut self.hosts.ledger;
        match intent {
            Intent::Same => {}
            Intent::Gone => *ledger = Ledger::default(),
            Intent::Confirmed => {
                ledger.pending = None;
                ledger.reverted = None;
                if let (Some(confirmed), Some(force)) = (&mut ledger.confirmed, &force) {
                    confirmed.request = (*force.wanted.request).clone();
                }
            }
            // Connections that began while it was applied prove nothing.
            Intent::Waits(_) => {
                if let Some(pending) = &mut ledger.pending {
                    pending.applied_ms = now_ms();
                }
            }
        }
        if matches!(intent, Intent::Gone | Intent::Confirmed) {
            self.hosts.dismiss();
        }
        self.tell_host();
        if let Err(error) = self.remember_host() {
            tracing::error!(%error, "what is remembered of the host's own policy is older than what is in force");
        }
    }

    /// After a change that failed: what was in force before is in force again, and waits again if it waited.
    pub(super) fn unguarded(&mut self, intent: Intent) {
        if let Intent::Waits(before) = intent {
            self.hosts.dismiss();
            self.back_to(*before);
            self.tell_host();
        }
    }

    /// Somebody confirms.
    pub(super) fn confirm_host(&mut self, by: &Origin) -> Result<HostPolicy, Error> {
        let facts = self.facts()?;
        let Some(pending) = self.hosts.ledger.pending.clone() else {
            return Err(refused(codes::NOTHING_WAITS, "nothing waits for a confirmation"));
        };
        if pending.is_over() {
            self.revert_host(None)?;
            return Err(refused(codes::NOTHING_WAITS, "its time was over: it went back"));
        }
        let networks = self.shared.force().map(|force| force.wanted.document.networks.clone());
        let inside = networks.iter().flatten().flat_map(|network| network.subnets.iter());
        let inside: Vec<IpNet> = inside.collect();
        if let Some(why) = by.proves_nothing(pending.applied_ms, &facts.addresses, &inside) {
            return Err(refused(
                codes::NOT_CONFIRMED,
                format!("this does not confirm the change: {why}"),
            ));
        }
        let before = self.hosts.ledger.clone();
        self.hosts.ledger = Ledger {
            confirmed: Some(Confirmed {
                part: pending.part,
                at: Timestamp::now(),
                console: by.console().map(str::to_owned),
                request: pending.request,
            }),
            ..Ledger::default()
        };
        if let Err(error) = self.remember_host() {
            self.hosts.ledger = before;
            return Err(error);
        }
        self.hosts.dismiss();
        tracing::info!(by = %by, "the host's own policy is confirmed");
        self.tell_host();
        Ok(self.host_policy())
    }

    /// Takes back what waits: the change with this token, or whichever there is.
    pub(super) fn revert_host(&mut self, token: Option<&str>) -> Result<HostPolicy, Error> {
        let pending = self.hosts.ledger.pending.as_ref();
        let Some(pending) =
            pending.filter(|pending| token.is_none_or(|token| pending.token == token))
        else {
            return Err(refused(codes::NOTHING_WAITS, "nothing waits for a confirmation"));
        };
        let why =
            if pending.is_over() { "nobody confirmed it in time" } else { "somebody took it back" };
        let before = self.hosts.ledger.clone();
        self.hosts.ledger.revert(why);
        if let Err(error) = self.take_back() {
            self.hosts.ledger = before;
            self.hosts.rest = Some(Instant::now() + REST);
            return Err(error);
        }
        self.hosts.rest = None;
        // It went back, though it may not be possible to write that down: a disk may be full.
        if let Err(error) = self.remember_host() {
            tracing::error!(%error, "what went back is not remembered yet");
        }
        self.hosts.reap();
        tracing::warn!("the host's own policy went back to what was confirmed: {why}");
        self.tell_host();
        Ok(self.host_policy())
    }

    /// Puts the host plane in force that is to be in force now, and nothing else. Whoever is locked out has no other way: so neither the state
    /// of workloads and networks, which others may break, nor a disk that is full can hold this up.
    fn take_back(&mut self) -> Result<(), Error> {
        let Some(force) = self.shared.force() else { return Ok(()) };
        let facts = self.facts()?;
        let compiled = self.compiled_again(&force, &facts);
        let wanted = match compiled {
            Ok(wanted) => wanted,
            // With an address that the host has got meanwhile, the document may be none.
            Err(error) => {
                let before = Facts { addresses: self.sound.clone(), ..facts };
                self.compiled_again(&force, &before).map_err(|_| error)?
            }
        };
        let _quick = Expedited::begin();
        self.shared.set_names(Arc::new(Names::new(&wanted.bundle, Some(&self.shared.names()))));
        let uplinks = uplinks::of(wanted.host.as_deref());
        let mut ports = self.shared.ports.bring(&wanted.bundle, &uplinks);
        if uplinks.is_empty() && !ports.failed.is_empty() {
            // Programs on an uplink that nobody has drop everything.
            ports::release_uplinks(&self.shared.options.bpffs)
                .map_err(|error| failed(codes::DATAPATH, "let go of the uplinks", &error))?;
        }
        ports.add(self.shared.accounts.bring(wanted.host.as_deref()));
        for failure in &ports.failed {
            tracing::warn!(reconciler = "network", "{failure}");
        }
        let pass = tables::pass(&mut self.datapath, &wanted.bundle.tables);
        if let Some(cause) = self.told("tables", pass).failures.into_iter().next() {
            let mut error = refused(codes::DATAPATH, "the host's own policy is as before");
            error.cause = Some(cause);
            return Err(error);
        }
        let stored = self.store.generation().unwrap_or_default();
        let generation = stored.max(force.generation) + 1;
        let saved = Saved::new(generation, &wanted, self.enforced(&wanted, &force.enforced));
        if let Err(error) = self.store.keep(&saved) {
            tracing::error!(%error, "what is in force cannot be remembered");
        }
        (self.compiler, self.compiled_for) = (None, None);
        self.put_in_force(saved, wanted);
        Ok(())
    }

    /// After a start, before anything is put in force: what is over goes back, what waits gets a dead man again.
    pub(super) fn recall_host(&mut self) {
        self.hosts = Hosts::recall(&self.shared.options.state_dir);
        let Some(pending) = &self.hosts.ledger.pending else { return };
        if pending.is_over() {
            self.hosts.ledger.revert("nobody confirmed it in time");
            return;
        }
        let token = pending.token.clone();
        if !dead_man::is_waiting(&self.shared.options.state_dir)
            && let Err(error) = self.arm(&token)
        {
            tracing::error!(%error, "nobody waits for the deadline: the change of the host's own policy goes back now");
            self.hosts.ledger.revert("nobody could wait for its deadline");
        }
    }

    /// After a start, when all is in force again.
    pub(super) fn recalled_host(&mut self) {
        if let Err(error) = self.remember_host() {
            tracing::error!(%error, "what went back is not remembered");
        }
        self.tell_host();
    }

    /// Everything is taken down.
    pub(super) fn forget_host(&mut self) {
        self.hosts.dismiss();
        self.hosts.ledger = Ledger::default();
        for path in ledger::files(&self.shared.options.state_dir) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!(%error, "remove {}", path.display());
                }
                _ => {}
            }
        }
        self.tell_host();
    }

    /// When the change that waits goes back, should the process that does it not come first.
    pub(super) fn host_deadline(&self) -> Option<Instant> {
        let pending = self.hosts.ledger.pending.as_ref()?;
        let due = Instant::now().checked_add(pending.left() + Duration::from_millis(1))?;
        Some(self.hosts.rest.map_or(due, |rest| rest.max(due)))
    }

    /// Takes back what is over.
    pub(super) fn tend_host(&mut self) {
        self.hosts.reap();
        if self.hosts.rests() {
            return;
        }
        if self.hosts.unwritten
            && let Err(error) = self.remember_host()
        {
            self.hosts.rest = Some(Instant::now() + REST);
            tracing::debug!(%error, "what is remembered of the host's own policy cannot be written yet");
        }
        let Some(pending) = &self.hosts.ledger.pending else { return };
        if !pending.is_over() {
            let token = pending.token.clone();
            self.wait_again(&token);
        } else if let Err(error) = self.revert_host(None) {
            tracing::error!(%error, "the host's own policy cannot go back");
        }
    }

    /// Somebody ended the process that waits: another one takes its place.
    fn wait_again(&mut self, token: &str) {
        if dead_man::is_waiting(&self.shared.options.state_dir) {
            return;
        }
        match self.arm(token) {
            Ok(()) => tracing::warn!(
                "the process that waits for the deadline of the host's own policy was ended: another one waits now"
            ),
            Err(error) => {
                self.hosts.rest = Some(Instant::now() + REST);
                tracing::error!(%error, "nobody but this agent waits for the deadline of the host's own policy");
            }
        }
    }

    fn remember_host(&mut self) -> Result<(), Error> {
        let uplinks: Vec<String> = uplinks::default_links().into_iter().collect();
        if !uplinks.is_empty() {
            let addresses = self.facts()?.addresses;
            self.hosts.ledger.seen = Seen { uplinks, addresses };
        }
        let written = self.hosts.ledger.write(&self.shared.options.state_dir);
        self.hosts.unwritten = written.is_err();
        written.map_err(|error| failed(codes::STATE, "remember the host's own policy", &error))
    }

    /// For the status.
    fn tell_host(&self) {
        let ledger = &self.hosts.ledger;
        let policy = self.host_policy();
        let says = !policy.uplinks.is_empty() || *ledger != Ledger::default();
        let mut condition = self.shared.condition();
        condition.host_deadline_ms =
            ledger.pending.as_ref().map_or(0, |pending| pending.deadline_ms);
        condition.host = says.then(|| Box::new(policy));
    }

    fn host_policy(&self) -> HostPolicy {
        let Ledger { confirmed, pending, reverted, .. } = &self.hosts.ledger;
        let force = self.shared.force();
        let plane = force.as_ref().and_then(|force| force.wanted.host.clone());
        HostPolicy {
            uplinks: uplinks::of(plane.as_deref()),
            pending: pending.as_ref().map(|pending| api::PendingHost {
                since: moment(pending.at),
                by: pending.by.clone(),
                left_s: pending.left().as_secs(),
                guarded: dead_man::is_waiting(&self.shared.options.state_dir),
            }),
            confirmed: confirmed.as_ref().map(|confirmed| moment(confirmed.at)),
            confirmed_at: confirmed.as_ref().and_then(|confirmed| confirmed.console.clone()),
            reverted: reverted.as_ref().map(|reverted| api::RevertedHost {
                at: moment(reverted.at),
                why: reverted.why.clone(),
            }),
        }
    }
}

/// Before the network is up no link carries a default route: then those count that did.
fn remembered(wanted: &mut Wanted, seen: &Seen) {
    let Some(plane) = wanted.host.as_mut().filter(|plane| uplinks::of(Some(plane)).is_empty())
    else {
        return;
    };
    let uplinks = seen.uplinks.iter().map(|name| Uplink(name.as_str().into()));
    Arc::make_mut(plane).uplinks = uplinks.collect();
}

/// Refuses a host part that would be enforced nowhere.
fn there(wanted: &Wanted) -> Result<(), Error> {
    let uplinks = uplinks::of(wanted.host.as_deref());
    if uplinks.is_empty() {
        let message =
            "no interface of this host carries a default route: its uplinks are not known";
        return Err(refused(codes::CAPABILITY, message)
            .with_hint("name them: host: { interfaces: [eth0] }; `ip link` shows the names"));
    }
    if let Some(processes) = wanted.host.as_deref().and_then(accounts::unknown) {
        let message = format!("`{processes}`: this host has no such user");
        return Err(
            refused(codes::CAPABILITY, message).with_hint("`getent passwd` shows the names")
        );
    }
    let missing = uplinks.iter().find(|name| nix::net::if_::if_nametoindex(name.as_str()).is_err());
    match missing {
        None => Ok(()),
        Some(name) => Err(refused(codes::CAPABILITY, format!("this host has no interface {name}"))
            .with_hint("`ip link` shows the names")),
    }
}

/// Compiles the host part of a document and enters it into a bundle.
fn plane(wanted: &mut Wanted, of: &Document, facts: &Facts) -> Result<(), Error> {
    let publishes = &wanted.document.publishes;
    let plane = HostPlane::new(of, &wanted.bundle.routers, publishes, facts);
    let plane = plane.map_err(|errors| refused(codes::COMPILE, errors.to_string()))?;
    if let Some(plane) = &plane {
        plane.enter(&mut wanted.bundle);
        prepare::sound(&wanted.bundle)?;
    }
    wanted.host = plane.map(Arc::new);
    Ok(())
}
