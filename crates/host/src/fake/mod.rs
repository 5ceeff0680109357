//! A kernel in memory that prints itself in the words of `ip` and `nft`.
//!
//! It follows the same rules as the real one where they matter to a reconciler: names are taken,
//! links are absent, both ends of a veth go together, a namespace takes its links with it. Tests of
//! reconcilers compare its printed form, so that a failure reads like a terminal.

mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::linux::netns::NetNs;
use crate::linux::nft::edge::EdgeTable;
use crate::linux::nft::{Ruleset, TableState};
use crate::network::{
    Glance, Kernel, KernelError, LinkState, Mac, Ns, NsName, NsState, Op, PortFlags, Refusal,
    VethSpec, VlanSpec,
};

/// A kernel in memory. Fields are open so that a test can arrange and spoil things.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// Every namespace, ours and others; [`Ns::Host`] is there even when it is absent here.
    pub namespaces: BTreeMap<Ns, NsState>,
    /// Tables, and whether somebody edited them.
    pub tables: BTreeMap<Ns, (Ruleset, bool)>,
    /// Tables at edges to LANs, and whether somebody edited them.
    pub edges: BTreeMap<Ns, (EdgeTable, bool)>,
    /// The host's sysctls by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// What they were before they were set.
    pub sysctls_before: BTreeMap<String, String>,
    /// Every step, in order, as a command.
    pub log: Vec<String>,
    /// Every namespace that was read, in order.
    pub looks: Vec<Ns>,
    /// Steps whose command contains this text are refused with `EPERM`.
    pub refuse: Option<String>,
    /// Namespaces that cannot be read, with `EIO`.
    pub unreadable: BTreeSet<Ns>,
    next_index: u32,
}

/// Indices of links that nobody chose an index for start above this.
const FIRST_INDEX: u32 = 100;

impl FakeKernel {
    /// A host with one link, `eth0`, and forwarding switched off.
    #[must_use]
    pub fn with_host() -> Self {
        let mut kernel = Self::default();
        let mut host = NsState::default();
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        host.links.insert("eth0".to_owned(), link(2, "", mac, 1500));
        let address = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 0, 2, 1), 24);
        host.addresses.entry("eth0".to_owned()).or_default().insert(address.into());
        kernel.namespaces.insert(Ns::Host, host);
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            kernel.sysctls.insert(key.to_owned(), "0".to_owned());
        }
        kernel
    }

    /// Forgets what was done so far, to see only what is done next.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    fn state(&mut self, ns: &Ns) -> Result<&mut NsState, Refusal> {
        if *ns == Ns::Host {
            return Ok(self.namespaces.entry(Ns::Host).or_default());
        }
        self.namespaces.get_mut(ns).ok_or_else(|| errno(libc::ENOENT))
    }

    fn link(&mut self, ns: &Ns, name: &str) -> Result<&mut LinkState, Refusal> {
        self.state(ns)?.links.get_mut(name).ok_or_else(|| errno(libc::ENODEV))
    }

    fn fresh_index(&mut self, wanted: Option<u32>) -> u32 {
        self.next_index += 1;
        wanted.unwrap_or(FIRST_INDEX + self.next_index)
    }

    fn add_link(&mut self, ns: &Ns, name: &str, link: LinkState) -> Result<(), Refusal> {
        let links = &mut self.state(ns)?.links;
        if links.contains_key(name) {
            return Err(errno(libc::EEXIST));
        }
        links.insert(name.to_owned(), link);
        Ok(())
    }

    fn add_veth(&mut self, spec: &VethSpec) -> Result<(), Refusal> {
        let master = match &spec.master {
            Some(bridge) => Some(self.link(&spec.ns, bridge)?.index),
            None => None,
        };
        if self.state(&spec.peer_ns)?.links.contains_key(&spec.peer_link) {
            return Err(errno(libc::EEXIST));
        }
        let (near, far) = (self.fresh_index(spec.index), self.fresh_index(spec.peer_index));
        let port = PortFlags { learning: true, flood: true, neigh_suppress: false };
        let near_end = LinkState {
            peer: Some(far),
            master,
            port: master.map(|_| port),
            ..link(near, "veth", spec.mac, spec.mtu)
        };
        self.add_link(&spec.ns, &spec.link, near_end)?;
        let far_end = LinkState { peer: Some(near), ..link(far, "veth", spec.peer_mac, spec.mtu) };
        self.add_link(&spec.peer_ns, &spec.peer_link, far_end)
    }

    fn add_vlan(&mut self, spec: &VlanSpec) -> Result<(), Refusal> {
        let parent = self.link(&Ns::Host, &spec.parent)?.clone();
        let master = Some(self.link(&spec.ns, &spec.master)?.index);
        let port = Some(PortFlags { learning: true, flood: true, neigh_suppress: false });
        let index = self.fresh_index(None);
        let (peer, vlan) = (Some(parent.index), Some(spec.id));
        let made =
            LinkState { master, peer, port, vlan, ..link(index, "vlan", parent.mac, spec.mtu) };
        self.add_link(&spec.ns, &spec.link, made)
    }

    /// Deletes a link with everything on it, and the other end of a veth.
    fn delete_link(&mut self, ns: &Ns, name: &str) {
        let Some(state) = self.namespaces.get_mut(ns) else { return };
        let Some(gone) = state.links.remove(name) else { return };
        state.addresses.remove(name);
        state.routes.retain(|route| route.dev != name);
        state.neighbours.retain(|(link, ..)| link != name);
        state.fdb.retain(|(link, _)| link != name);
        let is_peer =
            |link: &LinkState| link.peer == Some(gone.index) && gone.peer == Some(link.index);
        let peer = self.namespaces.iter().find_map(|(ns, state)| {
            let found = state.links.iter().find(|(_, link)| is_peer(link));
            found.map(|(name, _)| (ns.clone(), name.clone()))
        });
        if let Some((ns, name)) = peer {
            self.delete_link(&ns, &name);
        }
    }

    fn delete_namespace(&mut self, ns: &Ns) {
        let Some(state) = self.namespaces.get(ns) else { return };
        for name in state.links.keys().cloned().collect::<Vec<_>>() {
            self.delete_link(ns, &name);
        }
        self.namespaces.remove(ns);
        self.tables.remove(ns);
        self.edges.remove(ns);
    }

    fn dispatch(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::NetnsAdd { name, .. } => {
                let ns = Ns::Ours(name.clone());
                if self.namespaces.contains_key(&ns) {
                    return Err(errno(libc::EEXIST));
                }
                self.namespaces.insert(ns, NsState::default());
            }
            Op::NetnsDelete { name } => self.delete_namespace(&Ns::Ours(name.clone())),
            Op::VethAdd(spec) => self.add_veth(spec)?,
            Op::VlanAdd(spec) => self.add_vlan(spec)?,
            Op::EdgeReplace { ns, table } => {
                self.edges.insert(ns.clone(), (table.clone(), true));
            }
            Op::EdgeDelete { ns } => drop(self.edges.remove(ns)),
            Op::LinkMaster { ns, link, master } => {
                let master = self.link(ns, master)?.index;
                self.link(ns, link)?.master = Some(master);
            }
            Op::BridgeAdd { ns, link: name, mac, mtu } => {
                let bridge = link(self.fresh_index(None), "bridge", *mac, *mtu);
                self.add_link(ns, name, bridge)?;
            }
            Op::LinkDelete { ns, link } => self.delete_link(ns, link),
            Op::LinksDelete { ns, links } => {
                for name in links {
                    self.delete_link(ns, name);
                }
            }
            Op::SysctlSet { key, value } => {
                let present = self.sysctls.get(key).ok_or_else(|| errno(libc::ENOENT))?.clone();
                self.sysctls_before.entry(key.clone()).or_insert(present);
                self.sysctls.insert(key.clone(), value.clone());
            }
            Op::RuleAdd { ns, rule } => drop(self.state(ns)?.rules.insert(*rule)),
            Op::RuleDelete { ns, rule } => drop(self.state(ns)?.rules.remove(rule)),
            Op::SysctlRestore => self.sysctls.append(&mut self.sysctls_before),
            Op::LinkSysctl { .. } => {}
            Op::TableReplace { ns, ruleset } => {
                self.tables.insert(ns.clone(), (ruleset.clone(), true));
            }
            Op::TableDelete { ns } => drop(self.tables.remove(ns)),
            _ => self.dispatch_link(op)?,
        }
        Ok(())
    }

    fn dispatch_link(&mut self, op: &Op) -> Result<(), Refusal> {
        let Some((ns, name)) = op.link() else { return Err(errno(libc::EINVAL)) };
        let link = self.link(ns, name)?;
        match op {
            Op::LinkUp { up, .. } => link.up = *up,
            Op::LinkMtu { mtu, .. } => link.mtu = *mtu,
            Op::PortSet { .. } if link.master.is_none() => return Err(errno(libc::EOPNOTSUPP)),
            Op::PortSet { flags, .. } => link.port = Some(*flags),
            // As the kernel: a next hop must be on a link that is up.
            Op::RouteReplace { .. } if !link.up => return Err(errno(libc::ENETDOWN)),
            _ => self.dispatch_entry(op, ns, name)?,
        }
        Ok(())
    }

    fn dispatch_entry(&mut self, op: &Op, ns: &Ns, name: &str) -> Result<(), Refusal> {
        let state = self.state(ns)?;
        let name = name.to_owned();
        match op {
            Op::FdbReplace { mac, .. } => drop(state.fdb.insert((name, *mac))),
            Op::UnicastAdd { mac, .. } => drop(state.unicast.insert((name, *mac))),
            Op::UnicastDelete { mac, .. } => drop(state.unicast.remove(&(name, *mac))),
            Op::AddressAdd { address, .. } => {
                state.addresses.entry(name).or_default().insert(*address);
            }
            Op::AddressDelete { address, .. } => {
                state.addresses.entry(name).or_default().remove(address);
            }
            Op::RouteReplace { route, .. } => {
                state.routes.retain(|other| (other.to, other.table) != (route.to, route.table));
                state.routes.insert(route.clone());
            }
            Op::RouteDelete { route, .. } => drop(state.routes.remove(route)),
            Op::NeighReplace { address, mac, .. } => {
                state.neighbours.retain(|(link, other, _)| (link, other) != (&name, address));
                state.neighbours.insert((name, *address, *mac));
            }
            Op::NeighDelete { address, .. } => {
                state.neighbours.retain(|(link, other, _)| (link, other) != (&name, address));
            }
            _ => return Err(errno(libc::EINVAL)),
        }
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn namespaces(&mut self) -> Result<BTreeSet<NsName>, KernelError> {
        let names = self.namespaces.keys().filter_map(|ns| match ns {
            Ns::Ours(name) => Some(name.clone()),
            _ => None,
        });
        Ok(names.collect())
    }

    fn read(&mut self, ns: &Ns) -> Result<Option<NsState>, KernelError> {
        self.looks.push(ns.clone());
        if self.unreadable.contains(ns) {
            return Err(KernelError::new(format!("ip -n {ns} address"), errno(libc::EIO)));
        }
        Ok(self.namespaces.get(ns).cloned())
    }

    fn glance(&mut self, ns: &Ns, glance: &Glance) -> Result<Option<NsState>, KernelError> {
        Ok(self.read(ns)?.map(|state| glance.of(state)))
    }

    fn table(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError> {
        let state = |(ruleset, is_intact): &(Ruleset, bool)| TableState {
            wanted: Some(ruleset.hash()),
            is_intact: *is_intact,
        };
        Ok(self.tables.get(ns).map(state))
    }

    fn edge(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError> {
        let state = |(table, is_intact): &(EdgeTable, bool)| TableState {
            wanted: Some(table.hash()),
            is_intact: *is_intact,
        };
        Ok(self.edges.get(ns).map(state))
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        Ok(self.sysctls.get(key).cloned())
    }

    fn sysctls_before(&mut self) -> Result<BTreeMap<String, String>, KernelError> {
        Ok(self.sysctls_before.clone())
    }

    fn execute(&mut self, op: &Op) -> Result<(), KernelError> {
        let command = op.to_string();
        if self.refuse.as_deref().is_some_and(|text| command.contains(text)) {
            return Err(KernelError::new(command, errno(libc::EPERM)));
        }
        self.dispatch(op).map_err(|cause| KernelError::new(&command, cause))?;
        self.log.push(command);
        Ok(())
    }

    /// The namespace of the calling thread stands for every namespace.
    fn open(&mut self, ns: &Ns) -> Result<NetNs, KernelError> {
        NetNs::current()
            .map_err(|error| KernelError::new(format!("nsenter --net={ns}"), error.into_io()))
    }
}

fn errno(code: i32) -> Refusal {
    io::Error::from_raw_os_error(code).into()
}

fn link(index: u32, kind: &str, mac: Mac, mtu: u32) -> LinkState {
    let kind = kind.to_owned();
    LinkState {
        index,
        kind,
        mac,
        mtu,
        up: false,
        master: None,
        peer: None,
        is_far: false,
        port: None,
        vlan: None,
    }
}
