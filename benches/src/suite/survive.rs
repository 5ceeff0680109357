//! B14: what an agent that dies, or is exchanged for another, costs those who talk meanwhile.
//!
//! A thousand endpoints stand; some of them send numbered datagrams and hold TCP connections to one server, at a steady pace, and one
//! sends to a port that no policy allows. The agent is killed and started again, then stopped and started again as an upgrade does.
//! Counted are datagrams that did not arrive, connections that broke, and datagrams that should not have arrived.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::bulkhead::Bulkhead;
use testkit::{Lab, Namespace, wait_until};

use super::Run;
use super::attach::{SERVER, file, ms};
use crate::load::{ALLOWED_PORTS, DENIED_PORT};
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B14";
/// Endpoints, in full and in quick mode.
const ENDPOINTS: usize = 1_000;
const QUICK_ENDPOINTS: usize = 100;
/// Endpoints that talk, each with a UDP flow and a TCP connection.
const TALKERS: usize = 50;
/// Pause between two rounds of all talkers.
const PACE: Duration = Duration::from_millis(2);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Patience of a socket.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs it.
///
/// # Errors
/// When a namespace cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    let endpoints = if run.quick { QUICK_ENDPOINTS } else { ENDPOINTS };
    eprintln!("{ID}: agents come and go under {endpoints} endpoints");
    if let Err(cause) = survived(run, endpoints) {
        run.report.gap(ID, super::OURS, format!("{cause:#}"));
    }
    Ok(())
}

fn survived(run: &mut Run, endpoints: usize) -> Result<()> {
    let mut lab = Lab::new()?;
    let (host, server) = (lab.namespace("host")?, lab.bare_namespace("server")?);
    let mut bulkhead = Bulkhead::start(&lab, &host)?;
    let spaces: Result<Vec<Namespace>> =
        (0..endpoints).map(|i| lab.bare_namespace(&format!("w{i}"))).collect();
    let spaces = spaces?;
    bulkhead.up(&file(&server, &spaces))?;
    let talk = Talk::open(&server, &spaces)?;
    let times = if run.quick { 2 } else { 10 };
    let done = std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| talk.send()),
            scope.spawn(|| talk.receive()),
            scope.spawn(|| talk.spy()),
        ];
        let done = exchange_agents(&mut bulkhead, &talk, times);
        talk.stopping.store(true, Ordering::Release);
        let ends = threads
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.into_iter().collect::<Result<()>>().and(done)
    })?;
    told(run, &talk, &done, endpoints);
    Ok(())
}

/// Milliseconds until the agent answered again: after `kill -9`, and after an orderly end.
struct Ready {
    killed: Vec<f64>,
    exchanged: Vec<f64>,
}

fn exchange_agents(bulkhead: &mut Bulkhead, talk: &Talk, times: usize) -> Result<Ready> {
    let mut ready = Ready { killed: Vec::new(), exchanged: Vec::new() };
    for at in 0..times * 2 {
        let sent = talk.sent.load(Ordering::Acquire);
        let more = || talk.sent.load(Ordering::Acquire) > sent + 10 * TALKERS as u64;
        wait_until("the talkers to talk", DEADLINE, more)?;
        let kills = at % 2 == 0;
        if kills {
            bulkhead.kill_agent()?;
        } else {
            bulkhead.stop_agent()?.success().context("the agent's orderly end")?;
        }
        let alone = talk.sent.load(Ordering::Acquire);
        let more = || talk.sent.load(Ordering::Acquire) > alone + 10 * TALKERS as u64;
        wait_until("the talkers to talk without an agent", DEADLINE, more)?;
        let began = Instant::now();
        bulkhead.start_agent()?;
        wait_until("the document to be in force again", DEADLINE, || is_in_force(bulkhead))?;
        if kills { &mut ready.killed } else { &mut ready.exchanged }.push(ms(began));
    }
    Ok(ready)
}

fn is_in_force(bulkhead: &Bulkhead) -> bool {
    let status = bulkhead.cli_json(&["status"]);
    status.is_ok_and(|status| status["agent"]["generation"].as_u64().is_some_and(|it| it > 0))
}

fn told(run: &mut Run, talk: &Talk, ready: &Ready, endpoints: usize) {
    let count = |number: &AtomicU64| number.load(Ordering::Acquire);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let number = |number: u64| number as f64;
    let sent = count(&talk.sent);
    let ends = ready.killed.len();
    let lost = sent.saturating_sub(count(&talk.received));
    let note = format!(
        "of {TALKERS} UDP flows and {TALKERS} TCP connections among {endpoints} endpoints; {ends} × kill -9, {ends} × exchanged"
    );
    let report = &mut run.report;
    report.single(ID, "flows lost", number(count(&talk.broken)), Goal::AtMost(0.0), &note);
    let note = format!("of {sent} datagrams");
    report.single(ID, "datagrams lost", number(lost), Goal::None, &note);
    let note = format!("datagrams of {} that no policy allows", count(&talk.tried));
    report.single(ID, "policy gaps", number(count(&talk.leaked)), Goal::AtMost(0.0), &note);
    for (what, samples) in [("killed", &ready.killed), ("exchanged", &ready.exchanged)] {
        let note = "ms, process start to the answer of `status`";
        let slowest = percentile(samples, 1.0);
        let what = format!("ready again after it was {what}: slowest of {ends}");
        report.single(ID, &what, slowest, Goal::AtMost(2_000.0), note);
    }
}

/// Everybody who talks.
struct Talk {
    stopping: AtomicBool,
    /// Datagrams of allowed flows, there and here.
    sent: AtomicU64,
    received: AtomicU64,
    /// Datagrams to the denied port, there and here.
    tried: AtomicU64,
    leaked: AtomicU64,
    /// TCP connections that broke.
    broken: AtomicU64,
    flows: Vec<UdpSocket>,
    connections: Vec<(TcpStream, TcpStream)>,
    forbidden: UdpSocket,
    server: UdpSocket,
    denied: UdpSocket,
}

impl Talk {
    fn open(server: &Namespace, spaces: &[Namespace]) -> Result<Self> {
        let at = SocketAddr::new(SERVER.into(), *ALLOWED_PORTS.start());
        let denied_at = SocketAddr::new(SERVER.into(), DENIED_PORT);
        let bind = |at| server.run(move || UdpSocket::bind(at))?.context("bind");
        let (open, denied) = (bind(at)?, bind(denied_at)?);
        for socket in [&open, &denied] {
            socket.set_read_timeout(Some(PATIENCE)).context("set a read timeout")?;
        }
        let listener = server.run(|| TcpListener::bind(at))?.context("listen")?;
        let step = (spaces.len() / TALKERS).max(1);
        let talkers: Vec<&Namespace> = spaces.iter().step_by(step).take(TALKERS).collect();
        let (mut flows, mut connections) = (Vec::new(), Vec::new());
        for space in &talkers {
            flows.push(sender(space, at)?);
            let connect = || TcpStream::connect_timeout(&at, DEADLINE);
            let near = space.run(connect)?.context("connect")?;
            let (far, _) = listener.accept().context("accept")?;
            for end in [&near, &far] {
                end.set_read_timeout(Some(DEADLINE)).context("set a read timeout")?;
                end.set_nodelay(true).context("switch Nagle's algorithm off")?;
            }
            connections.push((near, far));
        }
        let first = talkers.first().context("at least one talker")?;
        Ok(Self {
            stopping: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            tried: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            flows,
            connections,
            forbidden: sender(first, denied_at)?,
            server: open,
            denied,
        })
    }

    /// A datagram and a byte of every talker in each round, until it is stopped.
    #[expect(clippy::disallowed_methods, reason = "a load with a pace, not a wait")]
    fn send(&self) -> Result<()> {
        let mut broken = vec![false; self.connections.len()];
        while !self.stopping.load(Ordering::Acquire) {
            for flow in &self.flows {
                flow.send(b"still there?").context("send a datagram")?;
                self.sent.fetch_add(1, Ordering::AcqRel);
            }
            for (connection, broken) in self.connections.iter().zip(&mut broken) {
                if !*broken && exchange(connection).is_err() {
                    *broken = true;
                    self.broken.fetch_add(1, Ordering::AcqRel);
                }
            }
            // What is dropped here is dropped silently.
            self.forbidden.send(b"let me in").context("send what is denied")?;
            self.tried.fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    fn receive(&self) -> Result<()> {
        count(&self.server, &self.received, &self.stopping)
    }

    fn spy(&self) -> Result<()> {
        count(&self.denied, &self.leaked, &self.stopping)
    }
}

/// A byte there and one back.
fn exchange((near, far): &(TcpStream, TcpStream)) -> std::io::Result<()> {
    let (mut near, mut far, mut byte) = (near, far, [7]);
    near.write_all(&byte)?;
    far.read_exact(&mut byte)?;
    far.write_all(&byte)?;
    near.read_exact(&mut byte)
}

fn sender(space: &Namespace, to: SocketAddr) -> Result<UdpSocket> {
    let socket = space.run(|| UdpSocket::bind("0.0.0.0:0"))?.context("bind a talker")?;
    socket.connect(to).context("connect a talker")?;
    Ok(socket)
}

/// Counts what arrives until nothing does any more after the end.
fn count(socket: &UdpSocket, counter: &AtomicU64, stopping: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => _ = counter.fetch_add(1, Ordering::AcqRel),
            Err(error) if super::is_timeout(&error) => {
                if stopping.load(Ordering::Acquire) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}
