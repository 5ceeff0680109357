//! An arm: one way for packets to get from a client namespace to a server namespace.
//!
//! Peers, limits and our own datapath implement [`Arm`]; a suite sets them up, has their verdicts
//! checked, and interleaves slices of load over them. Dropping an arm takes it down.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use testkit::Namespace;
use testkit::server::{Reached, TcpEcho, UdpEcho, probe_tcp, probe_udp};

use crate::load::{ALLOWED_PORTS, DENIED_PORT};

/// How long an allowed probe may take, and a denied one must stay silent.
const PROBE: Duration = Duration::from_millis(400);

/// The two ends of an arm.
#[derive(Clone, Debug)]
pub struct Route {
    /// Namespace of the client.
    pub client: Namespace,
    /// Address of the client.
    pub client_address: IpAddr,
    /// Namespace of the server.
    pub server: Namespace,
    /// Address of the server as the client reaches it.
    pub address: IpAddr,
}

/// One arm of a benchmark, standing since it was constructed.
pub trait Arm {
    /// How tables call it.
    fn name(&self) -> &str;
    /// Its two ends.
    fn route(&self) -> &Route;
    /// True when it judges packets; a limit arm lets all pass.
    fn enforces(&self) -> bool;
}

/// Probes an allowed and a denied port over tcp and udp, and compares with what must come out.
///
/// # Errors
/// When any verdict is wrong: the run is void then.
pub fn verify(arm: &dyn Arm) -> Result<()> {
    let route = arm.route();
    let wanted_denied = if arm.enforces() {
        &[Reached::Silence, Reached::Refused, Reached::Unreachable][..]
    } else {
        &[Reached::Answered]
    };
    for (port, wanted) in
        [(*ALLOWED_PORTS.end(), &[Reached::Answered][..]), (DENIED_PORT, wanted_denied)]
    {
        let at = SocketAddr::new(route.address, port);
        let (_tcp, _udp) = (TcpEcho::start(&route.server, at)?, UdpEcho::start(&route.server, at)?);
        let answers = [
            ("tcp", probe_tcp(&route.client, at, PROBE)?),
            ("udp", probe_udp(&route.client, at, PROBE)?),
        ];
        for (protocol, got) in answers {
            if !wanted.contains(&got) {
                bail!(
                    "{}: {port}/{protocol} gave {got:?}, not one of {wanted:?}: the run is void",
                    arm.name()
                );
            }
        }
    }
    Ok(())
}
