//! An arm: one way for packets to get from a client namespace to a server namespace.
//!
//! Peers, limits and our own datapath implement [`Arm`]; a suite sets them up, has their verdicts
//! checked, and interleaves slices of load over them. Dropping an arm takes it down.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::Namespace;
use testkit::server::{Reached, TcpEcho, UdpEcho, probe_tcp, probe_udp};

use crate::arms::Rules;
use crate::load::{ALLOWED_PORTS, DENIED_PORT};

/// How long an allowed probe may take, and a denied one must stay silent.
const PROBE: Duration = Duration::from_millis(400);

/// The two ends of an arm.
#[derive(Clone, Debug)]
pub struct Route {
    /// Namespace of the client.
    pub client: Namespace,
    /// Cgroup of a client that is known by that: its sockets are made, connected and bound in it.
    pub cgroup: Option<PathBuf>,
    /// Address of the client.
    pub client_address: IpAddr,
    /// Namespace of the server.
    pub server: Namespace,
    /// Address of the server as the client reaches it.
    pub address: IpAddr,
}

/// This process as one of a cgroup, until this is dropped.
#[derive(Debug)]
pub struct Seat {
    home: PathBuf,
}

impl Seat {
    /// Takes a seat in a cgroup, which is none where there is none.
    ///
    /// # Errors
    /// When the process cannot be moved.
    pub fn take(cgroup: Option<&Path>) -> Result<Option<Self>> {
        let Some(cgroup) = cgroup else { return Ok(None) };
        let home = testkit::bulkhead::cgroup_of("self")?;
        let procs = cgroup.join(PROCS);
        std::fs::write(&procs, "0").with_context(|| format!("write {}", procs.display()))?;
        Ok(Some(Self { home }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::write(self.home.join(PROCS), "0") {
            eprintln!("could not leave a cgroup: {cause}");
        }
    }
}

/// The file that moves a process into its cgroup.
const PROCS: &str = "cgroup.procs";

/// One arm of a benchmark, standing since it was constructed.
pub trait Arm: Send + Sync {
    /// How tables call it.
    fn name(&self) -> &str;
    /// Its two ends.
    fn route(&self) -> &Route;
    /// The namespaces that have the addresses of its rules.
    fn far(&self) -> &[Namespace] {
        std::slice::from_ref(&self.route().server)
    }
    /// True when it judges packets; a limit arm lets all pass.
    fn enforces(&self) -> bool;
}

/// Probes an allowed and a denied port over tcp and udp, and compares with what must come out.
///
/// # Errors
/// When any verdict is wrong: the run is void then.
pub fn verify(arm: &dyn Arm) -> Result<()> {
    let route = arm.route();
    let wanted_denied = wanted_denied(arm);
    for (port, wanted) in
        [(*ALLOWED_PORTS.end(), &[Reached::Answered][..]), (DENIED_PORT, wanted_denied)]
    {
        let at = SocketAddr::new(route.address, port);
        let (_tcp, _udp) = (TcpEcho::start(&route.server, at)?, UdpEcho::start(&route.server, at)?);
        let _seat = Seat::take(route.cgroup.as_deref())?;
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

/// What a denied probe may see: nothing gets through, unless the arm lets all pass.
fn wanted_denied(arm: &dyn Arm) -> &'static [Reached] {
    if arm.enforces() {
        &[Reached::Silence, Reached::Refused, Reached::Unreachable]
    } else {
        &[Reached::Answered]
    }
}

/// Probes the targets of some fillers, first, middle and last, and what is right beside the last one.
///
/// # Errors
/// As [`verify`].
pub fn verify_rules(arm: &dyn Arm, rules: Rules) -> Result<()> {
    let fillers = rules.count.saturating_sub(1);
    let picks = [0, fillers / 2, fillers.saturating_sub(1)].map(|at| rules.shape.target(at));
    let allowed = picks.map(|target| (target.at(), target.far, &[Reached::Answered][..]));
    let denied = picks.last().map(|target| (target.beside, target.far, wanted_denied(arm)));
    for (at, far, wanted) in allowed.into_iter().chain(denied) {
        let Some(space) = arm.far().get(usize::from(far)) else {
            bail!("{}: nobody has {at}", arm.name());
        };
        let _server = TcpEcho::start(space, at)?;
        let got = probe_tcp(&arm.route().client, at, PROBE)?;
        if !wanted.contains(&got) {
            bail!("{}: {at} gave {got:?}, not one of {wanted:?}: the run is void", arm.name());
        }
    }
    Ok(())
}
