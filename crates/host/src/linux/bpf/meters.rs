//! What the programs counted.

use std::path::Path;
use std::sync::Arc;

use verdict::Reason;
use verdict::abi::{Count, MAX_TENANTS, UNMANAGED_ENDPOINT};
use verdict::meters::{Budget, DropKey, RuleCount, Traffic};

use super::Error;
use super::shared::Shared;
use super::table::{PerCpu, Table};

/// Reads counters. Cheap to clone, usable from any thread. Counters only grow; they begin at zero
/// when the maps are created, and an endpoint's number may have had an earlier owner: compare with
/// what was read when the endpoint came.
#[derive(Clone)]
pub struct Meters {
    maps: Arc<Maps>,
}

struct Maps {
    traffic: PerCpu<Traffic>,
    drops: Table<DropKey, u64>,
    rules: Table<u32, RuleCount>,
    lost: PerCpu<u64>,
    budgets: Arc<Shared<Budget>>,
}

impl Meters {
    pub(super) fn open(
        maps: &Path,
        budgets: Arc<Shared<Budget>>,
        cpus: usize,
    ) -> Result<Self, Error> {
        let maps = Maps {
            traffic: PerCpu::open(maps, "COUNTERS", cpus)?,
            drops: Table::open(maps, "DROPS")?,
            rules: Table::open(maps, "RULES")?,
            lost: PerCpu::open(maps, "LOST", cpus)?,
            budgets,
        };
        Ok(Self { maps: Arc::new(maps) })
    }

    /// What passed at an endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when there is no such number.
    pub fn traffic(&self, endpoint: u32) -> Result<Traffic, Error> {
        let per_cpu = self.maps.traffic.get(endpoint)?;
        Ok(per_cpu.into_iter().fold(Traffic::default(), |sum, cpu| Traffic {
            sent: add(sum.sent, cpu.sent),
            received: add(sum.received, cpu.received),
        }))
    }

    /// Dropped packets by endpoint and reason, in order. Endpoint numbers above
    /// [`verdict::abi::MAX_ENDPOINTS`] are hooks on interfaces that are no endpoint's.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn drops(&self) -> Result<Vec<(u32, Reason, u64)>, Error> {
        let mut found = Vec::new();
        self.maps.drops.each(|key, packets| {
            let reason = u8::try_from(key.reason).ok().and_then(Reason::from_code);
            let reason = reason.filter(|reason| *reason != Reason::None);
            found.extend(reason.map(|reason| (key.endpoint, reason, packets)));
        })?;
        found.sort_unstable();
        Ok(found)
    }

    /// Packets of ports that nobody in the file has that began a flow and passed without a record of it, for want of room in the connection table. They are among
    /// [`lost`](Self::lost).
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn unrecorded(&self) -> Result<u64, Error> {
        let row = DropKey { endpoint: UNMANAGED_ENDPOINT, reason: Reason::None.code().into() };
        let mut found = 0;
        self.maps.drops.each(|key, packets| {
            if key == row {
                found = packets;
            }
        })?;
        Ok(found)
    }

    /// What rules decided, by rule number, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn rules(&self) -> Result<Vec<(u32, RuleCount)>, Error> {
        let mut found = Vec::new();
        self.maps.rules.each(|rule, count| found.push((rule, count)))?;
        found.sort_unstable_by_key(|(rule, _)| *rule);
        Ok(found)
    }

    /// A tenant's share of the connection table; zeroes for numbers that are too large.
    #[must_use]
    pub fn budget(&self, tenant: u32) -> Budget {
        if tenant < MAX_TENANTS { self.maps.budgets.get(tenant) } else { Budget::default() }
    }

    /// Reports that found no room in the ring buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn lost(&self) -> Result<u64, Error> {
        Ok(self.maps.lost.get(0)?.into_iter().sum())
    }
}

fn add(a: Count, b: Count) -> Count {
    Count { packets: a.packets + b.packets, bytes: a.bytes + b.bytes }
}
