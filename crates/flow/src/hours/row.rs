//! One line of the aggregated flows, and who stands at its ends.

use std::net::IpAddr;
use std::sync::Arc;

use verdict::Reason;

use super::{address, opens, seconds};
use crate::{Decision, End, Kind, Record};

/// Who stands at one end, as it was when the flow was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The network in which it was seen, `<tenant>.<network>`.
    pub network: Arc<str>,
    /// Its address; `None` when addresses are not told apart.
    pub address: Option<IpAddr>,
    /// The workload that had the address, `<tenant>.<workload>`.
    pub workload: Option<Arc<str>>,
    /// The identity's number, else 0.
    pub identity: u64,
    /// The identity in words: its labels, `world`, a CIDR.
    pub labels: Option<Arc<str>>,
}

impl Actor {
    pub(super) fn of(network: &Arc<str>, end: &End) -> Self {
        Self {
            network: Arc::clone(network),
            address: address(end.address),
            workload: end.workload.clone(),
            identity: end.identity,
            labels: end.identity_text.clone(),
        }
    }
}

/// Flows of an hour between the same ends to the same port, with the same verdict. Ends and rule are numbers: see [`super::Reader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Who opened them.
    pub source: u32,
    /// To whom.
    pub target: u32,
    /// The rule that decided, from 1; 0 for a default.
    pub rule: u32,
    /// Destination port; ICMP: type and code.
    pub port: u16,
    /// Lowest and highest source port.
    pub source_ports: (u16, u16),
    /// IP protocol number.
    pub protocol: u8,
    /// What was decided.
    pub decision: Decision,
    /// Why it was dropped or would have been: the number of a [`Reason`].
    pub reason: u8,
    /// Whether the target's side decided.
    pub ingress: bool,
    /// What is not told apart: [`Row::ADDRESS`], [`Row::PORT`].
    pub folded: u8,
    /// When the first was seen, in seconds since 1970.
    pub first: u32,
    /// When the last was.
    pub last: u32,
    /// Flows opened, or packets dropped.
    pub opened: u64,
    /// Flows ended.
    pub closed: u64,
    /// Packets and bytes of the originators of ended flows.
    pub there: [u64; 2],
    /// Packets and bytes of the responders of ended flows.
    pub back: [u64; 2],
    /// Not written yet.
    pub(super) dirty: bool,
}

impl Row {
    /// Bit of [`Row::folded`]: addresses of who is no workload are not told apart.
    pub const ADDRESS: u8 = 1;
    /// Bit of [`Row::folded`]: ports are not told apart.
    pub const PORT: u8 = 2;

    /// A row of one record; ends and rule are 0 still.
    pub(super) fn of(record: &Record, protocol: u8) -> Self {
        let at = seconds(record.at);
        let [there, back] =
            record.counts.filter(|_| record.kind == Kind::Close).unwrap_or_default();
        let ended = record.kind == Kind::Close;
        let source = record.source.port;
        Self {
            source: 0,
            target: 0,
            rule: 0,
            port: record.icmp.map_or(record.target.port, u16::from_be_bytes),
            source_ports: (source, source),
            protocol,
            decision: record.decision,
            reason: if ended { Reason::None.code() } else { record.reason.code() },
            ingress: record.ingress && record.decision != Decision::Allow,
            folded: 0,
            first: record.since.map_or(at, seconds),
            last: at,
            opened: if opens(record) || record.kind == Kind::Drop { record.repeats } else { 0 },
            closed: if ended { record.repeats } else { 0 },
            there,
            back,
            dirty: false,
        }
    }

    /// Adds what was seen of the same.
    pub(super) fn merge(&mut self, other: &Self) {
        let (low, high) = other.source_ports;
        self.source_ports = (self.source_ports.0.min(low), self.source_ports.1.max(high));
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.opened = self.opened.saturating_add(other.opened);
        self.closed = self.closed.saturating_add(other.closed);
        for (sum, more) in [(&mut self.there, other.there), (&mut self.back, other.back)] {
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
    }

    /// How many flows or drops it stands for; flows that were opened earlier, or unseen, count by their ends.
    #[must_use]
    pub fn events(&self) -> u64 {
        if self.opened == 0 { self.closed } else { self.opened }
    }

    /// Whether the flows passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.decision != Decision::Drop
    }
}
