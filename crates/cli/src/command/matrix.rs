//! `bulkhead matrix [--live|--svg]`: who may reach whom, and whether real packets agree.
//!
//! Live, every pair of workloads of one network is probed on every service that some policy offers
//! at the target, and by ping: what is declared closed must be closed, what is declared open must
//! let the packet through. Workloads of different networks have no path to each other but published ports, which are shown and not probed.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::{Cell, Matrix, Observed, ProbeRequest, Workload};
use serde::Serialize;

use super::Context;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

/// How long a probe waits for an answer.
const WAIT_MS: u32 = 400;
/// Probes at the same time.
const WORKERS: usize = 8;

/// One probed pair and service.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Probed {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) service: String,
    pub(crate) declared: String,
    pub(crate) observed: Observed,
    pub(crate) agrees: Option<bool>,
}

/// Declared and, when it was probed, observed.
#[derive(Debug, Serialize)]
pub(crate) struct Picture {
    pub(crate) matrix: Matrix,
    pub(crate) probes: Option<Vec<Probed>>,
}

pub(crate) mod picture;

pub(crate) fn run(context: &Context, live: bool, svg: bool) -> Result<Exit, Failure> {
    let client = context.client()?;
    let matrix = client.matrix()?;
    let probes = if live { Some(probe_all(context, &matrix, &client.workloads()?)?) } else { None };
    let picture = Picture { matrix, probes };
    if svg {
        context.screen.text(&picture::svg(&picture))?;
        return Ok(Exit::Done);
    }
    context.screen.show(&picture, render)?;
    let differs = picture.probes.iter().flatten().any(|probe| probe.agrees == Some(false));
    Ok(if differs { Exit::Difference } else { Exit::Done })
}

/// What to probe: every pair in one network, on every service that is offered at the target.
pub(crate) fn questions(matrix: &Matrix, workloads: &[Workload]) -> Vec<ProbeRequest> {
    let ends: Vec<(usize, &Workload)> = matrix
        .parties
        .iter()
        .enumerate()
        .filter_map(|(index, party)| {
            let id = party.workload.as_ref()?;
            let workload = workloads.iter().find(|workload| workload.id == *id)?;
            workload.endpoint.map(|_| (index, workload))
        })
        .collect();
    let mut questions = Vec::new();
    for (from, source) in &ends {
        for (to, target) in &ends {
            let same = source.tenant == target.tenant && source.network == target.network;
            if from == to || !same {
                continue;
            }
            for service in offered(&matrix.cells, *to) {
                questions.push(ProbeRequest {
                    from: source.id.clone(),
                    to: target.id.clone(),
                    service,
                    timeout_ms: Some(WAIT_MS),
                    source_port: None,
                });
            }
        }
    }
    questions
}

/// Single TCP ports that somebody may reach at this party, and ping.
fn offered(cells: &[Cell], to: usize) -> BTreeSet<String> {
    let here = cells.iter().filter(|cell| cell.to as usize == to && cell.published.is_none());
    let services = here.flat_map(|cell| cell.service.split(',').map(str::trim));
    let single = services.filter(|service| {
        service.strip_suffix("/tcp").is_some_and(|port| port.parse::<u16>().is_ok())
    });
    single.map(str::to_owned).chain(["icmp".to_owned()]).collect()
}

fn probe_all(
    context: &Context,
    matrix: &Matrix,
    workloads: &[Workload],
) -> Result<Vec<Probed>, Failure> {
    let questions = questions(matrix, workloads);
    context.screen.tell(&format!("probing {} connections with real packets …", questions.len()));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(questions.len()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(questions.len()) {
            scope.spawn(|| {
                let Ok(client) = context.client() else { return };
                while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = client.probe(question);
                    if let Ok(mut results) = results.lock() {
                        results.push((question.clone(), answer));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results
        .sort_by(|(a, _), (b, _)| (&a.from, &a.to, &a.service).cmp(&(&b.from, &b.to, &b.service)));
    results
        .into_iter()
        .map(|(question, answer)| {
            let answer = answer?;
            Ok(Probed {
                from: question.from,
                to: question.to,
                service: question.service,
                declared: answer.why.verdict.as_str().to_owned(),
                observed: answer.observed,
                agrees: answer.agrees,
            })
        })
        .collect()
}

pub(crate) fn render(picture: &Picture, paint: Paint) -> String {
    let matrix = &picture.matrix;
    let used = shown_parties(matrix);
    let mut headings = vec!["FROM \\ TO".to_owned()];
    headings.extend(used.iter().map(|index| matrix.parties[*index].name.clone()));
    let mut table = Table::with_headings(headings);
    for from in &used {
        let mut row = vec![matrix.parties[*from].name.clone()];
        row.extend(used.iter().map(|to| cell(picture, *from, *to)));
        table.row_of(row);
    }
    let mut text = table.render(paint);
    text += "· closed";
    if matrix.cells.iter().any(|cell| cell.published.is_some()) {
        text += "   ↪ through this port of the host, which is published";
    }
    let Some(probes) = &picture.probes else { return text + "\n" };
    let wrong: Vec<&Probed> = probes.iter().filter(|p| p.agrees == Some(false)).collect();
    text += "   ✓ real packets agree   ✗ they do not   ? cannot be told\n";
    text += &format!("{} connections probed, ", probes.len());
    text += &match wrong.len() {
        0 => paint.good("every one is as declared"),
        n => paint.bad(&format!("{n} differ")),
    };
    text += "\n";
    for probe in wrong {
        text += &format!(
            "  {} → {} {}: declared {}, observed {}\n",
            probe.from,
            probe.to,
            probe.service,
            probe.declared,
            probe.observed.as_str()
        );
    }
    text
}

/// Every workload, and what else occurs in an open pair.
pub(crate) fn shown_parties(matrix: &Matrix) -> Vec<usize> {
    (0..matrix.parties.len())
        .filter(|index| matrix.parties[*index].workload.is_some() || is_named(matrix, *index))
        .collect()
}

/// Whether a policy has a say: one of the two is a workload, and nobody meets himself.
pub(crate) fn is_governed(matrix: &Matrix, from: usize, to: usize) -> bool {
    let is_workload = |at: usize| matrix.parties.get(at).is_some_and(|it| it.workload.is_some());
    from != to && (is_workload(from) || is_workload(to))
}

/// Whether host or world occur in any open pair.
fn is_named(matrix: &Matrix, index: usize) -> bool {
    matrix.cells.iter().any(|cell| cell.from as usize == index || cell.to as usize == index)
}

fn cell(picture: &Picture, from: usize, to: usize) -> String {
    let matrix = &picture.matrix;
    if !is_governed(matrix, from, to) {
        return String::new();
    }
    let open: Vec<String> = matrix
        .cells
        .iter()
        .filter(|cell| cell.from as usize == from && cell.to as usize == to)
        .map(|cell| {
            let way = if cell.published.is_some() { "↪" } else { "" };
            match cell.verdict {
                api::Verdict::Audit => format!("{way}{} (audit)", cell.service),
                _ => format!("{way}{}", cell.service),
            }
        })
        .collect();
    let text = if open.is_empty() { "·".to_owned() } else { open.join(" ") };
    let id = |index: usize| matrix.parties[index].workload.as_deref();
    let Some(probes) = &picture.probes else { return text };
    let mine: Vec<&Probed> = probes
        .iter()
        .filter(|probe| Some(probe.from.as_str()) == id(from) && Some(probe.to.as_str()) == id(to))
        .collect();
    if mine.is_empty() {
        return text;
    }
    let mark = match (
        mine.iter().any(|p| p.agrees == Some(false)),
        mine.iter().all(|p| p.agrees.is_none()),
    ) {
        (true, _) => "✗",
        (false, true) => "?",
        (false, false) => "✓",
    };
    format!("{text} {mark}")
}
