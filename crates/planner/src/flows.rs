//! Sets of flows, and how they read: `80,443/tcp`, `everything but 80/tcp`.

use std::collections::BTreeMap;
use std::fmt;

use model::Proto;

use crate::reach::Span;

/// A set of (protocol, destination port); icmp has `type << 8 | code` as port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flows {
    /// Disjoint intervals in ascending order, not touching.
    by_protocol: BTreeMap<Proto, Vec<(u16, u16)>>,
}

/// Protocols in the order in which people read them.
const ORDER: [Proto; 6] =
    [Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp, Proto::Icmp6, Proto::Other(253)];

impl Flows {
    /// The flows of these spans, whatever their source port.
    #[must_use]
    pub fn of<'s>(spans: impl IntoIterator<Item = &'s Span>) -> Self {
        let mut this = Self::default();
        for span in spans {
            this.add(span.protocol, span.ports);
        }
        this
    }

    /// Adds an interval.
    pub fn add(&mut self, protocol: Proto, ports: (u16, u16)) {
        let list = self.by_protocol.entry(protocol).or_default();
        list.push(ports);
        list.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(list.len());
        for (first, last) in list.drain(..) {
            match joined.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        *list = joined;
    }

    /// Adds every flow of another set.
    pub fn extend(&mut self, other: &Self) {
        for (protocol, list) in &other.by_protocol {
            for ports in list {
                self.add(*protocol, *ports);
            }
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_protocol.values().all(Vec::is_empty)
    }

    /// The intervals of a protocol.
    #[must_use]
    pub fn of_protocol(&self, protocol: Proto) -> &[(u16, u16)] {
        self.by_protocol.get(&protocol).map_or(&[], Vec::as_slice)
    }

    fn parts(&self) -> Vec<String> {
        ORDER.iter().filter_map(|protocol| part(*protocol, self.of_protocol(*protocol))).collect()
    }

    /// What is missing of tcp, udp and sctp, when everything else is there.
    fn complement(&self) -> Option<Self> {
        let mut out = Self::default();
        if self.of_protocol(Proto::Other(253)).is_empty() {
            return None;
        }
        for protocol in [Proto::Tcp, Proto::Udp, Proto::Sctp] {
            let mut from = 0_u32;
            for (first, last) in self.of_protocol(protocol) {
                if u32::from(*first) > from {
                    out.add(protocol, (narrow(from), first - 1));
                }
                from = u32::from(*last) + 1;
            }
            if from < 65_536 {
                out.add(protocol, (narrow(from), u16::MAX));
            }
        }
        Some(out)
    }
}

fn narrow(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(u16::MAX)
}

/// `80,443,8000-8999/tcp`, `icmp/8`; nothing for no interval.
fn part(protocol: Proto, list: &[(u16, u16)]) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let icmp = |word: &str| {
        let mut texts = Vec::new();
        for (first, last) in list {
            let ([kind, from], [other, to]) = (first.to_be_bytes(), last.to_be_bytes());
            texts.push(match (from, to) {
                (0, 255) if kind == other => format!("{word}/{kind}"),
                _ if first == last => format!("{word}/{kind}/{from}"),
                _ => format!("{word}/{kind}/{from}-{to}"),
            });
        }
        texts.join(", ")
    };
    Some(match protocol {
        Proto::Icmp => icmp("icmp"),
        Proto::Icmp6 => icmp("icmp6"),
        Proto::Other(_) => "other protocols".to_owned(),
        _ if list == [(0, u16::MAX)] => protocol.to_string(),
        _ => {
            let range = |(first, last): &(u16, u16)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            };
            let ranges: Vec<String> = list.iter().map(range).collect();
            format!("{}/{protocol}", ranges.join(","))
        }
    })
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        if parts.is_empty() {
            return f.write_str("nothing");
        }
        let missing = self.complement().map(|missing| missing.parts());
        match missing.as_deref() {
            Some([]) => f.write_str("everything"),
            Some(missing) if missing.len() <= parts.len() => {
                write!(f, "everything but {}", missing.join(", "))
            }
            _ => f.write_str(&parts.join(", ")),
        }
    }
}
