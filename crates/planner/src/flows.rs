//! Sets of flows, and how they read: `80,443/tcp`, `everything but 80/tcp`.

use std::collections::BTreeMap;
use std::fmt;

use model::{IcmpCover, IcmpMatch, IcmpName, Proto};

use crate::reach::Span;

/// First and last port.
type Range = (u16, u16);

/// A set of (protocol, source port, destination port); icmp has `type << 8 | code` as destination port. Equal sets compare
/// as equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flows {
    /// Destination ports that are open from every source port: disjoint intervals in ascending order, not touching.
    by_protocol: BTreeMap<Proto, Vec<Range>>,
    /// Destination ports that are open from some source ports; beside the others, and no list is empty.
    limited: BTreeMap<Proto, Vec<Limited>>,
    /// Whether some pair that has such flows lacks IPv4, or IPv6: a name then stands for what there is.
    lacks: [bool; 2],
}

/// Destination ports that are open from the same source ports, but not from all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// First and last destination port.
    pub ports: (u16, u16),
    /// Disjoint intervals in ascending order, not touching; neither none nor all.
    pub sources: Vec<(u16, u16)>,
}

/// Protocols with ports in the order in which people read them.
const PORTED: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];
/// The icmp types that open flows.
const OPENING: [IcmpName; 2] = [IcmpName::EchoRequest, IcmpName::TimestampRequest];
/// Every port.
const ALL: Range = (0, u16::MAX);

impl Flows {
    /// The flows of these spans.
    #[must_use]
    pub fn of<'s>(spans: impl IntoIterator<Item = &'s Span>) -> Self {
        let mut parts: BTreeMap<Proto, Vec<(Range, Range)>> = BTreeMap::new();
        for span in spans {
            let part = (span.ports, span.sources.unwrap_or(ALL));
            parts.entry(span.protocol).or_default().push(part);
        }
        let mut this = Self::default();
        for (protocol, parts) in parts {
            this.replace(protocol, parts);
        }
        this
    }

    /// Adds an interval of destination ports, from every source port.
    pub fn add(&mut self, protocol: Proto, ports: (u16, u16)) {
        if self.limited.contains_key(&protocol) {
            self.add_from(protocol, ports, ALL);
            return;
        }
        let known = self.by_protocol.entry(protocol).or_default();
        let (first, last) = (u32::from(ports.0), u32::from(ports.1));
        let begin = known.partition_point(|each| u32::from(each.1) + 1 < first);
        let end = known.partition_point(|each| u32::from(each.0) <= last + 1);
        let joined = known.get(begin..end).unwrap_or_default().iter();
        let joined = joined.fold(ports, |all, each| (all.0.min(each.0), all.1.max(each.1)));
        known.splice(begin..end.max(begin), [joined]);
    }

    /// Adds an interval of destination ports from an interval of source ports.
    pub fn add_from(&mut self, protocol: Proto, ports: (u16, u16), sources: (u16, u16)) {
        if sources == ALL && !self.limited.contains_key(&protocol) {
            self.add(protocol, ports);
            return;
        }
        let mut pieces = self.rectangles(protocol);
        pieces.push((ports, sources));
        self.replace(protocol, pieces);
    }

    /// Adds every flow of another set.
    pub fn extend(&mut self, other: &Self) {
        for (protocol, list) in &other.by_protocol {
            for ports in list {
                self.add(*protocol, *ports);
            }
        }
        for protocol in other.limited.keys() {
            let mut pieces = self.rectangles(*protocol);
            pieces.extend(other.rectangles(*protocol));
            self.replace(*protocol, pieces);
        }
        self.lacks = [self.lacks[0] || other.lacks[0], self.lacks[1] || other.lacks[1]];
    }

    /// Destination and source ports of a protocol.
    fn rectangles(&self, protocol: Proto) -> Vec<(Range, Range)> {
        let mut all: Vec<(Range, Range)> =
            self.of_protocol(protocol).iter().map(|ports| (*ports, ALL)).collect();
        for part in self.limited(protocol) {
            all.extend(part.sources.iter().map(|sources| (part.ports, *sources)));
        }
        all
    }

    /// Sets what a protocol has: cut where some part begins or ends, then joined as far as the source ports are the same.
    fn replace(&mut self, protocol: Proto, mut pieces: Vec<(Range, Range)>) {
        pieces.sort_unstable();
        let mut edges: Vec<u32> = pieces
            .iter()
            .flat_map(|(ports, _)| [u32::from(ports.0), u32::from(ports.1) + 1])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let mut cells: Vec<Limited> = Vec::new();
        let mut coming = pieces.into_iter().peekable();
        let mut here: Vec<(Range, Range)> = Vec::new();
        for edge in edges.windows(2) {
            let &[first, end] = edge else { continue };
            here.retain(|(ports, _)| u32::from(ports.1) >= first);
            while let Some(piece) = coming.next_if(|piece| u32::from(piece.0.0) <= first) {
                here.push(piece);
            }
            if here.is_empty() {
                continue;
            }
            let sources = union(here.iter().map(|(_, sources)| *sources));
            let ports = (narrow(first), narrow(end - 1));
            match cells.last_mut() {
                Some(before)
                    if before.sources == sources && u32::from(before.ports.1) + 1 == first =>
                {
                    before.ports.1 = ports.1;
                }
                _ => cells.push(Limited { ports, sources }),
            }
        }
        let (open, limited): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|cell| cell.sources == [ALL]);
        self.by_protocol.remove(&protocol);
        self.limited.remove(&protocol);
        if !open.is_empty() {
            self.by_protocol.insert(protocol, open.into_iter().map(|cell| cell.ports).collect());
        }
        if !limited.is_empty() {
            self.limited.insert(protocol, limited);
        }
    }

    /// Notes which of IPv4 and IPv6 the parties have in common.
    pub(crate) fn between(&mut self, v4: bool, v6: bool) {
        self.lacks = [self.lacks[0] || !v4, self.lacks[1] || !v6];
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_protocol.values().all(Vec::is_empty) && self.limited.is_empty()
    }

    /// The destination ports of a protocol that are open from every source port, as intervals.
    #[must_use]
    pub fn of_protocol(&self, protocol: Proto) -> &[(u16, u16)] {
        self.by_protocol.get(&protocol).map_or(&[], Vec::as_slice)
    }

    /// The destination ports of a protocol that are open from some source ports only.
    #[must_use]
    pub fn limited(&self, protocol: Proto) -> &[Limited] {
        self.limited.get(&protocol).map_or(&[], Vec::as_slice)
    }

    /// Whether some flow to this port is among them, from whatever source port.
    #[must_use]
    pub fn reaches(&self, protocol: Proto, port: u16) -> bool {
        let has = |range: &Range| range.0 <= port && port <= range.1;
        self.of_protocol(protocol).iter().any(has)
            || self.limited(protocol).iter().any(|part| has(&part.ports))
    }

    fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for protocol in PORTED {
            parts.extend(part(protocol, self.of_protocol(protocol)));
            parts.extend(self.sourced(protocol));
        }
        parts.extend(self.icmp());
        let other = Proto::Other(253);
        parts.extend(part(other, self.of_protocol(other)));
        parts
    }

    /// `443,8443/tcp (source ports 1024-2047)`, one for each set of source ports.
    fn sourced(&self, protocol: Proto) -> Vec<String> {
        let mut told: Vec<(&[Range], Vec<Range>)> = Vec::new();
        for cell in self.limited(protocol) {
            match told.iter_mut().find(|(sources, _)| *sources == cell.sources) {
                Some((_, ports)) => ports.push(cell.ports),
                None => told.push((&cell.sources, vec![cell.ports])),
            }
        }
        let text = |(sources, ports): (&[Range], Vec<Range>)| {
            let missing = rest(sources);
            let sources = if missing.len() < sources.len() || missing.len() == 1 && is_one(&missing)
            {
                format!("all source ports but {}", ranges(&missing))
            } else if is_one(sources) {
                format!("source port {}", ranges(sources))
            } else {
                format!("source ports {}", ranges(sources))
            };
            part(protocol, &ports).map(|ports| format!("{ports} ({sources})"))
        };
        told.into_iter().filter_map(text).collect()
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
        if names.len() == OPENING.len() && rest.iter().all(Vec::is_empty) {
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
            let closed = rest(self.of_protocol(protocol)).into_iter();
            let mut missing: Vec<(Range, Range)> = closed.map(|ports| (ports, ALL)).collect();
            for cell in self.limited(protocol) {
                let all = std::mem::take(&mut missing);
                missing = all.into_iter().flat_map(|part| without(part, cell.ports)).collect();
                missing.extend(rest(&cell.sources).into_iter().map(|range| (cell.ports, range)));
            }
            out.replace(protocol, missing);
        }
        Some(out)
    }
}

fn narrow(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(u16::MAX)
}

/// Intervals as a list of disjoint ones that do not touch, in ascending order.
fn union(all: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut list: Vec<Range> = all.collect();
    list.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(list.len());
    for (first, last) in list {
        match joined.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                before.1 = before.1.max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The ports that are in none of these ascending intervals.
fn rest(list: &[Range]) -> Vec<Range> {
    let mut out = Vec::new();
    let mut from = 0_u32;
    for (first, last) in list {
        if u32::from(*first) > from {
            out.push((narrow(from), first - 1));
        }
        from = u32::from(*last) + 1;
    }
    if from < 65_536 {
        out.push((narrow(from), u16::MAX));
    }
    out
}

/// What is left of a part without some destination ports.
fn without((ports, sources): (Range, Range), hole: Range) -> Vec<(Range, Range)> {
    if hole.1 < ports.0 || ports.1 < hole.0 {
        return vec![(ports, sources)];
    }
    let before = (ports.0 < hole.0).then(|| ((ports.0, hole.0 - 1), sources));
    let after = (hole.1 < ports.1).then(|| ((hole.1 + 1, ports.1), sources));
    before.into_iter().chain(after).collect()
}

/// Whether it is a single port.
fn is_one(all: &[Range]) -> bool {
    matches!(all, [(first, last)] if first == last)
}

/// `80,443,8000-8999`.
fn ranges(all: &[Range]) -> String {
    let range = |(first, last): &Range| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let ranges: Vec<String> = all.iter().map(range).collect();
    ranges.join(",")
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
        _ => format!("{}/{protocol}", ranges(list)),
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
        assert_eq!(text(&[echo6], Some((false, true))), "icmp/echo-request");
        assert_eq!(text(&[echo, time, echo6, tcp], both), "80/tcp, icmp");
        assert_eq!(text(&[time], both), "icmp/timestamp-request");
        assert_eq!(text(&[(Proto::Icmp, 0x0800, 0x0800), echo6], both), "icmp/8/0, icmp6/128");
    }

    #[test]
    fn source_ports_are_told_and_equal_sets_are_equal() {
        let mut flows = Flows::default();
        flows.add_from(Proto::Tcp, (443, 443), (1024, 2047));
        flows.add_from(Proto::Tcp, (444, 450), (1024, 2047));
        assert_eq!(flows.to_string(), "443-450/tcp (source ports 1024-2047)");
        flows.add_from(Proto::Tcp, (443, 443), (2000, u16::MAX));
        flows.add(Proto::Tcp, (80, 80));
        assert_eq!(
            flows.to_string(),
            "80/tcp, 443/tcp (source ports 1024-65535), 444-450/tcp (source ports 1024-2047)"
        );
        flows.add_from(Proto::Tcp, (443, 443), (0, 1023));
        assert_eq!(flows.to_string(), "80,443/tcp, 444-450/tcp (source ports 1024-2047)");
        let mut other = Flows::default();
        other.add(Proto::Tcp, (443, 443));
        other.add_from(Proto::Tcp, (444, 450), (1024, 2047));
        other.extend(&flows);
        assert_eq!(other, flows);
        assert!(flows.reaches(Proto::Tcp, 450) && !flows.reaches(Proto::Tcp, 451));
        let mut most = Flows::default();
        most.add(Proto::Udp, (0, u16::MAX));
        most.add_from(Proto::Udp, (53, 53), (53, 53));
        assert_eq!(most.to_string(), "udp");
        let mut all_but = Flows::default();
        all_but.add_from(Proto::Udp, (53, 53), (0, 52));
        all_but.add_from(Proto::Udp, (53, 53), (54, u16::MAX));
        assert_eq!(all_but.to_string(), "53/udp (all source ports but 53)");
    }

    #[test]
    fn everything_but_some_source_ports() {
        let mut flows = Flows::default();
        for protocol in [Proto::Udp, Proto::Sctp, Proto::Other(253)] {
            flows.add(protocol, ALL);
        }
        flows.add(Proto::Tcp, (0, 24));
        flows.add(Proto::Tcp, (26, u16::MAX));
        flows.add_from(Proto::Tcp, (25, 25), (1024, u16::MAX));
        assert_eq!(flows.to_string(), "everything but 25/tcp (source ports 0-1023)");
    }

    #[test]
    fn many_intervals_are_joined_in_any_order() {
        let mut flows = Flows::default();
        for port in (1..=65_535_u16).step_by(2).rev().chain((0..=65_534).step_by(2)) {
            flows.add(Proto::Tcp, (port, port));
        }
        assert_eq!(flows.of_protocol(Proto::Tcp), [ALL]);
    }
}
