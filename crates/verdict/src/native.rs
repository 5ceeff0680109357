//! The host's tables behind the same trait as the kernel's maps.
//!
//! [`Tables`] is what the planner produces and what the agent writes into the kernel; plan, why,
//! replay and the tests judge over it. [`Simulation`] adds a connection table, a clock that is set
//! by hand and a list of reports.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, HashMap};

use crate::abi::{
    Config, Endpoint, Event, FlowEntry, FlowKey, FragmentKey, Peer, PeerKey, PortEntry, PortKey,
    Ports, PrefixKey, Row, RowKey,
};
use crate::meters::{Limit, LimitKey, Meter, MeterKey};
pub use crate::shards::Shards;
use crate::{Env, Full};

/// Every table that a policy question reads. Copies share what neither of them changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Configuration; its epoch's parity selects the version that is judged.
    pub config: Config,
    /// Endpoints by number.
    pub endpoints: Shards<u32, Endpoint>,
    /// Peers by exact address.
    pub exact: Shards<PeerKey, Peer>,
    /// Peers by prefix.
    pub prefixes: Prefixes,
    /// What slots say of classes.
    pub rows: Shards<RowKey, Row>,
    /// What port sets say of blocks of ports.
    pub ports: Shards<PortKey, PortEntry>,
    /// What limits the flows that begin at published ports.
    pub limits: Shards<LimitKey, Limit>,
}

/// A longest-prefix table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    entries: Shards<PrefixKey, Peer>,
    /// How many entries have each length.
    lengths: BTreeMap<u32, usize>,
}

impl Prefixes {
    /// Adds or replaces a prefix; bits of the address behind it are cleared.
    pub fn insert(&mut self, key: PrefixKey, peer: Peer) {
        if self.entries.insert(masked(key.key, key.len), peer).is_none() {
            *self.lengths.entry(key.len).or_default() += 1;
        }
    }

    /// Removes a prefix, if it is there.
    pub fn remove(&mut self, key: &PrefixKey) {
        if self.entries.remove(&masked(key.key, key.len)).is_none() {
            return;
        }
        if let Some(count) = self.lengths.get_mut(&key.len) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&key.len);
            }
        }
    }

    /// The entry of exactly this prefix.
    #[must_use]
    pub fn get(&self, key: &PrefixKey) -> Option<&Peer> {
        self.entries.get(&masked(key.key, key.len))
    }

    /// All prefixes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&PrefixKey, &Peer)> {
        self.entries.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The longest prefix that holds an address.
    #[must_use]
    pub fn longest(&self, key: &PeerKey) -> Option<&Peer> {
        self.cover(key, u32::MAX)
    }

    /// The longest prefix of fewer than `below` bits that holds an address.
    #[must_use]
    pub fn cover(&self, key: &PeerKey, below: u32) -> Option<&Peer> {
        let mut lengths = self.lengths.range(..below).rev();
        lengths.find_map(|(len, _)| self.entries.get(&masked(*key, *len)))
    }

    /// Hands every prefix to `each` that one of the two lacks or has with another value.
    pub fn differences<'s>(&'s self, other: &'s Self, each: impl FnMut(&'s PrefixKey)) {
        self.entries.differences(&other.entries, each);
    }
}

/// The prefix of `len` bits (32 for the network, then the address) that holds `key`.
#[must_use]
pub fn masked(key: PeerKey, len: u32) -> PrefixKey {
    let mut addr = key.addr;
    let mut left = len.saturating_sub(32);
    for word in &mut addr.0 {
        let bits = left.min(32);
        left -= bits;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        *word &= mask.to_be();
    }
    PrefixKey { len, key: PeerKey { network: key.network, addr } }
}

/// Tables in use: with a connection table, counters, a clock and a list of reports.
#[derive(Debug)]
pub struct Simulation<'t> {
    tables: &'t Tables,
    /// Now, in jiffies.
    pub now: Cell<u32>,
    /// The connection table.
    pub flows: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// At most this many flows, whatever the tenant.
    pub capacity: Cell<usize>,
    /// Ports of fragmented datagrams.
    pub fragments: RefCell<HashMap<FragmentKey, Ports>>,
    /// Whose the ends of flows within the host were.
    pub pairs: RefCell<HashMap<FlowKey, u64>>,
    /// Buckets of the limits.
    pub meters: RefCell<HashMap<MeterKey, Meter>>,
    /// By endpoint, `[sent, received]` packets.
    pub counts: RefCell<BTreeMap<u32, [u64; 2]>>,
    /// Everything that was reported, oldest first.
    pub events: RefCell<Vec<Event>>,
}

impl<'t> Simulation<'t> {
    /// Starts with an empty connection table at jiffy 0.
    #[must_use]
    pub fn new(tables: &'t Tables) -> Self {
        Self {
            tables,
            now: Cell::new(0),
            flows: RefCell::default(),
            capacity: Cell::new(usize::MAX),
            fragments: RefCell::default(),
            pairs: RefCell::default(),
            meters: RefCell::default(),
            counts: RefCell::default(),
            events: RefCell::default(),
        }
    }

    /// The same connection table and reports over other tables: a policy change.
    #[must_use]
    pub fn with_tables(self, tables: &Tables) -> Simulation<'_> {
        Simulation {
            tables,
            now: self.now,
            flows: self.flows,
            capacity: self.capacity,
            fragments: self.fragments,
            pairs: self.pairs,
            meters: self.meters,
            counts: self.counts,
            events: self.events,
        }
    }
}

impl Env for Simulation<'_> {
    type Flow<'a>
        = RefMut<'a, FlowEntry>
    where
        Self: 'a;

    type Bucket<'a>
        = RefMut<'a, Meter>
    where
        Self: 'a;

    fn config(&self) -> &Config {
        &self.tables.config
    }

    fn epoch(&self) -> u64 {
        self.tables.config.epoch
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn endpoint(&self, number: u32) -> Option<&Endpoint> {
        self.tables.endpoints.get(&number)
    }

    fn exact(&self, key: &PeerKey) -> Option<&Peer> {
        self.tables.exact.get(key)
    }

    fn prefix(&self, key: &PeerKey) -> Option<&Peer> {
        self.tables.prefixes.longest(key)
    }

    fn row(&self, key: &RowKey) -> Option<&Row> {
        self.tables.rows.get(key)
    }

    fn port(&self, key: &PortKey) -> Option<&PortEntry> {
        self.tables.ports.get(key)
    }

    fn flow(&self, key: &FlowKey) -> Option<RefMut<'_, FlowEntry>> {
        RefMut::filter_map(self.flows.borrow_mut(), |flows| flows.get_mut(key)).ok()
    }

    fn open(&self, _tenant: u32, key: &FlowKey, entry: &FlowEntry) -> Result<(), Full> {
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= self.capacity.get() {
            return Err(Full);
        }
        flows.insert(*key, *entry);
        Ok(())
    }

    fn close(&self, _tenant: u32, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Ports> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, ports: Ports) {
        self.fragments.borrow_mut().insert(*key, ports);
    }

    fn pair(&self, key: &FlowKey) -> u64 {
        self.pairs.borrow().get(key).copied().unwrap_or_default()
    }

    fn remember_pair(&self, key: &FlowKey, pair: u64) {
        self.pairs.borrow_mut().insert(*key, pair);
    }

    fn limit(&self, key: &LimitKey) -> Option<&Limit> {
        self.tables.limits.get(key)
    }

    fn bucket(&self, key: &MeterKey, now: u32) -> Option<RefMut<'_, Meter>> {
        let new = Meter { since: now, ..Meter::default() };
        Some(RefMut::map(self.meters.borrow_mut(), |meters| meters.entry(*key).or_insert(new)))
    }

    fn add(counter: &mut u64, by: u64) {
        *counter = counter.wrapping_add(by);
    }

    fn count(&self, endpoint: u32, sent: bool, _bytes: u32) {
        let mut counts = self.counts.borrow_mut();
        counts.entry(endpoint).or_default()[usize::from(!sent)] += 1;
    }

    fn report(&self, event: &Event) {
        self.events.borrow_mut().push(*event);
    }
}
