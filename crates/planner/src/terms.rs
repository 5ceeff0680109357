//! What `publish:` says of ports that somebody else publishes: who may reach them, until when, how many flows may begin.
//!
//! The runtime of an external network leads a port of the host to a workload, by address translation or by a proxy. Where that is judged, at the
//! workload, a packet has the workload's port and the client's address, or, by a proxy, the host's. So what the file says of a port of the
//! host is put into force at ports of workloads: at that which the entry names, and at every one to which the runtime says that it leads the
//! port of the host. A container that comes in the place of another one, under whatever name, has the terms of its port.
//!
//! **Who is meant.** Whoever is no workload: the world, `unmanaged` and the host. What a workload may is policy's to say.
//!
//! **Not known yet.** A container's first program runs before its runtime has written down what it leads there. Until then all of the workload's ports are
//! closed to whoever is meant, where the tenant has an entry that would keep somebody away or count who comes.
//!
//! **Order.** Terms only close: they come before every allow, and what they leave open is for policies to decide. An entry whose time is over
//! closes the port, as nobody but its runtime could take it away.
//!
//! **Limits.** One term for each port of a workload and one for all of them, two rules for each term.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{Name, Peer, PortRange, PortSpec, RuleId, RuleKind, RuleRef, Transport};
use policy::document::{
    Ends, FlowLimit, Policy, Publish, Scope, Span, Standing, Tier, Workload, wanted_rule_id,
};
use policy::{Document, Leads};
use rustc_hash::{FxHashMap, FxHashSet};

/// Behind every policy of a file: the place of these rules among others of the same kind.
const ORDER: u32 = u32::MAX / 2;

/// What entries of `publish` say of one port of a workload of an external network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// `<tenant>.<workload>`, of a further attachment `<tenant>.<workload>@<network>`.
    pub workload: Arc<str>,
    /// The workload's port; `None` is every one, as it is not known yet which of them are published.
    pub port: Option<(Transport, u16)>,
    /// The entries by name, in the order of the file.
    pub publishes: Vec<Name>,
    /// For whom it is open; `None` when it is for everybody.
    pub narrow: Option<Narrow>,
    /// How many flows may begin there.
    pub limit: FlowLimit,
}

/// For whom a port is open, and nobody else who is no workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrow {
    /// Ranges, each once; none of them when the time of all entries is over.
    pub from: Vec<IpNet>,
    /// Whether the host is among them.
    pub host: bool,
    /// The rule that keeps the others out.
    pub rule: RuleRef,
    scope: Scope,
    /// The workload alone.
    target: Peer,
}

/// A port of a workload, or all of them: its id, and its protocol and number.
type Place = (String, Option<(Transport, u16)>);

/// The terms of a document at a time, by workload and port.
pub(crate) fn terms(document: &Document, now: Timestamp) -> Vec<Term> {
    let external: FxHashSet<(&Name, &Name)> = document
        .networks
        .iter()
        .filter(|network| network.external.is_some())
        .map(|network| (&network.tenant, &network.name))
        .collect();
    if external.is_empty() || document.publishes.is_empty() {
        return Vec::new();
    }
    let mut by_name: FxHashMap<(Name, Name), Vec<&Workload>> = FxHashMap::default();
    let workloads = document.workloads.iter().map(|workload| &**workload);
    for workload in workloads.filter(|it| external.contains(&(&it.tenant, &it.network))) {
        let key = (workload.tenant.clone(), workload.name.clone());
        by_name.entry(key).or_default().push(workload);
    }
    let leads = Leads::of(document);
    let of = |tenant: &Name, name: &Name| {
        by_name.get(&(tenant.clone(), name.clone())).into_iter().flatten().copied()
    };
    let mut found: BTreeMap<Place, (&Workload, BTreeSet<usize>)> = BTreeMap::new();
    let mut add = |workload, place, at| {
        found.entry(place).or_insert_with(|| (workload, BTreeSet::new())).1.insert(at);
    };
    for (at, publish) in document.publishes.iter().enumerate() {
        for workload in of(&publish.tenant, &publish.workload) {
            add(workload, (workload.id(), Some((publish.transport, publish.workload_port))), at);
        }
        for led in leads.about(publish) {
            let own = of(&led.tenant, &led.workload);
            for workload in own.filter(|workload| workload.network == led.network) {
                add(workload, (workload.id(), Some((led.transport, led.to))), at);
            }
        }
    }
    for unled in &document.unled {
        let is_narrow =
            |publish: &Publish| publish.tenant == unled.tenant && publish.is_narrow(now);
        let Some(at) = document.publishes.iter().position(is_narrow) else { continue };
        let own = of(&unled.tenant, &unled.workload);
        for workload in own.filter(|workload| workload.network == unled.network) {
            add(workload, (workload.id(), None), at);
        }
    }
    let rules = rules(document);
    let term = |((id, port), (workload, at)): (Place, (&Workload, BTreeSet<usize>))| {
        let entries: Vec<(&Publish, &RuleRef)> = at
            .into_iter()
            .filter_map(|at| Some((document.publishes.get(at)?, rules.get(at)?)))
            .collect();
        let lives = entries.iter().map(|(publish, _)| *publish).filter(|it| !it.is_expired(now));
        let limit = lives.map(|it| it.limit).find(|it| !it.is_none());
        let publishes = entries.iter().map(|(publish, _)| publish.name.clone()).collect();
        let (narrow, limit) = match port {
            Some(_) => (narrow(&entries, workload, now), limit),
            None => (entries.first().and_then(|(_, rule)| nobody(rule, workload)), None),
        };
        let limit = limit.unwrap_or_default();
        Term { workload: id.into(), port, publishes, narrow, limit }
    };
    found.into_iter().map(term).collect()
}

/// For whom a port is open by its entries, each with the rule that it makes.
fn narrow(entries: &[(&Publish, &RuleRef)], workload: &Workload, now: Timestamp) -> Option<Narrow> {
    let lives = || entries.iter().filter(|(publish, _)| !publish.is_expired(now));
    if lives().any(|(publish, _)| publish.is_for_all()) {
        return None;
    }
    let mut from: Vec<IpNet> = lives().flat_map(|(publish, _)| &publish.from).copied().collect();
    from.sort_unstable();
    from.dedup();
    let (_, rule) = lives().next().or(entries.first())?;
    let host = lives().any(|(publish, _)| publish.host);
    Some(Narrow { from, host, ..nobody(rule, workload)? })
}

/// Open for nobody, by a rule.
fn nobody(rule: &RuleRef, workload: &Workload) -> Option<Narrow> {
    let text = format!("workload={}, network={}", workload.name, workload.network);
    Some(Narrow {
        from: Vec::new(),
        host: false,
        rule: rule.clone(),
        scope: Scope::Tenant(workload.tenant.clone()),
        // Names are words of the language of selectors.
        target: text.parse().ok()?,
    })
}

/// The rule that each entry makes, numbered as no rule of a policy is.
fn rules(document: &Document) -> Vec<RuleRef> {
    let mut taken: HashSet<RuleId> = document.rules().map(|rule| rule.id).collect();
    let rule = |publish: &Publish| {
        let path: Arc<str> = format!("tenants.{}.publish.{}", publish.tenant, publish.name).into();
        let mut id = wanted_rule_id(&path, RuleKind::Deny);
        while !taken.insert(id) {
            id = RuleId(id.0.checked_add(1).unwrap_or(1));
        }
        let (line, column) = (publish.span.line, publish.span.column);
        RuleRef { id, path, file: Arc::clone(&document.file), line, column, kind: RuleKind::Deny }
    };
    document.publishes.iter().map(rule).collect()
}

impl Term {
    /// What it is among policies: first whom it leaves to the others, then that nobody else may.
    pub(crate) fn policies(&self) -> Vec<Policy> {
        let Some(narrow) = &self.narrow else { return Vec::new() };
        let all = || Transport::ALL.map(|transport| PortSpec::Ports(transport, PortRange::ALL));
        let one = |(transport, port)| vec![PortSpec::Ports(transport, PortRange::single(port))];
        let ports = self.port.map_or_else(|| all().to_vec(), one);
        let policy = |name: &Name, place: u32, from: Vec<Peer>| Policy {
            scope: narrow.scope.clone(),
            name: name.clone(),
            order: ORDER,
            from,
            to: vec![narrow.target.clone()],
            allow: Vec::new(),
            deny: Vec::new(),
            source_ports: Vec::new(),
            audit: false,
            until: None,
            schedule: None,
            allow_rule: None,
            deny_rule: None,
            audit_rule: None,
            standing: Standing {
                ends: Ends::Ingress,
                tier: Tier::Published(place),
                ..Standing::default()
            },
            span: Span::default(),
        };
        let Some(name) = self.publishes.first() else { return Vec::new() };
        let open = narrow.from.iter().copied().map(Peer::Cidr);
        let open: Vec<Peer> = open.chain(narrow.host.then_some(Peer::Host)).collect();
        let mut all = Vec::with_capacity(2);
        if !open.is_empty() {
            let mut pass = policy(name, 0, open);
            pass.standing.pass.clone_from(&ports);
            all.push(pass);
        }
        let mut close = policy(name, 1, vec![Peer::World, Peer::Unmanaged, Peer::Host]);
        close.deny = ports;
        close.deny_rule = Some(narrow.rule.clone());
        all.push(close);
        all
    }
}
