//! A cluster as a native document that means the same (ADR 0016).
//!
//! The cluster is one tenant with one network, open in both directions; its namespaces are the segments. Pods of one namespace
//! that no policy tells apart (by labels or named ports) are one workload of the document. Its labels are those of the
//! pod, those of the namespace, and one for each named port: so selectors of namespaces and names of ports become terms of
//! selectors, and the planner's own matching does the rest.
//!
//! **Addresses.** Pods get addresses of `100::/64`, which is for nothing else (RFC 6666): no block of a policy means a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use ipnet::Ipv6Net;
use model::{
    Field, LabelValue, Labels, Mode, Name, Op, PortRange, PortSpec, Posture, Postures, RuleId,
    RuleKind, RuleRef, Selector as Terms, Term, Transport,
};

use super::names::{Of, Texts, cluster as scope_name, everybody, segment};
use super::relevant::{Relevant, Seen, SeenPod};
use super::{
    Action, Block, Cluster, Kind, Namespaces, Operator, Peer, Pods, Policy, Port, Rule, Selector,
    WorkloadName,
};
use crate::document::{
    self, Audit, Document, Ends, Netns, Network, Scope, Segment, Span, Standing, Start, Subnets,
    Tenant, Tier, Workload,
};

/// The upper half of every address of a pod.
const POD_PREFIX: u128 = 0x0100 << 112;

/// A document and what its names stand for.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// What the planner compiles.
    pub document: Document,
    /// Workloads of the cluster in the order of their names.
    pub nodes: Vec<Node>,
    /// Blocks that rules of ingress, and of egress, name.
    pub blocks: [Vec<Block>; 2],
}

/// A workload of the cluster.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: WorkloadName,
    /// Positions of its pods among the workloads of the document; several when their labels or ports differ.
    pub pods: Vec<usize>,
}

/// Makes the document.
#[must_use]
pub fn lower(cluster: &Cluster) -> Lowered {
    let mut work = Work {
        cluster,
        segments: cluster.namespaces.keys().cloned().zip(0..).collect(),
        texts: Texts::default(),
        numbers: BTreeMap::new(),
        out: Lowered::default(),
    };
    let Some(name) = scope_name() else { return work.out };
    work.network(&name);
    work.workloads(&name);
    work.policies(&Scope::Tenant(name));
    work.out
}

struct Work<'c> {
    cluster: &'c Cluster,
    segments: BTreeMap<Arc<str>, usize>,
    texts: Texts,
    /// Numbers that a port name has anywhere.
    numbers: BTreeMap<Arc<str>, BTreeSet<(Transport, u16)>>,
    out: Lowered,
}

/// What a rule says of ports: of all whom it selects, and of those alone whose port has a name.
struct Variant {
    term: Option<Term>,
    ports: Vec<PortSpec>,
}

impl Work<'_> {
    fn network(&mut self, name: &Name) {
        let open = Postures { ingress: Posture::Allow, egress: Posture::Allow };
        let segments = self.segments.values().filter_map(|at| {
            let v6 = Ipv6Net::new(address(*at, 0), 112).ok();
            let (name, subnets) = (segment(*at)?, Subnets { v4: None, v6 });
            let (audit, span) = (Audit::default(), Span::default());
            Some(Segment { name, subnets, postures: open, sealed: false, audit, span })
        });
        let network = Network {
            tenant: name.clone(),
            name: name.clone(),
            mode: Mode::Bridge,
            external: None,
            lan: None,
            snat: crate::document::Snat::default(),
            attach: false,
            subnets: Subnets { v4: None, v6: Ipv6Net::new(address(0, 0), 64).ok() },
            segments: segments.collect(),
            postures: open,
            audit: Audit::default(),
            span: Span::default(),
        };
        let (audit, span) = (Audit::default(), Span::default());
        self.out.document.tenants.push(Tenant { name: name.clone(), audit, span });
        self.out.document.networks.push(network);
    }

    fn workloads(&mut self, name: &Name) {
        let cluster = self.cluster;
        let relevant = Relevant::of(cluster);
        let seen = cluster
            .namespaces
            .iter()
            .map(|(name, labels)| (name, relevant.labels(Of::Namespace, labels)));
        let namespaces: BTreeMap<&Arc<str>, Seen> = seen.collect();
        let nothing = Seen::new();
        let mut known: BTreeMap<(&Arc<str>, SeenPod), usize> = BTreeMap::new();
        let mut used: BTreeMap<usize, usize> = BTreeMap::new();
        for (owner, pods) in &cluster.workloads {
            let mut positions = Vec::with_capacity(pods.len());
            for pod in pods {
                let next = self.out.document.workloads.len();
                let pod = relevant.pod(pod);
                let at = *known.entry((&owner.namespace, pod.clone())).or_insert(next);
                if !positions.contains(&at) {
                    positions.push(at);
                }
                if at == next {
                    let here = self.segments.get(&owner.namespace).copied().unwrap_or_default();
                    let used = used.entry(here).or_insert(1);
                    *used += 1;
                    let labels = namespaces.get(&owner.namespace).unwrap_or(&nothing);
                    let workload = self.workload(name, labels, &pod, (next, here, *used));
                    self.out.document.workloads.extend(workload.map(Into::into));
                }
            }
            self.out.nodes.push(Node { name: owner.clone(), pods: positions });
        }
    }

    fn workload(
        &mut self,
        tenant: &Name,
        namespace: &Seen,
        pod: &SeenPod,
        (at, here, host): (usize, usize, usize),
    ) -> Option<Workload> {
        let mut labels = Labels::new();
        let all = namespace.iter().map(|label| (Of::Namespace, label));
        for (of, (key, value)) in all.chain(pod.labels.iter().map(|label| (Of::Pod, label))) {
            let value = match value {
                Some(value) => self.texts.value(value)?,
                None => Texts::other()?,
            };
            labels.insert(self.texts.key(of, key)?, value);
        }
        for ((port, transport), number) in &pod.ports {
            let value = LabelValue::new(&number.to_string()).ok()?;
            labels.insert(self.texts.port(port, *transport)?, value);
            self.numbers.entry(port.clone()).or_default().insert((*transport, *number));
        }
        Some(Workload {
            tenant: tenant.clone(),
            name: Name::new(&format!("p{at}")).ok()?,
            further: false,
            network: tenant.clone(),
            segment: segment(here),
            labels,
            v4: None,
            v6: Some(address(here, host)),
            start: Start::Netns(Netns::Name(format!("p{at}")).into()),
            span: Span::default(),
        })
    }

    fn policies(&mut self, scope: &Scope) {
        let mut order: Vec<&Policy> = self.cluster.policies.iter().collect();
        // The order in which administrators' rules are asked; of the others, none matters.
        order.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        let mut place = 0;
        for policy in order {
            let subjects = self.pods(&policy.subject, None);
            for (at, side) in policy.sides.iter().enumerate() {
                let ends = if at == 0 { Ends::Ingress } else { Ends::Egress };
                if side.isolates
                    && let Some(subject) = &subjects
                {
                    let standing = Standing { ends, isolates: true, ..Standing::default() };
                    let (subject, all) = (vec![subject.clone()], vec![model::Peer::Any]);
                    let draft = Draft { standing, allow: Vec::new(), deny: Vec::new() };
                    self.push(scope, policy, policy.span, (subject, all), draft);
                }
                for rule in &side.rules {
                    self.blocks(at, rule);
                    place += 1;
                    let tier = match policy.kind {
                        Kind::Admin(_) => Tier::Admin(place),
                        Kind::Network => Tier::Ordinary,
                        Kind::Baseline => Tier::Baseline(place),
                    };
                    // A rule for a direction that a NetworkPolicy does not speak for does nothing.
                    if policy.kind != Kind::Network || side.isolates {
                        self.rule(scope, policy, rule, (ends, tier));
                    }
                }
            }
        }
    }

    fn blocks(&mut self, side: usize, rule: &Rule) {
        let blocks = rule.peers.iter().flatten().filter_map(|peer| match peer {
            Peer::Block(block) => Some(block.clone()),
            Peer::Pods(_) => None,
        });
        if let Some(list) = self.out.blocks.get_mut(side) {
            list.extend(blocks);
        }
    }

    fn rule(&mut self, scope: &Scope, policy: &Policy, rule: &Rule, (ends, tier): (Ends, Tier)) {
        for variant in self.variants(rule.ports.as_deref()) {
            // The named port is the destination's: the subject's in ingress, the peer's in egress.
            let (of_subject, of_peer) = match ends {
                Ends::Egress => (None, variant.term.clone()),
                _ => (variant.term.clone(), None),
            };
            let Some(subject) = self.pods(&policy.subject, of_subject) else { continue };
            let peers = self.peers(rule.peers.as_deref(), of_peer.as_ref());
            if peers.is_empty() {
                continue;
            }
            let mut standing = Standing { ends, tier, ..Standing::default() };
            let (mut allow, mut deny) = (Vec::new(), Vec::new());
            match rule.action {
                Action::Allow => allow = variant.ports,
                Action::Deny => deny = variant.ports,
                Action::Pass => standing.pass = variant.ports,
            }
            let draft = Draft { standing, allow, deny };
            self.push(scope, policy, rule.span, (vec![subject], peers), draft);
        }
    }

    fn variants(&mut self, ports: Option<&[Port]>) -> Vec<Variant> {
        let Some(ports) = ports else {
            return vec![Variant { term: None, ports: vec![PortSpec::Any] }];
        };
        let mut plain = Vec::new();
        let mut out = Vec::new();
        for port in ports {
            match port {
                Port::Numbers(transport, first, last) => {
                    let range = PortRange::new(*first, *last);
                    plain.extend(range.map(|range| PortSpec::Ports(*transport, range)));
                }
                Port::Named(name, wanted, _) => {
                    let numbers = self.numbers.get(name).cloned().unwrap_or_default();
                    let is_wanted = |t: Transport| wanted.is_none_or(|wanted| wanted == t);
                    for (transport, number) in numbers.into_iter().filter(|(t, _)| is_wanted(*t)) {
                        let Some(key) = self.texts.port(name, transport) else { continue };
                        let Ok(value) = LabelValue::new(&number.to_string()) else { continue };
                        let term = Term { field: Field::Label(key), op: Op::Is(value) };
                        let ports = vec![PortSpec::Ports(transport, PortRange::single(number))];
                        out.push(Variant { term: Some(term), ports });
                    }
                }
            }
        }
        if !plain.is_empty() {
            out.push(Variant { term: None, ports: plain });
        }
        out
    }

    /// The other side. Only pods have ports with names.
    fn peers(&mut self, peers: Option<&[Peer]>, named: Option<&Term>) -> Vec<model::Peer> {
        let Some(peers) = peers else {
            let Some(term) = named else { return vec![model::Peer::Any] };
            let selector = Terms::new(vec![term.clone()]);
            return selector.map(model::Peer::Selector).into_iter().collect();
        };
        let mut out = Vec::new();
        for peer in peers {
            match peer {
                Peer::Pods(pods) => out.extend(self.pods(pods, named.cloned())),
                Peer::Block(block) if named.is_none() => {
                    out.extend(block.nets().into_iter().map(model::Peer::Cidr));
                }
                Peer::Block(_) => {}
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Pods with, when there is one, the named port of a term.
    fn pods(&mut self, pods: &Pods, port: Option<Term>) -> Option<model::Peer> {
        let mut terms: Vec<Term> = port.into_iter().collect();
        match &pods.namespaces {
            Namespaces::Named(name) => {
                let at = segment(*self.segments.get(name)?)?;
                let op = Op::Is(LabelValue::new(at.as_str()).ok()?);
                terms.push(Term { field: Field::Segment, op });
            }
            Namespaces::Matching(selector) => self.terms(Of::Namespace, selector, &mut terms)?,
        }
        self.terms(Of::Pod, &pods.pods, &mut terms)?;
        if terms.is_empty() {
            let (field, value) = everybody()?;
            terms.push(Term { field, op: Op::Is(value) });
        }
        terms.sort_unstable();
        terms.dedup();
        Terms::new(terms).map(model::Peer::Selector)
    }

    fn terms(&mut self, of: Of, selector: &Selector, out: &mut Vec<Term>) -> Option<()> {
        for requirement in &selector.0 {
            let field = Field::Label(self.texts.key(of, &requirement.key)?);
            let mut values = |list: &[Arc<str>]| -> Option<Vec<LabelValue>> {
                list.iter().map(|value| self.texts.value(value)).collect()
            };
            let op = match &requirement.operator {
                Operator::In(list) => match values(list)?.as_slice() {
                    [one] => Op::Is(one.clone()),
                    several => Op::In(several.to_vec()),
                },
                Operator::NotIn(list) => Op::NotIn(values(list)?),
                Operator::Exists => Op::Exists,
                Operator::DoesNotExist => Op::Missing,
            };
            out.push(Term { field, op });
        }
        Some(())
    }

    fn push(
        &mut self,
        scope: &Scope,
        policy: &Policy,
        span: Span,
        (subject, peers): (Vec<model::Peer>, Vec<model::Peer>),
        draft: Draft,
    ) {
        let at = self.out.document.policies.len();
        let Some(order) = u32::try_from(at).ok().filter(|order| *order < u32::MAX / 2) else {
            return;
        };
        let Ok(name) = Name::new(&format!("r{at}")) else { return };
        let file = self.cluster.files.get(policy.file).cloned().unwrap_or_default();
        let path: Arc<str> = match policy.kind {
            Kind::Network => format!("{}/{}", policy.namespace, policy.name).into(),
            Kind::Admin(_) | Kind::Baseline => Arc::clone(&policy.name),
        };
        let rule = |kind: RuleKind, ports: &[PortSpec]| {
            let id = RuleId(2 * order + 1 + u32::from(kind == RuleKind::Deny));
            let (path, file) = (Arc::clone(&path), Arc::clone(&file));
            let (line, column) = (span.line, span.column);
            (!ports.is_empty()).then_some(RuleRef { id, path, file, line, column, kind })
        };
        let (from, to) = match draft.standing.ends {
            Ends::Egress => (subject, peers),
            _ => (peers, subject),
        };
        self.out.document.policies.push(document::Policy {
            scope: scope.clone(),
            name,
            order,
            from,
            to,
            allow_rule: rule(RuleKind::Allow, &draft.allow),
            deny_rule: rule(RuleKind::Deny, &draft.deny),
            audit_rule: None,
            allow: draft.allow,
            deny: draft.deny,
            source_ports: Vec::new(),
            audit: false,
            until: None,
            schedule: None,
            standing: draft.standing,
            span,
        });
    }
}

/// The part of a policy that rules differ in.
struct Draft {
    standing: Standing,
    allow: Vec<PortSpec>,
    deny: Vec<PortSpec>,
}

/// The address with this number in the segment with this number.
fn address(segment: usize, host: usize) -> Ipv6Addr {
    let (segment, host) = (segment as u128, host as u128);
    Ipv6Addr::from_bits(POD_PREFIX | segment << 16 | host & 0xffff)
}
