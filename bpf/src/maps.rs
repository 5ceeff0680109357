//! The maps. Names are what the loader and the pins use; sizes are the smallest that a kernel takes
//! and are set by the loader, except for arrays whose size the interface fixes.
//!
//! Keys and values are `verdict::abi` and `verdict::meters`. Hash tables that only the agent fills
//! allocate as they grow; the connection table is allocated when it is made, so that the memory of
//! the last flow is as certain as that of the first.

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use verdict::Work;
use verdict::abi::{
    Config, Endpoint, FlowEntry, FlowKey, FragmentKey, MAX_ENDPOINTS, MAX_TENANTS, Peer, PeerKey,
    PortEntry, PortKey, Ports, Row, RowKey,
};
use verdict::account::EACH;
use verdict::meters::{
    Budget, DropKey, Limit, LimitKey, Meter, MeterKey, ReportKey, Reported, RuleCount, Traffic,
};

/// `BPF_F_NO_PREALLOC`.
const GROWING: u32 = 1;
/// `BPF_F_MMAPABLE`: the agent writes through shared memory, one atomic store at a time.
const SHARED: u32 = 1 << 10;
/// A service has a cgroup, and while it is started anew two.
const MAX_SERVICES: u32 = 4 * EACH;
/// Replaced by the loader.
const SIZE: u32 = 1;

/// The node's configuration with the epoch.
#[map]
pub(crate) static CONFIG: Array<Config> = Array::with_max_entries(1, SHARED);
/// Endpoints by number.
#[map]
pub(crate) static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(MAX_ENDPOINTS, SHARED);
/// Interfaces of the host in place, by index: the number of an endpoint, or what [`verdict::abi::Stray`] says.
#[map]
pub(crate) static PORTS_IN_PLACE: HashMap<u32, u32> =
    HashMap::with_max_entries(MAX_ENDPOINTS, GROWING);
/// Endpoints of the host's stack: number of their cgroup to their own.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, GROWING);
/// Users that rules tell apart among the host's processes: user number to place among them.
#[map]
pub(crate) static USERS: HashMap<u32, u32> = HashMap::with_max_entries(EACH, GROWING);
/// Services that they tell apart: number of a cgroup to place among them.
#[map]
pub(crate) static SERVICES: HashMap<u64, u32> = HashMap::with_max_entries(MAX_SERVICES, GROWING);
/// Memory to work in for programs at cgroups.
#[map]
pub(crate) static ROOMS: PerCpuArray<crate::hosted::Room> =
    PerCpuArray::with_max_entries(crate::hosted::CLAIMS, 0);
/// Whose the ends of flows within this host are; the key's network is 0.
#[map]
pub(crate) static PAIRS: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(16_384, 0);
/// Peers by the number that [`IPCACHE`] and [`PREFIXES`] lead to.
#[map]
pub(crate) static PEERS: Array<Peer> = Array::with_max_entries(SIZE, SHARED);
/// Exact address to peer number.
#[map]
pub(crate) static IPCACHE: HashMap<PeerKey, u32> = HashMap::with_max_entries(SIZE, GROWING);
/// Prefix to peer number.
#[map]
pub(crate) static PREFIXES: LpmTrie<PeerKey, u32> = LpmTrie::with_max_entries(SIZE, GROWING);
/// What slots say of classes.
#[map]
pub(crate) static POLICY: HashMap<RowKey, Row> = HashMap::with_max_entries(SIZE, GROWING);
/// What port sets say of blocks of ports.
#[map]
pub(crate) static PORTS: HashMap<PortKey, PortEntry> = HashMap::with_max_entries(SIZE, GROWING);
/// The connection table.
#[map]
pub(crate) static FLOWS: HashMap<FlowKey, FlowEntry> = HashMap::with_max_entries(SIZE, 0);
/// Ports of fragmented datagrams; old ones make room.
#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, Ports> = LruHashMap::with_max_entries(SIZE, 0);
/// Shares of the connection table, by tenant.
#[map]
pub(crate) static BUDGETS: Array<Budget> = Array::with_max_entries(MAX_TENANTS, SHARED);
/// Passed packets, by endpoint.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_ENDPOINTS, 0);
/// Dropped packets, by endpoint and reason.
#[map]
pub(crate) static DROPS: HashMap<DropKey, u64> = HashMap::with_max_entries(SIZE, GROWING);
/// What each rule decided.
#[map]
pub(crate) static RULES: HashMap<u32, RuleCount> = HashMap::with_max_entries(SIZE, GROWING);
/// Drops that were reported lately; old ones make room.
#[map]
pub(crate) static REPORTED: LruHashMap<ReportKey, Reported> = LruHashMap::with_max_entries(SIZE, 0);
/// Published ports with a limit.
#[map]
pub(crate) static LIMITS: HashMap<LimitKey, Limit> = HashMap::with_max_entries(SIZE, GROWING);
/// Buckets of the limits; those that nobody used lately make room.
#[map]
pub(crate) static METERS: LruHashMap<MeterKey, Meter> = LruHashMap::with_max_entries(SIZE, 0);
/// Reports for the agent.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);
/// Reports that found no room.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Working memory.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// A key of [`PREFIXES`] that asks for one address.
pub(crate) fn address(key: &PeerKey) -> Key<PeerKey> {
    Key::new(32 + 128, *key)
}
