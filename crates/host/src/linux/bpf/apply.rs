//! Brings the maps to what the planner wants, so that each packet sees one policy version.
//!
//! **Order.** Room for everything is checked. New rows and port sets go in first, then new peers and
//! endpoints and the silent halves of changed ones; one store of the epoch makes all of it live; when
//! no packet sees the old version any more, the other halves follow and what nobody needs goes.
//!
//! **Reuse.** The kernel may hand an element's memory to the next one inserted as soon as it is deleted.
//! A packet that is reading it would then read a stranger. So nothing is inserted until a grace
//! period after the last deletion has passed, and values are never replaced in hash tables: what
//! changes lives in arrays.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use verdict::abi::{Config, Endpoint, MAX_ENDPOINTS, MAX_TENANTS, Peer, UNMANAGED_TENANT};
use verdict::native::Tables;

use super::change::{Change, Suspects, plan};
use super::state::State;
use super::{Datapath, Error, grace};

/// Flows of what is nobody's in the file, at one time: its records are not to cost what workloads' flows need.
const UNMANAGED_FLOWS: u64 = 16_384;

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The policy version in force now.
    pub epoch: u64,
    /// Elements that were added or changed.
    pub written: usize,
    /// Elements that were removed.
    pub removed: usize,
    /// Elements that somebody else had changed, and were repaired. Only [`Datapath::verify`] looks.
    pub drift: usize,
    /// From the call until the new version was in force.
    pub effective: Duration,
    /// How long packets in flight were waited for.
    pub grace: Duration,
}

impl Outcome {
    /// Whether everything was as wanted.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.written == 0 && self.removed == 0
    }
}

impl Datapath {
    /// Makes the kernel decide by `tables`. Their epoch tells which half of two-version values is
    /// meant; the kernel's own epoch goes on counting. Does nothing when nothing is different.
    ///
    /// The first call compares with what the maps hold. Later ones look only at what `tables` have
    /// otherwise than those of the last call, which costs nothing for what the two share.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] before anything is written; other errors leave the version that was in
    /// force in force, unless the epoch had already moved.
    pub fn apply(&mut self, tables: &Tables) -> Result<Outcome, Error> {
        let began = Instant::now();
        let state = match self.state.take() {
            Some(state) => state,
            None => self.read_state()?,
        };
        self.write(tables, state, began)
    }

    /// As [`Datapath::apply`], but compares with what the maps really hold, and counts what differs
    /// from what was written last.
    ///
    /// # Errors
    ///
    /// As [`Datapath::apply`], and [`Error::Read`].
    pub fn verify(&mut self, tables: &Tables) -> Result<Outcome, Error> {
        self.verify_unless(tables, &|| false).map(Option::unwrap_or_default)
    }

    /// As [`Datapath::verify`], but gives up between two reads of some thousand entries once `stop` says so; nothing was
    /// written then.
    ///
    /// # Errors
    ///
    /// As [`Datapath::verify`].
    pub fn verify_unless(
        &mut self,
        tables: &Tables,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Outcome>, Error> {
        let began = Instant::now();
        let real = self.read_state_unless(stop);
        if matches!(real, Ok(None)) {
            return Ok(None);
        }
        let remembered = self.state.take();
        let real = real?.unwrap_or_default();
        let drift = remembered.map_or(0, |remembered| remembered.differences(&real));
        Ok(Some(Outcome { drift, ..self.write(tables, real, began)? }))
    }

    /// Plans and writes the change from `state` to `tables`.
    fn write(
        &mut self,
        tables: &Tables,
        mut state: State,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let suspects = Suspects::new(&state, tables);
        if let Err(refused) = self.check_room(tables, &state, &suspects) {
            self.state = Some(state);
            return Err(refused);
        }
        self.configure(&tables.config);
        self.grant(tables, &suspects);
        let epoch = self.epoch();
        let live = usize::from(epoch & 1 != 0);
        let Some(change) = plan(&state, tables, &suspects, live) else {
            self.state = Some(state);
            let capacity = self.peers.len();
            return Err(Error::Capacity {
                what: "addresses",
                needed: capacity + 1,
                capacity,
                both: false,
            });
        };
        if change.is_empty() {
            state.given = Some(tables.clone());
            self.state = Some(state);
            return Ok(Outcome { epoch, effective: began.elapsed(), ..Outcome::default() });
        }
        self.settle()?;
        self.prepare(&change)?;
        if let Some(word) = self.config.word(0, 0) {
            word.store(epoch.wrapping_add(1), Ordering::SeqCst);
        }
        let effective = began.elapsed();
        grace::wait()?;
        let grace = began.elapsed().saturating_sub(effective);
        self.finish(&change)?;
        remember(&mut state, &change, tables);
        self.state = Some(state);
        Ok(Outcome {
            epoch: epoch.wrapping_add(1),
            written: change.rows.len()
                + change.ports.len()
                + change.limits.len()
                + change.endpoints.len()
                + change.peers.len(),
            removed: change.old_rows.len() + change.old_ports.len() + change.old_limits.len(),
            drift: 0,
            effective,
            grace,
        })
    }

    /// Refuses what does not fit, as long as nothing is written.
    fn check_room(&self, tables: &Tables, state: &State, suspects: &Suspects) -> Result<(), Error> {
        let missing = suspects.missing(state, tables);
        let peers_new = tables.exact.len() + tables.prefixes.len();
        let peers = state.exact.len() + state.prefixes.len() + missing.peers;
        let rows = state.rows.len() + missing.rows;
        let ports = state.ports.len() + missing.ports;
        fits("policy rows", tables.rows.len(), rows, self.rows.capacity())?;
        fits("port entries", tables.ports.len(), ports, self.ports.capacity())?;
        let limits = state.limits.len() + missing.limits;
        fits("limits of published ports", tables.limits.len(), limits, self.limits.capacity())?;
        fits("addresses and prefixes", peers_new, peers, self.peers.len())?;
        // Endpoints that are as they were fitted before.
        let numbers = suspects.endpoints(tables).map(|(number, _)| number as usize).max();
        let numbers = numbers.unwrap_or(0);
        fits("endpoint numbers", numbers, numbers, MAX_ENDPOINTS as usize - 1)?;
        let tenants = suspects.endpoints(tables).map(|(_, endpoint)| endpoint.tenant as usize);
        let tenants = tenants.max().unwrap_or(0);
        fits("tenant numbers", tenants, tenants, MAX_TENANTS as usize - 1)
    }

    /// Stores what has one version only.
    fn configure(&self, config: &Config) {
        let epoch = self.epoch();
        self.config.set(0, &Config { epoch, ..*config });
    }

    /// Gives tenants that have none a share of the connection table.
    fn grant(&self, tables: &Tables, suspects: &Suspects) {
        let tenants: std::collections::BTreeSet<u32> =
            suspects.endpoints(tables).map(|(_, endpoint)| endpoint.tenant).collect();
        for tenant in tenants {
            if self.budgets.get(tenant).limit == 0 {
                let most = if tenant == UNMANAGED_TENANT { UNMANAGED_FLOWS } else { u64::MAX };
                self.set_budget(tenant, self.tenant_flows.min(most));
            }
        }
    }

    /// Waits for the grace period of the last deletions.
    fn settle(&mut self) -> Result<(), Error> {
        match self.settling.take().map(std::thread::JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(_) => grace::wait(),
        }
    }

    /// Writes what the new version needs and the old one does not see.
    fn prepare(&self, change: &Change) -> Result<(), Error> {
        let (keys, values): (Vec<_>, Vec<_>) = change.ports.iter().copied().unzip();
        self.ports.insert_all(&keys, &values)?;
        let (keys, values): (Vec<_>, Vec<_>) = change.limits.iter().copied().unzip();
        self.limits.insert_all(&keys, &values)?;
        let (keys, values): (Vec<_>, Vec<_>) = change.rows.iter().copied().unzip();
        self.rows.insert_all(&keys, &values)?;
        for (number, [first, _]) in &change.endpoints {
            self.endpoints.set(*number, first);
        }
        for (number, [first, _]) in &change.peers {
            self.peers.set(*number, first);
        }
        let (keys, values): (Vec<_>, Vec<_>) = change.exact.iter().copied().unzip();
        self.exact.insert_all(&keys, &values)?;
        let (keys, values): (Vec<_>, Vec<_>) = change.prefixes.iter().copied().unzip();
        self.prefixes.insert_all(&keys, &values)
    }

    /// Brings the other halves in line and removes what nobody reads any more.
    fn finish(&mut self, change: &Change) -> Result<(), Error> {
        let exact: Vec<_> = change.old_exact.iter().map(|(key, _)| *key).collect();
        self.exact.remove_all(&exact)?;
        let prefixes: Vec<_> = change.old_prefixes.iter().map(|(key, _)| *key).collect();
        self.prefixes.remove_all(&prefixes)?;
        for (number, [_, last]) in &change.endpoints {
            self.endpoints.set(*number, last);
        }
        for (number, [_, last]) in &change.peers {
            // A packet may still hold the number of a peer that goes; it keeps what it was.
            if *last != Peer::default() {
                self.peers.set(*number, last);
            }
        }
        self.rows.remove_all(&change.old_rows)?;
        self.ports.remove_all(&change.old_ports)?;
        self.limits.remove_all(&change.old_limits)?;
        if change.deletes() {
            self.settling = std::thread::Builder::new()
                .name("grace".to_owned())
                .spawn(grace::wait)
                .map(Some)
                .map_err(Error::Grace)?;
        }
        Ok(())
    }
}

/// Keeps what was written.
pub(super) fn remember(state: &mut State, change: &Change, tables: &Tables) {
    for (number, [_, last]) in &change.endpoints {
        if *last == Endpoint::default() {
            state.endpoints.remove(number);
        } else {
            state.endpoints.insert(*number, *last);
        }
    }
    for (number, [_, last]) in &change.peers {
        state.set_peer(*number, *last);
    }
    for (key, number) in &change.exact {
        state.free.take(*number);
        state.exact.insert(*key, *number);
    }
    for (key, number) in &change.prefixes {
        state.free.take(*number);
        state.set_prefix(*key, *number);
    }
    for (key, number) in &change.old_exact {
        state.free.give_back(*number);
        state.exact.remove(key);
    }
    for (key, number) in &change.old_prefixes {
        state.free.give_back(*number);
        state.drop_prefix(key);
    }
    state.rows = tables.rows.clone();
    state.ports = tables.ports.clone();
    state.limits = tables.limits.clone();
    state.given = Some(tables.clone());
}

fn fits(what: &'static str, new: usize, both: usize, capacity: usize) -> Result<(), Error> {
    if both <= capacity {
        return Ok(());
    }
    let alone = new <= capacity;
    Err(Error::Capacity { what, needed: if alone { both } else { new }, capacity, both: alone })
}
