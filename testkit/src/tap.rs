//! Guests' sides of TAPs: QEMU without a machine carries frames between a TAP and a socket.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Namespace, Proc};

/// How far the port of QEMU's side is from that of the guest's.
const APART: u16 = 1_000;
/// How long a side waits for a frame.
const FRAME: Duration = Duration::from_millis(400);

/// Joins each TAP with a socket whose datagrams are frames; `first` is the port of the first one, on the host's loopback.
///
/// The sockets are in the order of `taps`. QEMU ends with the process that is given.
///
/// # Errors
/// When QEMU is not there, or a port is taken.
pub fn join(host: &Namespace, taps: &[String], first: u16) -> Result<(Proc, Vec<UdpSocket>)> {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "none", "-nodefaults", "-display", "none"]);
    let mut sides = Vec::new();
    for (n, (tap, port)) in taps.iter().zip(first..).enumerate() {
        let [ours, its] = [port, port + APART].map(|port| format!("127.0.0.1:{port}"));
        qemu.args(["-netdev", &format!("tap,id=t{n},ifname={tap},script=no,downscript=no")]);
        qemu.args(["-netdev", &format!("socket,id=s{n},udp={ours},localaddr={its}")]);
        qemu.args(["-netdev", &format!("hubport,id=a{n},hubid={n},netdev=t{n}")]);
        qemu.args(["-netdev", &format!("hubport,id=b{n},hubid={n},netdev=s{n}")]);
        let side = host.run(|| UdpSocket::bind(&ours))?.context("a guest's side")?;
        side.connect(&its).context("QEMU's side")?;
        side.set_read_timeout(Some(FRAME)).context("a timeout")?;
        sides.push(side);
    }
    Ok((host.spawn(&mut qemu)?, sides))
}
