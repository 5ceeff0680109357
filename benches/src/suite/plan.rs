//! B6p: how long until it is known what a change of the file means for connections.
//!
//! In process, on the file of B6 with 10,000 workloads and 100,000 rules: one rule more; one label of a workload changed; a
//! posture that opens; and the first plan of all. Compiling is B6's, and not in these times.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use planner::{Allocations, Bundle, Facts, compile, diff};
use policy::Document;

use super::Run;
use super::attach::ms;
use crate::fleet;
use crate::report::Goal;

/// Row of this module.
pub const ID: &str = "B6p";
/// Workloads and rules, in full and in quick mode alike: this takes seconds.
const FLEET: (u32, u32) = (10_000, 100_000);

/// Runs it.
///
/// # Errors
/// When a file does not compile, which it does.
pub fn run(run: &mut Run) -> Result<()> {
    let (workloads, rules) = FLEET;
    eprintln!("{ID}: what a change means for {workloads} workloads under {rules} rules");
    let repeats = if run.quick { 3 } else { 15 };
    let text = fleet::file(workloads, rules);
    let before = compiled(&text)?;
    for (what, from, to) in CHANGES {
        let changed = text.replacen(from, to, 1);
        anyhow::ensure!(changed != text, "the file has no {from:?}");
        let after = compiled(&changed)?;
        measure(run, what, Some(&before), &after, repeats);
    }
    measure(run, "the first plan", None, &before, repeats);
    Ok(())
}

/// What changes, and how.
const CHANGES: [(&str, &str, &str); 3] = [
    (
        "one rule more",
        "    policies:\n",
        "    policies:\n      more: { from: app=a1, to: app=a2, allow: [22/tcp] }\n",
    ),
    ("one label", "labels: { app: a7, zone: z0 }", "labels: { app: a8, zone: z0 }"),
    (
        "a posture that opens",
        "main: { mode: nat, ",
        "main: { mode: nat, posture: { egress: allow }, ",
    ),
];

type State = (Document, Bundle);

fn measure(run: &mut Run, what: &str, before: Option<&State>, after: &State, repeats: usize) {
    let before = before.map(|(document, bundle)| (document, bundle));
    let mut times = Vec::with_capacity(repeats);
    let mut lines = (0, 0);
    for _ in 0..repeats {
        let start = Instant::now();
        let report = black_box(diff(before, (&after.0, &after.1)));
        times.push(ms(start));
        lines = (report.connections.len(), report.omitted);
    }
    let note = format!("ms; {} lines, {} pairs left out", lines.0, lines.1);
    run.report.measured(ID, what, &times, Goal::None, &note);
}

/// A file's document and what it compiles to.
///
/// # Errors
/// When it has a mistake.
pub(super) fn compiled(text: &str) -> Result<State> {
    let now = Timestamp::now();
    let source = policy::Source { name: "fleet.yaml", text };
    let limits = policy::Limits::for_bytes(policy::Limits::MAX_BYTES);
    let checked = policy::load(&source, &|_| None, &limits, now)
        .map_err(|found| anyhow::anyhow!("{found}"))?;
    let facts = Facts { addresses: Vec::new(), now, jiffies_per_second: 250 };
    let bundle = compile(&checked.document, &Allocations::default(), &facts).context("compile")?;
    Ok((checked.document, bundle))
}
