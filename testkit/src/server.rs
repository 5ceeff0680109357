//! Small real servers inside a namespace (TCP and UDP echo), and the probes that ask them.
//!
//! A server runs on threads of the test process, so it has no startup race: when `start` returns
//! it listens. Dropping the guard stops it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use crate::{Namespace, uninterrupted};

/// How long a server thread waits before it looks whether it should end.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// What a probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The payload came back.
    Answered,
    /// A reset or "port unreachable" came back.
    Refused,
    /// An ICMP error other than "port unreachable" came back, or there is no route.
    Unreachable,
    /// Nothing came back within the deadline.
    Silence,
}

/// An echo server over TCP.
#[derive(Debug)]
pub struct TcpEcho {
    address: SocketAddr,
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl TcpEcho {
    /// Listens on `address` inside `space`; port 0 picks one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(space: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener = space
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("listen on {address} in {}", space.name()))?;
        let (stopping, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let listener = listener.try_clone().context("clone a listener")?;
            let (stopping, accepted) = (stopping.clone(), accepted.clone());
            std::thread::spawn(move || accept_loop(&listener, &stopping, &accepted))
        };
        let address = listener.local_addr().context("read the bound address")?;
        Ok(Self { address, listener, stopping, accepted, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the accept call (net/ipv4/af_inet.c, inet_shutdown on a listener).
        let _already_closed = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn accept_loop(listener: &TcpListener, stopping: &Arc<AtomicBool>, accepted: &AtomicU64) {
    while !stopping.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else { continue };
        accepted.fetch_add(1, Ordering::Relaxed);
        let stopping = stopping.clone();
        std::thread::spawn(move || echo_stream(stream, &stopping));
    }
}

fn echo_stream(mut stream: TcpStream, stopping: &AtomicBool) {
    if stream.set_read_timeout(Some(LOOK_AROUND)).is_err() {
        return;
    }
    let mut buffer = [0; 16 * 1024];
    while !stopping.load(Ordering::Relaxed) {
        match uninterrupted(|| stream.read(&mut buffer)) {
            Ok(0) => return,
            Ok(n) if stream.write_all(&buffer[..n]).is_err() => return,
            Ok(_) => {}
            Err(e) if is_timeout(&e) => {}
            Err(_) => return,
        }
    }
}

/// An echo server over UDP.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Serves `address` inside `space`; port 0 picks one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(space: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = space
            .run(|| UdpSocket::bind(address))?
            .with_context(|| format!("bind {address} in {}", space.name()))?;
        socket.set_read_timeout(Some(LOOK_AROUND)).context("set a read timeout")?;
        let address = socket.local_addr().context("read the bound address")?;
        let (stopping, received) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let (stopping, received) = (stopping.clone(), received.clone());
            std::thread::spawn(move || echo_datagrams(&socket, &stopping, &received))
        };
        Ok(Self { address, stopping, received, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn echo_datagrams(socket: &UdpSocket, stopping: &AtomicBool, received: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while !stopping.load(Ordering::Relaxed) {
        if let Ok((n, from)) = socket.recv_from(&mut buffer) {
            received.fetch_add(1, Ordering::Relaxed);
            let _receiver_gone = socket.send_to(&buffer[..n], from);
        }
    }
}

/// Connects from `space`, sends `payload` and waits for its echo.
///
/// # Errors
/// When the probe itself cannot be made; what the network answered is in [`Reached`].
pub fn probe_tcp(space: &Namespace, to: SocketAddr, deadline: Duration) -> Result<Reached> {
    probe_tcp_from(space, None, to, deadline)
}

/// As [`probe_tcp`] from a chosen source address and port (port 0 picks one).
///
/// # Errors
/// When the source cannot be bound or the socket cannot be made.
pub fn probe_tcp_from(
    space: &Namespace,
    from: Option<SocketAddr>,
    to: SocketAddr,
    deadline: Duration,
) -> Result<Reached> {
    let socket = bound_socket(space, Type::STREAM, from, to)?;
    let outcome = socket.connect_timeout(&to.into(), deadline);
    let answer = outcome.and_then(|()| exchange(&socket, deadline));
    Ok(reached(answer))
}

/// Sends one datagram from `space` and waits for its echo.
///
/// # Errors
/// When the probe itself cannot be made.
pub fn probe_udp(space: &Namespace, to: SocketAddr, deadline: Duration) -> Result<Reached> {
    probe_udp_from(space, None, to, deadline)
}

/// As [`probe_udp`] from a chosen source address and port (port 0 picks one).
///
/// # Errors
/// When the source cannot be bound or the socket cannot be made.
pub fn probe_udp_from(
    space: &Namespace,
    from: Option<SocketAddr>,
    to: SocketAddr,
    deadline: Duration,
) -> Result<Reached> {
    let socket = bound_socket(space, Type::DGRAM, from, to)?;
    let answer = socket.connect(&to.into()).and_then(|()| exchange(&socket, deadline));
    Ok(reached(answer))
}

fn bound_socket(
    space: &Namespace,
    kind: Type,
    from: Option<SocketAddr>,
    to: SocketAddr,
) -> Result<Socket> {
    let socket = space
        .run(|| Socket::new(Domain::for_address(to), kind, None))?
        .context("make a probe socket")?;
    if let Some(from) = from {
        socket.set_reuse_address(true).context("allow the address to be reused")?;
        socket.bind(&from.into()).with_context(|| format!("bind a probe to {from}"))?;
    }
    Ok(socket)
}

fn exchange(mut socket: &Socket, deadline: Duration) -> std::io::Result<bool> {
    const PAYLOAD: &[u8] = b"bulkhead probe";
    socket.set_read_timeout(Some(deadline))?;
    socket.write_all(PAYLOAD)?;
    let mut answer = [0; PAYLOAD.len()];
    socket.read_exact(&mut answer)?;
    Ok(answer == PAYLOAD)
}

fn reached(answer: std::io::Result<bool>) -> Reached {
    use std::io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, PermissionDenied,
    };
    match answer {
        Ok(true) => Reached::Answered,
        Ok(false) => Reached::Silence,
        Err(e) => match e.kind() {
            ConnectionRefused | ConnectionReset => Reached::Refused,
            HostUnreachable | NetworkUnreachable | PermissionDenied => Reached::Unreachable,
            _ => Reached::Silence,
        },
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn probes_tell_answer_refusal_and_silence_apart_root() {
        crate::root_or_return!("probes_tell_answer_refusal_and_silence_apart_root");
        let mut lab = Lab::new().expect("a lab");
        let (a, b) = (lab.namespace("a").expect("a"), lab.namespace("b").expect("b"));
        lab.veth((&a, "eth0"), (&b, "eth0")).expect("a pair");
        a.address("eth0", "10.0.0.1/24").expect("address of a");
        b.address("eth0", "10.0.0.2/24").expect("address of b");
        let any = "10.0.0.2:0".parse().expect("an address");
        let (tcp, udp) =
            (TcpEcho::start(&b, any).expect("tcp"), UdpEcho::start(&b, any).expect("udp"));
        b.nft("table inet t { chain c { type filter hook input priority 0; udp dport 9 drop; }; }")
            .expect("a rule");
        let wait = Duration::from_millis(300);
        assert_eq!(probe_tcp(&a, tcp.address(), wait).expect("probe"), Reached::Answered);
        assert_eq!(probe_udp(&a, udp.address(), wait).expect("probe"), Reached::Answered);
        let closed = "10.0.0.2:1".parse().expect("an address");
        assert_eq!(probe_tcp(&a, closed, wait).expect("probe"), Reached::Refused);
        assert_eq!(probe_udp(&a, closed, wait).expect("probe"), Reached::Refused);
        let dropped = "10.0.0.2:9".parse().expect("an address");
        assert_eq!(probe_udp(&a, dropped, wait).expect("probe"), Reached::Silence);
        let elsewhere = "192.0.2.1:9".parse().expect("an address");
        assert_eq!(probe_tcp(&a, elsewhere, wait).expect("probe"), Reached::Unreachable);
        assert_eq!((tcp.accepted(), udp.received()), (1, 1));
    }
}
