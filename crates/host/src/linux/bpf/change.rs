//! What must be written to get from what the maps hold to what the planner wants. Pure.
//!
//! A value with two versions is written twice: first only its silent half, then, when the epoch has
//! made that half the live one and no packet reads the other any more, both halves. What is new must
//! look in the live half as if it were not there: a new endpoint has no rules and denies, a new
//! address or prefix has the class of the prefix that covered it. What goes is made so in the silent
//! half before it is deleted.

use std::collections::{BTreeSet, HashMap};

use verdict::abi::{Endpoint, Peer, PeerKey, PortEntry, PortKey, PrefixKey, Row, RowKey};
use verdict::native::{Tables, masked};

use super::state::State;

/// A prefix longer than any: what covers an exact address is any prefix.
const EXACT: u32 = 161;

/// Everything one update writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// New rows and port entries, and those whose rule number changed.
    pub(super) rows: Vec<(RowKey, Row)>,
    pub(super) ports: Vec<(PortKey, PortEntry)>,
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
            && self.old_exact.is_empty()
            && self.old_prefixes.is_empty())
    }
}

/// Compares; `live` is the parity of the epoch in force. `None` when there are no numbers left for
/// new peers.
pub(super) fn plan(state: &State, tables: &Tables, live: usize) -> Option<Change> {
    let mut change = Change::default();
    plan_endpoints(state, tables, live, &mut change);
    plan_peers(state, tables, live, &mut change)?;
    for (key, row) in &tables.rows {
        if state.rows.get(key) != Some(row) {
            change.rows.push((*key, *row));
        }
    }
    for (key, entry) in &tables.ports {
        if state.ports.get(key) != Some(entry) {
            change.ports.push((*key, *entry));
        }
    }
    change.old_rows.extend(state.rows.keys().filter(|key| !tables.rows.contains_key(*key)));
    change.old_ports.extend(state.ports.keys().filter(|key| !tables.ports.contains_key(*key)));
    Some(change)
}

/// The half of the planner's values that counts.
fn wanted(tables: &Tables) -> usize {
    usize::from(tables.config.epoch & 1 != 0)
}

fn plan_endpoints(state: &State, tables: &Tables, live: usize, change: &mut Change) {
    let half = wanted(tables);
    for (number, endpoint) in &tables.endpoints {
        let mut last = *endpoint;
        last.slots = [endpoint.slots[half]; 2];
        last.posture = [endpoint.posture[half]; 2];
        let present = state.endpoints.get(number).copied();
        if present == Some(last) {
            continue;
        }
        let before = present.unwrap_or_default();
        let mut first = last;
        first.slots[live] = before.slots[live];
        first.posture[live] = before.posture[live];
        change.endpoints.push((*number, [first, last]));
    }
    for (number, before) in &state.endpoints {
        if !tables.endpoints.contains_key(number) {
            let mut first = *before;
            first.slots[1 - live] = [0; 2];
            first.posture[1 - live] = [0; 2];
            change.endpoints.push((*number, [first, Endpoint::default()]));
        }
    }
    change.endpoints.sort_unstable_by_key(|(number, _)| *number);
}

fn plan_peers(state: &State, tables: &Tables, live: usize, change: &mut Change) -> Option<()> {
    let half = wanted(tables);
    let old = Covers::new(state.prefixes.iter().map(|(key, number)| (*key, state.peer(*number))));
    let new = Covers::new(tables.prefixes.iter().map(|(key, peer)| (*key, *peer)));
    let mut free = state.free.iter().copied();
    for (key, peer) in &tables.exact {
        let present = state.exact.get(key).copied();
        let number = match present {
            Some(number) => number,
            None => free.next()?,
        };
        let cover = || old.find(*key, EXACT);
        let written = peer_change(present.map(|n| state.peer(n)), cover, peer, half, live);
        change.peers.extend(written.map(|both| (number, both)));
        if present.is_none() {
            change.exact.push((*key, number));
        }
    }
    for (key, peer) in tables.prefixes.iter() {
        let present = state.prefixes.get(key).copied();
        let number = match present {
            Some(number) => number,
            None => free.next()?,
        };
        let cover = || old.find(key.key, key.len);
        let written = peer_change(present.map(|n| state.peer(n)), cover, peer, half, live);
        change.peers.extend(written.map(|both| (number, both)));
        if present.is_none() {
            change.prefixes.push((*key, number));
        }
    }
    for (key, number) in &state.exact {
        if !tables.exact.contains_key(key) {
            let gone = vanishing(state.peer(*number), new.find(*key, EXACT), half, live);
            change.peers.push((*number, [gone, Peer::default()]));
            change.old_exact.push((*key, *number));
        }
    }
    let kept: std::collections::HashSet<&PrefixKey> =
        tables.prefixes.iter().map(|(key, _)| key).collect();
    for (key, number) in &state.prefixes {
        if !kept.contains(key) {
            let gone = vanishing(state.peer(*number), new.find(key.key, key.len), half, live);
            change.peers.push((*number, [gone, Peer::default()]));
            change.old_prefixes.push((*key, *number));
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
fn vanishing(before: Peer, cover: Option<Peer>, half: usize, live: usize) -> Peer {
    let cover = cover.unwrap_or_default();
    let mut first = before;
    first.class[1 - live] = cover.class[half];
    first.identity[1 - live] = cover.identity[half];
    first
}

/// Prefixes with their peers, to find which one covers an address or a longer prefix.
struct Covers {
    peers: HashMap<PrefixKey, Peer>,
    lengths: BTreeSet<u32>,
}

impl Covers {
    fn new(peers: impl Iterator<Item = (PrefixKey, Peer)>) -> Self {
        let peers: HashMap<PrefixKey, Peer> = peers.collect();
        let lengths = peers.keys().map(|key| key.len).collect();
        Self { peers, lengths }
    }

    /// The longest prefix shorter than `below` that holds the address.
    fn find(&self, key: PeerKey, below: u32) -> Option<Peer> {
        let mut lengths = self.lengths.range(..below).rev();
        lengths.find_map(|len| self.peers.get(&masked(key, *len)).copied())
    }
}
