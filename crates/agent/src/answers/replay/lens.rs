//! Recorded ends as a bundle has them, and what its tables say of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use flow::Decision;
use flow::hours::Actor;
use ipnet::IpNet;
use model::{Identity, Mode, Proto, Transport};
use planner::{Bundle, Router};
use verdict::Question;
use verdict::abi::{Addr, PeerKey, Ports, Verdict};

use super::scan::Witness;
use crate::answers::judge::Judge;
use crate::answers::party;

/// Source ports that are tried for one row, when rules name some.
const TRIED: usize = 64;
/// Addresses of the hosts' ends of the links to routers.
const TRANSIT: [u8; 2] = [169, 254];

/// A bundle to judge by.
pub(crate) struct Lens<'b> {
    bundle: &'b Bundle,
    judge: Judge<'b>,
    /// A workload of each identity.
    members: HashMap<u64, &'b Arc<str>>,
    /// Source ports at which some rule begins or ends to hold, in ascending order.
    edges: Vec<u16>,
}

/// Where an end stands in a bundle.
#[derive(Debug, Clone)]
pub(crate) enum Stand<'b> {
    /// A workload in its network, with an address of each version, as far as it has one.
    Workload(&'b Router, [Option<IpAddr>; 2], Arc<str>),
    /// Somebody else.
    Address(IpAddr, u64),
    /// The workload is not in the bundle, nor another one of its identity.
    Gone,
    /// Many, not told apart.
    Many,
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    /// The verdict.
    pub(crate) verdict: Decision,
    /// The rule behind it; 0 for none.
    pub(crate) rule: u32,
    /// Where no rule decides, and it is no plain default.
    pub(crate) default: Option<&'static str>,
}

/// Why a flow cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unable {
    /// The source is not there.
    SourceGone,
    /// The target is not there.
    TargetGone,
    /// The workload has no address of this version of IP.
    NoAddress,
    /// The address of one that was none is a workload's now.
    Taken,
    /// No end is a workload.
    Nobody,
}

impl<'b> Lens<'b> {
    pub(crate) fn new(bundle: &'b Bundle) -> Self {
        let members = bundle.workloads.iter().rev();
        Self {
            bundle,
            judge: Judge::new(&bundle.tables),
            members: members.map(|(id, workload)| (workload.identity, id)).collect(),
            edges: edges(&bundle.tables),
        }
    }

    /// What it judges by.
    pub(crate) fn bundle(&self) -> &'b Bundle {
        self.bundle
    }

    /// Whether source ports make a difference.
    pub(crate) fn asks_source_ports(&self) -> bool {
        !self.edges.is_empty()
    }

    /// Where an end stands.
    pub(crate) fn stand(&self, actor: &Actor) -> Stand<'b> {
        let Some(id) = &actor.workload else {
            return match actor.address {
                Some(address) => Stand::Address(address, actor.identity),
                None => Stand::Many,
            };
        };
        let own = self.bundle.attachment(id);
        let like = || {
            let id = self.members.get(&actor.identity).filter(|_| actor.identity != 0)?;
            self.bundle.attachment(id)
        };
        match own.or_else(like) {
            Some((router, at)) => {
                let addresses = [false, true].map(|v6| party::address(at, v6));
                Stand::Workload(router, addresses, Arc::clone(&at.workload))
            }
            None => Stand::Gone,
        }
    }

    /// What is to be known of a workload: it has other labels than then, or stands for another one.
    pub(crate) fn note(&self, actor: &Actor, stand: &Stand<'_>) -> Option<String> {
        let (Some(id), Stand::Workload(_, _, found)) = (&actor.workload, stand) else {
            return None;
        };
        let name = crate::answers::person(id);
        if found != id {
            let other = crate::answers::person(found);
            return Some(format!(
                "{name} is not in the file; judged as {other}, which has its labels"
            ));
        }
        let now = self.bundle.workloads.get(id)?.identity;
        if now == actor.identity || actor.identity == 0 {
            return None;
        }
        let was = actor.labels.as_deref().unwrap_or("other labels");
        Some(format!("{name} was {{{was}}} then; judged as the file has it"))
    }

    /// Judges a flow between two ends; with source ports from the lowest to the highest, the strictest answer counts.
    ///
    /// # Errors
    /// Why it cannot be judged.
    pub(crate) fn judge(
        &self,
        (source, target): (&Stand<'_>, &Stand<'_>),
        (protocol, port): (u8, u16),
        sources: (u16, u16),
        v6: bool,
    ) -> Result<Outcome, Unable> {
        let (near, far) = (own_of(source, v6), own_of(target, v6));
        match (source, target) {
            (Stand::Gone, _) => return Err(Unable::SourceGone),
            (_, Stand::Gone) => return Err(Unable::TargetGone),
            _ => {}
        }
        let (networks, ends): (Vec<&Router>, [IpAddr; 2]) = match (near, far) {
            (Some((a, from)), Some((b, to))) => {
                let ends = [from.ok_or(Unable::NoAddress)?, to.ok_or(Unable::NoAddress)?];
                if a.number == b.number {
                    (vec![a], ends)
                } else if a.mode == Mode::Routed && b.mode == Mode::Routed {
                    (vec![a, b], ends)
                } else {
                    return Ok(dropped("in networks that do not meet"));
                }
            }
            (Some((router, from)), None) => {
                let from = from.ok_or(Unable::NoAddress)?;
                (vec![router], [from, self.other(router, target, v6)?])
            }
            (None, Some((router, to))) => {
                let to = to.ok_or(Unable::NoAddress)?;
                let from = self.other(router, source, v6)?;
                if !self.arrives(router, from, (target, protocol, port)) {
                    return Ok(dropped("not published"));
                }
                (vec![router], [from, to])
            }
            (None, None) => return Err(Unable::Nobody),
        };
        Ok(self.strictest(&networks, ends, (protocol, port), sources))
    }

    /// What exactly the tables say of one flow, and the network and addresses it is asked with; `None` when it cannot be asked,
    /// or is judged in two networks.
    pub(crate) fn exactly(&self, flow: &Witness) -> Option<(Question, verdict::Judgement)> {
        let stands = [self.stand(&flow.source), self.stand(&flow.target)];
        let v6 =
            [&flow.source, &flow.target].iter().any(|it| it.address.is_some_and(|it| it.is_ipv6()));
        let [near, far] = stands.each_ref().map(|stand| own_of(stand, v6));
        let router = near.or(far)?.0;
        if far.is_some_and(|(other, _)| other.number != router.number) {
            return None;
        }
        let at = |own: Option<(&Router, Option<IpAddr>)>, stand: &Stand<'_>| match own {
            Some((_, address)) => address,
            None => self.other(router, stand, v6).ok(),
        };
        let question = Question {
            source: at(near, &stands[0])?.into(),
            target: at(far, &stands[1])?.into(),
            network: router.number.into(),
            ports: Ports { source: flow.ports.0, target: flow.ports.1 },
            protocol: flow.protocol,
        };
        Some((question, self.judge.judge(&question)))
    }

    fn strictest(
        &self,
        networks: &[&Router],
        [source, target]: [IpAddr; 2],
        (protocol, port): (u8, u16),
        (low, high): (u16, u16),
    ) -> Outcome {
        let between = |edge: &&u16| (low.saturating_add(1)..=high).contains(edge);
        let tried = self.edges.iter().filter(between).copied().take(TRIED);
        let mut strictest = None;
        for source_port in std::iter::once(low).chain(tried) {
            for router in networks {
                let question = Question {
                    source: source.into(),
                    target: target.into(),
                    network: router.number.into(),
                    ports: Ports { source: source_port, target: port },
                    protocol,
                };
                let outcome = self.ask(&question);
                let is_stricter = |before: &Outcome| strictness(outcome) > strictness(*before);
                if strictest.as_ref().is_none_or(is_stricter) {
                    strictest = Some(outcome);
                }
            }
        }
        strictest.unwrap_or(dropped("default deny"))
    }

    fn ask(&self, question: &Question) -> Outcome {
        let judgement = self.judge.judge(question);
        let rule = match judgement.verdict {
            Verdict::Allow if judgement.ingress_rule != 0 => judgement.ingress_rule,
            Verdict::Allow => judgement.egress_rule,
            _ if judgement.ingress => judgement.ingress_rule,
            _ => judgement.egress_rule,
        };
        let verdict = match judgement.verdict {
            Verdict::Allow => Decision::Allow,
            Verdict::Audit => Decision::Audit,
            Verdict::Drop | Verdict::Silent => Decision::Drop,
        };
        Outcome { verdict, rule, default: None }
    }

    /// The address of who is no workload, as a network of the bundle sees it.
    fn other(&self, router: &Router, stand: &Stand<'_>, v6: bool) -> Result<IpAddr, Unable> {
        let Stand::Address(address, identity) = stand else { return Err(Unable::Nobody) };
        let key = PeerKey { network: router.number.into(), addr: Addr::from(*address) };
        if self.bundle.tables.exact.get(&key).is_some_and(|peer| peer.endpoint != 0) {
            return Err(Unable::Taken);
        }
        let is_host = *identity == Identity::HOST.0;
        let now = planner::identity_at(&self.bundle.tables, router.number, *address);
        if is_host && now != Some(Identity::HOST) {
            // The host has another address in the network than it had.
            return Ok(party::transit(&self.bundle.tables, router, v6));
        }
        Ok(*address)
    }

    /// Whether what comes from outside reaches a port of a workload: in networks that are not routed only where it is published.
    fn arrives(
        &self,
        router: &Router,
        from: IpAddr,
        (to, protocol, port): (&Stand<'_>, u8, u16),
    ) -> bool {
        let Stand::Workload(_, _, id) = to else { return true };
        let inside = router.subnets.iter().chain(&router.gateways).any(|net| net.contains(&from));
        let host = planner::identity_at(&self.bundle.tables, router.number, from);
        let is_open = matches!(router.mode, Mode::Routed | Mode::Host) || router.lan.is_some();
        if is_open || inside || host == Some(Identity::HOST) {
            return true;
        }
        let transport = match Proto::from_number(protocol) {
            Proto::Tcp => Transport::Tcp,
            Proto::Udp => Transport::Udp,
            Proto::Sctp => Transport::Sctp,
            // Errors and the like belong to flows that were let in.
            _ => return true,
        };
        let lets = |nets: &[IpNet]| {
            nets.is_empty() || is_link(from) || nets.iter().any(|net| net.contains(&from))
        };
        router.publishes.iter().any(|publish| {
            publish.transport == transport
                && publish.target_port == port
                && publish.workload == *id
                && lets(&publish.from)
        })
    }
}

fn own_of<'r>(stand: &Stand<'r>, v6: bool) -> Option<(&'r Router, Option<IpAddr>)> {
    match stand {
        Stand::Workload(router, addresses, _) => Some((*router, addresses[usize::from(v6)])),
        _ => None,
    }
}

/// Whether an address is one of a link to a router, which stands for a workload of another network.
fn is_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets().starts_with(&TRANSIT))
}

fn dropped(why: &'static str) -> Outcome {
    Outcome { verdict: Decision::Drop, rule: 0, default: Some(why) }
}

fn strictness(outcome: Outcome) -> u8 {
    match outcome.verdict {
        Decision::Allow => 0,
        Decision::Audit => 1,
        Decision::Drop => 2,
    }
}

/// Source ports at which some rule begins or ends to hold.
fn edges(tables: &verdict::native::Tables) -> Vec<u16> {
    let sets: HashSet<u64> =
        tables.ports.iter().map(|(_, entry)| entry.sources.id).filter(|id| *id != 0).collect();
    let mut edges = BTreeSet::new();
    for (key, _) in tables.ports.iter().filter(|(key, _)| sets.contains(&key.set)) {
        let size = 1_u32 << (16 - u32::from(key.len).min(16));
        edges.insert(key.port);
        edges.extend(u16::try_from(u32::from(key.port) + size));
    }
    edges.into_iter().collect()
}
