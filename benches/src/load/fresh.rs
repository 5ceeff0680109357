//! A new flow with every datagram: what judging a flow for the first time costs.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::Route;

/// Port of the server.
const PORT_OFFSET: u16 = 5;
/// Flows between two looks at the clock.
const BATCH: u64 = 16;

/// A server, and datagrams to it, each from a socket and a port of its own.
#[derive(Debug)]
pub struct NewFlows {
    server: UdpSocket,
    to: SocketAddr,
    client: std::net::IpAddr,
    next_port: u16,
    sent: u64,
}

impl NewFlows {
    /// Binds the server.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn open(route: &Route) -> Result<Self> {
        let to = SocketAddr::new(route.address, *ALLOWED_PORTS.start() + PORT_OFFSET);
        let server = route.server.run(|| UdpSocket::bind(to))?.context("bind the server")?;
        server.set_nonblocking(true).context("make a socket non-blocking")?;
        Ok(Self { server, to, client: route.client_address, next_port: FIRST_PORT, sent: 0 })
    }
}

/// First source port; they go round up to 65,535.
const FIRST_PORT: u16 = 10_000;

impl Load for NewFlows {
    fn batch(&mut self) -> Result<(u64, u64)> {
        let mut done = 0;
        for _ in 0..BATCH {
            let from = SocketAddr::new(self.client, self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            self.sent += 1;
            let number = self.sent.to_be_bytes();
            let client = UdpSocket::bind(from).context("bind a client")?;
            client.send_to(&number, self.to).context("send a datagram")?;
            let mut buffer = [0; 8];
            let got = persist(|| self.server.recv(&mut buffer)).context("receive a datagram")?;
            done += u64::from(got == Some(8) && buffer == number);
        }
        Ok((done, BATCH - done))
    }
}
