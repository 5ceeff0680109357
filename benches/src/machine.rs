//! The machine under the numbers: which CPU is used, and what else ran while we measured.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// Highest priority of ordinary scheduling; every arm gets it alike.
const NICE: i32 = -20;

/// Pins the calling thread to `cpu` and raises its priority, so that other work disturbs less.
///
/// # Errors
/// When there is no such CPU. A refused priority is not an error.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).context("a CPU number out of range")?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pin to CPU {cpu}"))?;
    let _without_privilege = rustix::process::setpriority_process(None, NICE);
    Ok(())
}

/// Number of CPUs of this machine.
#[must_use]
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Facts that go into every result file.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Kernel release.
    pub kernel: String,
    /// Model name of the CPU.
    pub cpu: String,
    /// Number of CPUs.
    pub cpus: usize,
    /// Load average (1 minute) when it was read.
    pub load_1m: f64,
    /// `some avg10` of CPU pressure, percent.
    pub cpu_pressure_avg10: f64,
    /// Ticks stolen by the hypervisor since boot.
    pub steal_ticks: u64,
}

/// Reads the facts; what cannot be read is empty or 0.
#[must_use]
pub fn facts() -> Facts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Facts {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
        cpus: cpus(),
        load_1m: first_number(&read("/proc/loadavg")),
        cpu_pressure_avg10: read("/proc/pressure/cpu")
            .split_once("avg10=")
            .map_or(0.0, |(_, rest)| first_number(rest)),
        steal_ticks: steal(&read("/proc/stat")),
    }
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// The eighth number of the `cpu` line (`proc_stat(5)`).
fn steal(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    line.split_whitespace().nth(8).and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Raises the scheduling group of this session while it lives (sched(7), autogroup).
///
/// With autogrouping a nice value counts only within a session, so the session itself is raised.
#[derive(Debug)]
pub struct RaisedSession(Option<String>);

/// The session's scheduling group.
const AUTOGROUP: &str = "/proc/self/autogroup";

impl RaisedSession {
    /// Raises it; does nothing where the kernel has no such thing.
    #[must_use]
    pub fn raise() -> Self {
        let shown = std::fs::read_to_string(AUTOGROUP).unwrap_or_default();
        let before = shown.trim().rsplit_once("nice ").map(|(_, nice)| nice.to_owned());
        let raised = std::fs::write(AUTOGROUP, NICE.to_string()).is_ok();
        Self(before.filter(|_| raised))
    }
}

impl Drop for RaisedSession {
    fn drop(&mut self) {
        if let Some(nice) = self.0.take() {
            let _stays_raised = std::fs::write(AUTOGROUP, nice);
        }
    }
}

/// Pid of the softirq thread of `cpu`, where it can be seen.
#[must_use]
pub fn ksoftirqd(cpu: usize) -> Option<u32> {
    let name = format!("ksoftirqd/{cpu}");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        (comm.trim() == name).then_some(pid)
    })
}

/// What the calling thread's CPU did for others: counters to be compared before and after a slice.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    waited: Duration,
    softirq: Duration,
    stolen: Duration,
    ksoftirqd: Option<u32>,
}

impl Elsewhere {
    /// Reads the counters of the calling thread and of the softirq thread of its CPU.
    #[must_use]
    pub fn now(ksoftirqd: Option<u32>) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let softirq = ksoftirqd.map(|pid| schedstat(&format!("/proc/{pid}/schedstat")));
        Self {
            waited: schedstat("/proc/thread-self/schedstat").1,
            softirq: softirq.unwrap_or_default().0,
            stolen: Duration::from_millis(10 * steal(&stat)),
            ksoftirqd,
        }
    }

    /// Time since `self` in which the calling thread was runnable but did not run, less what the
    /// softirq thread did meanwhile (that was its packets).
    #[must_use]
    pub fn since(self) -> Duration {
        let now = Self::now(self.ksoftirqd);
        let waited = now.waited.saturating_sub(self.waited);
        let stolen = now.stolen.saturating_sub(self.stolen);
        waited.saturating_sub(now.softirq.saturating_sub(self.softirq)) + stolen
    }
}

/// (time run, time runnable but not running) of a thread (`Documentation/scheduler/sched-stats.rst`).
fn schedstat(path: &str) -> (Duration, Duration) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|n| n.parse().map_or(0, |n| n));
    let mut next = || Duration::from_nanos(numbers.next().unwrap_or_default());
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number() {
        assert_eq!(steal("cpu  1 2 3 4 5 6 7 42 9 10\ncpu0 1"), 42);
        assert_eq!(steal(""), 0);
    }
}
