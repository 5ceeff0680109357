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
    /// Flows in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.opened.wrapping_sub(self.removed).wrapping_sub(self.released)
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
