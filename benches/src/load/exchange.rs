//! One byte there, one byte back over one TCP connection: the round trip without the scheduler.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail};

use super::{ALLOWED_PORTS, Load, persist};
use crate::arm::{Route, Seat};

/// Port of the listener.
const PORT_OFFSET: u16 = 3;
/// Exchanges between two looks at the clock.
const BATCH: u64 = 32;

/// An established connection, both ends.
#[derive(Debug)]
pub struct Exchanges {
    client: TcpStream,
    server: TcpStream,
    next: u8,
}

impl Exchanges {
    /// Connects.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn open(route: &Route) -> Result<Self> {
        let (client, server) = connected_pair(route, *ALLOWED_PORTS.start() + PORT_OFFSET)?;
        Ok(Self { client, server, next: 0 })
    }
}

/// Both ends of a new non-blocking connection to `port` without Nagle's delay.
pub(super) fn connected_pair(route: &Route, port: u16) -> Result<(TcpStream, TcpStream)> {
    let to = SocketAddr::new(route.address, port);
    let listener = route.server.run(|| TcpListener::bind(to))?.context("listen")?;
    let seat = Seat::take(route.cgroup.as_deref())?;
    let client = route.client.run(|| TcpStream::connect_timeout(&to, super::PATIENCE * 10))?;
    drop(seat);
    let client = client.with_context(|| format!("connect to {to}"))?;
    let (server, _) = listener.accept().context("accept")?;
    for end in [&client, &server] {
        end.set_nonblocking(true).context("make a socket non-blocking")?;
        end.set_nodelay(true).context("switch Nagle's algorithm off")?;
    }
    Ok((client, server))
}

impl Load for Exchanges {
    fn batch(&mut self) -> Result<(u64, u64)> {
        for done in 0..BATCH {
            self.next = self.next.wrapping_add(1);
            let there = hand_over(&mut self.client, &mut self.server, self.next)?;
            if !there || !hand_over(&mut self.server, &mut self.client, self.next)? {
                bail!("an exchange was lost after {done} in its batch: TCP may not lose any");
            }
        }
        Ok((BATCH, 0))
    }
}

/// Moves one byte; false when it did not arrive in time.
fn hand_over(from: &mut TcpStream, to: &mut TcpStream, byte: u8) -> Result<bool> {
    from.write_all(&[byte]).context("send a byte")?;
    let mut got = [0];
    match persist(|| to.read(&mut got)).context("receive a byte")? {
        None => Ok(false),
        Some(1) if got == [byte] => Ok(true),
        Some(n) => bail!("{n} bytes {got:?} arrived instead of {byte}"),
    }
}
