//! What must be written to get from what the maps hold to what the planner wants. Pure.
//!
//! A value with two versions is written twice: first only its silent half, then, when the epoch has
//! made that half the live one and no packet reads the other any more, both halves. What is new must
//! look in the live half as if it were not there: a new endpoint has no rules and denies, a new
//! address or prefix has the class of the prefix that covered it. What goes is made so in the silent
//! half before it is deleted.

use std::collections::HashMap;
use std::hash::Hash;

use verdict::abi::{Endpoint, Peer, PeerKey, PortEntry, PortKey, PrefixKey, Row, RowKey};
use verdict::meters::{Limit, LimitKey};
use verdict::native::{Shards, Tables};

use super::state::State;

/// A prefix longer than any: what covers an exact address is any prefix.
const EXACT: u32 = 161;

/// Everything one update writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// New rows and port entries, and those whose rule number changed.
    pub(super) rows: Vec<(RowKey, Row)>,
    pub(super) ports: Vec<(PortKey, PortEntry)>,
    /// New limits and those that changed: they have one version only.
    pub(super) limits: Vec<(LimitKey, Limit)>,
    /// Endpoints before the epoch moves, and after the grace period.
    pub(super) endpoints: Vec<(u32, [Endpoint; 2])>,
    /// Peers by number before the epoch moves, and after the grace period.
    pub(super) peers: Vec<(u32, [Peer; 2])>,
    /// New addresses and prefixes.
    pub(super) exact: Vec<(PeerKey, u32)>,
    pub(super) prefixes: Vec<(PrefixKey, u32)>,
    /// What is deleted after the grace period.
    pub(super) old_rows: Vec<RowKey>,
    pub(super) old_ports: Vec<PortKey>,
    pub(super) old_limits: Vec<LimitKey>,
    pub(super) old_exact: Vec<(PeerKey, u32)>,
    pub(super) old_prefixes: Vec<(PrefixKey, u32)>,
}

impl Change {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether elements are deleted.
    pub(super) fn deletes(&self) -> bool {
        !(self.old_rows.is_empty()
            && self.old_ports.is_empty()
            && self.old_limits.is_empty()
            && self.old_exact.is_empty()
            && self.old_prefixes.is_empty())
    }
}

/// Elements that may have to be written; all others are known to be as wanted.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    endpoints: Vec<u32>,
    exact: Vec<PeerKey>,
    prefixes: Vec<PrefixKey>,
    rows: Vec<RowKey>,
    ports: Vec<PortKey>,
    limits: Vec<LimitKey>,
}

impl Suspects {
    /// What `tables` have otherwise than the tables that `state` was brought to; everything that
    /// either has when those are not known.
    pub(super) fn new(state: &State, tables: &Tables) -> Self {
        let mut this = match &state.given {
            Some(given) if wanted(given) == wanted(tables) => Self::since(given, tables),
            _ => Self::all(state, tables),
        };
        state.rows.differences(&tables.rows, |key| this.rows.push(*key));
        state.ports.differences(&tables.ports, |key| this.ports.push(*key));
        state.limits.differences(&tables.limits, |key| this.limits.push(*key));
        this
    }

    fn since(given: &Tables, tables: &Tables) -> Self {
        let mut all = Self::default();
        given.endpoints.differences(&tables.endpoints, |key| all.endpoints.push(*key));
        given.exact.differences(&tables.exact, |key| all.exact.push(*key));
        given.prefixes.differences(&tables.prefixes, |key| all.prefixes.push(*key));
        all
    }

    fn all(state: &State, tables: &Tables) -> Self {
        let gone = |key: &&PrefixKey| tables.prefixes.get(key).is_none();
        let wanted = tables.prefixes.iter().map(|(key, _)| key);
        Self {
            endpoints: both(tables.endpoints.keys(), &state.endpoints, &tables.endpoints),
            exact: both(tables.exact.keys(), &state.exact, &tables.exact),
            prefixes: wanted.chain(state.prefixes.keys().filter(gone)).copied().collect(),
            ..Self::default()
        }
    }

    /// How many elements of each kind are wanted and not there.
    pub(super) fn missing(&self, state: &State, tables: &Tables) -> Missing {
        let exact = self.exact.iter();
        let exact =
            exact.filter(|key| tables.exact.contains_key(key) && !state.exact.contains_key(*key));
        let prefixes = self
            .prefixes
            .iter()
            .filter(|key| tables.prefixes.get(key).is_some() && !state.prefixes.contains_key(*key));
        let rows = self.rows.iter();
        let rows =
            rows.filter(|key| tables.rows.contains_key(key) && !state.rows.contains_key(*key));
        let ports = self.ports.iter();
        let ports =
            ports.filter(|key| tables.ports.contains_key(key) && !state.ports.contains_key(*key));
        let limits = self.limits.iter();
        let limits = limits
            .filter(|key| tables.limits.contains_key(key) && !state.limits.contains_key(*key));
        Missing {
            limits: limits.count(),
            peers: exact.count() + prefixes.count(),
            rows: rows.count(),
            ports: ports.count(),
        }
    }

    /// The wanted endpoints among them.
    pub(super) fn endpoints<'s>(
        &'s self,
        tables: &'s Tables,
    ) -> impl Iterator<Item = (u32, &'s Endpoint)> {
        self.endpoints.iter().filter_map(|number| Some((*number, tables.endpoints.get(number)?)))
    }
}

/// How many elements an update adds before it removes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) peers: usize,
    pub(super) rows: usize,
    pub(super) ports: usize,
    pub(super) limits: usize,
}

/// The keys of both.
fn both<'k, K: Copy + Eq + Hash + 'k, V, W: Clone + PartialEq>(
    wanted: impl Iterator<Item = &'k K>,
    present: &'k HashMap<K, V>,
    tables: &Shards<K, W>,
) -> Vec<K> {
    wanted.chain(present.keys().filter(|key| !tables.contains_key(key))).copied().collect()
}

/// Compares; `live` is the parity of the epoch in force. `None` when there are no numbers left for
/// new peers.
pub(super) fn plan(
    state: &State,
    tables: &Tables,
    suspects: &Suspects,
    live: usize,
) -> Option<Change> {
    let mut change = Change::default();
    plan_endpoints(state, tables, suspects, live, &mut change);
    plan_peers(state, tables, suspects, live, &mut change)?;
    for key in &suspects.rows {
        match (state.rows.get(key), tables.rows.get(key)) {
            (Some(_), None) => change.old_rows.push(*key),
            (present, Some(row)) if present != Some(row) => change.rows.push((*key, *row)),
            _ => {}
        }
    }
    for key in &suspects.ports {
        match (state.ports.get(key), tables.ports.get(key)) {
            (Some(_), None) => change.old_ports.push(*key),
            (present, Some(entry)) if present != Some(entry) => change.ports.push((*key, *entry)),
            _ => {}
        }
    }
    for key in &suspects.limits {
        match (state.limits.get(key), tables.limits.get(key)) {
            (Some(_), None) => change.old_limits.push(*key),
            (present, Some(limit)) if present != Some(limit) => change.limits.push((*key, *limit)),
            _ => {}
        }
    }
    Some(change)
}

/// The half of the planner's values that counts.
fn wanted(tables: &Tables) -> usize {
    usize::from(tables.config.epoch & 1 != 0)
}

fn plan_endpoints(
    state: &State,
    tables: &Tables,
    suspects: &Suspects,
    live: usize,
    change: &mut Change,
) {
    let half = wanted(tables);
    for number in &suspects.endpoints {
        let present = state.endpoints.get(number).copied();
        let Some(endpoint) = tables.endpoints.get(number) else {
            if let Some(before) = present {
                let mut first = before;
                first.slots[1 - live] = [0; 2];
                first.posture[1 - live] = [0; 2];
                change.endpoints.push((*number, [first, Endpoint::default()]));
            }
            continue;
        };
        let mut last = *endpoint;
        last.slots = [endpoint.slots[half]; 2];
        last.posture = [endpoint.posture[half]; 2];
        if present == Some(last) {
            continue;
        }
        let before = present.unwrap_or_default();
        let mut first = last;
        first.slots[live] = before.slots[live];
        first.posture[live] = before.posture[live];
        change.endpoints.push((*number, [first, last]));
    }
    change.endpoints.sort_unstable_by_key(|(number, _)| *number);
}

fn plan_peers(
    state: &State,
    tables: &Tables,
    suspects: &Suspects,
    live: usize,
    change: &mut Change,
) -> Option<()> {
    let half = wanted(tables);
    let mut free = state.free.iter();
    for key in &suspects.exact {
        let present = state.exact.get(key).copied();
        if let Some(peer) = tables.exact.get(key) {
            let cover = || state.cover(*key, EXACT);
            let written = peer_change(present.map(|n| state.peer(n)), cover, peer, half, live);
            let number = present.or_else(|| free.next())?;
            change.peers.extend(written.map(|both| (number, both)));
            if present.is_none() {
                change.exact.push((*key, number));
            }
        } else if let Some(number) = present {
            let cover = tables.prefixes.cover(key, EXACT);
            let gone = vanishing(state.peer(number), cover, half, live);
            change.peers.push((number, [gone, Peer::default()]));
            change.old_exact.push((*key, number));
        }
    }
    for key in &suspects.prefixes {
        let present = state.prefixes.get(key).copied();
        if let Some(peer) = tables.prefixes.get(key) {
            let cover = || state.cover(key.key, key.len);
            let written = peer_change(present.map(|n| state.peer(n)), cover, peer, half, live);
            let number = present.or_else(|| free.next())?;
            change.peers.extend(written.map(|both| (number, both)));
            if present.is_none() {
                change.prefixes.push((*key, number));
            }
        } else if let Some(number) = present {
            let cover = tables.prefixes.cover(&key.key, key.len);
            let gone = vanishing(state.peer(number), cover, half, live);
            change.peers.push((number, [gone, Peer::default()]));
            change.old_prefixes.push((*key, number));
        }
    }
    Some(())
}

/// What is written for a wanted peer, before and after; `None` when it is there already.
fn peer_change(
    present: Option<Peer>,
    cover: impl FnOnce() -> Option<Peer>,
    wanted: &Peer,
    half: usize,
    live: usize,
) -> Option<[Peer; 2]> {
    let last =
        Peer { class: [wanted.class[half]; 2], identity: [wanted.identity[half]; 2], ..*wanted };
    if present == Some(last) {
        return None;
    }
    let before = present.or_else(cover).unwrap_or_default();
    let mut first = last;
    first.class[live] = before.class[live];
    first.identity[live] = before.identity[live];
    Some([first, last])
}

/// A peer that goes: in the silent half it is what will cover its address.
fn vanishing(before: Peer, cover: Option<&Peer>, half: usize, live: usize) -> Peer {
    let cover = cover.copied().unwrap_or_default();
    let mut first = before;
    first.class[1 - live] = cover.class[half];
    first.identity[1 - live] = cover.identity[half];
    first
}

#[cfg(test)]
mod tests;
