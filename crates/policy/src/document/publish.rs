//! Published ports: where they lead, for whom they exist, until when, and how many flows may begin there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{Name, Transport};

use super::Span;

/// A port of the host that leads to a workload. It opens nothing: a policy still has to allow the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whose it is.
    pub tenant: Name,
    /// Unique in the tenant.
    pub name: Name,
    /// The host's address; `None` is every address of the host.
    pub address: Option<IpAddr>,
    /// Protocol of both ports.
    pub transport: Transport,
    /// The host's port.
    pub port: u16,
    /// A workload of the tenant, in a network whose mode is not `none`.
    pub workload: Name,
    /// The workload's port.
    pub workload_port: u16,
    /// Sources for which the port exists; empty is everybody, unless `host` is set.
    pub from: Vec<IpNet>,
    /// Whether the host itself is among them; only where somebody else publishes the port. Whoever comes by a proxy of the runtime's comes as
    /// the host.
    pub host: bool,
    /// Who answers for it: one line of at most 100 characters.
    pub owner: Option<Arc<str>>,
    /// From this moment on it does not exist.
    pub until: Option<Timestamp>,
    /// How many flows may begin there.
    pub limit: FlowLimit,
    /// Where its name stands.
    pub span: Span,
}

impl Publish {
    /// Whether its `until` lies in the past: it then does not exist.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether the port exists for everybody.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.from.is_empty() && !self.host
    }

    /// Whether it keeps somebody away from its port at a time, or counts who comes.
    #[must_use]
    pub fn is_narrow(&self, now: Timestamp) -> bool {
        !self.is_for_all() || self.is_expired(now) || !self.limit.is_none()
    }

    /// Whether it speaks of a port of the host that a runtime leads somewhere.
    #[must_use]
    pub fn is_about(&self, led: &Led) -> bool {
        let meets = |own: IpAddr| led.address.is_none_or(|other| own == other);
        self.tenant == led.tenant
            && self.transport == led.transport
            && self.port == led.port
            && self.address.is_none_or(meets)
    }

    /// Whether the runtime leads the port where the entry says.
    #[must_use]
    pub fn is_led(&self, led: &Led) -> bool {
        self.is_about(led) && self.workload == led.workload && self.workload_port == led.to
    }
}

/// A port of the host that a runtime leads to a workload of an external network, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Led {
    /// The workload's tenant.
    pub tenant: Name,
    /// The workload.
    pub workload: Name,
    /// The external network.
    pub network: Name,
    /// Protocol of both ports.
    pub transport: Transport,
    /// The host's port.
    pub port: u16,
    /// The workload's port.
    pub to: u16,
    /// The host's address; `None` is every address of the host.
    pub address: Option<IpAddr>,
}

/// A workload of an external network of which its runtime does not say yet which ports of the host it leads there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unled {
    /// The workload's tenant.
    pub tenant: Name,
    /// The workload.
    pub workload: Name,
    /// The external network.
    pub network: Name,
}

impl fmt::Display for Led {
    /// `8080/tcp to web:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} ")?;
        }
        write!(f, "{}/{} to {}:{}", self.port, self.transport, self.workload, self.to)
    }
}

/// Ranges that are named in a line.
const NAMED: usize = 3;

impl fmt::Display for Publish {
    /// `443/tcp to web:8443 from world, until 2027-01-01T00:00:00Z, at most 20/s per source, owner web team`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} ")?;
        }
        write!(f, "{}/{} to {}:{}", self.port, self.transport, self.workload, self.workload_port)?;
        write!(f, " from {}", ranges(&self.from, self.host))?;
        if let Some(until) = self.until {
            write!(f, ", until {until}")?;
        }
        if !self.limit.is_none() {
            write!(f, ", at most {}", self.limit)?;
        }
        match &self.owner {
            Some(owner) => write!(f, ", owner {owner}"),
            None => Ok(()),
        }
    }
}

/// The first ranges and how many more there are; `world` when there are none.
fn ranges(from: &[IpNet], host: bool) -> String {
    let host = host.then(|| "host".to_owned());
    let named: Vec<String> =
        host.into_iter().chain(from.iter().take(NAMED).map(ToString::to_string)).collect();
    if named.is_empty() {
        return "world".to_owned();
    }
    match from.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// How many flows may begin at a published port, from outside of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowLimit {
    /// From one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub each: Option<FlowRate>,
    /// From all sources together.
    pub all: Option<FlowRate>,
}

impl FlowLimit {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.each.is_none() && self.all.is_none()
    }
}

impl fmt::Display for FlowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(each) = self.each {
            write!(f, "{each} per source")?;
        }
        if let Some(all) = self.all {
            let comma = if self.each.is_some() { ", " } else { "" };
            write!(f, "{comma}{all}")?;
        }
        Ok(())
    }
}

/// So many flows at once, and as many again, evenly, in each unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowRate {
    /// From 1 to [`FlowRate::MOST`].
    pub flows: u32,
    /// The unit.
    pub per: Per,
}

impl FlowRate {
    /// The largest number of flows.
    pub const MOST: u32 = 1_000_000;
}

impl fmt::Display for FlowRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.flows, self.per.word())
    }
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }
}
