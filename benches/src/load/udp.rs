//! Small datagrams one way: the packet rate of one core.
//!
//! A burst is one `sendmmsg` and, as a rule, one `recvmmsg`: system calls would otherwise be half
//! of the cost and hide the path.

use std::io::{Error, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::Route;

/// Bytes of payload: the small packet of the protocol.
const PAYLOAD_BYTES: usize = 22;
/// Datagrams in flight; small enough for the smallest default receive buffer.
const BURST: usize = 32;
/// Receive buffer that holds many bursts.
const BUFFER_BYTES: usize = 4 << 20;

/// One datagram.
type Payload = [u8; PAYLOAD_BYTES];

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

    /// Sends one burst of numbered datagrams.
    fn send(&mut self) -> Result<()> {
        let mut payloads = [[0; PAYLOAD_BYTES]; BURST];
        for (payload, number) in payloads.iter_mut().zip(self.sent..) {
            payload[..8].copy_from_slice(&number.to_be_bytes());
        }
        let slices = payloads.each_ref().map(|payload| [IoSlice::new(payload)]);
        let nobody = [None::<SockaddrIn>; BURST];
        let no_control: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmmsg(self.client.as_raw_fd(), &mut headers(), &slices, nobody, no_control, flags)
            .context("send a burst")?;
        self.sent += BURST as u64;
        Ok(())
    }

    /// Receives what is there; gives how many arrived in order.
    fn receive(&mut self) -> std::io::Result<u64> {
        let mut payloads = [[0; PAYLOAD_BYTES]; BURST];
        let mut slices = payloads.each_mut().map(|payload| [IoSliceMut::new(payload)]);
        let (server, flags) = (self.server.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let lengths: Vec<usize> = recvmmsg(server, &mut headers(), &mut slices, flags, None)
            .map_err(Error::from)?
            .map(|message| message.bytes)
            .collect();
        for (payload, length) in payloads.iter().zip(&lengths) {
            let number = sequence(payload);
            if *length != PAYLOAD_BYTES || number < self.expected || number >= self.sent {
                return Err(Error::other(format!(
                    "datagram {number} of {length} bytes arrived while {} was expected",
                    self.expected
                )));
            }
            self.expected = number + 1;
        }
        Ok(lengths.len() as u64)
    }
}

impl Load for Datagrams {
    fn batch(&mut self) -> Result<(u64, u64)> {
        self.send()?;
        let mut arrived = 0;
        while self.expected < self.sent {
            match persist(|| self.receive()).context("receive")? {
                Some(0) => bail!("an end of file on a datagram socket"),
                Some(more) => arrived += more,
                None => break,
            }
        }
        self.expected = self.sent;
        Ok((arrived, (BURST as u64).saturating_sub(arrived)))
    }
}

/// Headers of one burst. They hold pointers, so a load that moves between threads cannot keep them.
fn headers() -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(BURST, None)
}

fn sequence(payload: &Payload) -> u64 {
    payload.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
