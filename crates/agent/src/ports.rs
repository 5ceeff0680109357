//! Ports in place: what the keeper wants attached, and the watcher that attaches it as soon as its interface is there.
//!
//! The keeper says what is wanted and makes a pass when it applies a document and when it looks for drift. In between, this
//! thread hears from the kernel that an interface came, was renamed or went, and makes a pass when it concerns a port: so that
//! a virtual machine that starts waits for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::{Error, codes};
use host::linux::bpf::{Datapath, Places};
use host::ports::{Floor as _, Keeping, PortDesired, PortState, StrayState, Street};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use planner::Bundle;
use policy::document::External;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use verdict::abi::{HOST_ENDPOINT, MAX_ENDPOINTS, UPLINKS};

use crate::confirm::ledger::now_ms;
use crate::fault::failed;
use crate::force::Wanted;
use crate::reconcile::Pass;
use crate::shared::Shared;
use crate::uplinks;

/// `RTMGRP_LINK` of linux/rtnetlink.h: changes of links.
const LINKS: u32 = 1;
/// Events that the kernel keeps for us, in bytes; when they are more, everything is looked at.
const BUFFER: usize = 1 << 20;
/// How often is looked whether the agent ends.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How often the programs of the uplinks are looked at, and how soon again when they could not be put back.
const GLANCE: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(5);
/// Longest rest after a pass.
const REST: Duration = Duration::from_millis(50);
/// Datagrams that are read at one time.
const AT_ONCE: usize = 4_096;

/// The ports in place of this host.
pub(crate) struct Ports(Mutex<Inner>);

struct Inner {
    keeping: Keeping<Places>,
    /// What is wanted was said at least once: until then, what is attached stays.
    begun: bool,
    /// Bridges of networks, and which of Docker's they are of.
    streets: Vec<(Street, Option<String>)>,
    /// Bridges of Docker's networks by the networks' names, as far as Docker has told.
    bridges: BTreeMap<String, String>,
}

impl Inner {
    /// Brings about what workloads have, and what is nobody's on the same bridges.
    fn pass(&mut self) -> host::ports::Pass {
        let default = uplinks::default_links();
        let streets = self.streets.iter().map(|(street, docker)| {
            let known = docker.as_ref().map(|docker| self.bridges.get(docker).cloned());
            let bridge = known.unwrap_or_else(|| street.bridge.clone());
            let carries = bridge.as_ref().is_some_and(|bridge| default.contains(bridge));
            Street { bridge, leads_out: street.leads_out || carries, ..street.clone() }
        });
        self.keeping.watch(streets.collect());
        self.keeping.pass()
    }
}

impl Inner {
    /// Whether the uplinks that were enforced are so.
    fn is_whole(&mut self) -> bool {
        (UPLINKS..=HOST_ENDPOINT).all(|number| match self.keeping.state(number) {
            Some(PortState::Enforced { index, .. }) => {
                let index = *index;
                self.keeping.floor().attached(index, number).is_some()
            }
            _ => true,
        })
    }
}

impl Ports {
    pub(crate) fn new(places: Places) -> Self {
        let (streets, bridges) = Default::default();
        Self(Mutex::new(Inner { keeping: Keeping::new(places), begun: false, streets, bridges }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings about what a bundle wants.
    pub(crate) fn bring(&self, bundle: &Bundle, uplinks: &[String]) -> Pass {
        let mut inner = self.lock();
        let numbers = (UPLINKS..=HOST_ENDPOINT).rev();
        let uplinks = numbers
            .zip(uplinks)
            .map(|(number, name)| PortDesired { number, interface: name.clone() });
        inner.keeping.want(wanted(bundle).into_iter().chain(uplinks));
        inner.streets = streets(bundle);
        inner.begun = true;
        told(inner.pass())
    }

    /// Takes what Docker has told: the bridges of its networks by their names, and the ports that are known to be a container's that is not attached yet, which stay closed.
    pub(crate) fn found(&self, bridges: &BTreeMap<String, String>, held: BTreeSet<String>) -> Pass {
        let mut inner = self.lock();
        let is_held = inner.keeping.hold(held);
        if !is_held && inner.bridges == *bridges {
            return Pass::default();
        }
        inner.bridges.clone_from(bridges);
        if !inner.begun {
            return Pass::default();
        }
        told(inner.pass())
    }

    /// Ports that nobody in the file has, as they are, with the bridges that they are on; and what of such ports is not judged.
    pub(crate) fn strays(&self) -> (Vec<StrayState>, Vec<String>) {
        let inner = self.lock();
        (inner.keeping.strays().cloned().collect(), inner.keeping.notes().to_vec())
    }

    /// Such ports that have no programs of their own, as there are too many.
    pub(crate) fn beyond(&self) -> usize {
        self.lock().keeping.beyond()
    }

    /// Detaches everything.
    pub(crate) fn release(&self) -> Pass {
        self.bring(&Bundle::default(), &[])
    }

    /// How the port of an endpoint is.
    pub(crate) fn state(&self, endpoint: u32) -> Option<PortState> {
        self.lock().keeping.state(endpoint).cloned()
    }

    /// A pass, when one of these interfaces is a port's; all of them are meant by `None`.
    fn look(&self, changed: Option<&[Changed]>) {
        let began = Instant::now();
        if self.looked(changed) {
            // A container may set its link up and down as often as it likes, and each is an event here: no more than half of a processor goes
            // into it, and a change that somebody asks for finds the ports free.
            std::thread::park_timeout(began.elapsed().min(REST));
        }
    }

    /// A pass, when a port is no longer new.
    fn grow(&self) {
        let next = self.lock().keeping.next();
        if next.is_some_and(|next| next <= Instant::now()) {
            self.looked(None);
        }
    }

    /// A pass, when programs are missing on an uplink of the host: nothing else judges there, so that is not left to the drift timer.
    /// Whether all is as it should be now.
    fn glance(&self) -> bool {
        let mut inner = self.lock();
        if !inner.begun || inner.is_whole() {
            return true;
        }
        let pass = inner.pass();
        let is_whole = inner.is_whole();
        drop(inner);
        for line in &pass.done {
            tracing::warn!(reconciler = "network", "repaired: {line}");
        }
        for line in &pass.failed {
            tracing::warn!("{line}");
        }
        is_whole
    }

    /// Whether a pass was made.
    fn looked(&self, changed: Option<&[Changed]>) -> bool {
        let mut inner = self.lock();
        let concerns = changed.is_none_or(|changed| {
            changed.iter().any(|it| inner.keeping.concerns(it.index, &it.name, it.master))
        });
        if !inner.begun || !concerns {
            return false;
        }
        let pass = inner.pass();
        drop(inner);
        for line in &pass.done {
            tracing::info!("{line}");
        }
        for line in &pass.failed {
            tracing::warn!("{line}");
        }
        true
    }
}

/// The ports of a bundle.
fn wanted(bundle: &Bundle) -> Vec<PortDesired> {
    let attachments = bundle.routers.iter().flat_map(|router| &router.endpoints);
    let port = |at: &planner::Attachment| {
        let interface = at.port.as_ref()?.interface.clone();
        Some(PortDesired { number: at.number.into(), interface })
    };
    attachments.filter_map(port).collect()
}

/// Brings the programs into the kernel that judge at the host's uplinks and at ports that nobody in the file has, when there is a host part
/// or a network on somebody else's bridge. On a LAN they come with the first port that wants them: who else is there is seldom on a bridge
/// of this host.
///
/// # Errors
/// `BH0215` when the kernel does not take them. Nothing has changed then.
pub(crate) fn load(datapath: &Datapath, wanted: &Wanted) -> Result<(), Error> {
    let has_strays = wanted.bundle.routers.iter().any(|router| router.external.is_some());
    if wanted.host.is_none() && !has_strays {
        return Ok(());
    }
    let what = "load the programs that judge at the host's uplinks and at ports that nobody has";
    datapath.load_for_places().map_err(|error| failed(codes::DATAPATH, what, &error))
}

/// The bridges of somebody else that networks of a bundle stand on, and which of Docker's networks they are of.
fn streets(bundle: &Bundle) -> Vec<(Street, Option<String>)> {
    let street = |router: &planner::Router| {
        let (bridge, docker) = match (&router.external, &router.lan) {
            (Some(External::Bridge(bridge)), _) => (Some(bridge.clone()), None),
            (Some(External::Docker(docker)), _) => (None, Some(docker.clone())),
            // Of a NIC there is nothing to see: it is no bridge.
            (None, Some(lan)) => (Some(lan.uplink.to_string()), None),
            (None, None) => return None,
        };
        // Who else is on a LAN is the world.
        let is_lan = router.lan.is_some();
        let has = |v4: bool| !is_lan && router.subnets.iter().any(|net| net.addr().is_ipv4() == v4);
        let street = Street {
            network: router.number,
            bridge,
            subnets: [has(true), has(false)],
            waits: docker.is_some(),
            leads_out: is_lan,
        };
        Some((street, docker))
    };
    bundle.routers.iter().filter_map(street).collect()
}

/// A pass of `host`'s as one of ours.
pub(crate) fn told(pass: host::ports::Pass) -> Pass {
    Pass { changes: pass.done.len() as u64, done: pass.done, failed: pass.failed }
}

/// Detaches what an agent on `bpffs` has left, when none runs.
pub(crate) fn release_left(bpffs: &std::path::Path) -> Pass {
    match Places::left(bpffs) {
        Ok(Some(places)) => told(Keeping::new(places).pass()),
        Ok(None) => Pass::default(),
        Err(error) => Pass::failed(&error),
    }
}

/// Takes the programs off the uplinks, whether an agent runs or not: the host is then judged by nobody.
pub(crate) fn release_uplinks(bpffs: &std::path::Path) -> io::Result<()> {
    let Some(mut places) = Places::left(bpffs).map_err(io::Error::other)? else { return Ok(()) };
    let uplinks = places.known()?.into_iter();
    let uplinks = uplinks.filter(|(_, number)| (UPLINKS..MAX_ENDPOINTS).contains(number));
    for (index, number) in uplinks {
        places.detach(index, number)?;
        places.leave(index)?;
    }
    Ok(())
}

/// Watches the interfaces of the host until `stop` is set.
pub(crate) fn run(shared: &Shared, stop: &AtomicBool) {
    let mut links = match Links::open() {
        Ok(links) => links,
        Err(error) => {
            tracing::error!(%error, "interfaces cannot be watched: ports wait for the next look");
            return;
        }
    };
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        shared.ports.grow();
        let mut fds = [PollFd::new(&links, PollFlags::IN)];
        let heard = poll(&mut fds, Some(&PATIENCE));
        if next <= Instant::now() {
            let pause = if is_overdue(shared) || shared.ports.glance() { GLANCE } else { AGAIN };
            next = Instant::now() + pause;
        }
        if !matches!(heard, Ok(1..)) {
            continue;
        }
        match links.changed() {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => shared.ports.look(Some(&changed)),
            // More came than was kept: nobody knows what.
            Err(_) => shared.ports.look(None),
        }
    }
}

/// Whether a change of the host's own policy is to have gone back by now: whoever then takes the programs off the uplinks is the process that
/// waited for it (docs/adr/0021-host-policy.md).
fn is_overdue(shared: &Shared) -> bool {
    let deadline_ms = shared.condition().host_deadline_ms;
    deadline_ms != 0 && now_ms() >= deadline_ms
}

/// Hears of links.
struct Links {
    socket: Socket,
}

impl Links {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_rx_buf_sz(BUFFER)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// All that has changed, as far as that was kept.
    fn changed(&mut self) -> io::Result<Vec<Changed>> {
        let mut found = Vec::new();
        for _ in 0..AT_ONCE {
            let bytes = match self.socket.recv_from_full() {
                Ok((bytes, _)) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
                Err(error) => return Err(error),
            };
            let mut rest = bytes.as_slice();
            while rest.len() >= 16 {
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                if let NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
                ) = message.payload
                {
                    found.push(described(link));
                }
                let length = (message.header.length as usize).next_multiple_of(4).max(16);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        Ok(found)
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An interface that came, changed or went.
#[derive(Default)]
struct Changed {
    index: u32,
    name: String,
    /// Index of the bridge that it is on.
    master: Option<u32>,
}

fn described(link: LinkMessage) -> Changed {
    let mut changed = Changed { index: link.header.index, ..Changed::default() };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => changed.name = name,
            LinkAttribute::Controller(master) => changed.master = Some(master),
            _ => {}
        }
    }
    changed
}
