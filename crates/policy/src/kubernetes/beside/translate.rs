//! Rules of manifests as policies over the workloads of a native file.
//!
//! All of them are host-wide and name the tenants that they mean, because a `namespaceSelector` reaches over tenants. A rule
//! speaks for the end of its subject alone, so no tenant opens another one. Blocks mean addresses outside; where an
//! administrator denies one that holds addresses of workloads or of the host, those are denied with it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use model::digest::Digest64;
use model::{
    Field, LabelKey, LabelValue, Name, Op, PortRange, PortSpec, RuleId, RuleKind, RuleRef,
    Selector as Terms, Term, Transport,
};

use super::Resident;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{self, Document, Ends, Origin, Scope, Span, Standing, Tier, wanted_rule_id};
use crate::kubernetes::{
    Action, Block, Cluster, Kind, LabelMap, Namespaces, Operator, Peer, Pods, Policy, Port, Rule,
    Selector,
};

/// The policies of a cluster, in the order in which they are asked; what is wrong with them is told in their files.
pub(super) fn translate(
    document: &Document,
    residents: &[Resident],
    cluster: &Cluster,
    by_segment: bool,
    files: &mut [Problems<'_>],
) -> Vec<document::Policy> {
    let mut work = Work {
        document,
        residents,
        cluster,
        field: if by_segment { Field::Segment } else { Field::Tenant },
        holders: holders(residents),
        names: document
            .policies
            .iter()
            .filter(|policy| policy.scope == Scope::Host)
            .map(|policy| policy.name.clone())
            .collect(),
        ids: document.rules().map(|rule| rule.id).collect(),
        files,
        out: Vec::new(),
    };
    let mut order: Vec<&Policy> = cluster.policies.iter().collect();
    order.sort_by(|a, b| (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name)));
    let mut place = 0;
    for policy in order {
        work.policy(policy, &mut place);
    }
    work.out
}

/// Who has a named port, by name and protocol, then by number: positions of workloads.
type Holders = BTreeMap<(Arc<str>, Transport), BTreeMap<u16, Vec<usize>>>;

struct Work<'c, 'f, 't> {
    document: &'c Document,
    residents: &'c [Resident],
    cluster: &'c Cluster,
    /// What a namespace is.
    field: Field,
    holders: Holders,
    /// Names of host-wide policies.
    names: HashSet<Name>,
    ids: HashSet<RuleId>,
    files: &'f mut [Problems<'t>],
    out: Vec<document::Policy>,
}

/// What a rule says of ports: of all whom it selects, or of those alone whose port has a name.
struct Variant {
    /// Alternatives; one without terms is everybody.
    holders: Vec<Vec<Term>>,
    /// Whether only workloads can be meant.
    is_named: bool,
    ports: Vec<PortSpec>,
}

/// The part of a policy that rules differ in.
struct Draft<'p> {
    policy: &'p Policy,
    /// What tells it from the other rules of its policy.
    key: String,
    span: Span,
    standing: Standing,
    subjects: Vec<model::Peer>,
    peers: Vec<model::Peer>,
    allow: Vec<PortSpec>,
    deny: Vec<PortSpec>,
}

fn holders(residents: &[Resident]) -> Holders {
    let mut out = Holders::new();
    for (at, resident) in residents.iter().enumerate() {
        for (key, number) in &resident.pod.ports {
            out.entry(key.clone()).or_default().entry(*number).or_default().push(at);
        }
    }
    out
}

impl Work<'_, '_, '_> {
    fn policy(&mut self, policy: &Policy, place: &mut u32) {
        let subjects = self.pods(&policy.subject, &[Vec::new()]);
        if !self.residents.iter().any(|each| self.is_meant(&policy.subject, each)) {
            let message = format!("`{}` selects no workload of the native file", policy.name);
            let found = Diagnostic::warning(Code::ManifestSubject, policy.span, message);
            self.report(policy, found);
        }
        for (at, side) in policy.sides.iter().enumerate() {
            let (ends, word) =
                if at == 0 { (Ends::Ingress, "ingress") } else { (Ends::Egress, "egress") };
            if side.isolates && !subjects.is_empty() {
                let standing = Standing { ends, isolates: true, ..Standing::default() };
                self.push(Draft {
                    policy,
                    key: word.to_owned(),
                    span: policy.span,
                    standing,
                    subjects: subjects.clone(),
                    peers: vec![model::Peer::Any],
                    allow: Vec::new(),
                    deny: Vec::new(),
                });
            }
            for (number, rule) in side.rules.iter().enumerate() {
                *place += 1;
                let tier = match policy.kind {
                    Kind::Admin(_) => Tier::Admin(*place),
                    Kind::Network => Tier::Ordinary,
                    Kind::Baseline => Tier::Baseline(*place),
                };
                self.unjudged(policy, rule);
                // A rule for a direction that a NetworkPolicy does not speak for does nothing.
                if policy.kind != Kind::Network || side.isolates {
                    self.rule(policy, rule, (ends, tier), &format!("{word}.{number}"));
                }
            }
        }
    }

    fn report(&mut self, policy: &Policy, found: Diagnostic) {
        if let Some(problems) = self.files.get_mut(policy.file) {
            problems.push(found);
        }
    }

    /// Refuses what would let more pass if a part of it was left out.
    fn unjudged(&mut self, policy: &Policy, rule: &Rule) {
        let word = match rule.action {
            Action::Allow => return,
            Action::Deny => "deny",
            Action::Pass => "pass",
        };
        if let Some(span) = rule.unjudged {
            let message =
                format!("a {word} whose peer this host cannot tell would be enforced in part");
            let found = Diagnostic::error(Code::ManifestBeyond, span, message);
            self.report(policy, found.hint("name the addresses with `networks`"));
        }
        let blocks = rule.peers.iter().flatten().filter_map(|peer| match peer {
            Peer::Block(block) => Some(block),
            Peer::Pods(_) => None,
        });
        for block in blocks.filter(|_| rule.action == Action::Pass) {
            if let Some(network) = self.managed(block).first() {
                let net = block.net;
                let message = format!("{net} has addresses of the network `{}`", network.id());
                let found = Diagnostic::error(Code::ManifestBeyond, rule.span, message);
                self.report(
                    policy,
                    found.hint("name workloads with `namespaces` or `pods`, and addresses outside with narrower networks"),
                );
            }
        }
    }

    /// Networks that have addresses of a block.
    fn managed(&self, block: &Block) -> Vec<&document::Network> {
        let nets = block.nets();
        let meets = |own: IpNet| nets.iter().any(|net| net.contains(&own) || own.contains(net));
        let networks = self.document.networks.iter();
        networks.filter(|network| network.subnets.iter().any(meets)).collect()
    }

    fn rule(&mut self, policy: &Policy, rule: &Rule, (ends, tier): (Ends, Tier), key: &str) {
        for (at, variant) in self.variants(rule.ports.as_deref()).into_iter().enumerate() {
            // The named port is the destination's: the subject's in ingress, the peer's in egress.
            let everybody = [Vec::new()];
            let (of_subject, of_peer) = match ends {
                Ends::Egress => (&everybody[..], &variant.holders[..]),
                _ => (&variant.holders[..], &everybody[..]),
            };
            let subjects = self.pods(&policy.subject, of_subject);
            let is_named = variant.is_named && ends == Ends::Egress;
            let peers = self.peers(policy, rule, of_peer, is_named);
            if subjects.is_empty() || peers.is_empty() {
                continue;
            }
            let mut standing = Standing { ends, tier, ..Standing::default() };
            let (mut allow, mut deny) = (Vec::new(), Vec::new());
            match rule.action {
                Action::Allow => allow = variant.ports,
                Action::Deny => deny = variant.ports,
                Action::Pass => standing.pass = variant.ports,
            }
            let (key, span) = (format!("{key}.{at}"), rule.span);
            self.push(Draft { policy, key, span, standing, subjects, peers, allow, deny });
        }
    }

    fn variants(&self, ports: Option<&[Port]>) -> Vec<Variant> {
        let everybody = || vec![Vec::new()];
        let Some(ports) = ports else {
            return vec![Variant {
                holders: everybody(),
                is_named: false,
                ports: vec![PortSpec::Any],
            }];
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
                    for transport in Transport::ALL {
                        if wanted.is_some_and(|wanted| wanted != transport) {
                            continue;
                        }
                        let numbers = self.holders.get(&(Arc::clone(name), transport));
                        for (number, at) in numbers.into_iter().flatten() {
                            let ports =
                                vec![PortSpec::Ports(transport, PortRange::single(*number))];
                            let holders = self.alternatives(at);
                            out.push(Variant { holders, is_named: true, ports });
                        }
                    }
                }
            }
        }
        if !plain.is_empty() {
            out.insert(0, Variant { holders: everybody(), is_named: false, ports: plain });
        }
        out
    }

    /// Workloads at these positions, as few selectors as there are tenants; one without terms when it is all of them.
    fn alternatives(&self, positions: &[usize]) -> Vec<Vec<Term>> {
        if positions.len() == self.residents.len() {
            return vec![Vec::new()];
        }
        let mut by_tenant: BTreeMap<&Name, Vec<LabelValue>> = BTreeMap::new();
        for resident in positions.iter().filter_map(|at| self.residents.get(*at)) {
            let name = LabelValue::new(resident.workload.as_str());
            by_tenant.entry(&resident.tenant).or_default().extend(name);
        }
        let terms = by_tenant.into_iter().filter_map(|(tenant, names)| {
            let tenant = LabelValue::new(tenant.as_str()).ok()?;
            Some(vec![
                Term { field: Field::Tenant, op: Op::Is(tenant) },
                Term { field: Field::Workload, op: any_of(names)? },
            ])
        });
        terms.collect()
    }

    /// The other side. Only workloads have ports with names.
    fn peers(
        &mut self,
        policy: &Policy,
        rule: &Rule,
        holders: &[Vec<Term>],
        is_named: bool,
    ) -> Vec<model::Peer> {
        let Some(peers) = &rule.peers else {
            if !is_named {
                return vec![model::Peer::Any];
            }
            let namespaces = Namespaces::Matching(Selector::default());
            return self.pods(&Pods { namespaces, pods: Selector::default() }, holders);
        };
        let mut out = Vec::new();
        for peer in peers {
            match peer {
                Peer::Pods(pods) => out.extend(self.pods(pods, holders)),
                Peer::Block(block) if !is_named => out.extend(self.block(policy, rule, block)),
                Peer::Block(_) => {}
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Addresses outside; of a deny also the workloads and the host that the block has addresses of.
    fn block(&mut self, policy: &Policy, rule: &Rule, block: &Block) -> Vec<model::Peer> {
        let mut out: Vec<model::Peer> = block.nets().into_iter().map(model::Peer::Cidr).collect();
        let managed: Vec<(Name, Name, String)> = self
            .managed(block)
            .into_iter()
            .map(|network| (network.tenant.clone(), network.name.clone(), network.id()))
            .collect();
        if rule.action == Action::Deny {
            if block.net.prefix_len() == 0 {
                out.push(model::Peer::Host);
            }
            out.extend(managed.iter().filter_map(|(tenant, network, _)| {
                let tenant = LabelValue::new(tenant.as_str()).ok()?;
                let network = LabelValue::new(network.as_str()).ok()?;
                let terms = vec![
                    Term { field: Field::Tenant, op: Op::Is(tenant) },
                    Term { field: Field::Network, op: Op::Is(network) },
                ];
                Terms::new(terms).map(model::Peer::Selector)
            }));
        } else if let Some((_, _, network)) = managed.first()
            && (block.net.prefix_len() > 0 || policy.kind != Kind::Network)
        {
            let message = format!("{} matches no workload", block.net);
            let found = Diagnostic::warning(Code::CidrCoversManaged, rule.span, message)
                .label(format!("it has addresses of the network `{network}`"))
                .hint("select workloads with `podSelector` and `namespaceSelector`");
            self.report(policy, found);
        }
        out
    }

    /// Workloads that are selected and among the holders of a port.
    fn pods(&self, pods: &Pods, holders: &[Vec<Term>]) -> Vec<model::Peer> {
        let Some(terms) = self.terms(pods) else { return Vec::new() };
        let selectors = holders.iter().filter_map(|holder| {
            let mut terms: Vec<Term> = terms.iter().chain(holder).cloned().collect();
            terms.sort_unstable();
            terms.dedup();
            Terms::new(terms).map(model::Peer::Selector)
        });
        selectors.collect()
    }

    /// The terms of a selector; `None` when it can match nobody.
    fn terms(&self, pods: &Pods) -> Option<Vec<Term>> {
        let mut out = Vec::new();
        let namespaces: Vec<LabelValue> = self
            .cluster
            .namespaces
            .keys()
            .filter(|name| self.is_in(&pods.namespaces, name))
            .filter_map(|name| LabelValue::new(name).ok())
            .collect();
        let is_all = namespaces.len() == self.cluster.namespaces.len();
        let namespaces = Term { field: self.field.clone(), op: any_of(namespaces)? };
        for requirement in &pods.pods.0 {
            let key = LabelKey::new(&requirement.key).ok();
            let values = |list: &[Arc<str>]| -> Vec<LabelValue> {
                list.iter().filter_map(|value| LabelValue::new(value).ok()).collect()
            };
            // A key or value that no workload can have: nobody has it.
            let op = match (&requirement.operator, &key) {
                (Operator::In(list), Some(_)) => any_of(values(list))?,
                (Operator::Exists, Some(_)) => Op::Exists,
                (Operator::In(_) | Operator::Exists, None) => return None,
                (Operator::NotIn(list), Some(_)) => match values(list) {
                    list if list.is_empty() => continue,
                    list => Op::NotIn(list),
                },
                (Operator::DoesNotExist, Some(_)) => Op::Missing,
                (Operator::NotIn(_) | Operator::DoesNotExist, None) => continue,
            };
            out.extend(key.map(|key| Term { field: Field::Label(key), op }));
        }
        // With segments as namespaces, workloads elsewhere are in none.
        if !is_all || out.is_empty() || self.field == Field::Segment {
            out.push(namespaces);
        }
        Some(out)
    }

    fn is_in(&self, namespaces: &Namespaces, name: &str) -> bool {
        match namespaces {
            Namespaces::Named(wanted) => **wanted == *name,
            Namespaces::Matching(selector) => holds(selector, self.cluster.labels_of(name)),
        }
    }

    fn is_meant(&self, pods: &Pods, resident: &Resident) -> bool {
        self.is_in(&pods.namespaces, &resident.namespace) && holds(&pods.pods, &resident.pod.labels)
    }

    fn push(&mut self, draft: Draft<'_>) {
        let Draft { policy, key, span, standing, subjects, peers, allow, deny } = draft;
        let path: Arc<str> = match policy.kind {
            Kind::Network => format!("{}/{}", policy.namespace, policy.name).into(),
            Kind::Admin(_) => format!("AdminNetworkPolicy/{}", policy.name).into(),
            Kind::Baseline => format!("BaselineAdminNetworkPolicy/{}", policy.name).into(),
        };
        let full = format!("{path} {key}");
        let Some(name) = self.name(&full) else { return };
        let file = self.cluster.files.get(policy.file).cloned().unwrap_or_default();
        let rule = |kind: RuleKind, ports: &[PortSpec], ids: &mut HashSet<RuleId>| {
            if ports.is_empty() {
                return None;
            }
            let mut id = wanted_rule_id(&full, kind);
            while !ids.insert(id) {
                id = RuleId(id.0.checked_add(1).unwrap_or(1));
            }
            let (path, file) = (Arc::clone(&path), Arc::clone(&file));
            Some(RuleRef { id, path, file, line: span.line, column: span.column, kind })
        };
        let (from, to) = match standing.ends {
            Ends::Egress => (subjects, peers),
            _ => (peers, subjects),
        };
        let order = self.document.policies.len() + self.out.len();
        self.out.push(document::Policy {
            scope: Scope::Host,
            name,
            order: u32::try_from(order).unwrap_or(u32::MAX),
            from,
            to,
            allow_rule: rule(RuleKind::Allow, &allow, &mut self.ids),
            deny_rule: rule(RuleKind::Deny, &deny, &mut self.ids),
            audit_rule: None,
            allow,
            deny,
            source_ports: Vec::new(),
            audit: false,
            until: None,
            schedule: None,
            standing: Standing {
                origin: Some(Origin { file: Arc::clone(&file), path }),
                ..standing
            },
            span,
        });
    }

    /// A name that no host-wide policy has: the number of what the rule is called, or the next free one.
    fn name(&mut self, full: &str) -> Option<Name> {
        let mut digest = Digest64::new("manifest");
        digest.text(full);
        let mut number = digest.finish();
        loop {
            let name = Name::new(&format!("k{number:016x}")).ok()?;
            if self.names.insert(name.clone()) {
                return Some(name);
            }
            number = number.wrapping_add(1);
        }
    }
}

/// One of these; `None` of none.
fn any_of(mut values: Vec<LabelValue>) -> Option<Op> {
    match values.len() {
        0 => None,
        1 => values.pop().map(Op::Is),
        _ => Some(Op::In(values)),
    }
}

/// Whether labels have all that a selector requires.
fn holds(selector: &Selector, labels: &LabelMap) -> bool {
    selector.0.iter().all(|requirement| {
        let value = labels.get(&requirement.key);
        match &requirement.operator {
            Operator::In(list) => value.is_some_and(|value| list.contains(value)),
            Operator::NotIn(list) => value.is_none_or(|value| !list.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    })
}
