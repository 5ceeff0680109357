//! Bulk bytes over one TCP connection: a sanity check only, since copying hides every datapath.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

use super::exchange::connected_pair;
use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::Route;

/// Port of the listener.
const PORT_OFFSET: u16 = 4;
/// Bytes of one write.
const CHUNK: usize = 64 * 1024;

/// An established connection, both ends; every byte carries its position modulo 251.
#[derive(Debug)]
pub struct Stream {
    client: TcpStream,
    server: TcpStream,
    chunk: Vec<u8>,
    sent: usize,
    received: usize,
    buffer: Vec<u8>,
}

/// Period of the pattern: a prime, so that no power of two of lost bytes goes unseen.
const PERIOD: usize = 251;

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn open(route: &Route) -> Result<Self> {
        let (client, server) = connected_pair(route, *ALLOWED_PORTS.start() + PORT_OFFSET)?;
        #[expect(clippy::cast_possible_truncation, reason = "below 251")]
        let chunk = (0..CHUNK + PERIOD).map(|i| (i % PERIOD) as u8).collect();
        Ok(Self { client, server, chunk, sent: 0, received: 0, buffer: vec![0; 4 * CHUNK] })
    }
}

impl Load for Stream {
    fn batch(&mut self) -> Result<(u64, u64)> {
        let at = self.sent % PERIOD;
        match self.client.write(&self.chunk[at..at + CHUNK]) {
            Ok(n) => self.sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e).context("send a chunk"),
        }
        let read = persist(|| self.server.read(&mut self.buffer)).context("receive")?;
        let Some(n) = read else { bail!("a stream stalled at byte {}", self.received) };
        let wrong = self.buffer.first().is_some_and(|b| usize::from(*b) != self.received % PERIOD);
        if n == 0 || wrong {
            bail!("the stream is wrong at byte {}", self.received);
        }
        self.received += n;
        Ok((n as u64, 0))
    }
}
