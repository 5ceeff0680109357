//! What the maps hold, as the agent remembers it and as the kernel tells it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use verdict::abi::{Endpoint, MAX_ENDPOINTS, Peer, PeerKey, PortEntry, PortKey, PrefixKey};
use verdict::abi::{Row, RowKey};
use verdict::meters::{Limit, LimitKey};
use verdict::native::{Shards, Tables, masked};

use super::{Datapath, Error};

/// The contents of every map that the agent fills, both versions included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) endpoints: HashMap<u32, Endpoint>,
    pub(super) exact: HashMap<PeerKey, u32>,
    pub(super) prefixes: HashMap<PrefixKey, u32>,
    /// How many prefixes have each length.
    pub(super) lengths: BTreeMap<u32, usize>,
    /// Peers by number; unused numbers hold the default.
    pub(super) peers: Vec<Peer>,
    pub(super) free: Numbers,
    /// After an update, the very memory of the tables it was given.
    pub(super) rows: Shards<RowKey, Row>,
    pub(super) ports: Shards<PortKey, PortEntry>,
    pub(super) limits: Shards<LimitKey, Limit>,
    /// What the maps were brought to by the last update, if that is known: only what another one has
    /// otherwise can need a write.
    pub(super) given: Option<Tables>,
}

/// Numbers of peers that nothing has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Below `from`.
    released: BTreeSet<u32>,
    /// From this one to `limit` all are free.
    from: u32,
    limit: u32,
}

impl Numbers {
    fn new(used: &BTreeSet<u32>, limit: u32) -> Self {
        let from = used.last().map_or(0, |last| last + 1);
        Self { released: (0..from).filter(|number| !used.contains(number)).collect(), from, limit }
    }

    /// Every free number.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.released.iter().copied().chain(self.from..self.limit)
    }

    pub(super) fn take(&mut self, number: u32) {
        if number >= self.from {
            self.released.extend(self.from..number);
            self.from = number + 1;
        } else {
            self.released.remove(&number);
        }
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.released.insert(number);
    }
}

impl State {
    /// The peer behind a number.
    pub(super) fn peer(&self, number: u32) -> Peer {
        self.peers.get(number as usize).copied().unwrap_or_default()
    }

    pub(super) fn set_peer(&mut self, number: u32, peer: Peer) {
        let at = number as usize;
        if at >= self.peers.len() {
            self.peers.resize(at + 1, Peer::default());
        }
        if let Some(slot) = self.peers.get_mut(at) {
            *slot = peer;
        }
    }

    /// Nothing, with room for as many peers.
    #[cfg(test)]
    pub(super) fn empty(peers: u32) -> Self {
        Self { free: Numbers::new(&BTreeSet::new(), peers), ..Self::default() }
    }

    pub(super) fn set_prefix(&mut self, key: PrefixKey, number: u32) {
        if self.prefixes.insert(key, number).is_none() {
            *self.lengths.entry(key.len).or_default() += 1;
        }
    }

    pub(super) fn drop_prefix(&mut self, key: &PrefixKey) {
        if self.prefixes.remove(key).is_none() {
            return;
        }
        if let Some(count) = self.lengths.get_mut(&key.len) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&key.len);
            }
        }
    }

    /// The peer of the longest prefix of fewer than `below` bits that holds the address.
    pub(super) fn cover(&self, key: PeerKey, below: u32) -> Option<Peer> {
        let mut lengths = self.lengths.range(..below).rev();
        let number = lengths.find_map(|(len, _)| self.prefixes.get(&masked(key, *len)))?;
        Some(self.peer(*number))
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
        let mut shared = 0;
        self.rows.differences(&other.rows, |_| shared += 1);
        self.ports.differences(&other.ports, |_| shared += 1);
        self.limits.differences(&other.limits, |_| shared += 1);
        differences(&self.endpoints, &other.endpoints)
            + differences(&peers(self), &peers(other))
            + shared
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
        self.read_state_unless(&|| false).map(Option::unwrap_or_default)
    }

    /// As [`Datapath::read_state`], but gives up once `stop` says so.
    pub(super) fn read_state_unless(
        &self,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<State>, Error> {
        let mut state = State::default();
        for number in 0..MAX_ENDPOINTS {
            let endpoint = self.endpoints.get(number);
            if endpoint != Endpoint::default() {
                state.endpoints.insert(number, endpoint);
            }
        }
        let whole = self.exact.each_unless(stop, |key, number| {
            state.exact.insert(key, number);
        })?;
        let whole = whole && self.prefixes.each_unless(stop, |key, n| state.set_prefix(key, n))?;
        let rows = |key, row| {
            state.rows.insert(key, row);
        };
        let whole = whole && self.rows.each_unless(stop, rows)?;
        let ports = |key, entry| {
            state.ports.insert(key, entry);
        };
        let whole = whole && self.ports.each_unless(stop, ports)?;
        let limits = |key, limit| {
            state.limits.insert(key, limit);
        };
        if !(whole && self.limits.each_unless(stop, limits)?) {
            return Ok(None);
        }
        let numbers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let used: BTreeSet<u32> =
            state.exact.values().chain(state.prefixes.values()).copied().collect();
        for number in &used {
            state.set_peer(*number, self.peers.get(*number));
        }
        state.free = Numbers::new(&used, numbers);
        Ok(Some(state))
    }
}
