//! The reachability matrix: for every ordered pair what is declared, by the planner's exact look at the tables in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Cell, Error, Matrix, MatrixParty, Verdict, codes};
use flow::Resolver as _;
use model::RuleId;
use planner::{Bundle, Flows, Party, Span};

use crate::fault::refused;
use crate::force::Force;
use crate::names::Names;
use crate::shared::Shared;

use super::{person, rule_at, why};

/// Most workloads that are asked about at once: the answer grows with their square.
const WORKLOADS: usize = 500;

/// Declared reachability.
///
/// # Errors
/// `BH0216` without a document; `BH0205` for too many workloads.
pub(crate) fn matrix(shared: &Shared) -> Result<Matrix, Error> {
    let force = shared.forced()?;
    let bundle = &force.wanted.bundle;
    if bundle.workloads.len() > WORKLOADS {
        let message = format!("a matrix of {} workloads is too large", bundle.workloads.len());
        return Err(
            refused(codes::BUSY, message).with_hint("ask about pairs: bulkhead why A B tcp/PORT")
        );
    }
    let found = planner::matrix(bundle);
    let parties = parties(bundle, &found);
    let positions: BTreeMap<&Party, u32> = parties.iter().zip(0..).collect();
    // What passes in IPv4 and what passes in IPv6 to a zone are two cells there, and one here.
    let mut open: BTreeMap<(u32, u32), Vec<Span>> = BTreeMap::new();
    for cell in &found {
        if let (Some(from), Some(to)) = (positions.get(&cell.from), positions.get(&cell.to)) {
            open.entry((*from, *to)).or_default().extend(&cell.spans);
        }
    }
    let mut cells = Vec::new();
    for ((from, to), spans) in &open {
        cells.extend(grouped(spans, &force.names, *from, *to));
    }
    cells.extend(published(&force, &positions));
    cells.sort_by_key(|cell| (cell.from, cell.to));
    let parties = parties.iter().map(|party| shown(bundle, party)).collect();
    Ok(Matrix { generation: force.generation, parties, cells })
}

/// Every workload with an endpoint, then host, world, and what else has a cell.
fn parties(bundle: &Bundle, cells: &[planner::Cell]) -> Vec<Party> {
    let attached = bundle.workloads.iter().filter(|(_, workload)| workload.endpoint.is_some());
    let mut all: BTreeSet<Party> =
        attached.map(|(id, _)| Party::Workload(Arc::clone(id))).collect();
    all.extend([Party::Host, Party::World(None)]);
    all.extend(cells.iter().flat_map(|cell| [cell.from.clone(), cell.to.clone()]));
    all.into_iter().collect()
}

fn shown(bundle: &Bundle, party: &Party) -> MatrixParty {
    let workload = match party {
        Party::Workload(id) => Some(id),
        _ => None,
    };
    let attachment = workload.and_then(|id| bundle.attachment(id));
    let address = attachment.and_then(|(_, at)| at.addresses.first());
    MatrixParty {
        name: person(&party.to_string()),
        workload: workload.map(ToString::to_string),
        address: address.map(|net| net.addr().to_string()),
    }
}

/// Flows that share verdict and rule, as one cell each.
fn grouped(spans: &[Span], names: &Names, from: u32, to: u32) -> Vec<Cell> {
    let mut by_rule: BTreeMap<(bool, u32), Vec<&Span>> = BTreeMap::new();
    for span in spans {
        by_rule.entry((span.audit, rule_of(span))).or_default().push(span);
    }
    let cell = |((audit, rule), spans): ((bool, u32), Vec<&Span>)| Cell {
        from,
        to,
        service: Flows::of(spans).to_string(),
        verdict: if audit { Verdict::Audit } else { Verdict::Allow },
        rule: names.rule(RuleId(rule)).filter(|_| rule != 0).as_ref().map(rule_at),
        published: None,
    };
    by_rule.into_iter().map(cell).collect()
}

/// Workloads that reach others through ports of the host.
fn published(force: &Force, positions: &BTreeMap<&Party, u32>) -> Vec<Cell> {
    let bundle = &force.wanted.bundle;
    let mut cells: Vec<Cell> = Vec::new();
    for source in bundle.workloads.keys() {
        let party = |id: &Arc<str>| positions.get(&Party::Workload(Arc::clone(id))).copied();
        let Some(from) = party(source) else { continue };
        for way in planner::ways(bundle, source) {
            let Some(to) = party(&way.publish.workload) else { continue };
            let told = why::way(&force.wanted, &force.names, &way);
            let cell = Cell {
                from,
                to,
                service: told.service,
                verdict: told.verdict,
                rule: told.rule,
                published: Some(told.publish),
            };
            // Both versions of IP are one way.
            let is_known = cells.iter().rev().take_while(|known| known.from == from);
            if cell.verdict != Verdict::Drop && !is_known.clone().any(|known| *known == cell) {
                cells.push(cell);
            }
        }
    }
    cells
}

/// The rule to name: the target's before the source's.
fn rule_of(span: &Span) -> u32 {
    if span.ingress_rule == 0 { span.egress_rule } else { span.ingress_rule }
}
