//! Which flows pass between two parties: exact intervals, each judged by the shared evaluator.
//!
//! The tables say at which ports an answer can change; between two such ports one question stands
//! for all. So the result is exact without asking 65,536 times, and every answer is `verdict`'s own.

use std::collections::BTreeSet;

use model::Proto;
use rustc_hash::FxHashMap;
use verdict::abi::{Addr, Endpoint, Peer, PeerKey, PortEntry, PortKey, Ports, RowKey, Verdict};
use verdict::native::{Shards, Simulation, Tables};
use verdict::{Judgement, Question, Reason, judge};

/// Flows of one protocol that pass alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The protocol; [`Proto::Other`] stands for every protocol that has no name.
    pub protocol: Proto,
    /// First and last destination port; icmp: `type << 8 | code`.
    pub ports: (u16, u16),
    /// First and last source port; `None` is every one.
    pub sources: Option<(u16, u16)>,
    /// Whether it is only let through and recorded.
    pub audit: bool,
    /// The rule at the source, 0 when none decided there.
    pub egress_rule: u32,
    /// The rule at the target, 0 when none decided there.
    pub ingress_rule: u32,
}

/// One side of a question: the network it is asked in and the addresses there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub network: u32,
    pub v4: Option<Addr>,
    pub v6: Option<Addr>,
}

impl Place {
    /// One address in a network.
    pub(crate) fn of(network: u32, address: std::net::IpAddr) -> Self {
        let addr = Some(address.into());
        if address.is_ipv4() {
            Self { network, v4: addr, v6: None }
        } else {
            Self { network, v4: None, v6: addr }
        }
    }
}

/// Why a flow does not pass, or by which rules it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub verdict: Verdict,
    /// Why it is dropped.
    pub reason: Reason,
    pub egress_rule: u32,
    pub ingress_rule: u32,
}

/// Destination ports, source ports if they matter, and what is answered.
pub(crate) type Cell = ((u16, u16), Option<(u16, u16)>, Answer);

/// Protocols that are asked for; the last one stands for all others.
pub(crate) const PROTOCOLS: [u8; 6] = [1, 6, 17, 58, 132, 253];

/// Icmp types that open flows, as intervals of `type << 8 | code`.
pub(crate) fn domain(protocol: u8) -> &'static [(u16, u16)] {
    match protocol {
        1 => &[(0x0800, 0x08ff), (0x0d00, 0x0dff)],
        58 => &[(0x8000, 0x80ff)],
        253 => &[(0, 0)],
        _ => &[(0, u16::MAX)],
    }
}

/// Tables, ready to be asked about pairs.
pub(crate) struct Atlas<'t> {
    tables: &'t Tables,
    simulation: Simulation<'t>,
    sets: FxHashMap<u64, Vec<(PortKey, PortEntry)>>,
}

impl<'t> Atlas<'t> {
    pub(crate) fn new(tables: &'t Tables) -> Self {
        let mut sets: FxHashMap<u64, Vec<(PortKey, PortEntry)>> = FxHashMap::default();
        for (key, entry) in &tables.ports {
            sets.entry(key.set).or_default().push((*key, *entry));
        }
        Self { tables, simulation: Simulation::new(tables), sets }
    }

    /// What slots say of classes.
    pub(crate) const fn rows(&self) -> &'t Shards<RowKey, verdict::abi::Row> {
        &self.tables.rows
    }

    /// Who stands behind an address.
    pub(crate) fn peer(&self, network: u32, addr: Addr) -> Option<&'t Peer> {
        let key = PeerKey { network, addr };
        self.tables.exact.get(&key).or_else(|| self.tables.prefixes.longest(&key))
    }

    pub(crate) fn endpoint(&self, network: u32, addr: Addr) -> Option<&'t Endpoint> {
        let peer = self.peer(network, addr)?;
        self.tables.endpoints.get(&peer.endpoint)
    }

    /// Everything that passes from one place to another. Two places in different networks meet
    /// with their own addresses, and both networks must let the flow through.
    pub(crate) fn spans(&self, from: &Place, to: &Place) -> Vec<Span> {
        let mut out = Vec::new();
        for protocol in PROTOCOLS {
            let pair = match protocol {
                1 => from.v4.zip(to.v4),
                58 => from.v6.zip(to.v6),
                _ => from.v4.zip(to.v4).or(from.v6.zip(to.v6)),
            };
            let Some((source, target)) = pair else { continue };
            self.protocol(from, to, (source, target), protocol, &mut out);
        }
        out
    }

    fn protocol(
        &self,
        from: &Place,
        to: &Place,
        pair: (Addr, Addr),
        protocol: u8,
        out: &mut Vec<Span>,
    ) {
        for (ports, sources, answer) in self.cells(from, to, pair, protocol) {
            push(out, protocol, ports, sources, answer);
        }
    }

    /// The answers to all flows of a protocol that policy is asked about, as intervals of destination and source ports;
    /// nothing when neither end has a row or an open posture.
    pub(crate) fn cells(
        &self,
        from: &Place,
        to: &Place,
        (source, target): (Addr, Addr),
        protocol: u8,
    ) -> Vec<Cell> {
        let mut out = Vec::new();
        let mut networks = vec![from.network, to.network];
        networks.dedup();
        let Some(bounds) = self.bounds(&networks, source, target, protocol) else { return out };
        let sources = spaces(&bounds.sources, 0, u16::MAX);
        for (first, last) in domain(protocol) {
            for ports in spaces(&bounds.ports, *first, *last) {
                let mut found: Vec<(Option<(u16, u16)>, Answer)> = Vec::new();
                for range in &sources {
                    let ports = Ports { source: range.0, target: ports.0 };
                    let answer = self.ask(&networks, source, target, ports, protocol);
                    match found.last_mut() {
                        Some((Some(before), same)) if *same == answer => before.1 = range.1,
                        _ => found.push((Some(*range), answer)),
                    }
                }
                if let [(range, _)] = found.as_mut_slice() {
                    *range = None;
                }
                out.extend(found.into_iter().map(|(sources, answer)| (ports, sources, answer)));
            }
        }
        out
    }

    /// The destination ports at which a flow of a protocol with ports passes inside of one network, from any source port.
    pub(crate) fn ports(
        &self,
        network: u32,
        (source, target): (Addr, Addr),
        protocol: Proto,
    ) -> Vec<(u16, u16)> {
        let (networks, number) = ([network], protocol.number());
        let bounds = self.bounds(&networks, source, target, number);
        let cells = bounds.map(|bounds| spaces(&bounds.ports, 0, u16::MAX)).unwrap_or_default();
        let passes = |cell: &(u16, u16)| {
            let ports = Ports { source: 0, target: cell.0 };
            self.ask(&networks, source, target, ports, number).verdict != Verdict::Drop
        };
        cells.into_iter().filter(passes).collect()
    }

    /// Asks the evaluator in every network that the flow crosses.
    pub(crate) fn ask(
        &self,
        networks: &[u32],
        source: Addr,
        target: Addr,
        ports: Ports,
        protocol: u8,
    ) -> Answer {
        let (verdict, reason) = (Verdict::Allow, Reason::None);
        let mut all = Answer { verdict, reason, egress_rule: 0, ingress_rule: 0 };
        for network in networks {
            let judgement = self.judge(*network, (source, target), ports, protocol);
            all.egress_rule |= judgement.egress_rule;
            all.ingress_rule |= judgement.ingress_rule;
            match judgement.verdict {
                Verdict::Allow => {}
                Verdict::Audit => all.verdict = Verdict::Audit,
                Verdict::Drop | Verdict::Silent => {
                    all.verdict = Verdict::Drop;
                    all.reason = judgement.reason;
                    return all;
                }
            }
        }
        all
    }

    /// Asks the evaluator in one network.
    pub(crate) fn judge(
        &self,
        network: u32,
        (source, target): (Addr, Addr),
        ports: Ports,
        protocol: u8,
    ) -> Judgement {
        let question = Question { source, target, network, ports, protocol };
        let mut judgement = Judgement::default();
        judge(&self.simulation, &question, self.tables.config.epoch, &mut judgement);
        judgement
    }

    /// Where answers can change; `None` when nothing can pass.
    fn bounds(&self, networks: &[u32], source: Addr, target: Addr, protocol: u8) -> Option<Bounds> {
        let mut bounds = Bounds::default();
        for network in networks {
            let (from, to) = (self.peer(*network, source)?, self.peer(*network, target)?);
            let half = usize::from(self.tables.config.epoch & 1 != 0);
            let sides = [(from.endpoint, to, 0), (to.endpoint, from, 1)];
            for (number, peer, direction) in sides {
                let Some(endpoint) = self.tables.endpoints.get(&number).filter(|_| number != 0)
                else {
                    continue;
                };
                let key = RowKey { slot: endpoint.slots[half][direction], class: peer.class[half] };
                match self.tables.rows.get(&key) {
                    Some(row) => self.cut(row.ports.id, protocol, &mut bounds),
                    None if endpoint.posture[half][direction] == 0 => return None,
                    None => {}
                }
            }
        }
        Some(bounds)
    }

    fn cut(&self, set: u64, protocol: u8, bounds: &mut Bounds) {
        let edges = |key: &PortKey| {
            let first = u32::from(key.port);
            [first, first + (1 << (16 - u32::from(key.len.min(16))))]
        };
        for (key, entry) in self.sets.get(&set).into_iter().flatten() {
            if key.protocol != protocol {
                continue;
            }
            bounds.ports.extend(edges(key));
            for (key, _) in self.sets.get(&entry.sources.id).into_iter().flatten() {
                bounds.sources.extend(edges(key));
            }
        }
    }
}

#[derive(Default)]
struct Bounds {
    ports: BTreeSet<u32>,
    sources: BTreeSet<u32>,
}

/// The parts of an interval between the places where answers can change.
fn spaces(set: &BTreeSet<u32>, first: u16, last: u16) -> Vec<(u16, u16)> {
    let (first, end) = (u32::from(first), u32::from(last) + 1);
    let mut cuts: Vec<u32> = vec![first];
    cuts.extend(set.iter().copied().filter(|cut| *cut > first && *cut < end));
    cuts.push(end);
    let pairs = cuts.windows(2).filter_map(|pair| match pair {
        [a, b] => Some((narrow(*a), narrow(b - 1))),
        _ => None,
    });
    pairs.collect()
}

fn narrow(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(u16::MAX)
}

/// Adds what passes, joined with its neighbour when both pass alike.
fn push(
    out: &mut Vec<Span>,
    protocol: u8,
    ports: (u16, u16),
    sources: Option<(u16, u16)>,
    answer: Answer,
) {
    if answer.verdict == Verdict::Drop {
        return;
    }
    let protocol = Proto::from_number(protocol);
    let span = Span {
        protocol,
        ports,
        sources,
        audit: answer.verdict == Verdict::Audit,
        egress_rule: answer.egress_rule,
        ingress_rule: answer.ingress_rule,
    };
    if let Some(before) = out.last_mut()
        && before.ports.1.checked_add(1) == Some(ports.0)
        && (Span { ports, ..*before }) == span
    {
        before.ports.1 = ports.1;
        return;
    }
    out.push(span);
}
