//! What the maps hold, as the agent remembers it and as the kernel tells it.

use std::collections::{BTreeSet, HashMap};

use verdict::abi::{Endpoint, MAX_ENDPOINTS, Peer, PeerKey, PortEntry, PortKey, PrefixKey};
use verdict::abi::{Row, RowKey};

use super::{Datapath, Error};

/// The contents of every map that the agent fills, both versions included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) endpoints: HashMap<u32, Endpoint>,
    pub(super) exact: HashMap<PeerKey, u32>,
    pub(super) prefixes: HashMap<PrefixKey, u32>,
    /// Peers by number; unused numbers hold the default.
    pub(super) peers: Vec<Peer>,
    pub(super) free: BTreeSet<u32>,
    pub(super) rows: HashMap<RowKey, Row>,
    pub(super) ports: HashMap<PortKey, PortEntry>,
}

impl State {
    /// The peer behind a number.
    pub(super) fn peer(&self, number: u32) -> Peer {
        self.peers.get(number as usize).copied().unwrap_or_default()
    }

    pub(super) fn set_peer(&mut self, number: u32, peer: Peer) {
        if let Some(slot) = self.peers.get_mut(number as usize) {
            *slot = peer;
        }
    }

    /// How many elements differ between two states. Unused peers do not count.
    pub(super) fn differences(&self, other: &Self) -> usize {
        let peers = |state: &Self| -> HashMap<PrefixKey, Peer> {
            let exact = state.exact.iter().map(|(key, number)| {
                // One longer than any prefix: an exact address is not the prefix of all its bits.
                (PrefixKey { len: 161, key: *key }, state.peer(*number))
            });
            let prefixes = state.prefixes.iter().map(|(key, n)| (*key, state.peer(*n)));
            exact.chain(prefixes).collect()
        };
        differences(&self.endpoints, &other.endpoints)
            + differences(&peers(self), &peers(other))
            + differences(&self.rows, &other.rows)
            + differences(&self.ports, &other.ports)
    }
}

fn differences<K: Eq + std::hash::Hash, V: PartialEq>(
    a: &HashMap<K, V>,
    b: &HashMap<K, V>,
) -> usize {
    let changed = a.iter().filter(|(key, value)| b.get(*key) != Some(value)).count();
    changed + b.keys().filter(|key| !a.contains_key(*key)).count()
}

impl Datapath {
    /// Reads every map that the agent fills.
    pub(super) fn read_state(&self) -> Result<State, Error> {
        let mut state = State::default();
        for number in 0..MAX_ENDPOINTS {
            let endpoint = self.endpoints.get(number);
            if endpoint != Endpoint::default() {
                state.endpoints.insert(number, endpoint);
            }
        }
        self.exact.each(|key, number| {
            state.exact.insert(key, number);
        })?;
        self.prefixes.each(|key, number| {
            state.prefixes.insert(key, number);
        })?;
        self.rows.each(|key, row| {
            state.rows.insert(key, row);
        })?;
        self.ports.each(|key, entry| {
            state.ports.insert(key, entry);
        })?;
        let numbers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let used: BTreeSet<u32> =
            state.exact.values().chain(state.prefixes.values()).copied().collect();
        state.peers = (0..numbers).map(|number| self.peers.get(number)).collect();
        state.free = (0..numbers).filter(|number| !used.contains(number)).collect();
        Ok(state)
    }
}
