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

use host::linux::bpf::Places;
use host::ports::{Floor as _, Keeping, PortDesired, PortState};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use planner::Bundle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use verdict::abi::{HOST_ENDPOINT, UPLINKS};

use crate::reconcile::Pass;
use crate::shared::Shared;

/// `RTMGRP_LINK` of linux/rtnetlink.h: changes of links.
const LINKS: u32 = 1;
/// Events that the kernel keeps for us, in bytes; when they are more, everything is looked at.
const BUFFER: usize = 1 << 20;
/// How often is looked whether the agent ends.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
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
    /// What workloads have.
    ports: Vec<PortDesired>,
    /// Interfaces that are nobody's and closed, with the number that stands for no endpoint.
    closed: BTreeMap<String, u32>,
}

impl Inner {
    /// Brings about what workloads have and what is closed. Whatever is both is the workload's.
    fn pass(&mut self) -> host::ports::Pass {
        let named: BTreeSet<&str> = self.ports.iter().map(|port| port.interface.as_str()).collect();
        let closed = self.closed.iter().filter(|(name, _)| !named.contains(name.as_str()));
        let closed = closed.map(|(name, number)| (name.clone(), *number));
        let closed = closed.map(|(interface, number)| PortDesired { number, interface });
        self.keeping.want(self.ports.iter().cloned().chain(closed.collect::<Vec<_>>()));
        self.keeping.pass()
    }
}

impl Ports {
    pub(crate) fn new(places: Places) -> Self {
        let (ports, closed) = Default::default();
        Self(Mutex::new(Inner { keeping: Keeping::new(places), begun: false, ports, closed }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings about what a bundle wants.
    pub(crate) fn bring(&self, bundle: &Bundle, uplinks: &[String]) -> Pass {
        let mut inner = self.lock();
        let numbers = (UPLINKS..=HOST_ENDPOINT).rev();
        let uplinks = numbers.zip(uplinks);
        let uplinks = uplinks.map(|(number, name)| PortDesired { number, interface: name.clone() });
        inner.ports = wanted(bundle).into_iter().chain(uplinks).collect();
        inner.begun = true;
        told(inner.pass())
    }

    /// Lets nothing through on these interfaces, as far as they are no workload's: programs that find no endpoint drop. Those that were
    /// closed before and are none of these are let go.
    pub(crate) fn close(&self, interfaces: &BTreeSet<String>) -> Pass {
        let mut inner = self.lock();
        if inner.closed.keys().eq(interfaces) || !inner.begun {
            return Pass::default();
        }
        inner.closed.retain(|name, _| interfaces.contains(name));
        let new = interfaces.iter().filter(|name| !inner.closed.contains_key(*name));
        for name in new.cloned().collect::<Vec<_>>() {
            let ports = inner.ports.iter().map(|port| port.number);
            let taken: BTreeSet<u32> = ports.chain(inner.closed.values().copied()).collect();
            // Endpoints are numbered from below, and the host's are above.
            if let Some(number) = (1..UPLINKS).rev().find(|number| !taken.contains(number)) {
                inner.closed.insert(name, number);
            }
        }
        told(inner.pass())
    }

    /// Detaches everything.
    pub(crate) fn release(&self) -> Pass {
        self.lock().closed.clear();
        self.bring(&Bundle::default(), &[])
    }

    /// How the port of an endpoint is.
    pub(crate) fn state(&self, endpoint: u32) -> Option<PortState> {
        self.lock().keeping.state(endpoint).cloned()
    }

    /// A pass, when one of these interfaces is a port's; all of them are meant by `None`.
    fn look(&self, changed: Option<&[(u32, String)]>) {
        let began = Instant::now();
        if self.looked(changed) {
            // A container may set its link up and down as often as it likes, and each is an event here: no more than half of a processor goes
            // into it, and a change that somebody asks for finds the ports free.
            std::thread::park_timeout(began.elapsed().min(REST));
        }
    }

    /// Whether a pass was made.
    fn looked(&self, changed: Option<&[(u32, String)]>) -> bool {
        let mut inner = self.lock();
        let concerns = changed.is_none_or(|changed| {
            changed.iter().any(|(index, name)| inner.keeping.concerns(*index, name))
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

fn told(pass: host::ports::Pass) -> Pass {
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
    let uplinks = places.known()?.into_iter().filter(|(_, number)| *number >= UPLINKS);
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
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&links, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&PATIENCE)), Ok(1..)) {
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

    /// Index and name of all that has changed, as far as that was kept.
    fn changed(&mut self) -> io::Result<Vec<(u32, String)>> {
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

fn described(link: LinkMessage) -> (u32, String) {
    let name = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    });
    (link.header.index, name.unwrap_or_default())
}
