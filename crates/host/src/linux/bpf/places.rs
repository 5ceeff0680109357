//! The real kernel behind ports in place: our programs on interfaces that somebody else made.
//!
//! What is remembered lies beside the other pins: `PORTS_IN_PLACE` tells the programs whose an interface is, `links` hold the
//! TCX links, and the empty folders `places/<number>-<index>` and `qdiscs/<index>` say since when a port is enforced, and
//! that its queueing discipline is ours to take away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aya::programs::links::Link as _;
use aya::programs::tc::SchedClassifierLink;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcHandle, TcMessage};
use verdict::abi::{IFINDEX_BASE, MAX_ENDPOINTS};

use super::hooks::{HOOKS, Port};
use super::table::Table;
use super::{Datapath, Error, HookKind, Hooks, filters, object, probe};
use crate::linux::link;
use crate::linux::netlink::Netlink;
use crate::network::{LAN_IFINDEX_BASE, LinkState, NetworkNumber, PEER_IFINDEX_BASE, Refusal};
use crate::ports::{Floor, Interface, Leads, number_of};

/// `TC_H_CLSACT`, the place of the queueing discipline, and its own handle.
const CLSACT: (u32, u32) = (0xffff_fff1, 0xffff_0000);

/// Attaches to interfaces in the namespace of the calling thread, which is to be the host's.
pub struct Places {
    hooks: Hooks,
    table: Table<u32, u32>,
    folder: PathBuf,
    qdiscs: PathBuf,
}

impl Datapath {
    /// Opens what attaches to ports in place. There should be one.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::ForeignMap`] or [`Error::Folder`].
    pub fn places(&self) -> Result<Places, Error> {
        Places::open(self.hooks(), &self.root)
    }

    /// Brings the programs of uplinks and of ports that nobody has into the kernel, unless they are there. What is refused then is refused
    /// before anything has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] and others when the kernel does not take them; [`Error::MapGone`].
    pub fn load_for_places(&self) -> Result<(), Error> {
        self.at_places.get().map(drop)
    }
}

impl Places {
    fn open(hooks: Hooks, root: &Path) -> Result<Self, Error> {
        let (folder, qdiscs) = (root.join("places"), root.join("qdiscs"));
        object::make(&folder)?;
        object::make(&qdiscs)?;
        let table = Table::open(&root.join("maps"), "PORTS_IN_PLACE")?;
        Ok(Self { hooks, table, folder, qdiscs })
    }

    /// Opens what an agent has left below `bpffs`; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// As [`Datapath::places`].
    pub fn left(bpffs: &Path) -> Result<Option<Self>, Error> {
        let root = object::root(bpffs)?;
        if !root.join("places").exists() {
            return Ok(None);
        }
        let hooks = Hooks::look(bpffs, probe::hook_kind())?;
        Self::open(hooks, &root).map(Some)
    }

    /// The same with another way of attaching. For tests of the older way on newer kernels.
    #[doc(hidden)]
    #[must_use]
    pub fn by(self, kind: HookKind) -> Self {
        Self { hooks: self.hooks.by(kind), ..self }
    }

    fn mark(&self, at: Port) -> PathBuf {
        self.folder.join(format!("{}-{}", at.number, at.index))
    }

    /// Takes our filters off, and the queueing discipline when it is ours and nobody else's by now.
    fn remove_filters(&self, at: Port) -> io::Result<()> {
        let Ok(name) = at.name() else { return forget(&self.qdiscs.join(at.index.to_string())) };
        let (priority, handle) = at.filter();
        for hook in &HOOKS {
            let there = SchedClassifierLink::attached(&name, hook.clsact, priority, handle, None)?;
            // Gone is what it is to be; whether that is so is asked below.
            drop(there.detach());
        }
        if self.hooks.has_filters(at) {
            return Err(io::Error::other("its filters cannot be removed"));
        }
        let ours = self.qdiscs.join(at.index.to_string());
        if !ours.exists() {
            return Ok(());
        }
        let is_used = |parent| filters::any(at.index, parent);
        if !is_used(filters::INGRESS)? && !is_used(filters::EGRESS)? {
            let mut message = TcMessage::default();
            message.header.index = at.index.cast_signed();
            message.header.parent = TcHandle::from(CLSACT.0);
            message.header.handle = TcHandle::from(CLSACT.1);
            let request = RouteNetlinkMessage::DelQueueDiscipline(message);
            Netlink::open()?.request(request, 0).map_err(into_io)?;
        }
        forget(&ours)
    }
}

impl Floor for Places {
    fn interfaces(&mut self) -> io::Result<BTreeMap<String, Interface>> {
        let links = link::dump(&mut Netlink::open()?).map_err(into_io)?;
        // Both ends of a pair are here, and the other one is on a bridge.
        let patched: BTreeSet<u32> = links
            .values()
            .filter(|link| link.kind == "veth" && !link.is_far && link.master.is_some())
            .filter_map(|link| link.peer)
            .collect();
        let interface = |(name, link): (String, LinkState)| {
            let is_ours = is_ours(&name, link.index);
            let is_uplink = !is_ours && link.mac.0 != [0; 6];
            let is_port = is_uplink && link.kind != "bridge";
            let is_patch = !link.is_far && patched.contains(&link.index);
            let leads = match link.kind.as_str() {
                _ if is_ours => Leads::Ours,
                "bridge" => Leads::Bridge,
                "veth" if is_patch => Leads::Out,
                "veth" | "tun" | "dummy" => Leads::Guest,
                _ => Leads::Out,
            };
            (name, Interface { index: link.index, is_port, is_uplink, leads, master: link.master })
        };
        Ok(links.into_iter().map(interface).collect())
    }

    fn known(&mut self) -> io::Result<BTreeMap<u32, u32>> {
        let mut known = BTreeMap::new();
        self.table
            .each(|index, value| {
                known.insert(index, value);
            })
            .map_err(io::Error::other)?;
        Ok(known)
    }

    fn attached(&mut self, index: u32, number: u32) -> Option<SystemTime> {
        let at = Port { number, index };
        let is_there = match self.hooks.kind() {
            HookKind::Tcx => self.hooks.has_links(at),
            HookKind::Clsact => self.hooks.has_filters(at),
        };
        let mark = self.mark(at);
        if !is_there {
            return None;
        }
        // An agent that was killed before it could say so was enforcing.
        let marked = || fs::metadata(&mark).and_then(|found| found.modified());
        marked().or_else(|_| remember(&mark).and_then(|()| marked())).ok()
    }

    fn is_marked(&mut self, index: u32, number: u32) -> io::Result<bool> {
        match self.hooks.kind() {
            HookKind::Tcx => self.hooks.has_a_link(Port { number, index }),
            HookKind::Clsact => {
                Ok(filters::any(index, filters::INGRESS)? || filters::any(index, filters::EGRESS)?)
            }
        }
    }

    fn enter(&mut self, index: u32, value: u32) -> io::Result<()> {
        self.table.insert(&index, &value).map_err(io::Error::other)
    }

    fn attach(&mut self, index: u32, number: u32) -> io::Result<()> {
        let at = Port { number, index };
        forget(&self.mark(at))?;
        match self.hooks.kind() {
            HookKind::Tcx => HOOKS.iter().try_for_each(|hook| self.hooks.attach_tcx(hook, at))?,
            HookKind::Clsact => {
                if self.hooks.attach_clsact(at)? {
                    remember(&self.qdiscs.join(index.to_string()))?;
                }
            }
        }
        remember(&self.mark(at))
    }

    fn hand_over(&mut self, index: u32, from: u32, to: u32) -> io::Result<()> {
        self.enter(index, to)?;
        let to = number_of(to);
        if self.hooks.kind() == HookKind::Tcx {
            for hook in &HOOKS {
                let pins = [from, to].map(|number| self.hooks.pin(hook, number));
                match fs::rename(&pins[0], &pins[1]) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
                self.hooks.held.rename(&pins[0], &pins[1]);
            }
        }
        forget(&self.mark(Port { number: from, index }))
    }

    fn detach(&mut self, index: u32, number: u32) -> io::Result<()> {
        let at = Port { number, index };
        match self.hooks.kind() {
            HookKind::Tcx => self.hooks.detach(number).map_err(io::Error::other)?,
            HookKind::Clsact => self.remove_filters(at)?,
        }
        forget(&self.mark(at))
    }

    fn leave(&mut self, index: u32) -> io::Result<()> {
        self.table.remove_all(&[index]).map_err(io::Error::other)
    }
}

fn is_ours(name: &str, index: u32) -> bool {
    let ends = [IFINDEX_BASE, PEER_IFINDEX_BASE, LAN_IFINDEX_BASE];
    ends.iter().any(|base| (*base..*base + MAX_ENDPOINTS).contains(&index))
        || NetworkNumber::from_link_name(name).is_some()
}

/// The folder that it stands in may have been removed, too.
fn remember(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn into_io(refusal: Refusal) -> io::Error {
    match refusal {
        Refusal::Errno { errno, .. } => errno,
        other => io::Error::other(other.to_string()),
    }
}
