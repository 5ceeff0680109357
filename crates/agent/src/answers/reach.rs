//! What may pass between two addresses: every protocol and port, judged by the one evaluator at the edges of the blocks
//! that the tables have, so that the result is exact.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use verdict::abi::{Addr, PeerKey, PortEntry, Ports, RowKey, Verdict};
use verdict::native::{Simulation, Tables};
use verdict::packet::protocol;
use verdict::{Judgement, Question, judge};

/// A protocol that no rule names by itself: only `any` speaks of it.
pub(crate) const OTHER: u8 = 253;
/// The first ephemeral port: what `why` assumes.
pub(crate) const SOURCE_PORT: u16 = 49_152;

/// A block of destination ports (ICMP: types and codes) with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The IP protocol number.
    pub(crate) protocol: u8,
    /// First port.
    pub(crate) first: u16,
    /// Last port.
    pub(crate) last: u16,
    /// The answer for the source port that gets furthest.
    pub(crate) judgement: Judgement,
}

impl Span {
    /// Whether anything may pass, recorded or not.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.judgement.verdict, Verdict::Allow | Verdict::Audit)
    }
}

/// Tables with an index of their port sets.
pub(crate) struct Reach<'t> {
    tables: &'t Tables,
    simulation: Simulation<'t>,
    sets: HashMap<u64, Vec<(u8, u16, u16, PortEntry)>>,
}

impl<'t> Reach<'t> {
    pub(crate) fn new(tables: &'t Tables) -> Self {
        let mut sets: HashMap<u64, Vec<_>> = HashMap::new();
        for (key, entry) in &tables.ports {
            let size = 0xffff_u16.checked_shr(u32::from(key.len)).unwrap_or(0);
            let block = (key.protocol, key.port, key.port | size, *entry);
            sets.entry(key.set).or_default().push(block);
        }
        Self { tables, simulation: Simulation::new(tables), sets }
    }

    /// Judges one flow.
    pub(crate) fn judge(&self, question: &Question) -> Judgement {
        let mut judgement = Judgement::default();
        judge(&self.simulation, question, self.tables.config.epoch, &mut judgement);
        judgement
    }

    /// Every block of ports between two addresses, as seen in a network, in order of protocol and port.
    pub(crate) fn spans(&self, network: u32, source: IpAddr, target: IpAddr) -> Vec<Span> {
        let icmp = if source.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP };
        let question = Question {
            source: Addr::from(source),
            target: Addr::from(target),
            network,
            ports: Ports { source: SOURCE_PORT, target: 0 },
            protocol: 0,
        };
        let sets = self.asked(&question);
        let mut spans = Vec::new();
        for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP, icmp, OTHER] {
            let question = Question { protocol, ..question };
            self.spans_of(&question, &sets, &mut spans);
        }
        spans
    }

    /// The port sets that the two ends ask.
    fn asked(&self, question: &Question) -> Vec<u64> {
        let odd = usize::from(self.tables.config.epoch & 1 != 0);
        let peer = |addr| {
            let key = PeerKey { network: question.network, addr };
            self.tables.exact.get(&key).or_else(|| self.tables.prefixes.longest(&key))
        };
        let (Some(source), Some(target)) = (peer(question.source), peer(question.target)) else {
            return Vec::new();
        };
        let row = |endpoint: u32, direction: usize, class: u64| {
            let slot = self.tables.endpoints.get(&endpoint)?.slots[odd][direction];
            self.tables.rows.get(&RowKey { slot, class }).map(|row| row.ports.id)
        };
        let egress = row(source.endpoint, 0, target.class[odd]);
        let ingress = row(target.endpoint, 1, source.class[odd]);
        egress.into_iter().chain(ingress).filter(|id| *id != 0).collect()
    }

    fn spans_of(&self, question: &Question, sets: &[u64], spans: &mut Vec<Span>) {
        let blocks = || {
            let all = sets.iter().filter_map(|set| self.sets.get(set)).flatten();
            all.filter(|(protocol, ..)| *protocol == question.protocol)
        };
        let mut edges = BTreeSet::from([0_u16]);
        let mut sources = BTreeSet::from([SOURCE_PORT]);
        for (_, first, last, entry) in blocks() {
            edges.insert(*first);
            edges.extend(last.checked_add(1));
            let narrower = self.sets.get(&entry.sources.id).into_iter().flatten();
            sources.extend(narrower.map(|(_, first, ..)| *first));
        }
        let ends = edges.iter().skip(1).map(|edge| edge - 1).chain([u16::MAX]);
        for (first, last) in edges.iter().copied().zip(ends) {
            let judgement = self.furthest(question, first, &sources);
            match spans.last_mut() {
                Some(span) if span.protocol == question.protocol && span.judgement == judgement => {
                    span.last = last;
                }
                _ => spans.push(Span { protocol: question.protocol, first, last, judgement }),
            }
        }
    }

    /// The answer for the source port that gets furthest.
    fn furthest(&self, question: &Question, port: u16, sources: &BTreeSet<u16>) -> Judgement {
        let mut best = Judgement::default();
        for (n, source) in sources.iter().enumerate() {
            let ports = Ports { source: *source, target: port };
            let judgement = self.judge(&Question { ports, ..*question });
            if n == 0 || rank(judgement.verdict) > rank(best.verdict) {
                best = judgement;
            }
        }
        best
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 2,
        Verdict::Audit => 1,
        Verdict::Drop | Verdict::Silent => 0,
    }
}

/// Blocks with the same answer in words: `6379/tcp, 8000-8999/tcp, icmp/echo-request`; everything is `any`.
pub(crate) fn words(spans: &[Span]) -> String {
    let whole = |span: &&Span| span.first == 0 && span.last == u16::MAX;
    if spans.iter().filter(whole).count() == 5 {
        return "any".to_owned();
    }
    let texts: Vec<String> = spans.iter().filter_map(word).collect();
    texts.join(", ")
}

fn word(span: &Span) -> Option<String> {
    let name = match span.protocol {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::SCTP => "sctp",
        OTHER => return Some("other protocols".to_owned()),
        number => return Some(icmp(number, span.first, span.last)),
    };
    Some(match (span.first, span.last) {
        (0, u16::MAX) => name.to_owned(),
        (first, last) if first == last => format!("{first}/{name}"),
        (first, last) => format!("{first}-{last}/{name}"),
    })
}

fn icmp(protocol: u8, first: u16, last: u16) -> String {
    let name = if protocol == protocol::ICMPV6 { "icmp6" } else { "icmp" };
    let ([kind, code], [last_kind, last_code]) = (first.to_be_bytes(), last.to_be_bytes());
    match (protocol, kind, last_kind, code, last_code) {
        (_, 0, 255, 0, 255) => name.to_owned(),
        (protocol::ICMP, 8, 8, 0, 255) | (protocol::ICMPV6, 128, 128, 0, 255) => {
            "icmp/echo-request".to_owned()
        }
        (_, one, other, 0, 255) if one == other => format!("{name}/{one}"),
        (_, one, other, 0, 255) => format!("{name}/{one}-{other}"),
        (_, one, other, a, b) if one == other && a == b => format!("{name}/{one}/{a}"),
        _ => format!("{name}/{kind}/{code} to {last_kind}/{last_code}"),
    }
}
