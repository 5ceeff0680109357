//! B2: nanoseconds a packet inside our programs, as the kernel itself counts them.
//!
//! `kernel.bpf_stats_enabled` makes the kernel add up run time and runs of every program
//! (`kernel/bpf/syscall.c`); the difference over a slice of load is the cost. Reading the clock
//! twice a run is part of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::Namespace;
use testkit::packet::Frame;

use super::{AnyArm, Run, lane_with};
use crate::arm::Arm;
use crate::arms::Ours;
use crate::load::{ALLOWED_PORTS, Connects, Datagrams, Load, NewFlows, Opener};
use crate::report::Goal;
use crate::rounds::Lane;

/// Row of this module.
pub const ID: &str = "B2";
/// The switch of run-time statistics.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Size of `struct __sk_buff`, and where its `ifindex` is.
const SK_BUFF_BYTES: usize = 192;
const SK_BUFF_IFINDEX: usize = 40;
/// Runs of one test run.
const TEST_RUNS: &str = "200000";
/// Our programs at the two hooks.
const PROGRAMS: [&str; 2] = ["from_endpoint", "to_endpoint"];

/// Runs it.
///
/// # Errors
/// When our arm gives a wrong verdict.
pub fn run(run: &mut Run) -> Result<()> {
    eprintln!("{ID}: run time of our programs");
    let ours = match Ours::stand() {
        Ok(ours) => ours,
        Err(cause) => {
            run.report.gap(ID, "run time of our programs", format!("{cause:#}"));
            return Ok(());
        }
    };
    let pins = PROGRAMS.map(|name| ours.pinned_program(name));
    let [Ok(from), Ok(to)] = pins else {
        run.report.gap(ID, "run time of our programs", "their pins were not found");
        return Ok(());
    };
    if let Err(cause) = test_run(run, &ours, [&from, &to]) {
        run.report.gap(ID, "established, by test run", format!("{cause:#}"));
    }
    let arm: AnyArm = Box::new(ours);
    let statistics = Statistics::switch_on()?;
    let loads: [(&str, Goal, Opener); 3] = [
        ("established, udp", Goal::AtMost(150.0), |r| Ok(Box::new(Datagrams::open(r)?))),
        ("new flow, udp", Goal::AtMost(2000.0), |r| Ok(Box::new(NewFlows::open(r)?))),
        ("connections, all their packets", Goal::None, |r| Ok(Box::new(Connects::open(r)?))),
    ];
    for (name, goal, open) in loads {
        let mut lane = lane_with(&arm, open)?;
        one(run, &mut lane, &[("from_endpoint", &from), ("to_endpoint", &to)], name, goal)?;
    }
    drop(statistics);
    Ok(())
}

fn one(
    run: &mut Run,
    lane: &mut Lane,
    programs: &[(&str, &PathBuf)],
    load: &str,
    goal: Goal,
) -> Result<()> {
    let rounds = if run.quick { 9 } else { 31 };
    let mut samples = vec![Vec::new(); programs.len()];
    for _ in 0..rounds {
        let before = read_all(programs)?;
        let slice = lane.measure(Duration::from_millis(100), run.cpu)?;
        for ((list, old), new) in samples.iter_mut().zip(before).zip(read_all(programs)?) {
            let runs = new.runs - old.runs;
            if runs >= slice / 10.0 {
                list.push((new.nanos - old.nanos) / runs);
            }
        }
    }
    for ((name, _), list) in programs.iter().zip(samples) {
        if list.is_empty() {
            run.report.gap(ID, &format!("{name}: {load}"), "not on this path");
        } else {
            run.report.measured(ID, &format!("{name}: {load}"), &list, goal, "ns a run");
        }
    }
    Ok(())
}

/// The established path alone, by `BPF_PROG_TEST_RUN`: one datagram of a flow that was allowed, as its sender's hook
/// and as its receiver's sees it.
fn test_run(run: &mut Run, ours: &Ours, [from, to]: [&Path; 2]) -> Result<()> {
    let route = ours.route();
    let mut load = Datagrams::open(route)?;
    load.batch()?;
    let datagram = Frame::new(route.client.mac("eth0")?, route.server.mac("eth0")?)
        .ip(route.client_address, route.address)
        .udp(*ALLOWED_PORTS.start() + 1, *ALLOWED_PORTS.start())
        .payload(&[0; 22]);
    let packet = ours.bulkhead().folders().state.join("packet.bin");
    std::fs::write(&packet, datagram.bytes()).context("write the packet")?;
    let empty = ours.pinned_program("empty")?;
    let goal = Goal::AtMost(150.0);
    for (name, pin, space, goal) in [
        ("an empty program, by test run", empty.as_path(), &route.client, Goal::None),
        ("from_endpoint: established, by test run", from, &route.client, goal),
        ("to_endpoint: established, by test run", to, &route.server, goal),
    ] {
        let context = ours.bulkhead().folders().state.join("context.bin");
        std::fs::write(&context, context_of(host_side(space)?)).context("write the context")?;
        let rounds = if run.quick { 9 } else { 31 };
        let (samples, returned) = repeated(ours, [pin, &packet, &context], rounds)?;
        run.report.measured(ID, name, &samples, goal, &format!("ns a run, returned {returned}"));
    }
    Ok(())
}

/// Nanoseconds a run of a program on a packet, one sample a round, and what it returned.
fn repeated(ours: &Ours, files: [&Path; 3], rounds: u32) -> Result<(Vec<f64>, i64)> {
    let router = ours.router()?;
    let [pin, packet, context] = files.map(|path| path.display().to_string());
    let argv = [
        "bpftool",
        "-j",
        "prog",
        "run",
        "pinned",
        &pin,
        "data_in",
        &packet,
        "data_out",
        "/dev/null",
        "ctx_in",
        &context,
        "ctx_out",
        "/dev/null",
        "repeat",
        TEST_RUNS,
    ];
    let mut samples = Vec::new();
    let mut returned = 0;
    for _ in 0..rounds {
        let shown: Value = serde_json::from_str(&router.check(&argv)?.stdout)?;
        samples.push(shown["duration"].as_f64().context("no duration")?);
        returned = shown["retval"].as_i64().unwrap_or_default();
    }
    Ok((samples, returned))
}

/// Index of the host side of a workload's `eth0`.
fn host_side(space: &Namespace) -> Result<u32> {
    let shown = space.check(&["ip", "-j", "link", "show", "dev", "eth0"])?.stdout;
    let links: Value = serde_json::from_str(&shown).context("parse ip -j link")?;
    let index = links[0]["link_index"].as_u64().context("a veth without a peer")?;
    u32::try_from(index).context("an interface number out of range")
}

/// A `struct __sk_buff` (`linux/bpf.h`) with only its `ifindex` set.
fn context_of(interface: u32) -> Vec<u8> {
    let mut bytes = vec![0; SK_BUFF_BYTES];
    bytes[SK_BUFF_IFINDEX..SK_BUFF_IFINDEX + 4].copy_from_slice(&interface.to_ne_bytes());
    bytes
}

/// What the kernel counted for one program.
struct Counted {
    nanos: f64,
    runs: f64,
}

fn read_all(programs: &[(&str, &PathBuf)]) -> Result<Vec<Counted>> {
    programs.iter().map(|(_, pin)| read(pin)).collect()
}

fn read(pin: &Path) -> Result<Counted> {
    let mut command = std::process::Command::new("bpftool");
    command.args(["-j", "prog", "show", "pinned"]).arg(pin);
    let done = testkit::run_with_deadline(&mut command, None, Duration::from_secs(10))?;
    let shown: Value =
        serde_json::from_str(&done.success()?.stdout).context("parse bpftool's answer")?;
    let number = |key: &str| shown[key].as_f64().unwrap_or_default();
    Ok(Counted { nanos: number("run_time_ns"), runs: number("run_cnt") })
}

/// Run-time statistics, on while this lives; as they were before afterwards.
struct Statistics(String);

impl Statistics {
    fn switch_on() -> Result<Self> {
        let before = std::fs::read_to_string(SWITCH).context("read bpf_stats_enabled")?;
        std::fs::write(SWITCH, "1").context("switch BPF run-time statistics on")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _stays_on = std::fs::write(SWITCH, self.0.trim());
    }
}
