//! B6: how long until many rules are in force, and how long until one small change is.
//!
//! Peers load the same rules with their own tools; ours goes through the whole of `bulkhead up`:
//! parse, check, compile, plan, write, and answer.

use std::time::Instant;

use anyhow::Result;
use testkit::Lab;
use testkit::bulkhead::Bulkhead;

use super::Run;
use super::attach::ms;
use crate::arms::ours::uplink_file;
use crate::arms::rules::{self, Ends};
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B6";
/// Rules of the large file, in full and in quick mode.
const RULES: u32 = 100_000;
const QUICK_RULES: u32 = 20_000;
/// The two ends, as in the other suites.
const ENDS: ([u8; 4], [u8; 4]) = ([10, 77, 0, 2], super::super::arms::uplink::SERVER);

/// Runs it.
///
/// # Errors
/// When a namespace cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    let (rules, repeats) = if run.quick { (QUICK_RULES, 3) } else { (RULES, 5) };
    eprintln!("{ID}: {rules} rules into force");
    peers(run, rules, repeats)?;
    if let Err(cause) = ours(run, rules, repeats) {
        run.report.gap(ID, super::OURS, format!("{cause:#}"));
    }
    Ok(())
}

fn peers(run: &mut Run, count: u32, repeats: usize) -> Result<()> {
    let ends = Ends { client: ENDS.0.into(), server: ENDS.1.into() };
    let inputs: [(&str, &[&str], String); 3] = [
        ("nft -f, one set", &["nft", "-f", "-"], rules::nft_set(ends, count) + "\n"),
        ("nft -f, linear rules", &["nft", "-f", "-"], rules::nft_linear(ends, count) + "\n"),
        ("iptables-restore", &["iptables-restore"], rules::iptables_linear(ends, count)),
    ];
    for (name, argv, input) in inputs {
        let mut samples = Vec::new();
        for _ in 0..repeats {
            let mut lab = Lab::new()?;
            let host = lab.namespace("host")?;
            let start = Instant::now();
            host.command_with_input(argv, Some(input.as_bytes()))?.success()?;
            samples.push(ms(start));
        }
        let what = format!("{name}: {count} rules");
        run.report.measured(ID, &what, &samples, Goal::None, "ms");
    }
    Ok(())
}

fn ours(run: &mut Run, count: u32, repeats: usize) -> Result<()> {
    let mut lab = Lab::new()?;
    let (host, client) = (lab.namespace("host")?, lab.namespace("client")?);
    let bulkhead = Bulkhead::start(&lab, &host)?;
    bulkhead.up(&uplink_file(&client, 1))?;
    let (mut whole, mut compile) = (Vec::new(), Vec::new());
    for i in 0..repeats {
        let file = uplink_file(&client, count);
        let start = Instant::now();
        let path = bulkhead.up(&file)?;
        whole.push(ms(start));
        let start = Instant::now();
        let path = path.to_str().unwrap_or_default();
        bulkhead.cli(&["policy", "check", path])?.success()?;
        compile.push(ms(start));
        if i + 1 < repeats {
            bulkhead.up(&uplink_file(&client, 1))?;
        }
    }
    let what = format!("bulkhead up: {count} rules");
    let goal = if count == RULES { Goal::AtMost(2000.0) } else { Goal::None };
    run.report.measured(ID, &what, &whole, goal, "ms, whole command");
    let what = format!("bulkhead policy check: {count} rules");
    run.report.measured(ID, &what, &compile, Goal::None, "ms, of which parse and check");
    label_change(run, &bulkhead, count)
}

/// One workload's label changes while all rules are in force.
fn label_change(run: &mut Run, bulkhead: &Bulkhead, rules: u32) -> Result<()> {
    let count = if run.quick { 15 } else { 100 };
    let mut samples = Vec::new();
    for i in 0..count {
        let label = format!("revision=r{}", i % 2);
        let start = Instant::now();
        bulkhead.cli(&["workload", "label", "bench/client", &label])?.success()?;
        samples.push(ms(start));
    }
    let what = format!("one label change among {rules} rules: p99");
    run.report.single(
        ID,
        &what,
        percentile(&samples, 0.99),
        Goal::AtMost(20.0),
        "ms, whole command",
    );
    Ok(())
}
