//! B7r: from nothing to the first answer for what runtimes start: plugins of CNI, Podman, containerd, Docker, virtual machines.
//!
//! The ways of a family take turns, and each has a host of its own; that of the peer has no agent.

mod docker;
mod plugins;
mod taps;

use std::time::Duration;

use anyhow::{Context, Result};

use super::Run;
use super::attach::calm;
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B7r";
/// Containers and machines of each way; plugins alone are called more often.
const TIMES: usize = 30;
/// How long a server may take to answer.
const READY: Duration = Duration::from_secs(20);

/// What measures its ways.
type Family = fn(&mut Run) -> Result<()>;

/// One of a family.
trait Way {
    fn name(&self) -> &'static str;

    /// Starts one more, and the milliseconds until it was answered.
    fn one(&mut self, number: usize) -> Result<f64>;
}

/// Runs it; part of the full list.
///
/// # Errors
/// When a namespace cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    if run.quick {
        return Ok(());
    }
    eprintln!("{ID}: attach to first packet, by runtimes");
    let families: [(&str, Family); 5] = [
        ("CNI", plugins::alone),
        ("Podman", plugins::under_podman),
        ("containerd", plugins::under_containerd),
        ("Docker", docker::run),
        ("virtual machines", taps::run),
    ];
    for (place, (name, family)) in families.into_iter().enumerate() {
        if place > 0 {
            calm(Duration::from_mins(1))?;
        }
        if let Err(cause) = family(run) {
            run.report.gap(ID, name, format!("{cause:#}"));
        }
    }
    Ok(())
}

fn in_turns(run: &mut Run, ways: &mut [impl Way], times: usize, what: &str) -> Result<()> {
    let mut millis = vec![Vec::new(); ways.len()];
    for number in 0..times {
        for (way, millis) in ways.iter_mut().zip(&mut millis) {
            millis.push(way.one(number).with_context(|| way.name())?);
        }
    }
    let note = format!("ms, {what}; {times} times");
    for (way, millis) in ways.iter().zip(&millis) {
        for (word, part) in [("p50", 0.5), ("p99", 0.99)] {
            let value = percentile(millis, part);
            run.report.single(ID, &format!("{}: {word}", way.name()), value, Goal::None, &note);
        }
    }
    Ok(())
}
