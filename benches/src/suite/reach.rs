//! B6r: how long until it is known who can open which flows to whom, and how much memory that takes.
//!
//! In process: the file of B6, of 10,000 workloads and 100,000 rules, is compiled and cut into disjoint classes; and the shop
//! that comes as an example. Memory is the most that this process had resident from reading the file on, with the file,
//! the document and the tables in it.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use planner::{Bundle, Reachability, reachability};

use super::Run;
use super::attach::ms;
use super::plan::compiled;
use crate::fleet;
use crate::report::Goal;

/// Row of this module.
pub const ID: &str = "B6r";
/// Workloads and rules, in full and in quick mode alike: this takes seconds.
const FLEET: (u32, u32) = (10_000, 100_000);
/// The example, as it is in the repository.
const SHOP: &str = include_str!("../../../examples/shop.yaml");
/// Most bytes resident.
const MEMORY_MIB: f64 = 1024.0;

/// Runs it.
///
/// # Errors
/// When a file does not compile, which it does.
pub fn run(run: &mut Run) -> Result<()> {
    let (workloads, rules) = FLEET;
    eprintln!("{ID}: who can reach whom of {workloads} workloads under {rules} rules");
    let repeats = if run.quick { 3 } else { 7 };
    let text = fleet::file(workloads, rules);
    let size = format!("{workloads} workloads, {rules} rules");
    let peak = Peak::begin();
    let (_, bundle) = compiled(&text)?;
    let (times, found) = timed(&bundle, repeats);
    let note = format!(
        "ms; {} groups, {} pairs, {} different spaces",
        found.groups().len(),
        found.pairs().len(),
        found.spaces()
    );
    run.report.measured(ID, &format!("classes: {size}"), &times, Goal::AtMost(10_000.0), &note);
    match peak.and_then(Peak::end) {
        Ok(mib) => {
            let what = format!("memory: {size}");
            run.report.single(ID, &what, mib, Goal::AtMost(MEMORY_MIB), "MiB resident at most");
        }
        Err(cause) => run.report.gap(ID, "memory", format!("{cause:#}")),
    }
    drop((bundle, found));
    let (_, shop) = compiled(SHOP)?;
    let (times, _) = timed(&shop, 101);
    run.report.measured(ID, "classes: examples/shop.yaml", &times, Goal::AtMost(5.0), "ms");
    Ok(())
}

/// Milliseconds of each repeat, and what was found.
fn timed(bundle: &Bundle, repeats: usize) -> (Vec<f64>, Reachability) {
    let mut times = Vec::with_capacity(repeats);
    let mut found = Reachability::default();
    for _ in 0..repeats {
        drop(std::mem::take(&mut found));
        let start = Instant::now();
        found = reachability(bundle);
        times.push(ms(start));
    }
    (times, found)
}

/// The most memory that this process has resident from its beginning on (proc(5), `VmHWM`).
struct Peak;

impl Peak {
    /// Forgets what was before.
    fn begin() -> Result<Self> {
        // 5 resets the peak (Documentation/filesystems/proc.rst).
        fs::write("/proc/self/clear_refs", "5").context("reset the peak of memory")?;
        Ok(Self)
    }

    /// In MiB.
    #[expect(clippy::unused_self, reason = "there is no end without a beginning")]
    fn end(self) -> Result<f64> {
        let status = fs::read_to_string("/proc/self/status").context("read the peak of memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
        Ok(kib.parse::<f64>().context("a number of kB")? / 1024.0)
    }
}
