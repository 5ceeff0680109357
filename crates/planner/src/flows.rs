//! Sets of flows, and how they read: `80,443/tcp`, `everything but 80/tcp`.

use std::collections::BTreeMap;
use std::fmt;

use model::{IcmpCover, IcmpMatch, IcmpName, Proto};

use crate::reach::Span;

/// A set of (protocol, destination port); icmp has `type << 8 | code` as port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flows {
    /// Disjoint intervals in ascending order, not touching.
    by_protocol: BTreeMap<Proto, Vec<(u16, u16)>>,
    /// Whether some pair that has such flows lacks IPv4, or IPv6: a name then stands for what there is.
    lacks: [bool; 2],
}

/// Protocols with ports in the order in which people read them.
const PORTED: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];
/// The icmp types that open flows.
const OPENING: [IcmpName; 2] = [IcmpName::EchoRequest, IcmpName::TimestampRequest];

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
        self.lacks = [self.lacks[0] || other.lacks[0], self.lacks[1] || other.lacks[1]];
    }

    /// Notes which of IPv4 and IPv6 the parties have in common.
    pub(crate) fn between(&mut self, v4: bool, v6: bool) {
        self.lacks = [self.lacks[0] || !v4, self.lacks[1] || !v6];
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
        let part = |protocol: Proto| part(protocol, self.of_protocol(protocol));
        let mut parts: Vec<String> = PORTED.into_iter().filter_map(part).collect();
        parts.extend(self.icmp());
        parts.extend(part(Proto::Other(253)));
        parts
    }

    /// `icmp/echo-request` where all of it passes, `icmp/8` where it does in IPv4 only.
    fn icmp(&self) -> Vec<String> {
        let mut rest =
            [Proto::Icmp, Proto::Icmp6].map(|version| self.of_protocol(version).to_vec());
        if rest.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        let mut names = Vec::new();
        for name in OPENING {
            let icmp = IcmpMatch::Named(name);
            let wanted = [icmp.v4(), icmp.v6()].map(|cover| match cover {
                Some(IcmpCover::Type(kind)) => {
                    Some((u16::from(kind) << 8, u16::from(kind) << 8 | 255))
                }
                _ => None,
            });
            let has = |at: usize| wanted[at].is_some_and(|range| rest[at].contains(&range));
            let is_whole = |at: usize| wanted[at].is_none() || has(at) || self.lacks[at];
            if is_whole(0) && is_whole(1) && (has(0) || has(1)) {
                names.push(icmp.to_string());
                for (list, range) in rest.iter_mut().zip(wanted) {
                    list.retain(|each| Some(*each) != range);
                }
            }
        }
        let all = if self.lacks[0] { 1 } else { OPENING.len() };
        if names.len() == all && rest.iter().all(Vec::is_empty) {
            return vec!["icmp".to_owned()];
        }
        let [v4, v6] = rest;
        names.extend(part(Proto::Icmp, &v4));
        names.extend(part(Proto::Icmp6, &v6));
        names
    }

    /// What is missing of tcp, udp and sctp, when everything else is there.
    fn complement(&self) -> Option<Self> {
        let mut out = Self::default();
        if self.of_protocol(Proto::Other(253)).is_empty() {
            return None;
        }
        for protocol in PORTED {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(intervals: &[(Proto, u16, u16)], families: Option<(bool, bool)>) -> String {
        let mut flows = Flows::default();
        for (protocol, first, last) in intervals {
            flows.add(*protocol, (*first, *last));
        }
        if let Some((v4, v6)) = families {
            flows.between(v4, v6);
        }
        flows.to_string()
    }

    #[test]
    fn icmp_reads_as_people_write_it() {
        let echo = (Proto::Icmp, 0x0800, 0x08ff);
        let echo6 = (Proto::Icmp6, 0x8000, 0x80ff);
        let time = (Proto::Icmp, 0x0d00, 0x0dff);
        let tcp = (Proto::Tcp, 80, 80);
        let both = Some((true, true));
        assert_eq!(text(&[echo, echo6], both), "icmp/echo-request");
        assert_eq!(text(&[echo], both), "icmp/8");
        assert_eq!(text(&[echo6], both), "icmp6/128");
        assert_eq!(text(&[echo], Some((true, false))), "icmp/echo-request");
        assert_eq!(text(&[echo6], Some((false, true))), "icmp");
        assert_eq!(text(&[echo, time, echo6, tcp], both), "80/tcp, icmp");
        assert_eq!(text(&[time], both), "icmp/timestamp-request");
        assert_eq!(text(&[(Proto::Icmp, 0x0800, 0x0800), echo6], both), "icmp/8/0, icmp6/128");
    }
}
