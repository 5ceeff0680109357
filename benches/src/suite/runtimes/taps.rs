//! Virtual machines: a TAP is made and joined to a bridge, QEMU takes it, and its guest's side sends until the host answers.
//!
//! QEMU has no machine: how long a guest boots is no matter of its port. It carries frames, as it does for a guest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::bulkhead::Bulkhead;
use testkit::packet::{Frame, Mac, mac_text};
use testkit::server::UdpEcho;
use testkit::{Lab, Namespace, tap, uninterrupted};

use super::super::Run;
use super::super::attach::ms;
use super::{READY, TIMES, Way, in_turns};
use crate::load::ALLOWED_PORTS;

const BRIDGE: &str = "br9";
const BRIDGE_MAC: Mac = [0x52, 0x54, 0, 0, 0, 1];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
/// Port of the first guest's side.
const SIDES: u16 = 20_000;
/// How long a frame waits for its answer before the next one is sent.
const AGAIN: Duration = Duration::from_millis(2);
/// Long enough that no frame is filled up.
const HELLO: &[u8] = b"hello from a virtual machine behind a TAP";

/// A host with a bridge for guests, and a server on it.
struct Machines {
    name: &'static str,
    _echo: UdpEcho,
    _bulkhead: Option<Bulkhead>,
    host: Namespace,
    _lab: Lab,
}

impl Machines {
    fn stand(name: &'static str, is_enforced: bool) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        lab.bridge(&host, BRIDGE, &[&format!("{GATEWAY}/16")])?;
        // Else it has that of its ports, and forgets neighbours with each new one.
        host.ip(&format!("link set {BRIDGE} address {}", mac_text(BRIDGE_MAC)))?;
        let (mut neighbours, mut workloads) = (String::new(), String::new());
        for number in 0..TIMES {
            let (own, mac) = (address(number), mac_text(guest(number)));
            neighbours
                .extend([format!("neigh add {own} lladdr {mac} nud permanent dev {BRIDGE}\n")]);
            workloads.extend([format!(
                "      vm{number}: {{ port: {{ interface: tap{number}, mac: \"{mac}\" }}, address: [{own}], labels: {{ app: vm }} }}\n"
            )]);
        }
        host.ip(&neighbours)?;
        let echo = UdpEcho::start(&host, SocketAddr::new(GATEWAY.into(), *ALLOWED_PORTS.start()))?;
        let bulkhead = is_enforced.then(|| Bulkhead::start(&lab, &host)).transpose()?;
        if let Some(bulkhead) = &bulkhead {
            let port = ALLOWED_PORTS.start();
            bulkhead.up(&format!(
                "bulkhead: 1\ntenants:\n  bench:\n    networks: {{ lan: {{ external: {{ bridge: {BRIDGE} }}, subnets: [10.66.0.0/16] }} }}\n    \
                 workloads:\n{workloads}    policies: {{ use: {{ from: app=vm, to: host, allow: [{port}/udp] }} }}\n"
            ))?;
        }
        Ok(Self { name, _echo: echo, _bulkhead: bulkhead, host, _lab: lab })
    }
}

impl Way for Machines {
    fn name(&self) -> &'static str {
        self.name
    }

    fn one(&mut self, number: usize) -> Result<f64> {
        let start = Instant::now();
        let name = format!("tap{number}");
        self.host.check(&["ip", "tuntap", "add", "dev", &name, "mode", "tap"])?;
        self.host.ip(&format!("link set {name} master {BRIDGE} up"))?;
        let port = SIDES + u16::try_from(number).context("too many")?;
        let (_qemu, sides) = tap::join(&self.host, &[name], port)?;
        let side = sides.first().context("no side")?;
        side.set_read_timeout(Some(AGAIN)).context("a timeout")?;
        answered(side, number)?;
        Ok(ms(start))
    }
}

/// Sends until an answer comes; QEMU does not listen yet at first.
fn answered(side: &UdpSocket, number: usize) -> Result<()> {
    let (own, port) = (IpAddr::V4(address(number)), *ALLOWED_PORTS.start());
    let frame = Frame::new(guest(number), BRIDGE_MAC).ip(own, GATEWAY.into());
    let frame = frame.udp(4000, port).payload(HELLO).bytes();
    let mut buffer = [0; 2048];
    let began = Instant::now();
    while began.elapsed() < READY {
        // Refused as long as nobody listens.
        let _refused = side.send(&frame);
        while let Ok(length) = uninterrupted(|| side.recv(&mut buffer)) {
            // What else the bridge sends is no answer.
            if buffer[..length].ends_with(HELLO) {
                return Ok(());
            }
        }
    }
    bail!("guest {number} was not answered: the run is void")
}

fn guest(number: usize) -> Mac {
    let [.., high, low] = number.to_be_bytes();
    [0x52, 0x54, 0, 1, high, low]
}

fn address(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 66, 1 + high, low)
}

pub(super) fn run(run: &mut Run) -> Result<()> {
    let mut ways = [
        Machines::stand("TAP on a bridge, no agent", false)?,
        Machines::stand("TAP on a bridge, enforced in place", true)?,
    ];
    in_turns(run, &mut ways, TIMES, "from before the TAP is made, with QEMU's start")
}
