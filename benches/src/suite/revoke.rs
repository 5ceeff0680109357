//! B10: from a policy change to the last packet of a flow that was established before.
//!
//! A flow runs at a steady pace; the file in which its rule is missing is applied; the time from the
//! start of that command to the last datagram that still arrived is one sample. Then the rule comes
//! back and the flow must run again.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::wait_until;

use super::Run;
use super::attach::ms;
use crate::arm::{Arm, Route, verify};
use crate::arms::Ours;
use crate::arms::ours::{allow_load, pair_file};
use crate::load::ALLOWED_PORTS;
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B10";
/// Pause between two datagrams of the flow.
const PACE: Duration = Duration::from_micros(100);
/// A flow is cut when nothing arrived for so long.
const SILENCE: Duration = Duration::from_millis(100);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs it.
///
/// # Errors
/// When our arm gives a wrong verdict.
pub fn run(run: &mut Run) -> Result<()> {
    eprintln!("{ID}: revocation of an established flow");
    let count = if run.quick { 15 } else { 100 };
    match Ours::stand() {
        Ok(ours) => {
            verify(&ours)?;
            measure(run, &ours, count)
        }
        Err(cause) => {
            run.report.gap(ID, super::OURS, format!("{cause:#}"));
            Ok(())
        }
    }
}

/// A flow between two threads and when its last datagram arrived.
struct Flow {
    start: Instant,
    stopping: AtomicBool,
    /// Microseconds after `start`.
    last: AtomicU64,
}

impl Flow {
    fn age(&self) -> Duration {
        let last = Duration::from_micros(self.last.load(Ordering::Acquire));
        self.start.elapsed().saturating_sub(last)
    }

    fn last_after(&self, moment: Instant) -> Duration {
        let last = self.start + Duration::from_micros(self.last.load(Ordering::Acquire));
        last.saturating_duration_since(moment)
    }
}

fn measure(run: &mut Run, ours: &Ours, count: usize) -> Result<()> {
    let route = ours.route();
    let flow =
        Flow { start: Instant::now(), stopping: AtomicBool::new(false), last: AtomicU64::new(0) };
    let (sender, receiver) = sockets(route)?;
    let samples = std::thread::scope(|scope| {
        scope.spawn(|| send_until_stopped(&flow, &sender));
        scope.spawn(|| receive_until_stopped(&flow, &receiver));
        let samples = cut_and_restore(ours, &flow, count);
        flow.stopping.store(true, Ordering::Relaxed);
        samples
    })?;
    let (cut, command): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
    let note = format!("ms, {count} changes; from the start of `bulkhead up`");
    let report = &mut run.report;
    report.single(ID, "last packet after a deny: p50", percentile(&cut, 0.5), Goal::None, &note);
    report.single(
        ID,
        "last packet after a deny: p99",
        percentile(&cut, 0.99),
        Goal::AtMost(50.0),
        &note,
    );
    report.single(ID, "the command itself: p50", percentile(&command, 0.5), Goal::None, "ms");
    Ok(())
}

/// (time to the last packet, time of the command), milliseconds, for each change.
fn cut_and_restore(ours: &Ours, flow: &Flow, count: usize) -> Result<Vec<(f64, f64)>> {
    let route = ours.route();
    let with = pair_file(&route.client, &route.server, &allow_load("app=client", "app=server"));
    let without = pair_file(
        &route.client,
        &route.server,
        "      other: { from: app=client, to: app=server, allow: [1/tcp] }\n",
    );
    let mut samples = Vec::new();
    for _ in 0..count {
        wait_until("the flow to run", DEADLINE, || flow.age() < SILENCE / 10)?;
        let moment = Instant::now();
        ours.bulkhead().up(&without)?;
        let command = ms(moment);
        wait_until("the flow to stop", DEADLINE, || flow.age() > SILENCE)?;
        samples.push((flow.last_after(moment).as_secs_f64() * 1000.0, command));
        ours.bulkhead().up(&with)?;
    }
    Ok(samples)
}

fn sockets(route: &Route) -> Result<(UdpSocket, UdpSocket)> {
    let server_at = SocketAddr::new(route.address, *ALLOWED_PORTS.start() + 10);
    let client_at = SocketAddr::new(route.client_address, *ALLOWED_PORTS.start() + 11);
    let receiver = route.server.run(|| UdpSocket::bind(server_at))?.context("bind the receiver")?;
    let sender = route.client.run(|| UdpSocket::bind(client_at))?.context("bind the sender")?;
    sender.connect(server_at).context("connect the sender")?;
    receiver.set_read_timeout(Some(SILENCE)).context("set a read timeout")?;
    Ok((sender, receiver))
}

#[expect(clippy::disallowed_methods, reason = "a load with a pace, not a wait")]
fn send_until_stopped(flow: &Flow, socket: &UdpSocket) {
    while !flow.stopping.load(Ordering::Relaxed) {
        let _dropped_here = socket.send(b"still allowed?");
        std::thread::sleep(PACE);
    }
}

fn receive_until_stopped(flow: &Flow, socket: &UdpSocket) {
    let mut buffer = [0; 64];
    while !flow.stopping.load(Ordering::Relaxed) {
        if socket.recv(&mut buffer).is_ok() {
            let micros = u64::try_from(flow.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            flow.last.store(micros, Ordering::Release);
        }
    }
}
