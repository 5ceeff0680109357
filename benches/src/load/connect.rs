//! Connections opened and closed, one after the other: SYN to the last FIN on one core.
//!
//! Either always to the same address and port, or to random targets of filler rules, so that no
//! lookup of the path under test finds its entry in a warm cache line. At the far end of the latter one socket
//! serves all addresses and ports (nft `tproxy`), so that it costs the same however many rules there are.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::{Arm, Route};
use crate::arms::Rules;
use crate::arms::shape::FIRST_PORT;
use crate::stats::SplitMix;

/// Port of the listener.
const PORT_OFFSET: u16 = 2;
/// Port of the one socket behind all targets of rules.
const STEERED_PORT: u16 = 6999;
/// Connections that may wait for it.
const BACKLOG: i32 = 128;
/// Connections between two looks at the clock.
const BATCH: u64 = 16;
/// Seed of the random targets.
const SEED: u64 = 4711;

/// Listeners, and connections to them from the namespace of the calling thread.
#[derive(Debug)]
pub struct Connects {
    listeners: Vec<TcpListener>,
    targets: Targets,
}

/// Where the next connection goes.
#[derive(Debug)]
enum Targets {
    One(SocketAddr),
    /// Any filler of these rules.
    Fillers(Rules, SplitMix),
}

impl Connects {
    /// Connects always to the server of `route`.
    ///
    /// # Errors
    /// When the listener cannot be made.
    pub fn open(route: &Route) -> Result<Self> {
        let to = SocketAddr::new(route.address, *ALLOWED_PORTS.start() + PORT_OFFSET);
        let listener = route.server.run(|| TcpListener::bind(to))?.context("listen")?;
        Self::with(route, vec![listener], Targets::One(to))
    }

    /// Connects to a random target of the fillers of `rules` each time.
    ///
    /// # Errors
    /// When a listener cannot be made or connections cannot be steered to it.
    pub fn open_cold(arm: &dyn Arm, rules: Rules) -> Result<Self> {
        let mut listeners = Vec::new();
        for space in arm.far() {
            space.nft(&steer())?;
            listeners.push(space.run(listen_for_all)?.context("listen for all targets")?);
        }
        Self::with(arm.route(), listeners, Targets::Fillers(rules, SplitMix(SEED)))
    }

    /// Lets the client reuse ports in TIME-WAIT after a second, so that none run out, and remember nothing of single
    /// targets (`net/ipv4/tcp_metrics.c`).
    fn with(route: &Route, listeners: Vec<TcpListener>, targets: Targets) -> Result<Self> {
        route.client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        route.client.sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        route.client.sysctl("net.ipv4.ip_local_port_range", "10000 65535")?;
        for listener in &listeners {
            listener.set_nonblocking(true).context("make a listener non-blocking")?;
        }
        Ok(Self { listeners, targets })
    }

    fn one(&mut self) -> Result<bool> {
        let (to, listener) = self.targets.next();
        let listener = self.listeners.get(listener).context("a port without a listener")?;
        let client = Socket::new(Domain::for_address(to), Type::STREAM, None)
            .context("make a client socket")?;
        client.set_nonblocking(true).context("make a socket non-blocking")?;
        // A connection in progress reports an error here; the handshake goes on by itself.
        let _in_progress = client.connect(&to.into());
        let Some((mut server, _)) = persist(|| listener.accept()).context("accept")? else {
            return Ok(false);
        };
        if persist(|| client.peer_addr()).context("finish connecting")?.is_none() {
            return Ok(false);
        }
        drop(client);
        server.set_nonblocking(true).context("make a socket non-blocking")?;
        match persist(|| server.read(&mut [0; 1])).context("read the end")? {
            Some(0) => Ok(true),
            Some(_) => bail!("data on a connection that carries none"),
            None => Ok(false),
        }
    }
}

/// An nft ruleset that hands connections to any port of a filler to the one socket.
fn steer() -> String {
    format!(
        "table inet far {{
  chain steer {{ type filter hook prerouting priority mangle; policy accept;
    tcp dport {FIRST_PORT}-65535 tproxy to :{STEERED_PORT} accept
  }}
}}"
    )
}

/// A socket that takes connections to other addresses than its own.
fn listen_for_all() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_ip_transparent_v4(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, STEERED_PORT)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Targets {
    /// The target and the index of its listener.
    fn next(&mut self) -> (SocketAddr, usize) {
        match self {
            Self::One(to) => (*to, 0),
            Self::Fillers(rules, random) => rules.random(random),
        }
    }
}

impl Load for Connects {
    fn batch(&mut self) -> Result<(u64, u64)> {
        let mut done = 0;
        for _ in 0..BATCH {
            done += u64::from(self.one()?);
        }
        Ok((done, BATCH - done))
    }
}
