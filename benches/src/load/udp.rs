//! Small datagrams one way: the packet rate of one core.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::Route;

/// Bytes of payload: the small packet of the protocol.
const PAYLOAD_BYTES: usize = 22;
/// Datagrams in flight; small enough for the smallest default receive buffer.
const BURST: u64 = 32;
/// Receive buffer that holds many bursts.
const BUFFER_BYTES: usize = 4 << 20;

/// One connected pair of UDP sockets.
#[derive(Debug)]
pub struct Datagrams {
    client: UdpSocket,
    server: UdpSocket,
    sent: u64,
    expected: u64,
}

impl Datagrams {
    /// Opens both ends on an allowed port; the client's source port is fixed, so it is one flow.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn open(route: &Route) -> Result<Self> {
        let server_at = SocketAddr::new(route.address, *ALLOWED_PORTS.start());
        let client_at = SocketAddr::new(route.client_address, *ALLOWED_PORTS.start() + 1);
        let server = route.server.run(|| UdpSocket::bind(server_at))?.context("bind the server")?;
        let client = route.client.run(|| UdpSocket::bind(client_at))?.context("bind the client")?;
        client.connect(server_at).context("connect the client")?;
        server.connect(client_at).context("connect the server")?;
        for socket in [&client, &server] {
            socket.set_nonblocking(true).context("make a socket non-blocking")?;
        }
        let _limited_by_rmem_max =
            socket2::SockRef::from(&server).set_recv_buffer_size(BUFFER_BYTES);
        let mut load = Self { client, server, sent: 0, expected: 0 };
        load.answer_once()?;
        Ok(load)
    }

    /// One datagram each way: connection tracking then knows the flow as established.
    fn answer_once(&mut self) -> Result<()> {
        self.batch()?;
        self.server.send(&[0; PAYLOAD_BYTES]).context("answer")?;
        let mut buffer = [0; PAYLOAD_BYTES];
        persist(|| self.client.recv(&mut buffer)).context("read the answer")?;
        Ok(())
    }
}

impl Load for Datagrams {
    fn batch(&mut self) -> Result<(u64, u64)> {
        let mut payload = [0; PAYLOAD_BYTES];
        for _ in 0..BURST {
            payload[..8].copy_from_slice(&self.sent.to_be_bytes());
            match persist(|| self.client.send(&payload)).context("send a datagram")? {
                Some(_) => self.sent += 1,
                None => bail!("the client's socket does not drain"),
            }
        }
        let mut arrived = 0;
        let mut buffer = [0; PAYLOAD_BYTES];
        while self.expected < self.sent {
            let Some(length) = persist(|| self.server.recv(&mut buffer)).context("receive")? else {
                break;
            };
            let number = sequence(&buffer[..length])?;
            if number < self.expected || number >= self.sent {
                bail!("datagram {number} arrived while {} was expected", self.expected);
            }
            arrived += 1;
            self.expected = number + 1;
        }
        self.expected = self.sent;
        Ok((arrived, BURST.saturating_sub(arrived)))
    }
}

fn sequence(datagram: &[u8]) -> Result<u64> {
    let number = datagram.get(..8).context("a datagram without a number")?;
    Ok(u64::from_be_bytes(number.try_into().context("eight bytes")?))
}
