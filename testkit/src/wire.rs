//! A raw socket on one interface: sends any frame, captures what passes, with deadlines.
//!
//! The socket is made inside a namespace and stays there; the handle works from any thread. Both
//! directions are seen: frames the interface receives and frames it sends.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Namespace, uninterrupted};

/// Every protocol, both directions (`linux/if_ether.h`).
const ETH_P_ALL: u16 = 0x0003;
/// Longest frame a capture keeps: a segmentation-offloaded one.
const LONGEST_FRAME: usize = 65_600;

/// A raw packet socket bound to an interface.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
}

impl Wire {
    /// Opens `interface` of `space`. Frames that passed before this returns are not seen.
    ///
    /// # Errors
    /// When the interface does not exist or the caller is not root.
    pub fn open(space: &Namespace, interface: &str) -> Result<Self> {
        space.run(|| open_here(interface))?.with_context(|| format!("open a wire on {interface}"))
    }

    /// Sends one whole frame.
    ///
    /// # Errors
    /// When the kernel refuses it, e.g. the interface is down.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).context("send a frame").map(drop)
    }

    /// The next frame that `wanted` accepts, or `None` when `deadline` passes without one.
    ///
    /// # Errors
    /// When the socket fails, e.g. the interface is gone.
    pub fn next(
        &self,
        deadline: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                None => return Ok(None),
                Some(frame) if wanted(&frame) => return Ok(Some(frame)),
                Some(_) => {}
            }
        }
    }

    /// All frames that `wanted` accepts within `time`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn collect(
        &self,
        time: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let end = Instant::now() + time;
        let mut frames = Vec::new();
        while let Some(frame) =
            self.next(end.saturating_duration_since(Instant::now()), &mut wanted)?
        {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Forgets what was captured so far.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn forget(&self) -> Result<()> {
        while self.receive(Duration::ZERO)?.is_some() {}
        Ok(())
    }

    fn receive(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        // A zero timeout means "for ever" to the kernel.
        let timeout = within.max(Duration::from_micros(1));
        self.socket.set_read_timeout(Some(timeout)).context("set a read timeout")?;
        let mut frame = vec![0; LONGEST_FRAME];
        match uninterrupted(|| std::io::Read::read(&mut &self.socket, &mut frame)) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e).context("receive a frame"),
        }
    }
}

fn open_here(interface: &str) -> Result<Wire> {
    let address = link_address(interface)?;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("make a socket")?;
    bind(socket.as_raw_fd(), &address).context("bind to the interface")?;
    let wire = Wire { socket };
    wire.forget()?;
    Ok(wire)
}

/// The interface's link-layer address as the kernel lists it: `bind` needs its index only.
fn link_address(interface: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()
        .context("list interfaces")?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .with_context(|| format!("no interface {interface}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;
    use crate::packet::{Frame, ip};

    #[test]
    fn a_frame_sent_on_one_end_is_seen_on_the_other_only_root() {
        crate::root_or_return!("a_frame_sent_on_one_end_is_seen_on_the_other_only_root");
        let mut lab = Lab::new().expect("a lab");
        let (a, b) = (lab.namespace("a").expect("a"), lab.namespace("b").expect("b"));
        lab.veth((&a, "eth0"), (&b, "eth0")).expect("a pair");
        lab.veth((&a, "eth1"), (&b, "eth1")).expect("another pair");
        let sender = Wire::open(&a, "eth0").expect("a wire");
        let seen = Wire::open(&b, "eth0").expect("a wire");
        let other = Wire::open(&b, "eth1").expect("a wire");
        let frame = Frame::new([2, 0, 0, 0, 0, 9], a.mac("eth0").expect("a MAC"))
            .ip(ip("10.9.0.1"), ip("10.9.0.2"))
            .udp(1, 2)
            .payload(b"marker")
            .bytes();
        sender.send(&frame).expect("send");
        let got = seen.next(Duration::from_secs(2), |f| f == frame).expect("capture");
        assert!(got.is_some(), "the frame did not arrive");
        let wrong = other.collect(Duration::from_millis(50), |f| f == frame).expect("capture");
        assert!(wrong.is_empty(), "the frame was seen on another interface");
    }
}
