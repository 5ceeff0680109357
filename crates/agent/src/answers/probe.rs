//! Real packets from one workload to another, and what came back, beside what the policy says.
//!
//! TCP is a handshake that is ended at once; UDP one datagram of one zero byte; SCTP one INIT; ICMP one echo request.
//! Everything is sent from the source's own network namespace, so it passes the same hooks as the workload's packets.

pub(crate) mod apart;
mod echo;
mod origin;
mod raw;
mod sctp;

use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Error, Observed, ProbeRequest, ProbeResponse, Verdict, Why, WhyRequest, codes};
use flow::Record;
use model::{Mode, Transport};
use planner::Bundle;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockRef, Socket, Type};
use verdict::abi::Addr;

use crate::fault::{failed, refused};
use crate::shared::Shared;

use super::flows;
use super::party::{self, Who};
use super::service::Asked;
use super::why::{Case, case, why};
use origin::{Origin, Unsent};

/// How long an answer is waited for, in milliseconds: by default and at most.
const WAIT_MS: u32 = 1_000;
const MAX_WAIT_MS: u32 = 10_000;
/// How long the probe's own flow record is waited for.
const RECORD: Duration = Duration::from_millis(300);

/// What a probe saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Seen {
    observed: Observed,
    took: Option<Duration>,
    source_port: Option<u16>,
}

/// Sends a probe.
///
/// # Errors
/// `BH0211` for unknown names, `BH0218` when it cannot be sent.
pub(crate) fn probe(shared: &Shared, request: &ProbeRequest) -> Result<ProbeResponse, Error> {
    let force = shared.forced()?;
    let bundle = &force.wanted.bundle;
    let (from, to) = party::pair(bundle, &request.from, &request.to)?;
    let asked = Asked::parse(&request.service)?;
    let asked = sendable(asked, request)?;
    let wait = wait(request)?;
    let origin = Origin::of(shared, bundle, &from)?;
    let question = |source_port: Option<u16>| WhyRequest {
        from: request.from.clone(),
        to: request.to.clone(),
        service: request.service.clone(),
        source_port,
        ..WhyRequest::default()
    };
    let Some(case) = case(bundle, &from, &to, asked, 0)? else {
        let why = why(shared, &question(request.source_port))?;
        return Ok(unaddressable(why));
    };
    if let Some(text) = no_way_in(bundle, &from, &to) {
        let why = why(shared, &question(request.source_port))?;
        return Ok(ProbeResponse { agrees: None, text, ..unaddressable(why) });
    }
    let from_port = request.source_port;
    let before = shared.flows().ring.last_number();
    let target = reached(&case);
    let own = own_address(bundle, &from, &case);
    let seen = origin.send(asked, target, (own, from_port), wait).map_err(|error| match error {
        Unsent::Refused(error) => *error,
        Unsent::Failed(error) => {
            failed(codes::PROBE, format!("send a probe from {}", request.from), &error)
        }
    })?;
    let record = own_record(shared, before, target, case.port, seen.source_port);
    // What stops a packet that the policy lets pass is looked for.
    let walk = !matches!(seen.observed, Observed::Connected | Observed::Answered);
    let why = why(shared, &WhyRequest { walk, ..question(seen.source_port) })?;
    let mut response = told(asked, seen, record.as_deref(), why);
    if origin.is_cgroup() && seen.observed == Observed::Unreachable && response.agrees == Some(true)
    {
        "refused: the call was not permitted, and no packet left".clone_into(&mut response.text);
    }
    if Addr::from(case.target).is_hosted() {
        unheard(&mut response);
    }
    Ok(response)
}

/// Of a port of the host that the workload does not have, policy for it says nothing: the packet was somebody else's, or the host's.
fn unheard(response: &mut ProbeResponse) {
    let is_service = |step: &api::WalkStep| step.topic == "service";
    let walk = response.why.walk.as_ref();
    let fault = walk.and_then(|walk| walk.faults().next()).filter(|step| is_service(step));
    if let Some(fault) = fault.filter(|_| response.agrees == Some(false)) {
        response.text = format!("{}; {}", response.text, fault.text);
        response.agrees = None;
    }
}

/// What is asked about, when a probe can send it: it knows no ICMP but an echo request.
fn sendable(asked: Asked, request: &ProbeRequest) -> Result<Asked, Error> {
    let Asked::Icmp(_) = asked else { return Ok(asked) };
    let echo = [(false, 8), (true, 128)];
    let is_echo = |(v6, kind)| {
        asked.numbers(v6).is_none_or(|(_, port)| port == u16::from_be_bytes([kind, 0]))
    };
    if !echo.into_iter().all(is_echo) {
        let message =
            format!("a probe cannot send {}: of ICMP it sends echo requests only", asked.text());
        return Err(refused(codes::PROBE, message)
            .with_hint("ask `bulkhead why` about it, or probe `icmp`"));
    }
    if request.source_port.is_some() {
        let message = "an echo request has no source port";
        return Err(refused(codes::PROBE, message).with_hint("leave --source-port out"));
    }
    Ok(asked)
}

/// How long an answer is waited for.
fn wait(request: &ProbeRequest) -> Result<Duration, Error> {
    let wait = request.timeout_ms.unwrap_or(WAIT_MS);
    if (1..=MAX_WAIT_MS).contains(&wait) {
        return Ok(Duration::from_millis(wait.into()));
    }
    let message = format!("a probe waits 1 to {MAX_WAIT_MS} milliseconds, not {wait}");
    Err(refused(codes::BAD_REQUEST, message).with_hint("give another --timeout"))
}

/// Why the host cannot send to a workload at all: without a route, its packets would leave by the default route.
fn no_way_in(bundle: &Bundle, from: &Who, to: &Who) -> Option<String> {
    let (Who::Host, Who::Workload(id)) = (from, to) else { return None };
    let (router, _) = bundle.attachment(id)?;
    if router.lan.is_some() {
        // By whatever way the host is on that LAN.
        return None;
    }
    let mode = match router.mode {
        Mode::Nat => "nat",
        Mode::Bridge | Mode::Macvlan | Mode::None => "bridge",
        Mode::Routed | Mode::Host => return None,
    };
    Some(format!(
        "nothing was sent: the host has no route into a {mode} network; published ports lead in"
    ))
}

/// What is spoken to: who shares the host's stack is at every address of the host.
fn reached(case: &Case) -> IpAddr {
    if Addr::from(case.target).is_hosted() { Ipv4Addr::LOCALHOST.into() } else { case.target }
}

/// The address to send from, of a workload that has several attachments.
fn own_address(bundle: &Bundle, from: &Who, case: &Case) -> Option<IpAddr> {
    let Who::Workload(id) = from else { return None };
    bundle.attachments(id).nth(1).map(|_| case.source)
}

/// Any address to send from.
fn any(target: IpAddr) -> IpAddr {
    match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn tcp(target: SocketAddr, local: SocketAddr, wait: Duration) -> io::Result<Seen> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    // A probe that was just sent from this port leaves it waiting for its peer's last word.
    socket.set_reuse_address(local.port() != 0)?;
    socket.bind(&local.into())?;
    let source_port = socket.local_addr()?.as_socket().map(|local| local.port());
    let began = Instant::now();
    let observed = match socket.connect_timeout(&target.into(), wait) {
        Ok(()) => Observed::Connected,
        Err(error) => observed(&error)?,
    };
    let took = answered(observed).then(|| began.elapsed());
    Ok(Seen { observed, took, source_port })
}

fn udp(target: SocketAddr, local: SocketAddr, wait: Duration) -> io::Result<Seen> {
    let socket = UdpSocket::bind(local)?;
    let source_port = Some(socket.local_addr()?.port());
    let began = Instant::now();
    let exchange = || {
        socket.connect(target)?;
        socket.send(&[0])?;
        receive(&SockRef::from(&socket), &mut [0; 1500], began + wait)
    };
    let observed = match exchange() {
        Ok(_) => Observed::Answered,
        Err(error) => observed(&error)?,
    };
    let took = answered(observed).then(|| began.elapsed());
    Ok(Seen { observed, took, source_port })
}

/// Receives before a moment comes, or says that it came. A signal to another thread of the agent, a child that ended for one, is no end
/// of the wait.
fn receive(mut socket: &Socket, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn answered(observed: Observed) -> bool {
    matches!(observed, Observed::Connected | Observed::Answered | Observed::Refused)
}

/// What an error of a socket says about the way; errors about ourselves are errors.
fn observed(error: &io::Error) -> io::Result<Observed> {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Observed::Refused),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Observed::NoAnswer),
        // Permission: `EPERM` from a firewall on the way out, `EACCES` when an ICMP "prohibited" came back.
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::PermissionDenied => Ok(Observed::Unreachable),
        _ => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// The flow record that the probe made.
fn own_record(
    shared: &Shared,
    after: u64,
    target: IpAddr,
    port: u16,
    source_port: Option<u16>,
) -> Option<Arc<Record>> {
    let until = Instant::now() + RECORD;
    let mut newest = shared.newest.subscribe();
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    loop {
        let records = shared.flows().ring.after(after, &flow::Filter::default(), usize::MAX);
        let own = records.into_iter().find(|record| {
            let to = record.icmp.map_or(record.target.port, u16::from_be_bytes);
            record.kind != flow::Kind::Close
                && record.target.address == target
                && to == port
                && (record.icmp.is_some()
                    || source_port.is_none_or(|port| port == record.source.port))
        });
        let left = until.saturating_duration_since(Instant::now());
        if own.is_some() || left.is_zero() {
            return own;
        }
        let waited = runtime.block_on(tokio::time::timeout(left, newest.changed()));
        if !matches!(waited, Ok(Ok(()))) {
            return None;
        }
    }
}

fn told(asked: Asked, seen: Seen, record: Option<&Record>, why: Why) -> ProbeResponse {
    let udp = matches!(asked, Asked::Port(Transport::Udp, _));
    let arrived = record.map(|record| record.decision != flow::Decision::Drop);
    let passes = why.verdict != Verdict::Drop;
    let agrees = match seen.observed {
        Observed::Connected | Observed::Answered | Observed::Refused => Some(passes),
        Observed::NoAnswer if udp && passes => arrived,
        Observed::NoAnswer | Observed::Unreachable => Some(!passes),
    };
    ProbeResponse {
        observed: seen.observed,
        text: sentence(asked, seen.observed, arrived, &why.to.name),
        took_us: seen.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        source_port: seen.source_port,
        flow: record.map(flows::shown),
        agrees,
        why,
    }
}

fn sentence(asked: Asked, observed: Observed, arrived: Option<bool>, to: &str) -> String {
    let (udp, sctp) = match asked {
        Asked::Port(transport, _) => (transport == Transport::Udp, transport == Transport::Sctp),
        Asked::Icmp(_) => (false, false),
    };
    match (observed, arrived) {
        (Observed::Connected, _) => format!("connected: {to} took the connection"),
        (Observed::Answered, _) if sctp => {
            format!(
                "answered: {to} takes associations (an INIT over a raw socket got its INIT ACK)"
            )
        }
        (Observed::Answered, _) => format!("answered: {to} sent something back"),
        (Observed::Refused, _) if sctp => {
            format!(
                "refused: the INIT, sent over a raw socket, reached {to}; nothing listens there"
            )
        }
        (Observed::Refused, _) => {
            format!("refused: the packet reached {to}, nothing listens there")
        }
        (Observed::NoAnswer, Some(true)) if udp => {
            format!("no answer (UDP does not tell), but the packet was let through to {to}")
        }
        (Observed::NoAnswer, _) if udp => "no answer (UDP does not tell)".to_owned(),
        (Observed::NoAnswer, Some(true)) => {
            format!(
                "no answer, but Bulkhead let the packet through to {to}: lost behind that, or taken in silence"
            )
        }
        (Observed::NoAnswer, _) => "no answer: dropped on the way".to_owned(),
        (Observed::Unreachable, _) => format!("unreachable: there is no way to {to}"),
    }
}

/// The answer when the source has no address by which it could send to the target.
fn unaddressable(why: Why) -> ProbeResponse {
    ProbeResponse {
        observed: Observed::Unreachable,
        text: format!("nothing was sent: {}", why.text),
        took_us: None,
        source_port: None,
        flow: None,
        agrees: Some(true),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_cannot_send_is_refused() {
        let request = |service: &str, source_port, timeout_ms| ProbeRequest {
            service: service.to_owned(),
            source_port,
            timeout_ms,
            ..ProbeRequest::default()
        };
        let told = |service, port| {
            let request = request(service, port, None);
            let asked = Asked::parse(service).expect(service);
            sendable(asked, &request).map_err(|error| error.code)
        };
        for service in ["icmp", "icmp/8", "icmp/8/0", "icmp/echo-request", "icmp6/128", "tcp/80"] {
            assert!(told(service, None).is_ok(), "{service}");
        }
        for service in ["icmp/3/4", "icmp/0", "icmp/13", "icmp/8/1", "icmp6/135"] {
            assert_eq!(told(service, None), Err(codes::PROBE.to_owned()), "{service}");
        }
        assert!(told("tcp/80", Some(9)).is_ok());
        assert_eq!(told("icmp", Some(9)), Err(codes::PROBE.to_owned()));
        for (timeout, good) in
            [(None, true), (Some(0), false), (Some(10_000), true), (Some(10_001), false)]
        {
            assert_eq!(wait(&request("tcp/80", None, timeout)).is_ok(), good, "{timeout:?}");
        }
    }

    #[test]
    fn probes_come_from_the_port_that_was_asked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let target = listener.local_addr().expect("its address");
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let wait = Duration::from_secs(5);
        let seen = tcp(target, SocketAddr::new(target.ip(), port), wait).expect("a probe");
        assert_eq!((seen.observed, seen.source_port), (Observed::Connected, Some(port)));
        assert_eq!(listener.accept().expect("the probe").1.port(), port);
        let server = UdpSocket::bind("127.0.0.1:0").expect("a server");
        let target = server.local_addr().expect("its address");
        let seen = udp(target, SocketAddr::new(target.ip(), port), Duration::from_millis(1))
            .expect("a probe");
        assert_eq!(seen.source_port, Some(port));
        assert_eq!(server.recv_from(&mut [0; 9]).expect("the probe").1.port(), port);
    }

    #[test]
    fn children_that_end_do_not_end_a_probe() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a server");
        let target = silent.local_addr().expect("its address");
        let wait = Duration::from_millis(300);
        let probe = std::thread::spawn(move || {
            let began = Instant::now();
            (udp(target, SocketAddr::new(target.ip(), 0), wait), began.elapsed())
        });
        // One that ends while its thread starts the next wakes all other threads.
        while !probe.is_finished() {
            let children: Vec<_> = (0..4)
                .map(|_| std::process::Command::new("true").spawn().expect("started"))
                .collect();
            for mut child in children {
                child.wait().expect("ended");
            }
        }
        let (seen, took) = probe.join().expect("it ends");
        assert_eq!(seen.expect("no error").observed, Observed::NoAnswer);
        assert!(took >= wait, "{took:?}");
    }
}
