//! B7: from nothing to the first packet: namespace, veth, address, policy, echo; then removal.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::bulkhead::Bulkhead;
use testkit::server::{Reached, UdpEcho, probe_udp};
use testkit::{Lab, Namespace};

use super::Run;
use crate::arms::ours::allow_load;
use crate::cni::Cni;
use crate::load::ALLOWED_PORTS;
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B7";
/// Address of our server.
pub(super) const SERVER: [u8; 4] = [10, 88, 0, 2];
/// Most endpoints that are attached one by one.
const MOST_SINGLE: usize = 200;
/// How long the first packet may take.
const FIRST_PACKET: Duration = Duration::from_secs(2);

/// Runs it.
///
/// # Errors
/// When namespaces cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    eprintln!("{ID}: attach to first packet");
    let count = if run.quick { 30 } else { 1000 };
    if let Err(cause) = cni(run, count.min(MOST_SINGLE)) {
        run.report.gap(ID, "CNI bridge + firewall", format!("{cause:#}"));
    }
    calm(Duration::from_secs(if run.quick { 10 } else { 60 }))?;
    if let Err(cause) = ours(run, count) {
        run.report.gap(ID, super::OURS, format!("{cause:#}"));
    }
    Ok(())
}

/// Waits until the kernel has taken the namespaces of the peer apart: it holds the lock of all network configuration again
/// and again meanwhile.
pub(super) fn calm(longest: Duration) -> Result<()> {
    let mut lab = Lab::new()?;
    let space = lab.namespace("calm")?;
    let began = Instant::now();
    let mut quick = 0;
    while quick < 5 && began.elapsed() < longest {
        let start = Instant::now();
        space.ip("link add one type veth peer name two\nlink del one")?;
        quick = if start.elapsed() < Duration::from_millis(15) { quick + 1 } else { 0 };
    }
    Ok(())
}

fn cni(run: &mut Run, count: usize) -> Result<()> {
    let mut lab = Lab::new()?;
    let host = lab.namespace("host")?;
    host.sysctl("net.ipv4.ip_forward", "1")?;
    host.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
    host.check(&["iptables", "-P", "FORWARD", "DROP"])?;
    let cni = Cni::bridge_and_firewall(&host, lab.dir())?;
    let server = lab.bare_namespace("server")?;
    let serving = cni.add(&server)?;
    let at = SocketAddr::new(serving.address()?, *ALLOWED_PORTS.start());
    let _echo = UdpEcho::start(&server, at)?;
    let (mut millis, mut attached) = (Vec::new(), Vec::new());
    for i in 0..count {
        let start = Instant::now();
        let space = lab.bare_namespace(&format!("w{i}"))?;
        attached.push(cni.add(&space)?);
        first_packet(&space, at)?;
        millis.push(ms(start));
    }
    let removal = Instant::now();
    for attachment in &attached {
        cni.del(attachment)?;
    }
    record(run, "CNI bridge + firewall", &millis, ms(removal), Goal::None);
    Ok(())
}

/// One workload more in the file each time, then all of them at once, then none.
fn ours(run: &mut Run, count: usize) -> Result<()> {
    let mut lab = Lab::new()?;
    let (host, server) = (lab.namespace("host")?, lab.bare_namespace("server")?);
    let bulkhead = Bulkhead::start(&lab, &host)?;
    bulkhead.up(&file(&server, &[]))?;
    let at = SocketAddr::new(SERVER.into(), *ALLOWED_PORTS.start());
    let _echo = UdpEcho::start(&server, at)?;
    let (mut millis, mut spaces) = (Vec::new(), Vec::new());
    for i in 0..count.min(MOST_SINGLE) {
        let start = Instant::now();
        let space = lab.bare_namespace(&format!("w{i}"))?;
        spaces.push(space.clone());
        bulkhead.up(&file(&server, &spaces))?;
        first_packet(&space, at)?;
        millis.push(ms(start));
    }
    let removal = Instant::now();
    bulkhead.up(&file(&server, &[]))?;
    record(run, super::OURS, &millis, ms(removal), Goal::AtMost(20.0));
    let many = if run.quick { 100 } else { 1000 };
    let spaces: Result<Vec<Namespace>> =
        (0..many).map(|i| lab.bare_namespace(&format!("m{i}"))).collect();
    let spaces = spaces?;
    let start = Instant::now();
    bulkhead.up(&file(&server, &spaces))?;
    let last = spaces.last().context("at least one endpoint")?;
    first_packet(last, at)?;
    let seconds = start.elapsed().as_secs_f64();
    let goal = if many == 1000 { Goal::AtMost(8.0) } else { Goal::None };
    let what = format!("{}: {many} endpoints in one change", super::OURS);
    run.report.single(ID, &what, seconds, goal, "s, to the last one's first packet");
    let removal = Instant::now();
    bulkhead.up(&file(&server, &[]))?;
    let what = format!("{}: removal of {many} in one change", super::OURS);
    run.report.single(ID, &what, removal.elapsed().as_secs_f64(), Goal::None, "s");
    Ok(())
}

/// A file with the server and `spaces` as workloads that may reach it.
pub(super) fn file(server: &Namespace, spaces: &[Namespace]) -> String {
    let [a, b, c, d] = SERVER;
    let mut text = format!(
        "bulkhead: 1
tenants:
  bench:
    networks:
      main: {{ mode: bridge, subnets: [10.88.0.0/16] }}
    workloads:
      server: {{ netns: {}, labels: {{ app: server }}, address: [{a}.{b}.{c}.{d}] }}
",
        server.path().display()
    );
    for (i, space) in spaces.iter().enumerate() {
        let path = space.path().display();
        text.extend([format!("      w{i}: {{ netns: {path}, labels: {{ app: client }} }}\n")]);
    }
    text + "    policies:\n" + &allow_load("network=main", "app=server")
}

/// Sends until the echo comes; counts as reached only when it does.
pub(super) fn first_packet(space: &Namespace, at: SocketAddr) -> Result<()> {
    match probe_udp(space, at, FIRST_PACKET)? {
        Reached::Answered => Ok(()),
        other => bail!("the first packet of {} gave {other:?}: the run is void", space.name()),
    }
}

fn record(run: &mut Run, name: &str, millis: &[f64], removal_ms: f64, p99: Goal) {
    let count = millis.len();
    let total = millis.iter().sum::<f64>() / 1000.0;
    let note = format!("ms, {count} endpoints, {total:.2} s in all");
    run.report.single(ID, &format!("{name}: p50"), percentile(millis, 0.5), Goal::None, &note);
    run.report.single(ID, &format!("{name}: p99"), percentile(millis, 0.99), p99, &note);
    #[expect(clippy::cast_precision_loss, reason = "at most thousands")]
    let each = removal_ms / count as f64;
    run.report.single(ID, &format!("{name}: removal each"), each, Goal::None, "ms");
}

/// Milliseconds since `start`.
#[must_use]
pub fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
