//! Sets of connections, and how they read: `TCP 80,443-450,UDP 53`, `All Connections`.

use std::fmt;

use model::{Proto, Transport};

use crate::flows::Flows;

/// What passes between two ends: ports from 1 to 65535 of each protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed(Flows);

/// Protocols in the order in which they are printed.
const ORDER: [Transport; 3] = [Transport::Sctp, Transport::Tcp, Transport::Udp];

impl Allowed {
    /// Adds ports of a protocol; port 0 is none.
    pub(super) fn add(&mut self, transport: Transport, (first, last): (u16, u16)) {
        if last > 0 {
            self.0.add(transport.into(), (first.max(1), last));
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// Whether nothing passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every port of every protocol passes.
    #[must_use]
    pub fn is_all(&self) -> bool {
        ORDER.iter().all(|transport| self.ports(*transport) == [(1, u16::MAX)])
    }

    /// The ports of a protocol: first and last of each interval, ascending, none beside another.
    #[must_use]
    pub fn ports(&self, transport: Transport) -> &[(u16, u16)] {
        self.0.of_protocol(Proto::from(transport))
    }

    /// Protocols of which something passes, in the order in which they are printed.
    pub fn protocols(&self) -> impl Iterator<Item = (&'static str, &[(u16, u16)])> {
        let all = ORDER.into_iter().map(|transport| (word(transport), self.ports(transport)));
        all.filter(|(_, ports)| !ports.is_empty())
    }
}

/// The protocol's name in the Kubernetes API.
fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Sctp => "SCTP",
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("No Connections");
        }
        if self.is_all() {
            return f.write_str("All Connections");
        }
        for (at, (protocol, ports)) in self.protocols().enumerate() {
            write!(f, "{}{protocol} ", if at > 0 { "," } else { "" })?;
            for (at, (first, last)) in ports.iter().enumerate() {
                let comma = if at > 0 { "," } else { "" };
                if first == last {
                    write!(f, "{comma}{first}")?;
                } else {
                    write!(f, "{comma}{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}
