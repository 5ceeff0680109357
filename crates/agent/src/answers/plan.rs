//! What a document would change: pairs that gain or lose a connection, live flows that would be cut, assertions, objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::{Change, ConnectionChange, LiveFlow, PlanReport, Recorded};
use flow::{Kind, Resolver as _};
use jiff::Timestamp;
use model::RuleId;
use planner::Bundle;
use verdict::Question;
use verdict::abi::{FlowEntry, FlowKey, Ports, Verdict};

use crate::fault;
use crate::force::Wanted;
use crate::names::Names;
use crate::shared::Shared;

use super::flows::moment;
use super::matrix::{self, Member, rule_of};
use super::reach::{Reach, Span, words};
use super::{assertions, objects, person, rule_at};

/// Live flows that are named for each change.
const CUT: usize = 10;
/// Workloads up to which pairs are compared.
const PARTIES: usize = 2_000;

/// The difference between what is in force and `wanted`. `live` is the connection table.
pub(crate) fn report(
    shared: &Shared,
    wanted: &Wanted,
    live: &[(FlowKey, FlowEntry)],
    now: Timestamp,
) -> PlanReport {
    let force = shared.force();
    let old = force.as_ref().map(|force| &force.wanted);
    let names = Names::new(&wanted.bundle, force.as_ref().map(|force| &*force.names));
    let (changes, unchanged_objects) = objects::compare(old.map(|old| &old.document), &wanted.document);
    let nothing = Bundle::default();
    let before = old.map_or(&nothing, |old| &old.bundle);
    let mut comparison = Comparison::new(before, &wanted.bundle, &names);
    comparison.pairs();
    let mut connections = comparison.changes();
    cut(&mut connections, &comparison.new, &names, shared, live);
    recorded(&mut connections, &comparison.new, wanted, shared, now);
    PlanReport {
        schema: PlanReport::SCHEMA.to_owned(),
        generation: force.as_ref().map_or(0, |force| force.generation),
        has_changes: !changes.is_empty() || !connections.is_empty() || old.is_none(),
        unchanged_connections: comparison.unchanged,
        connections,
        assertions: assertions::check(wanted),
        objects: changes,
        unchanged_objects,
        warnings: fault::diagnostics(&wanted.warnings),
        actions: Vec::new(),
    }
}

/// One difference: what happens, between whom, by which rule, and what was before.
type Key = (String, String, Change, Option<u32>, Option<&'static str>);

struct Comparison<'b> {
    old_bundle: &'b Bundle,
    new_bundle: &'b Bundle,
    old: Reach<'b>,
    new: Reach<'b>,
    names: &'b Names,
    found: BTreeMap<Key, Vec<Span>>,
    seen: BTreeSet<[String; 4]>,
    unchanged: u64,
}

impl<'b> Comparison<'b> {
    fn new(old_bundle: &'b Bundle, new_bundle: &'b Bundle, names: &'b Names) -> Self {
        Self {
            old_bundle,
            new_bundle,
            old: Reach::new(&old_bundle.tables),
            new: Reach::new(&new_bundle.tables),
            names,
            found: BTreeMap::new(),
            seen: BTreeSet::new(),
            unchanged: 0,
        }
    }

    /// Compares every pair of parties; those that no rule tells apart once.
    fn pairs(&mut self) {
        let old = by_name(self.old_bundle);
        let new = by_name(self.new_bundle);
        let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        if all.len() > PARTIES {
            return;
        }
        for source in &all {
            for target in &all {
                if source != target {
                    let before = old.get(*source).zip(old.get(*target));
                    let after = new.get(*source).zip(new.get(*target));
                    self.pair(before, after);
                }
            }
        }
    }

    fn pair(
        &mut self,
        before: Option<(&Member<'b>, &Member<'b>)>,
        after: Option<(&Member<'b>, &Member<'b>)>,
    ) {
        let told = |bundle: &Bundle, pair: Option<(&Member<'b>, &Member<'b>)>| match pair {
            Some((source, target)) => [kind(bundle, source), kind(bundle, target)],
            None => [String::new(), String::new()],
        };
        let [a, b] = told(self.old_bundle, before);
        let [c, d] = told(self.new_bundle, after);
        if !self.seen.insert([a.clone(), b.clone(), c.clone(), d.clone()]) {
            return;
        }
        let old = before.map(|(s, t)| matrix::between(self.old_bundle, &self.old, s, t));
        let new = after.map(|(s, t)| matrix::between(self.new_bundle, &self.new, s, t));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let (from, to) = if after.is_some() { (c, d) } else { (a, b) };
        self.spans(&from, &to, &old, &new);
    }

    /// Compares two lists of passing blocks.
    fn spans(&mut self, from: &str, to: &str, old: &[Span], new: &[Span]) {
        for (piece, before, after) in pieces(old, new) {
            let (change, decisive) = match (before, after) {
                (None, Some(after)) => (Change::Add, after),
                (Some(before), None) => (Change::Remove, before),
                (Some(before), Some(after))
                    if before.judgement.verdict != after.judgement.verdict =>
                {
                    (Change::Change, after)
                }
                (Some(_), Some(_)) => {
                    self.unchanged += 1;
                    continue;
                }
                (None, None) => continue,
            };
            let rule = Some(rule_of(&decisive)).filter(|rule| *rule != 0);
            let was = before.filter(|_| change != Change::Add).and_then(was);
            let key = (from.to_owned(), to.to_owned(), change, rule, was);
            self.found.entry(key).or_default().push(piece);
        }
    }

    fn changes(&self) -> Vec<ConnectionChange> {
        let changes = self.found.iter().map(|((from, to, change, rule, was), spans)| {
            let rule = rule.and_then(|rule| self.names.rule(RuleId(rule)));
            ConnectionChange {
                change: *change,
                from: from.clone(),
                to: to.clone(),
                service: words(&joined(spans)),
                rule: rule.as_ref().map(rule_at),
                was: was.map(str::to_owned),
                cut: Vec::new(),
                cut_total: 0,
                recorded: None,
            }
        });
        changes.collect()
    }
}

/// How it was before, when that is worth a word.
fn was(span: Span) -> Option<&'static str> {
    match (span.judgement.verdict, rule_of(&span)) {
        (Verdict::Audit, _) => Some("audited"),
        (_, 0) => Some("open"),
        _ => None,
    }
}

fn by_name(bundle: &Bundle) -> BTreeMap<String, Member<'_>> {
    let mut all = BTreeMap::new();
    if bundle.routers.is_empty() {
        return all;
    }
    for member in matrix::members(bundle) {
        all.insert(member.name(), member);
    }
    all
}

/// What a party is to rules, for people: labels, or its name when it has none. Tenants are told apart.
fn kind(bundle: &Bundle, member: &Member<'_>) -> String {
    let Member::Endpoint(router, at) = member else { return member.name() };
    let identity = bundle.workloads.get(&at.workload).map(|workload| workload.identity);
    let identity = identity.and_then(|identity| bundle.identities.get(&identity));
    let text = identity.filter(|identity| !identity.labels.is_empty()).map(crate::names::identity_text);
    match text {
        Some(text) => format!("{}: {text}", router.tenant),
        None => person(&at.workload),
    }
}

/// Both lists cut at each other's edges.
fn pieces(old: &[Span], new: &[Span]) -> Vec<(Span, Option<Span>, Option<Span>)> {
    let mut pieces = Vec::new();
    let protocols: BTreeSet<u8> = old.iter().chain(new).map(|span| span.protocol).collect();
    for protocol in protocols {
        let own = |spans: &[Span]| -> Vec<Span> {
            spans.iter().filter(|span| span.protocol == protocol).copied().collect()
        };
        let (old, new) = (own(old), own(new));
        let edges: BTreeSet<u32> = old
            .iter()
            .chain(&new)
            .flat_map(|span| [u32::from(span.first), u32::from(span.last) + 1])
            .collect();
        for (first, end) in edges.iter().zip(edges.iter().skip(1)) {
            let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(end - 1)) else {
                continue;
            };
            let holding = |spans: &[Span]| {
                spans.iter().find(|span| span.first <= first && last <= span.last).copied()
            };
            let (before, after) = (holding(&old), holding(&new));
            if let Some(piece) = after.or(before) {
                pieces.push((Span { first, last, ..piece }, before, after));
            }
        }
    }
    pieces
}

/// Blocks that touch each other, as one.
fn joined(spans: &[Span]) -> Vec<Span> {
    let mut all: Vec<Span> = spans.to_vec();
    all.sort_by_key(|span| (span.protocol, span.first));
    let mut joined: Vec<Span> = Vec::new();
    for span in all {
        match joined.last_mut() {
            Some(last)
                if last.protocol == span.protocol && last.last.checked_add(1) == Some(span.first) =>
            {
                last.last = span.last;
            }
            _ => joined.push(span),
        }
    }
    joined
}

/// Adds the live flows that would end.
fn cut(
    connections: &mut Vec<ConnectionChange>,
    new: &Reach<'_>,
    names: &Names,
    shared: &Shared,
    live: &[(FlowKey, FlowEntry)],
) {
    let clock = shared.flow_clock();
    for (key, entry) in live {
        let question = question(key, entry);
        if new.judge(&question).verdict != Verdict::Drop {
            continue;
        }
        let end = |address: std::net::IpAddr| {
            let owner = names.owner(question.network, address);
            owner.map_or_else(|| address.to_string(), |id| person(&id))
        };
        let protocol = flow::Protocol::Ip(key.protocol);
        let service = if protocol.has_ports() {
            format!("{}/{protocol}", question.ports.target)
        } else {
            protocol.to_string()
        };
        let flow = LiveFlow {
            from: end(question.source.into()),
            to: end(question.target.into()),
            service,
            since: moment(clock.at(entry.created)),
        };
        let text = |identity: u64, name: &str| names.identity(model::Identity(identity)).map_or_else(|| name.to_owned(), |text| text.to_string());
        let (from, to) = (text(entry.source_identity, &flow.from), text(entry.target_identity, &flow.to));
        attach(connections, flow, &from, &to);
    }
}

/// Puts a live flow to the change that ends it, or makes one.
fn attach(connections: &mut Vec<ConnectionChange>, flow: LiveFlow, from: &str, to: &str) {
    let fits = |change: &&mut ConnectionChange| {
        let same = |side: &str, name: &str, text: &str| side == name || side.ends_with(text);
        change.change == Change::Remove
            && same(&change.from, &flow.from, from)
            && same(&change.to, &flow.to, to)
    };
    if let Some(change) = connections.iter_mut().find(fits) {
        change.cut_total += 1;
        if change.cut.len() < CUT {
            change.cut.push(flow);
        }
        return;
    }
    connections.push(ConnectionChange {
        change: Change::Remove,
        from: flow.from.clone(),
        to: flow.to.clone(),
        service: flow.service.clone(),
        rule: None,
        was: None,
        cut: vec![flow],
        cut_total: 1,
        recorded: None,
    });
}

/// The question that opened a live flow.
fn question(key: &FlowKey, entry: &FlowEntry) -> Question {
    let high = entry.flags & FlowEntry::HIGH_ORIGINATES != 0;
    let low_side = (key.low, key.low_port);
    let high_side = (key.high, key.high_port);
    let (source, target) = if high { (high_side, low_side) } else { (low_side, high_side) };
    Question {
        source: source.0,
        target: target.0,
        network: key.network,
        ports: Ports { source: source.1, target: target.1 },
        protocol: key.protocol,
    }
}

/// Adds how many recorded flows would be dropped from now on.
fn recorded(
    connections: &mut [ConnectionChange],
    new: &Reach<'_>,
    wanted: &Wanted,
    shared: &Shared,
    _now: Timestamp,
) {
    let numbers: HashMap<String, u32> = wanted
        .bundle
        .routers
        .iter()
        .map(|router| (format!("{}.{}", router.tenant, router.name), router.number.into()))
        .collect();
    let mut counts: BTreeMap<usize, (u64, BTreeSet<Arc<str>>, Timestamp)> = BTreeMap::new();
    let flows = shared.flows();
    let everything = flows.ring.newest(&flow::Filter::default(), usize::MAX);
    drop(flows);
    for record in everything.iter().filter(|record| record.kind == Kind::Open) {
        let (Some(network), flow::Protocol::Ip(protocol)) =
            (numbers.get(&*record.network), record.protocol)
        else {
            continue;
        };
        let target = record.icmp.map_or(record.target.port, u16::from_be_bytes);
        let question = Question {
            source: record.source.address.into(),
            target: record.target.address.into(),
            network: *network,
            ports: Ports { source: record.source.port, target },
            protocol,
        };
        if new.judge(&question).verdict != Verdict::Drop {
            continue;
        }
        let text = |end: &flow::End| end.identity_text.clone().unwrap_or_default();
        let (from, to) = (text(&record.source), text(&record.target));
        let at = connections.iter().position(|change| {
            change.change == Change::Remove
                && change.from.ends_with(&*from)
                && change.to.ends_with(&*to)
        });
        let Some(at) = at else { continue };
        let count = counts.entry(at).or_insert_with(|| (0, BTreeSet::new(), record.at));
        count.0 += record.repeats;
        count.1.extend(record.source.workload.clone());
    }
    for (at, (flows, workloads, since)) in counts {
        if let Some(change) = connections.get_mut(at) {
            let workloads = workloads.len() as u64;
            change.recorded = Some(Recorded { flows, workloads, since: moment(since) });
        }
    }
}
