//! Connections opened and closed, one after the other: SYN to the last FIN on one core.
//!
//! Either always to the same address and port, or to random targets of filler rules, so that no
//! lookup of the path under test finds its entry in a warm cache line.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::Route;
use crate::arms::rules::{FIRST_PORT, PORTS, filler};
use crate::stats::SplitMix;

/// Port of the listener.
const PORT_OFFSET: u16 = 2;
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
    /// Any of this many filler rules.
    Fillers(u32, SplitMix),
}

impl Connects {
    /// Connects always to the server of `route`.
    ///
    /// # Errors
    /// When the listener cannot be made.
    pub fn open(route: &Route) -> Result<Self> {
        let to = SocketAddr::new(route.address, *ALLOWED_PORTS.start() + PORT_OFFSET);
        Self::listen(route, &[to], Targets::One(to))
    }

    /// Connects to a random target of the first `rules` filler rules each time.
    ///
    /// # Errors
    /// When a listener cannot be made.
    pub fn open_cold(route: &Route, rules: u32) -> Result<Self> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let at: Vec<_> = (0..PORTS).map(|i| SocketAddr::new(any, FIRST_PORT + i)).collect();
        Self::listen(route, &at, Targets::Fillers(rules, SplitMix(SEED)))
    }

    /// Lets the client reuse ports in TIME-WAIT after a second, so that none run out.
    fn listen(route: &Route, at: &[SocketAddr], targets: Targets) -> Result<Self> {
        route.client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        route.client.sysctl("net.ipv4.ip_local_port_range", "10000 65535")?;
        let listeners: std::io::Result<Vec<_>> =
            route.server.run(|| at.iter().map(|at| TcpListener::bind(*at)).collect())?;
        let listeners = listeners.context("listen")?;
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

impl Targets {
    /// The target and the index of its listener.
    fn next(&mut self) -> (SocketAddr, usize) {
        match self {
            Self::One(to) => (*to, 0),
            Self::Fillers(rules, random) => {
                let pick = u32::try_from(random.below(u64::from(*rules))).unwrap_or_default();
                let (address, port) = filler(pick);
                (SocketAddr::new(IpAddr::V4(address), port), usize::from(port - FIRST_PORT))
            }
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
