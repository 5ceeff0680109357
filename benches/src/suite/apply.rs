//! B6: how long until many rules are in force, and how long until one small change is.
//!
//! First in process, as the row says: a file of 10,000 workloads and 100,000 rules is compiled and its tables are written
//! to the kernel's maps; then one label at a time changes. Peers load as many rules with their own tools; the limit is
//! one batch of as many entries into one map. Last the whole of `bulkhead up` with one workload: read the file, check,
//! compile, compare, write, remember and answer.

use std::time::Instant;

use anyhow::{Context, Result};
use host::linux::bpf::{Datapath, Limits, batch_write};
use host::linux::rcu::Expedited;
use jiff::Timestamp;
use model::{LabelKey, LabelValue, Labels};
use planner::{Allocations, Compiler, Facts};
use testkit::Lab;
use testkit::bulkhead::Bulkhead;

use super::Run;
use super::attach::ms;
use crate::arms::Rules;
use crate::arms::ours::rules_file;
use crate::arms::rules::{self, Ends};
use crate::fleet;
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B6";
/// Workloads and rules of the row, in process.
const FLEET: (u32, u32) = (10_000, 100_000);
/// Rules of the whole command and of the peers, in full and in quick mode.
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
    let (workloads, all) = FLEET;
    eprintln!("{ID}: {workloads} workloads and {all} rules into force");
    if let Err(cause) = in_process(run, if run.quick { 2 } else { 5 }) {
        run.report.gap(ID, "compile and apply", format!("{cause:#}"));
    }
    limit(run, all, repeats);
    peers(run, rules, repeats)?;
    if let Err(cause) = ours(run, rules, repeats) {
        run.report.gap(ID, super::OURS, format!("{cause:#}"));
    }
    Ok(())
}

/// One datapath with maps of its own, and what is measured on it.
struct Bench {
    lab: Lab,
    facts: Facts,
    text: String,
}

/// Milliseconds of one time through everything.
struct Times {
    load: f64,
    compile: f64,
    check: f64,
    write: f64,
}

impl Bench {
    fn new() -> Result<Self> {
        let (workloads, rules) = FLEET;
        let facts = Facts { addresses: Vec::new(), now: Timestamp::now(), jiffies_per_second: 250 };
        Ok(Self { lab: Lab::new()?, facts, text: fleet::file(workloads, rules) })
    }

    fn datapath(&self) -> Result<Datapath> {
        let folder = self.lab.dir().join("b6-bpf");
        Datapath::open(&folder, &Limits::default()).context("open programs and maps")
    }

    fn clear(&self) -> Result<()> {
        Datapath::remove_all(&self.lab.dir().join("b6-bpf")).context("remove the maps")
    }

    /// From the text to full maps.
    fn whole(&self, datapath: &mut Datapath) -> Result<(Times, Compiler)> {
        let source = policy::Source { name: "fleet.yaml", text: &self.text };
        let limits = policy::Limits::for_bytes(policy::Limits::MAX_BYTES);
        let start = Instant::now();
        let checked = policy::load(&source, &|_| None, &limits, self.facts.now)
            .map_err(|found| anyhow::anyhow!("{found}"))?;
        let load = ms(start);
        let start = Instant::now();
        let compiler = Compiler::new(checked.document, &Allocations::default(), &self.facts)
            .context("compile")?;
        let compile = ms(start);
        let start = Instant::now();
        let faults = planner::check(compiler.bundle(), &room()?);
        anyhow::ensure!(faults.is_empty(), "the bundle is not sound: {}", faults[0]);
        let check = ms(start);
        let _quick = Expedited::begin();
        let start = Instant::now();
        datapath.apply(&compiler.bundle().tables).context("write the maps")?;
        Ok((Times { load, compile, check, write: ms(start) }, compiler))
    }

    /// Gives one workload after the other the labels of another application; milliseconds until a change was in force,
    /// and until it was over.
    fn changes(datapath: &mut Datapath, compiler: &mut Compiler) -> Result<[Vec<f64>; 2]> {
        let (mut effective, mut over) = (Vec::new(), Vec::new());
        for at in 0..100 {
            let id = format!("t{}.w{}", at % 20, at * 5);
            let labels = labels(&format!("a{}", (at * 5 + 37) % 100), "z1")?;
            let _quick = Expedited::begin();
            let start = Instant::now();
            compiler.relabel(&id, labels).context("relabel")?;
            let decided = ms(start);
            let done = datapath.apply(&compiler.bundle().tables).context("write the change")?;
            over.push(ms(start));
            effective.push(decided + done.effective.as_secs_f64() * 1e3);
            anyhow::ensure!(!done.is_unchanged(), "the labels of {id} changed nothing");
        }
        Ok([effective, over])
    }
}

/// What the maps hold.
fn room() -> Result<planner::Limits> {
    let maps = Limits::default();
    let sizes = [maps.peers, maps.rows, maps.ports, maps.limits];
    let [exact, rows, ports, limits] = sizes.map(usize::try_from);
    let exact = exact?;
    Ok(planner::Limits { exact, prefixes: exact, rows: rows?, ports: ports?, limits: limits? })
}

fn labels(app: &str, zone: &str) -> Result<Labels> {
    let mut labels = Labels::new();
    for (key, value) in [("app", app), ("zone", zone)] {
        labels.insert(LabelKey::new(key)?, LabelValue::new(value)?);
    }
    Ok(labels)
}

/// The row as the list of benchmarks has it.
fn in_process(run: &mut Run, repeats: usize) -> Result<()> {
    let bench = Bench::new()?;
    let mut all = Vec::new();
    let mut last = None;
    for _ in 0..repeats {
        drop(last.take());
        bench.clear()?;
        let mut datapath = bench.datapath()?;
        let (times, compiler) = bench.whole(&mut datapath)?;
        all.push(times);
        last = Some((datapath, compiler));
    }
    let (workloads, rules) = FLEET;
    let of = |part: fn(&Times) -> f64| all.iter().map(part).collect::<Vec<f64>>();
    let size = format!("{workloads} workloads, {rules} rules");
    let what = format!("compile + apply: {size}");
    let sum = of(|times| times.compile + times.write);
    run.report.measured(ID, &what, &sum, Goal::AtMost(2000.0), "ms, maps written");
    let parts: [(&str, Vec<f64>); 4] = [
        ("parse, check and lint", of(|times| times.load)),
        ("compile", of(|times| times.compile)),
        ("second look at the bundle", of(|times| times.check)),
        ("write the maps", of(|times| times.write)),
    ];
    for (part, samples) in parts {
        run.report.measured(ID, &format!("{part}: {size}"), &samples, Goal::None, "ms");
    }
    let Some((mut datapath, mut compiler)) = last else { return Ok(()) };
    let [effective, over] = Bench::changes(&mut datapath, &mut compiler)?;
    let verified = datapath.verify(&compiler.bundle().tables).context("compare with the maps")?;
    anyhow::ensure!(
        verified.is_unchanged() && verified.drift == 0,
        "the maps differ: {verified:?}"
    );
    for (quantile, name, goal) in [(0.5, "p50", Goal::None), (0.99, "p99", Goal::AtMost(20.0))] {
        let what = format!("one label change: {size}: {name}");
        let (over, effective) = (percentile(&over, quantile), percentile(&effective, quantile));
        let note = format!("ms, maps written; in force after {effective:.3} ms");
        run.report.single(ID, &what, over, goal, &note);
    }
    drop(datapath);
    bench.clear()
}

/// What the kernel needs to take as many entries.
fn limit(run: &mut Run, entries: u32, repeats: usize) {
    let samples: Result<Vec<f64>, _> =
        (0..repeats).map(|_| batch_write(entries).map(|time| time.as_secs_f64() * 1e3)).collect();
    let what = format!("batch write of {entries} entries");
    match samples {
        Ok(samples) => run.report.measured(ID, &what, &samples, Goal::None, "ms, the limit"),
        Err(cause) => run.report.gap(ID, &what, cause),
    }
}

fn peers(run: &mut Run, count: u32, repeats: usize) -> Result<()> {
    let ends = Ends { client: ENDS.0.into(), server: ENDS.1.into() };
    let list = Rules::by_address(count);
    let inputs: [(&str, &[&str], String); 3] = [
        ("nft -f, one set", &["nft", "-f", "-"], rules::nft_set(ends, list) + "\n"),
        ("nft -f, linear rules", &["nft", "-f", "-"], rules::nft_linear(ends, list) + "\n"),
        ("iptables-restore", &["iptables-restore"], rules::iptables_linear(ends, list)),
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
    bulkhead.up(&rules_file(&client, Rules::by_address(1)))?;
    let (mut whole, mut compile) = (Vec::new(), Vec::new());
    for i in 0..repeats {
        let file = rules_file(&client, Rules::by_address(count));
        let start = Instant::now();
        let path = bulkhead.up(&file)?;
        whole.push(ms(start));
        let start = Instant::now();
        let path = path.to_str().unwrap_or_default();
        bulkhead.cli(&["policy", "check", path])?.success()?;
        compile.push(ms(start));
        if i + 1 < repeats {
            bulkhead.up(&rules_file(&client, Rules::by_address(1)))?;
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
