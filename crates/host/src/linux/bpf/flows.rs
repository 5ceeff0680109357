//! The connection table from the agent's side: reading it, and ending what has timed out.
//!
//! **Order.** An entry that looks expired is removed and read in one step. If a packet has come in
//! between, the entry goes back, unless that packet's successor has opened the flow anew.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use verdict::Reason;
use verdict::abi::{Addr, Config, Event, FlowEntry, FlowKey, FlowState};
use verdict::meters::Budget;

use super::Error;
use super::shared::Shared;
use super::table::{Table, Walk};

/// Entries looked at in one call of [`Collector::collect`].
const STRIDE: usize = 16_384;
/// Entries that are in memory at a time while somebody looks at all of them.
const PIECE: usize = 1_024;
/// Word of `released` in [`Budget`].
const RELEASED: usize = 2;

/// Ends flows that were silent for too long.
pub struct Collector {
    flows: Table<FlowKey, FlowEntry>,
    config: Arc<Shared<Config>>,
    budgets: Arc<Shared<Budget>>,
    walk: Walk<FlowKey>,
    census: Census,
}

/// How many entries each tenant has, counted during one walk over the table.
#[derive(Default)]
struct Census {
    counted: BTreeMap<u32, u64>,
    /// Budgets when the walk began.
    before: Vec<Budget>,
}

impl Collector {
    pub(super) fn open(
        maps: &Path,
        config: Arc<Shared<Config>>,
        budgets: Arc<Shared<Budget>>,
    ) -> Result<Self, Error> {
        let flows = Table::open(maps, "FLOWS")?;
        Ok(Self { flows, config, budgets, walk: Walk::Start, census: Census::default() })
    }

    /// Looks at the next part of the table (about 16,000 entries), ends what has timed out by `now`
    /// (in jiffies, see [`super::Clock::now`]), and returns the ends that nobody has reported yet.
    ///
    /// Call it again after a while; a full round takes `flows / 16,384` calls.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Write`]; what was ended before is then not reported.
    pub fn collect(&mut self, now: u32) -> Result<Vec<Event>, Error> {
        let config = self.config.get(0);
        if matches!(self.walk, Walk::Start) {
            self.begin_census();
        }
        let mut expired = Vec::new();
        let census = &mut self.census;
        let done = self.flows.step(&mut self.walk, STRIDE, |key, entry| {
            if is_expired(&config, now, &entry) {
                expired.push(key);
            } else {
                *census.counted.entry(entry.tenant).or_default() += 1;
            }
        })?;
        let mut events = Vec::new();
        for key in expired {
            events.extend(self.end(&config, now, &key)?);
        }
        if done {
            self.finish_census();
        }
        Ok(events)
    }

    /// Ends one flow whatever its age; its end is returned unless it was reported or is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn end_flow(&mut self, key: &FlowKey, now: u32) -> Result<Option<Event>, Error> {
        let Some(entry) = self.flows.take(key)? else { return Ok(None) };
        self.release(entry.tenant);
        Ok(report(key, &entry, now))
    }

    fn end(&self, config: &Config, now: u32, key: &FlowKey) -> Result<Option<Event>, Error> {
        let Some(entry) = self.flows.take(key)? else { return Ok(None) };
        if !is_expired(config, now, &entry) && self.flows.insert_new(key, &entry)? {
            return Ok(None);
        }
        self.release(entry.tenant);
        Ok(report(key, &entry, now))
    }

    fn release(&self, tenant: u32) {
        if let Some(released) = self.budgets.word(tenant, RELEASED) {
            released.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn begin_census(&mut self) {
        let tenants = u32::try_from(self.budgets.len()).unwrap_or(u32::MAX);
        self.census.counted.clear();
        self.census.before = (0..tenants).map(|tenant| self.budgets.get(tenant)).collect();
    }

    /// Holds the budgets against what a whole walk has counted, and takes back what an agent that
    /// was killed between removing and releasing has left. Only what the flows that came and went
    /// meanwhile cannot explain is taken.
    fn finish_census(&mut self) {
        for (tenant, before) in (0_u32..).zip(&self.census.before) {
            let after = self.budgets.get(tenant);
            let moved = after.opened.wrapping_sub(before.opened)
                + after.removed.wrapping_sub(before.removed)
                + after.released.wrapping_sub(before.released);
            let counted = self.census.counted.get(&tenant).copied().unwrap_or(0);
            let leaked = after.used().saturating_sub(counted).saturating_sub(moved);
            if leaked > 0
                && after.used() < u64::MAX / 2
                && let Some(released) = self.budgets.word(tenant, RELEASED)
            {
                released.fetch_add(leaked, Ordering::Relaxed);
            }
        }
    }
}

/// The entry of a flow between two ends, in whichever order the table has them; `None` when there is none.
pub(super) fn find(
    maps: &Path,
    (network, protocol): (u32, u8),
    ends: [(IpAddr, u16); 2],
) -> Result<Option<FlowEntry>, Error> {
    let table: Table<FlowKey, FlowEntry> = Table::open(maps, "FLOWS")?;
    let [one, other] = ends.map(|(address, port)| (Addr::from(address), port));
    for ((low, low_port), (high, high_port)) in [(one, other), (other, one)] {
        let key = FlowKey { low, high, network, low_port, high_port, protocol, pad: [0; 3] };
        if let Some(entry) = table.get(&key)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Reads every flow. For people and metrics: flows that come or go meanwhile may be missing.
pub(super) fn dump(maps: &Path) -> Result<Vec<(FlowKey, FlowEntry)>, Error> {
    let table: Table<FlowKey, FlowEntry> = Table::open(maps, "FLOWS")?;
    let mut flows = Vec::new();
    table.each(|key, entry| flows.push((key, entry)))?;
    Ok(flows)
}

/// Hands every flow that has not timed out by `now` to `each`. Flows that come or go meanwhile may be missing.
pub(super) fn each_live(
    maps: &Path,
    config: &Config,
    now: u32,
    mut each: impl FnMut(FlowKey, FlowEntry),
) -> Result<(), Error> {
    let table: Table<FlowKey, FlowEntry> = Table::open(maps, "FLOWS")?;
    let mut walk = Walk::Start;
    let mut live = |key, entry| {
        if !is_expired(config, now, &entry) {
            each(key, entry);
        }
    };
    while !table.step(&mut walk, PIECE, &mut live)? {}
    Ok(())
}

/// As the evaluator decides it for a packet.
fn is_expired(config: &Config, now: u32, entry: &FlowEntry) -> bool {
    let state = usize::from(entry.state) & (FlowState::COUNT - 1);
    let silent = now.wrapping_sub(entry.seen);
    silent > config.timeouts[state] && silent < u32::MAX / 2
}

fn report(key: &FlowKey, entry: &FlowEntry, now: u32) -> Option<Event> {
    let reported = entry.flags & FlowEntry::END_REPORTED != 0;
    (!reported).then(|| verdict::ended(key, entry, now, Reason::None))
}
