//! Keys and values of the maps that count: the kernel adds, the agent reads.
//!
//! They follow the rules of [`crate::abi`] and its number.

use crate::abi::{Addr, Count};

/// What passed at an endpoint: a value of the per-CPU array `COUNTERS`, indexed by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    /// From the endpoint.
    pub sent: Count,
    /// To the endpoint.
    pub received: Count,
}

/// A key of `DROPS`; the value is the number of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DropKey {
    /// The endpoint at whose hook it happened; above all numbers for a hook without an endpoint.
    pub endpoint: u32,
    /// [`crate::Reason`] as a number.
    pub reason: u32,
}

/// What a rule decided: a value of `RULES`, whose key is the rule's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleCount {
    /// Flows opened.
    pub flows: u64,
    /// Packets dropped.
    pub drops: u64,
}

/// A tenant's share of the connection table: a value of the array `BUDGETS`, indexed by tenant.
///
/// In use are `opened - removed - released`. The kernel adds to the first two, the agent stores the
/// other two: nobody overwrites what another one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// Flows that packets opened.
    pub opened: u64,
    /// Flows that packets ended.
    pub removed: u64,
    /// Flows that the agent ended.
    pub released: u64,
    /// At most this many flows.
    pub limit: u64,
}

impl Budget {
    /// Flows in use; none when more have ended than are known to have begun, because somebody emptied the map meanwhile.
    #[must_use]
    pub const fn used(&self) -> u64 {
        let used = self.opened.wrapping_sub(self.removed).wrapping_sub(self.released);
        if used > i64::MAX as u64 { 0 } else { used }
    }
}

/// A port of an endpoint that is published with a limit: a key of `LIMITS`. Asked for endpoints with [`crate::abi::Endpoint::LIMITED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct LimitKey {
    /// The endpoint's number.
    pub endpoint: u32,
    /// Its port, host order.
    pub port: u16,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// How fast flows may begin: a bucket that holds `flows` of them and is filled evenly with as many in `per`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Rate {
    /// How many; 0 is no limit.
    pub flows: u32,
    /// In how many jiffies.
    pub per: u32,
}

/// What begins at a published port from outside of its network: a value of `LIMITS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Limit {
    /// From one IPv4 address, or one IPv6 network of 64 bits.
    pub each: Rate,
    /// From all of them.
    pub all: Rate,
}

/// Whose bucket: a key of `METERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MeterKey {
    /// The source, of IPv6 its first 64 bits; [`MeterKey::ALL`] for all sources.
    pub source: Addr,
    /// The published port.
    pub limit: LimitKey,
}

impl MeterKey {
    /// An address that no packet comes from.
    pub const ALL: Addr = Addr([u32::MAX; 4]);

    /// The key of one source's bucket.
    #[must_use]
    pub const fn of(source: Addr, limit: LimitKey) -> Self {
        let [first, second, ..] = source.0;
        let source = if source.is_v4() { source } else { Addr([first, second, 0, 0]) };
        Self { source, limit }
    }
}

/// A bucket: a value of `METERS`. The kernel alone writes it.
///
/// What was taken is added up by one atomic instruction, so that in the long run none is lost, on however many CPUs; as many CPUs
/// as there are may each take one too many at the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Meter {
    /// Flows since then.
    pub taken: u64,
    /// When it was full, in jiffies.
    pub since: u32,
    /// Zero.
    pub pad: u32,
}

impl Meter {
    /// A clock that another CPU has read is at most this much ahead, in jiffies.
    const AHEAD: u32 = 1 << 16;
    /// The account begins anew after this time, before the clock comes round.
    const LONG: u32 = 1 << 30;

    /// Whether one more may begin now.
    pub fn has_room(&mut self, rate: &Rate, now: u32) -> bool {
        let mut passed = now.wrapping_sub(self.since);
        if passed > u32::MAX - Self::AHEAD {
            passed = 0;
        }
        let filled = u64::from(rate.flows) * u64::from(passed);
        let filled = filled.checked_div(u64::from(rate.per)).unwrap_or(0);
        if filled >= self.taken || passed > Self::LONG {
            self.since = now;
            self.taken = 0;
            return rate.flows > 0;
        }
        self.taken.wrapping_sub(filled) < u64::from(rate.flows)
    }
}

/// A kind of drop that was reported: a key of `REPORTED`. Source ports are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ReportKey {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// The network's number.
    pub network: u32,
    /// The endpoint at whose hook it happened.
    pub endpoint: u32,
    /// Destination port; ICMP: `type << 8 | code`.
    pub target_port: u16,
    /// The IP protocol number.
    pub protocol: u8,
    /// [`crate::Reason`] as a number.
    pub reason: u8,
}

/// When it was reported: a value of `REPORTED`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Reported {
    /// The last report, in jiffies.
    pub at: u32,
    /// Zero.
    pub pad: u32,
    /// Drops since then.
    pub silent: u64,
}
