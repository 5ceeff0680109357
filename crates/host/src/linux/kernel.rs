//! The real kernel behind the trait [`Kernel`]: one netlink socket for each namespace in use.
//!
//! Sockets of the host and of routers are kept; of workloads only the last one is, since a socket
//! keeps a namespace alive and there may be thousands of them. `Linux` is for one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipnet::IpNet;

use crate::network::{
    Glance, Kernel, KernelError, LinkState, NetworkNumber, Ns, NsName, NsProfile, NsState, Op,
    Refusal, VethSpec, VlanSpec,
};

use super::adopted::{self, AdoptError};
use super::netlink::Netlink;
use super::netns::{NetNs, NetNsDir, NetNsError};
use super::nft::{Ruleset, TableId, TableState, table};
use super::{link, route, rule, sysctl};

/// With more endpoints to look at than this, all of a router is listed.
const LISTED_ABOVE: usize = 32;

/// The kernel of this machine, seen from the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Linux {
    pins: NetNsDir,
    run_dir: PathBuf,
    ledger: sysctl::Ledger,
    sites: BTreeMap<Ns, Site>,
    /// What is pinned, as it was listed or made last; no workload adopts one of these.
    pinned: BTreeMap<NsName, adopted::Id>,
    /// Which namespace is to be at a path, where that is known.
    expected: BTreeMap<PathBuf, adopted::Id>,
    /// What our table on the host is to hold, as far as that is known.
    ruleset: Option<Ruleset>,
}

/// An open namespace with its socket.
#[derive(Debug)]
struct Site {
    ns: NetNs,
    netlink: Netlink,
    /// Indices of links, by name; filled as they are asked for.
    indices: BTreeMap<String, u32>,
    /// Looks at our table.
    table: table::Watch,
    /// Looks at our table at the edge to a LAN.
    edge: table::Watch,
}

impl Site {
    fn open(ns: NetNs) -> io::Result<Self> {
        let netlink = Netlink::open_in(&ns)?;
        Ok(Self::new(ns, netlink))
    }

    fn new(ns: NetNs, netlink: Netlink) -> Self {
        let (indices, table, edge) = Default::default();
        Self { ns, netlink, indices, table, edge }
    }

    fn index(&mut self, link: &str) -> Result<u32, Refusal> {
        if let Some(index) = self.indices.get(link) {
            return Ok(*index);
        }
        let index = link::index(&mut self.netlink, link)?;
        self.indices.insert(link.to_owned(), index);
        Ok(index)
    }
}

impl Linux {
    /// Opens the kernel. Namespaces are pinned below `run_dir`, which is made when it is absent.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the run directory cannot be used or no socket be opened.
    pub fn open(run_dir: &Path) -> Result<Self, KernelError> {
        let about = |what: &str| format!("{what} {}", run_dir.display());
        let pins = NetNsDir::open(run_dir)
            .map_err(|error| KernelError::new(about("mkdir -p"), error.into_io()))?;
        let ledger = sysctl::Ledger::open(run_dir)
            .map_err(|error| KernelError::new(about("read sysctl.json in"), error))?;
        let run_dir = run_dir.to_owned();
        let (sites, pinned, expected) = Default::default();
        let mut linux = Self { pins, run_dir, ledger, sites, pinned, expected, ruleset: None };
        linux.site(&Ns::Host).map_err(|cause| KernelError::new("open netlink", cause))?;
        Ok(linux)
    }

    /// Says which namespaces are to be at paths of workloads: a path like `/proc/PID/ns/net` may lead to another one at any time, and nothing is done in
    /// that.
    pub fn expect(&mut self, expected: BTreeMap<PathBuf, adopted::Id>) {
        self.expected = expected;
    }

    /// Where a namespace of ours is pinned.
    #[must_use]
    pub fn pin(&self, name: &NsName) -> PathBuf {
        self.run_dir.join("netns").join(name.as_str())
    }

    /// The MTU of the link that the default route uses, bytes; `None` without a default route.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the host's links and routes cannot be read.
    pub fn default_mtu(&mut self) -> Result<Option<u32>, KernelError> {
        let read = |site: &mut Site| -> Result<Option<u32>, Refusal> {
            let links = link::dump(&mut site.netlink)?;
            let name = route::default_link(&mut site.netlink, &names(&links))?;
            Ok(name.and_then(|name| links.get(&name)).map(|link| link.mtu))
        };
        let mtu = self.site(&Ns::Host).and_then(read);
        mtu.map_err(|cause| KernelError::new("ip route show default", cause))
    }

    /// The addresses of the host that others can reach it by.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the host's links or addresses cannot be read.
    pub fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, KernelError> {
        let read = |site: &mut Site| read_own_addresses(&mut site.netlink);
        let found = self.site(&Ns::Host).and_then(read);
        found.map_err(|cause| KernelError::new("ip address show", cause))
    }

    /// Puts our table on the host back if it is gone and what it held is known, without looking at anything else; when it was there
    /// again. `None` when there was nothing to do.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when `nft` refuses.
    pub fn put_back(&mut self) -> Result<Option<Instant>, KernelError> {
        let Some(ruleset) = self.ruleset.take() else { return Ok(None) };
        let put = self.site(&Ns::Host).and_then(|site| {
            if !site.table.is_gone(&site.ns) {
                return Ok(None);
            }
            table::put(&site.ns, &ruleset)?;
            let now = Instant::now();
            table::mark(&site.ns, TableId::INET)?;
            Ok(Some(now))
        });
        self.ruleset = Some(ruleset);
        put.map_err(|cause| KernelError::new("nft add table inet bulkhead", cause))
    }

    fn site(&mut self, ns: &Ns) -> Result<&mut Site, Refusal> {
        if !self.sites.contains_key(ns) {
            let opened = match ns {
                Ns::Host => NetNs::current(),
                Ns::Ours(name) => self.pins.find(name),
                Ns::At(path) => NetNs::open(path),
            };
            let opened = opened.map_err(NetNsError::into_io)?;
            self.check(ns, &opened)?;
            self.keep(ns, Site::open(opened)?);
        }
        self.sites.get_mut(ns).ok_or(Refusal::Absent("namespace"))
    }

    /// Refuses to adopt the host's own namespace, or one of ours, whatever its path is by now.
    fn check(&self, ns: &Ns, opened: &NetNs) -> Result<(), Refusal> {
        let Ns::At(path) = ns else { return Ok(()) };
        let id = opened.id().map_err(NetNsError::into_io)?;
        let host = self.sites.get(&Ns::Host).map(|host| host.ns.id()).transpose();
        if host.map_err(NetNsError::into_io)? == Some(id) {
            return Err(io::Error::other(AdoptError::Host).into());
        }
        if self.expected.get(path).is_some_and(|expected| *expected != id) {
            return Err(io::Error::other(AdoptError::Another).into());
        }
        match self.pinned.iter().find(|(_, pinned)| **pinned == id) {
            Some((name, _)) => Err(io::Error::other(AdoptError::Ours(name.clone())).into()),
            None => Ok(()),
        }
    }

    /// Keeps a site, and of all workloads only this one.
    fn keep(&mut self, ns: &Ns, site: Site) {
        if is_workload(ns) {
            self.sites.retain(|other, _| !is_workload(other));
        }
        self.sites.insert(ns.clone(), site);
    }

    fn add_namespace(&mut self, name: &NsName, profile: NsProfile) -> Result<(), Refusal> {
        let init = || -> io::Result<Netlink> {
            sysctl::apply_profile(profile)?;
            Netlink::open()
        };
        let (ns, netlink) = self.pins.create(name, init).map_err(NetNsError::into_io)?;
        self.pinned.insert(name.clone(), ns.id().map_err(NetNsError::into_io)?);
        let mut netlink = netlink?;
        link::set_up(&mut netlink, "lo", true)?;
        self.keep(&Ns::Ours(name.clone()), Site::new(ns, netlink));
        Ok(())
    }

    fn add_veth(&mut self, spec: &VethSpec) -> Result<(), Refusal> {
        let master = match &spec.master {
            Some(bridge) => Some(self.site(&spec.ns)?.index(bridge)?),
            None => None,
        };
        self.site(&spec.peer_ns)?.indices.remove(&spec.peer_link);
        let peer = rustix::io::fcntl_dupfd_cloexec(&self.site(&spec.peer_ns)?.ns, 3)
            .map_err(io::Error::from)?;
        let site = self.site(&spec.ns)?;
        match link::add_veth(&mut site.netlink, spec, master, &peer) {
            Err(Refusal::Errno { errno, explanation })
                if errno.raw_os_error() == Some(libc::EEXIST) =>
            {
                if !self.remove_orphan(spec)? {
                    return Err(Refusal::Errno { errno, explanation });
                }
                let site = self.site(&spec.ns)?;
                link::add_veth(&mut site.netlink, spec, master, &peer)?;
            }
            added => added?,
        }
        let site = self.site(&spec.ns)?;
        match spec.index {
            Some(index) => site.indices.insert(spec.link.clone(), index),
            None => site.indices.remove(&spec.link),
        };
        if let Some(index) = spec.peer_index {
            self.site(&spec.peer_ns)?.indices.insert(spec.peer_link.clone(), index);
        }
        Ok(())
    }

    /// Removes the far end of a veth whose near end is in a namespace that somebody unpinned, and somebody keeps; whether there was one.
    fn remove_orphan(&mut self, spec: &VethSpec) -> Result<bool, Refusal> {
        let site = self.site(&spec.peer_ns)?;
        let found = link::find(&mut site.netlink, &spec.peer_link)?;
        let is_ours = found.is_some_and(|found| {
            Some(found.index) == spec.peer_index
                && found.mac == spec.peer_mac
                && found.mac.is_ours()
        });
        if is_ours {
            self.delete_link(&spec.peer_ns, &spec.peer_link)?;
        }
        Ok(is_ours)
    }

    fn add_vlan(&mut self, spec: &VlanSpec) -> Result<(), Refusal> {
        let to = rustix::io::fcntl_dupfd_cloexec(&self.site(&spec.ns)?.ns, 3)
            .map_err(io::Error::from)?;
        let host = self.site(&Ns::Host)?;
        let parent = link::index(&mut host.netlink, &spec.parent)?;
        link::add_vlan(&mut host.netlink, spec, parent, &to)?;
        let site = self.site(&spec.ns)?;
        site.indices.remove(&spec.link);
        let master = site.index(&spec.master)?;
        link::set_master(&mut site.netlink, &spec.link, master)
    }

    fn delete_link(&mut self, ns: &Ns, name: &str) -> Result<(), Refusal> {
        let site = self.site(ns)?;
        site.indices.remove(name);
        ignore(link::delete(&mut site.netlink, name), &[libc::ENODEV])
    }

    fn dispatch(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::NetnsAdd { name, profile } => self.add_namespace(name, *profile),
            Op::NetnsDelete { name } => {
                self.sites.remove(&Ns::Ours(name.clone()));
                Ok(self.pins.delete(name).map_err(NetNsError::into_io)?)
            }
            Op::VethAdd(spec) => self.add_veth(spec),
            Op::VlanAdd(spec) => self.add_vlan(spec),
            Op::EdgeReplace { ns, table } => table::replace_edge(&self.site(ns)?.ns, table),
            Op::EdgeDelete { ns } => table::delete(&self.site(ns)?.ns, edge_id(ns)),
            Op::LinkDelete { ns, link } => self.delete_link(ns, link),
            Op::LinksDelete { ns, links } => {
                let site = self.site(ns)?;
                site.indices.clear();
                link::delete_all(&mut site.netlink, links)
            }
            Op::SysctlSet { key, value } => Ok(self.ledger.set(key, value)?),
            Op::SysctlRestore => Ok(self.ledger.restore()?),
            // The link is there, so a key that is not is one that this kernel lacks.
            Op::LinkSysctl { ns, key, value } => {
                let written = self.site(ns)?.ns.visit(|| sysctl::write(key, value));
                let written = written.map_err(NetNsError::into_io)?;
                ignore(written.map_err(Refusal::from), &[libc::ENOENT])
            }
            Op::RuleAdd { ns, rule } => {
                let added = rule::add(&mut self.site(ns)?.netlink, rule);
                ignore(added, &[libc::EEXIST])
            }
            Op::RuleDelete { ns, rule } => {
                let deleted = rule::delete(&mut self.site(ns)?.netlink, rule);
                ignore(deleted, &[libc::ENOENT])
            }
            Op::TableReplace { ns, ruleset } => {
                if *ns == Ns::Host {
                    // What is wanted from now on, whether it works at once or not.
                    self.ruleset = None;
                }
                table::replace(&self.site(ns)?.ns, ruleset)
            }
            Op::TableDelete { ns } => {
                if *ns == Ns::Host {
                    self.ruleset = None;
                }
                table::delete(&self.site(ns)?.ns, TableId::INET)
            }
            _ => self.dispatch_netlink(op),
        }
    }

    fn dispatch_netlink(&mut self, op: &Op) -> Result<(), Refusal> {
        let Some((ns, name)) = op.link() else { return Err(Refusal::Absent("such step")) };
        let site = self.site(ns)?;
        match op {
            Op::BridgeAdd { mac, mtu, .. } => {
                return link::add_bridge(&mut site.netlink, name, *mac, *mtu);
            }
            Op::LinkUp { up, .. } => return link::set_up(&mut site.netlink, name, *up),
            Op::LinkMtu { mtu, .. } => return link::set_mtu(&mut site.netlink, name, *mtu),
            Op::PortSet { flags, .. } => return link::set_port(&mut site.netlink, name, *flags),
            Op::LinkMaster { master, .. } => {
                let master = link::index(&mut site.netlink, master)?;
                return link::set_master(&mut site.netlink, name, master);
            }
            // A NIC that somebody took out and put in again has another index.
            Op::UnicastAdd { .. } | Op::UnicastDelete { .. } => drop(site.indices.remove(name)),
            _ => {}
        }
        let index = site.index(name)?;
        let netlink = &mut site.netlink;
        match op {
            Op::FdbReplace { mac, .. } => route::replace_fdb(netlink, index, *mac),
            Op::UnicastAdd { mac, .. } => route::add_unicast(netlink, index, *mac),
            Op::UnicastDelete { mac, .. } => {
                ignore(route::delete_unicast(netlink, index, *mac), &[libc::ENOENT])
            }
            Op::AddressAdd { address, .. } => route::add_address(netlink, index, address),
            Op::AddressDelete { address, .. } => {
                let deleted = route::delete_address(netlink, index, address);
                ignore(deleted, &[libc::EADDRNOTAVAIL])
            }
            Op::RouteReplace { ns: Ns::At(_), route }
                if route.to.prefix_len() == 0 && route.table.is_none() =>
            {
                if let Some(foreign) = adopted::foreign_default(netlink, route.to.addr())? {
                    return Err(io::Error::other(AdoptError::DefaultRoute(foreign)).into());
                }
                route::lead(netlink, (index, name), route)
            }
            Op::RouteReplace { route, .. } => route::lead(netlink, (index, name), route),
            Op::RouteDelete { route, .. } => {
                ignore(route::delete_route(netlink, index, route), &[libc::ESRCH])
            }
            Op::NeighReplace { address, mac, .. } => {
                route::replace_neighbour(netlink, index, *address, *mac)
            }
            Op::NeighDelete { address, .. } => {
                ignore(route::delete_neighbour(netlink, index, *address), &[libc::ENOENT])
            }
            _ => Err(Refusal::Absent("such step")),
        }
    }

    fn read_state(&mut self, ns: &Ns) -> Result<NsState, Refusal> {
        let site = self.site(ns)?;
        let links = link::dump(&mut site.netlink)?;
        site.indices = links.iter().map(|(name, link)| (name.clone(), link.index)).collect();
        let names = names(&links);
        let netlink = &mut site.netlink;
        let has_bridge = links.values().any(|link| link.kind == "bridge");
        let fdb = if has_bridge { route::fdb(netlink, &names)? } else { BTreeSet::new() };
        let routes = if is_workload(ns) {
            route::own_routes(netlink, &names)?
        } else {
            route::routes(netlink, &names)?
        };
        let is_leg = |name: &String| NetworkNumber::from_lan_link_name(name).is_some();
        let has_leg = *ns == Ns::Host && links.keys().any(is_leg);
        let unicast = if has_leg { route::unicast(netlink, &names)? } else { BTreeSet::new() };
        // Rules are for workloads with several attachments alone.
        let is_one_of_several = links.values().filter(|link| link.mac.is_ours()).nth(1).is_some();
        let rules = if is_workload(ns) && is_one_of_several {
            rule::rules(netlink)?
        } else {
            BTreeSet::new()
        };
        let mut addresses = route::addresses(netlink, &names)?;
        let connected = route::connected(netlink, &names)?;
        for (name, _) in links.iter().filter(|(_, link)| link.up && link.mac.is_ours()) {
            // An address whose network no route leads to is as good as none.
            let leads = |address: &IpNet| {
                !route::has_network(address) || connected.contains(&(name.clone(), address.trunc()))
            };
            if let Some(own) = addresses.get_mut(name) {
                own.retain(leads);
            }
        }
        Ok(NsState {
            rules,
            unicast,
            addresses,
            neighbours: if is_workload(ns) {
                route::gateways(netlink, &routes, &site.indices)?
            } else {
                route::neighbours(netlink, &names)?
            },
            routes,
            fdb,
            links,
        })
    }

    /// Reads what `glance` names one by one, unless that is so much that a listing costs less.
    fn read_glance(&mut self, ns: &Ns, glance: &Glance) -> Result<NsState, Refusal> {
        if glance.endpoints.len() > LISTED_ABOVE {
            return Ok(glance.of(self.read_state(ns)?));
        }
        let site = self.site(ns)?;
        let netlink = &mut site.netlink;
        let mut links = BTreeMap::new();
        for name in glance.links() {
            links.extend(link::find(netlink, &name)?.map(|found| (name, found)));
        }
        for (name, found) in &links {
            site.indices.insert(name.clone(), found.index);
        }
        let names = names(&links);
        let index = |name: &str| links.get(name).map(|link| link.index);
        let mut fdb = BTreeSet::new();
        for endpoint in &glance.endpoints {
            let mac = glance.macs.get(endpoint).copied().unwrap_or_else(|| endpoint.mac());
            let name = endpoint.link_name();
            if let Some(port) = index(&name)
                && route::has_fdb(netlink, port, mac)?
            {
                fdb.insert((name, mac));
            }
        }
        let routes = route::routes(netlink, &names)?;
        let wanted =
            glance.neighbours().filter_map(|(link, address)| Some((link, index(link)?, address)));
        let next_hops =
            routes.iter().filter_map(|route| Some((&*route.dev, index(&route.dev)?, route.via?)));
        let mut neighbours = BTreeSet::new();
        for (link, index, address) in wanted.chain(next_hops) {
            let mac = route::neighbour(netlink, index, address)?;
            neighbours.extend(mac.map(|mac| (link.to_owned(), address, mac)));
        }
        let addresses = route::addresses(netlink, &names)?;
        Ok(NsState { links, addresses, routes, neighbours, fdb, ..NsState::default() })
    }

    /// Whether the namespace is there; a site of a namespace that was replaced is closed.
    fn refresh(&mut self, ns: &Ns) -> Result<bool, NetNsError> {
        let found = match ns {
            Ns::Host => return Ok(true),
            Ns::Ours(name) => self.pins.find(name),
            Ns::At(path) => NetNs::open(path),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.is_absent() || matches!(error, NetNsError::Foreign(_)) => {
                self.sites.remove(ns);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if let Some(site) = self.sites.get(ns)
            && site.ns.id()? != found.id()?
        {
            self.sites.remove(ns);
        }
        Ok(true)
    }
}

impl Kernel for Linux {
    fn namespaces(&mut self) -> Result<BTreeSet<NsName>, KernelError> {
        let pinned = self.pins.ids();
        self.pinned = pinned.map_err(|error| KernelError::new("ip netns list", error.into_io()))?;
        Ok(self.pinned.keys().cloned().collect())
    }

    fn read(&mut self, ns: &Ns) -> Result<Option<NsState>, KernelError> {
        let failed = |cause: Refusal| KernelError::new(format!("ip -n {ns} address"), cause);
        match self.refresh(ns) {
            Ok(true) => self.read_state(ns).map(Some).map_err(failed),
            Ok(false) => Ok(None),
            Err(error) => Err(failed(error.into_io().into())),
        }
    }

    fn glance(&mut self, ns: &Ns, glance: &Glance) -> Result<Option<NsState>, KernelError> {
        let failed = |cause: Refusal| KernelError::new(format!("ip -n {ns} address"), cause);
        match self.refresh(ns) {
            Ok(true) => self.read_glance(ns, glance).map(Some).map_err(failed),
            Ok(false) => Ok(None),
            Err(error) => Err(failed(error.into_io().into())),
        }
    }

    fn table(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError> {
        let state = self.site(ns).and_then(|site| site.table.read(&site.ns));
        state.map_err(|cause| KernelError::new("nft -j list table inet bulkhead", cause))
    }

    fn edge(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError> {
        let id = edge_id(ns);
        let state = self.site(ns).and_then(|site| match ns {
            // Kernels before 6.16 take a chain away with its device, and count no transaction for that.
            Ns::Host => table::read_table(&site.ns, id),
            _ => site.edge.read_table(&site.ns, id),
        });
        let action = format!("nft -j list table {} bulkhead", id.family);
        state.map_err(|cause| KernelError::new(action, cause))
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        sysctl::read(key).map_err(|error| KernelError::new(format!("sysctl {key}"), error))
    }

    fn sysctls_before(&mut self) -> Result<BTreeMap<String, String>, KernelError> {
        Ok(self.ledger.all().clone())
    }

    fn execute(&mut self, op: &Op) -> Result<(), KernelError> {
        self.dispatch(op).map_err(|cause| KernelError::new(op, cause))
    }

    fn note(&mut self, ruleset: &Ruleset) {
        if self.ruleset.as_ref() != Some(ruleset) {
            self.ruleset = Some(ruleset.clone());
        }
    }

    fn open(&mut self, ns: &Ns) -> Result<NetNs, KernelError> {
        let opened = self.site(ns).and_then(|site| {
            let copy = site.ns.try_clone();
            copy.map_err(|error| error.into_io().into())
        });
        opened.map_err(|cause| KernelError::new(format!("nsenter --net={ns}"), cause))
    }
}

/// Our table at the edge to a LAN.
fn edge_id(ns: &Ns) -> TableId {
    if *ns == Ns::Host { TableId::NETDEV } else { TableId::BRIDGE }
}

fn is_workload(ns: &Ns) -> bool {
    match ns {
        Ns::Host => false,
        Ns::Ours(name) => !name.is_router(),
        Ns::At(_) => true,
    }
}

fn names(links: &BTreeMap<String, LinkState>) -> route::Names {
    links.iter().map(|(name, link)| (link.index, name.clone())).collect()
}

/// Deleting what is already gone is what was wanted.
fn ignore(result: Result<(), Refusal>, codes: &[i32]) -> Result<(), Refusal> {
    match result {
        Err(Refusal::Errno { errno, .. })
            if errno.raw_os_error().is_some_and(|code| codes.contains(&code)) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Addresses of this host that others can reach it by, of the calling thread's namespace.
///
/// # Errors
///
/// [`KernelError`] when links or addresses cannot be read.
pub fn own_addresses() -> Result<BTreeSet<IpAddr>, KernelError> {
    let found = Netlink::open().map_err(Refusal::from);
    let found = found.and_then(|mut netlink| read_own_addresses(&mut netlink));
    found.map_err(|cause| KernelError::new("ip address show", cause))
}

fn read_own_addresses(netlink: &mut Netlink) -> Result<BTreeSet<IpAddr>, Refusal> {
    let links = link::dump(netlink)?;
    let addresses = route::addresses(netlink, &names(&links))?;
    Ok(NsState { links, addresses, ..NsState::default() }.own_addresses())
}
