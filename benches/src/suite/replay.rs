//! B8r: how long until ten million recorded flows are judged by another file.
//!
//! The flow store of an agent is filled with two weeks of hours; then the whole of `bulkhead replay` is timed: read the file, compile it, read every
//! record, judge each different flow once, answer. Half of what is recorded is let pass by some rule of the file.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use flow::hours::{Budget, HOUR, Hour, Reader};
use flow::{Decision, End, Kind, Protocol, Record};
use jiff::Timestamp;
use store::hours::{Hours, Keep};
use testkit::Lab;
use testkit::bulkhead::Bulkhead;
use verdict::Reason;

use super::Run;
use crate::fleet;
use crate::report::Goal;

/// Row of this module.
pub const ID: &str = "B8r";
/// Records of the row, in full and in quick mode.
const RECORDS: usize = 10_000_000;
const QUICK_RECORDS: usize = 1_000_000;
/// Rows of one hour: workloads, and flows of each.
const WORKLOADS: u32 = 500;
const FLOWS: u32 = 50;
/// Hours with flows of their own; the others repeat them.
const KINDS: usize = 4;
/// Rules of the file that judges.
const RULES: u32 = 1_000;

/// Runs it.
///
/// # Errors
/// When a namespace cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    let records = if run.quick { QUICK_RECORDS } else { RECORDS };
    eprintln!("{ID}: {records} recorded flows by another file");
    if let Err(cause) = judged(run, records) {
        run.report.gap(ID, super::OURS, format!("{cause:#}"));
    }
    Ok(())
}

fn judged(run: &mut Run, records: usize) -> Result<()> {
    let mut lab = Lab::new()?;
    let host = lab.namespace("replay")?;
    let mut bulkhead = Bulkhead::prepare(&lab, &host)?;
    let state = bulkhead.folders().state.clone();
    let (rows, bytes) = fill(&state.join("flows"), records).context("fill the flow store")?;
    bulkhead.start_agent()?;
    let file = state.join("other.yaml");
    fs::write(&file, fleet::file(WORKLOADS, RULES)).context("write the file")?;
    let file = file.display().to_string();
    let mut samples = Vec::new();
    for _ in 0..if run.quick { 2 } else { 5 } {
        let began = Instant::now();
        let done = bulkhead.cli(&["replay", &file, "--json"])?;
        let seconds = began.elapsed().as_secs_f64();
        let found: serde_json::Value = serde_json::from_str(&done.stdout)
            .with_context(|| format!("{} {}", done.stdout, done.stderr))?;
        if found["period"]["rows"].as_u64() < Some(rows) {
            bail!("of {rows} records {} were read", found["period"]["rows"]);
        }
        samples.push(seconds);
    }
    let note = format!("{} bytes a record on disk", bytes.div_ceil(rows));
    let what = format!("replay of {rows} records, s");
    let goal = if run.quick { Goal::None } else { Goal::AtMost(5.0) };
    run.report.measured(ID, &what, &samples, goal, &note);
    Ok(())
}

/// Fills a folder with hours until now; how many rows and bytes that are.
fn fill(folder: &std::path::Path, records: usize) -> Result<(u64, u64)> {
    let mut hours = Hours::open(folder, Keep { hours: 24 * 365, ..Keep::default() })?;
    let kinds: Vec<Vec<Vec<u8>>> = (0..KINDS).map(kind).collect();
    let rows = (WORKLOADS * FLOWS) as usize;
    let count = u32::try_from(records.div_ceil(rows)).context("fewer hours")?;
    let last = flow::hours::seconds(Timestamp::now()) / HOUR;
    for (hour, frames) in (last - count..last).zip(kinds.iter().cycle()) {
        // Times are told from the beginning of the hour, so that rows of one hour are those of another.
        let empty = Hour::new(hour, hour * HOUR, Budget::default());
        let mut own = empty.whole((hour + 1) * HOUR, 0, false);
        own.splice(1..1, frames.iter().cloned());
        hours.seal(hour, &own)?;
    }
    let bytes = hours.list()?.iter().map(|file| file.bytes).sum();
    Ok((u64::from(count) * rows as u64, bytes))
}

/// The frames of an hour without its beginning and its end.
fn kind(number: usize) -> Vec<Vec<u8>> {
    let mut hour = Hour::new(0, 0, Budget::default());
    for source in 0..WORKLOADS {
        for flow in 0..FLOWS {
            hour.add(&record(source, flow, u32::try_from(number).unwrap_or_default()));
        }
    }
    let frames = hour.whole(0, 0, false);
    let names = |frame: &Vec<u8>| Reader::has_names(frame) || Reader::has_rows(frame);
    frames.into_iter().filter(names).collect()
}

/// A flow between two workloads of the fleet; every other one is to a port that a rule names.
fn record(source: u32, flow: u32, kind: u32) -> Record {
    let app = source % 100;
    let n = app + 100 * (flow % 10);
    let target = (n / 100 * 7 + n + 1) % 100 + 100 * (flow / 10 % 5);
    let port = if flow.is_multiple_of(2) { 1_000 + n % 30_000 } else { 40_000 + kind };
    let end = |number: u32, port: u32| End {
        address: std::net::Ipv4Addr::from(0x0a00_0002 + number).into(),
        port: u16::try_from(port).unwrap_or_default(),
        workload: Some(Arc::from(format!("t0.w{number}"))),
        owner: None,
        identity: 0,
        identity_text: None,
    };
    Record {
        number: 0,
        at: Timestamp::from_second(i64::from(kind * 600 + flow)).unwrap_or_default(),
        kind: Kind::Open,
        decision: Decision::Allow,
        reason: Reason::None,
        rule: None,
        rule_id: 0,
        network: "t0.main".into(),
        endpoint: Some(Arc::from(format!("t0.w{source}"))),
        source: end(source, 30_000 + flow * 500 + kind),
        target: end(target, port),
        protocol: Protocol::Ip(6),
        icmp: None,
        ingress: false,
        mac: verdict::abi::Mac::default(),
        epoch: 0,
        repeats: 1,
        since: None,
        counts: None,
        duration_ms: None,
    }
}
