//! What a document would change: the planner's comparison, and beside it the live and recorded flows that it would end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Between, Change, ConnectionChange, LiveFlow, PlanReport, Recorded};
use flow::{Protocol, Resolver as _};
use model::{Proto, RuleKind};
use planner::{Area, Bundle, ChangeKind, Party};
use policy::Document;
use verdict::Question;
use verdict::abi::{FlowEntry, FlowKey, FlowState, Posture, UNMANAGED_ENDPOINT, Verdict};
use verdict::native::Tables;

use crate::fault;
use crate::force::Wanted;
use crate::names::Names;
use crate::shared::Shared;

use super::flows::moment;
use super::judge::Judge;
use super::replay::{self, Lens, Records};
use super::{assertions, objects, person, remark, rule_at, rules, status};

mod losses;

use losses::{End, Ending, Losses};

/// Policies outside their schedule that are named.
const PAUSED: usize = 100;
/// Live flows that are named for each change.
const CUT: usize = 10;
/// Workloads up to which unchanged connections are counted.
const COUNTED: usize = 500;
/// Rules up to which they are.
const COUNTED_RULES: usize = 10_000;
/// Recorded flows that are judged: of the last so many seconds, as far as they can be read in this time.
const RECORDED: u32 = 7 * 86_400;
const LOOKING: Duration = Duration::from_millis(1_500);
/// Lines of live flows that no other line tells.
const ALONE: usize = 500;
/// Segments that are told.
const AREAS: usize = 500;
/// Workloads that are named of each.
const NAMED: usize = 8;

/// The difference between what is in force and `wanted`. `live` shows every flow of the connection table that goes on.
pub(crate) fn report(
    shared: &Shared,
    wanted: &Wanted,
    live: impl FnOnce(&mut dyn FnMut(FlowKey, FlowEntry)),
) -> PlanReport {
    let force = shared.force();
    let old = force.as_ref().map(|force| &force.wanted);
    let before = old.map(|old| (&old.document, &old.bundle));
    let found = planner::diff(before, (&wanted.document, &wanted.bundle));
    let paused = paused(&wanted.document);
    let objects = objects::compare(old.map(|old| &old.document), &wanted.document);
    let mut connections: Vec<ConnectionChange> =
        found.connections.iter().map(|change| shown(change, &wanted.bundle)).collect();
    for rule in connections.iter_mut().filter_map(|change| change.rule.as_mut()) {
        remark(&wanted.document, rule);
    }
    let losses = Losses::new(&found.connections);
    let names = Names::new(&wanted.bundle, force.as_ref().map(|force| &*force.names));
    // Nobody's share of the table is used: nothing to look through.
    if force.is_none() || status::flow_table(shared, force.as_deref()).used > 0 {
        let mut cuts = Cuts::new(&mut connections, &losses, wanted, &names, shared);
        live(&mut |key, entry| cuts.look(&key, &entry));
    }
    if let Some(force) = force.as_ref().filter(|_| !losses.is_empty()) {
        match replay::records(shared, Some(RECORDED)) {
            Ok(mut records) => {
                records.deadline = Some(Instant::now() + LOOKING);
                let bundles = (&force.wanted.bundle, &wanted.bundle);
                recorded(&mut connections, &losses, bundles, &records);
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }
    PlanReport {
        schema: PlanReport::SCHEMA.to_owned(),
        generation: force.as_ref().map_or(0, |force| force.generation),
        has_changes: !objects.changes.is_empty()
            || !connections.is_empty()
            || found.omitted > 0
            || old.is_none(),
        omitted_connections: found.omitted as u64,
        unchanged_connections: unchanged(old.map(|old| &old.bundle), &wanted.bundle),
        omitted_paused: paused.len().saturating_sub(PAUSED) as u64,
        paused: paused.into_iter().take(PAUSED).collect(),
        areas: areas(old.map(|old| &old.document), &wanted.document),
        connections,
        assertions: assertions::shown(&found.assertions, &wanted.document, &wanted.bundle),
        objects: objects.changes,
        omitted_objects: objects.omitted,
        unchanged_objects: objects.unchanged,
        warnings: wanted.warnings.iter().flat_map(fault::diagnostics).collect(),
        actions: Vec::new(),
    }
}

/// The policies that are outside their schedule.
fn paused(document: &Document) -> Vec<api::Paused> {
    let now = jiff::Timestamp::now();
    let paused = document.policies.iter().filter_map(|policy| {
        let (pause, rule) = (rules::pause(policy, now)?, policy.rules().next()?);
        Some(api::Paused { rule: rule_at(rule), pause })
    });
    paused.collect()
}

fn shown(change: &planner::Change, bundle: &Bundle) -> ConnectionChange {
    let (sign, was) = match (change.kind, &change.rule) {
        (ChangeKind::Gained, _) => (Change::Add, None),
        (ChangeKind::Lost, Some(_)) => (Change::Remove, None),
        (ChangeKind::Lost, None) => (Change::Remove, Some("open")),
        (ChangeKind::Recorded, _) => (Change::Change, Some("not recorded")),
        (ChangeKind::Settled, _) => (Change::Change, Some("audited")),
    };
    let between = change.between.iter();
    let between = between.map(|(from, to)| Between { from: from.to_string(), to: to.to_string() });
    ConnectionChange {
        change: sign,
        from: change.from.clone(),
        to: change.to.clone(),
        pairs: change.pairs as u64,
        between: between.collect(),
        service: change.flows.to_string(),
        rule: change.rule.as_ref().map(rule_at),
        by: change.cause.as_ref().map(rule_at),
        was: was.map(str::to_owned),
        audit: sign == Change::Add && is_audited(change, bundle),
        cut: Vec::new(),
        cut_total: 0,
        recorded: None,
    }
}

/// Every segment, and what becomes of it, in the order of the file; then those that go.
fn areas(old: Option<&Document>, new: &Document) -> Vec<api::Area> {
    let before: BTreeSet<Area> = old.map(segments).into_iter().flatten().collect();
    let after: Vec<Area> = segments(new).collect();
    let known: BTreeSet<&Area> = after.iter().collect();
    let gone: Vec<&Area> = before.iter().filter(|area| !known.contains(area)).collect();
    let mut members: HashMap<Area, Vec<String>> = HashMap::new();
    for workload in &new.workloads {
        members.entry(Area::of(workload)).or_default().push(workload.label());
    }
    let shown = |area: &Area, change: Option<Change>| {
        let all = members.get(area).map_or(&[][..], Vec::as_slice);
        api::Area {
            name: area.to_string(),
            change,
            workloads: all.iter().take(NAMED).cloned().collect(),
            omitted_workloads: all.len().saturating_sub(NAMED) as u64,
        }
    };
    let after = after
        .iter()
        .map(|area| shown(area, (old.is_some() && !before.contains(area)).then_some(Change::Add)));
    after
        .chain(gone.into_iter().map(|area| shown(area, Some(Change::Remove))))
        .take(AREAS)
        .collect()
}

/// The segments of a document; a network without any is one.
fn segments(document: &Document) -> impl Iterator<Item = Area> {
    document.networks.iter().flat_map(|network| {
        let area = |segment: Option<&model::Name>| Area::Segment {
            tenant: network.tenant.clone(),
            network: network.name.clone(),
            segment: segment.cloned(),
        };
        let whole = network.segments.is_empty().then(|| area(None));
        whole.into_iter().chain(network.segments.iter().map(move |it| area(Some(&it.name))))
    })
}

/// Who a party is to people.
pub(super) fn name(party: &Party) -> String {
    match party {
        Party::Workload(id) => person(id),
        other => other.to_string(),
    }
}

/// Whether what passes is recorded: because of a rule that only records, or of a posture that does.
fn is_audited(change: &planner::Change, bundle: &Bundle) -> bool {
    if let Some(rule) = &change.rule {
        return rule.kind != RuleKind::Allow;
    }
    let audits = |party: &Party, direction: usize| {
        let Party::Workload(id) = party else { return false };
        let Some((_, at)) = bundle.attachment(id) else { return false };
        let endpoint = bundle.tables.endpoints.get(&u32::from(at.number));
        endpoint.is_some_and(|endpoint| endpoint.posture[0][direction] == Posture::Audit as u8)
    };
    change.sides.iter().zip(0..).any(|(side, at)| side.first().is_some_and(|it| audits(it, at)))
}

/// `6379/tcp`, `icmp/8/0`, `ip/47`.
pub(super) fn service(protocol: Protocol, port: u16) -> String {
    let [kind, code] = port.to_be_bytes();
    if protocol.has_ports() {
        format!("{port}/{protocol}")
    } else if protocol.is_icmp() {
        format!("{protocol}/{kind}/{code}")
    } else {
        protocol.to_string()
    }
}

/// Pairs with the same flows before and after; `None` for more workloads than are counted.
fn unchanged(old: Option<&Bundle>, new: &Bundle) -> Option<u64> {
    let Some(old) = old else { return Some(0) };
    if new.workloads.len() > COUNTED || new.rules.len() > COUNTED_RULES {
        return None;
    }
    Some(planner::unchanged(old, new))
}

/// Adds the live flows that would end, each to the line that tells why.
struct Cuts<'a> {
    connections: &'a mut Vec<ConnectionChange>,
    losses: &'a Losses<'a>,
    names: &'a Names,
    tables: &'a Tables,
    judge: Judge<'a>,
    clock: flow::Clock,
    /// Lines before those of flows that no other line tells.
    told: usize,
    /// Those lines by source, target and service.
    others: HashMap<(String, String, String), usize>,
}

impl<'a> Cuts<'a> {
    fn new(
        connections: &'a mut Vec<ConnectionChange>,
        losses: &'a Losses<'a>,
        wanted: &'a Wanted,
        names: &'a Names,
        shared: &Shared,
    ) -> Self {
        let (tables, told) = (&wanted.bundle.tables, connections.len());
        let (judge, clock) = (Judge::new(tables), shared.flow_clock());
        Self { connections, losses, names, tables, judge, clock, told, others: HashMap::new() }
    }

    /// Looks at one flow.
    fn look(&mut self, key: &FlowKey, entry: &FlowEntry) {
        if !is_open(entry) {
            return;
        }
        let judgement = of_nobody(entry, self.tables);
        let judgement = judgement.unwrap_or_else(|| self.judge.known(key, entry));
        if judgement.verdict != Verdict::Drop {
            return;
        }
        let question = verdict::question(key, entry);
        let rules = [entry.ingress_rule, entry.egress_rule];
        let owner = |address: IpAddr| self.names.owner(question.network, address);
        let ending = ending(&question, owner, rules, &judgement);
        let name =
            |end: &End| end.owner.as_ref().map_or_else(|| end.address.to_string(), |id| person(id));
        let flow = LiveFlow {
            from: name(&ending.source),
            to: name(&ending.target),
            service: service(Protocol::Ip(key.protocol), question.ports.target),
            since: moment(self.clock.at(entry.created)),
        };
        let found = self.losses.find(&ending, self.tables);
        let at = found.unwrap_or_else(|| self.line_of(&flow));
        if let Some(change) = self.connections.get_mut(at) {
            change.cut_total += 1;
            if change.cut.len() < CUT {
                change.cut.push(flow);
            }
        }
    }

    /// The line of a flow that ends for a reason that no other line tells.
    fn line_of(&mut self, flow: &LiveFlow) -> usize {
        let same = (flow.from.clone(), flow.to.clone(), flow.service.clone());
        if let Some(known) = self.others.get(&same) {
            return *known;
        }
        // The last one stands for all that come after it.
        if self.connections.len() < self.told + ALONE {
            self.connections.push(alone(flow));
            self.others.insert(same, self.connections.len() - 1);
        }
        self.connections.len() - 1
    }
}

/// Whether a flow goes on: one that is closed stays in the table for a while.
fn is_open(entry: &FlowEntry) -> bool {
    entry.state != FlowState::Closed as u8
}

/// What becomes of a flow with nobody of the file at either end: the posture for these decides alone. `None` for any other flow.
fn of_nobody(entry: &FlowEntry, tables: &Tables) -> Option<verdict::Judgement> {
    if entry.flags & FlowEntry::UNMANAGED == 0 {
        return None;
    }
    let endpoint = tables.endpoints.get(&UNMANAGED_ENDPOINT);
    let is_cut = endpoint.is_some_and(|it| it.posture[0] == [Posture::Deny as u8; 2]);
    let verdict = if is_cut { Verdict::Drop } else { Verdict::Allow };
    Some(verdict::Judgement { verdict, ..verdict::Judgement::default() })
}

/// A flow and what becomes of it.
fn ending(
    question: &Question,
    owner: impl Fn(IpAddr) -> Option<Arc<str>>,
    rules: [u32; 2],
    judgement: &verdict::Judgement,
) -> Ending {
    let end = |address: IpAddr| End { owner: owner(address), address };
    let (at_target, at_source) = (judgement.ingress_rule, judgement.egress_rule);
    Ending {
        network: question.network,
        source: end(question.source.into()),
        target: end(question.target.into()),
        proto: Proto::from_number(question.protocol),
        port: question.ports.target,
        rules,
        cause: if at_target == 0 { at_source } else { at_target },
    }
}

/// A live flow that ends for a reason that no other change tells.
fn alone(flow: &LiveFlow) -> ConnectionChange {
    ConnectionChange {
        change: Change::Remove,
        from: flow.from.clone(),
        to: flow.to.clone(),
        pairs: 1,
        between: Vec::new(),
        service: flow.service.clone(),
        rule: None,
        by: None,
        was: None,
        audit: false,
        cut: Vec::new(),
        cut_total: 0,
        recorded: None,
    }
}

/// Adds how many recorded flows that pass now would be dropped from now on: those of the last days, as far as there is time to look.
fn recorded(
    connections: &mut [ConnectionChange],
    losses: &Losses,
    (old, new): (&Bundle, &Bundle),
    records: &Records,
) {
    let lenses = [Lens::new(old), Lens::new(new)];
    let (found, read) = replay::scan(records, Some(&lenses[0]), &lenses[1]);
    let mut counts: BTreeMap<usize, (u64, BTreeSet<Arc<str>>, u32)> = BTreeMap::new();
    for (key, group) in found.groups().filter(|(key, _)| key.class == replay::Class::Breaks) {
        let Some(flow) = &group.witness else { continue };
        let [Some((_, before)), Some((question, after))] =
            lenses.each_ref().map(|lens| lens.exactly(flow))
        else {
            continue;
        };
        let owner = |address: IpAddr| {
            let ends = [(question.source, &flow.source), (question.target, &flow.target)];
            ends.into_iter().find(|(end, _)| IpAddr::from(*end) == address)?.1.workload.clone()
        };
        let rules = [before.ingress_rule, before.egress_rule];
        let ending = ending(&question, owner, rules, &after);
        let line = losses.find(&ending, &new.tables);
        let Some(at) = line.filter(|at| losses.tells(*at, &ending, &new.tables)) else { continue };
        let count = counts.entry(at).or_insert((0, BTreeSet::new(), group.first));
        count.0 += group.flows();
        count.1.extend(flow.source.workload.as_ref().map(|_| Arc::clone(&key.from)));
        count.2 = count.2.min(group.first);
    }
    let looked_since = replay::instant(records.looked_since(&read));
    for (at, (flows, workloads, since)) in counts {
        if let Some(change) = connections.get_mut(at) {
            let workloads = workloads.len() as u64;
            let (since, looked_since) = (replay::instant(since), Some(looked_since.clone()));
            change.recorded = Some(Recorded { flows, workloads, since, looked_since });
        }
    }
}

#[cfg(test)]
mod tests;
