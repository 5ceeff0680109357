//! Interleaved slices: every round gives each lane one slice, and every second round runs backwards.
//!
//! For two lanes that is A B B A …; for more, any two of them are still interleaved that way. The
//! slices of one round make the pairs whose ratios are judged ([`crate::stats`]).
//!
//! A rate is per second of *our* time: wall time less the time in which the load thread was ready
//! but the machine did something else. Pairs in which that was more than 3 % are flagged.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use testkit::Namespace;

use crate::arm::{Route, Seat};
use crate::load::Load;
use crate::machine::{Elsewhere, ksoftirqd, pin};

/// Share of a slice lost to other work above which its pair is flagged.
const DISTURBED: f64 = 0.03;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Length of one slice.
    pub slice: Duration,
    /// Rounds: pairs of any two lanes.
    pub rounds: usize,
    /// CPU all slices run on.
    pub cpu: usize,
}

/// One arm under one load.
pub struct Lane {
    /// How tables call it.
    pub label: String,
    /// Where the client's sockets are made.
    pub home: Namespace,
    /// The cgroup in which they are, should that tell whose they are.
    pub cgroup: Option<PathBuf>,
    /// The load.
    pub load: Box<dyn Load + Send>,
}

/// The rates of one lane, one a round.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// The lane's label.
    pub label: String,
    /// Units a second, one a round.
    pub rates: Vec<f64>,
    /// Which rounds were disturbed in this lane.
    pub disturbed: Vec<bool>,
    /// Units lost over all rounds.
    pub lost: u64,
}

/// Runs all rounds on a pinned thread after a warm-up slice of each lane.
///
/// # Errors
/// When a load fails; the message names its lane.
pub fn run(lanes: &mut [Lane], schedule: Schedule) -> Result<Vec<Series>> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run_here(lanes, schedule));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here(lanes: &mut [Lane], schedule: Schedule) -> Result<Vec<Series>> {
    pin(schedule.cpu)?;
    let softirqs = ksoftirqd(schedule.cpu);
    let mut series: Vec<Series> = lanes.iter().map(Series::empty).collect();
    for lane in lanes.iter_mut() {
        lane.slice(schedule.slice / 2, softirqs)?;
    }
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..schedule.rounds {
        for &i in &order {
            let (rate, lost, disturbed) = lanes[i].slice(schedule.slice, softirqs)?;
            series[i].rates.push(rate);
            series[i].lost += lost;
            series[i].disturbed.push(disturbed);
        }
        order.reverse();
    }
    Ok(series)
}

impl Lane {
    /// A load over a route.
    #[must_use]
    pub fn over(route: &Route, label: String, load: Box<dyn Load + Send>) -> Self {
        Self { label, home: route.client.clone(), cgroup: route.cgroup.clone(), load }
    }

    /// One slice on a thread of its own, pinned to `cpu`; gives the units that arrived.
    ///
    /// # Errors
    /// When the load fails.
    #[expect(clippy::cast_precision_loss, reason = "counts of a slice are far below 2^52")]
    pub fn measure(&mut self, time: Duration, cpu: usize) -> Result<f64> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                pin(cpu)?;
                self.home.enter()?;
                let _seat = Seat::take(self.cgroup.as_deref())?;
                Ok(self.load.slice(time)?.count as f64)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// One slice: units a second of the time that was ours, units lost, and whether other work
    /// took a share worth a flag.
    fn slice(&mut self, time: Duration, softirqs: Option<u32>) -> Result<(f64, u64, bool)> {
        self.home.enter()?;
        let _seat = Seat::take(self.cgroup.as_deref())?;
        let before = Elsewhere::now(softirqs);
        let slice = self.load.slice(time).with_context(|| format!("load of {}", self.label))?;
        let elsewhere = before.since().min(slice.elapsed / 10 * 9);
        let disturbed = elsewhere.as_secs_f64() > DISTURBED * slice.elapsed.as_secs_f64();
        Ok((slice.rate_over(slice.elapsed.saturating_sub(elsewhere)), slice.lost, disturbed))
    }
}

impl Series {
    fn empty(lane: &Lane) -> Self {
        Self { label: lane.label.clone(), rates: Vec::new(), disturbed: Vec::new(), lost: 0 }
    }
}
