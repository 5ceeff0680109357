//! The kernel's side of a node: programs, maps, hooks, reports, counters.
//!
//! [`Datapath::open`] adopts what is pinned or loads it; [`Datapath::apply`] brings the maps to what
//! the planner wants, so that a packet sees the old policy or the new one; [`Hooks`] puts the programs
//! on endpoints. Enforcement needs none of this to go on: maps, programs and links are pinned.
//!
//! **Ownership.** Everything below `<bpffs>/v<ABI>` is ours and nobody else's. One agent at a time.
//! **Failure.** Whatever the programs cannot decide they drop. An apply that fails half-way leaves
//! the old policy in force; the next one starts from what the maps really hold.

mod accounts;
mod apply;
mod cgroups;
mod change;
mod clock;
mod error;
mod events;
mod filters;
mod flows;
mod grace;
mod hooks;
mod judge;
mod limits;
mod meters;
mod mount;
mod object;
mod pins;
mod places;
mod probe;
mod shared;
mod state;
mod sys;
mod table;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use verdict::abi::{Config, Endpoint, FlowEntry, FlowKey, MAX_TENANTS, Peer, PeerKey, PortEntry};
use verdict::abi::{PortKey, PrefixKey, Row, RowKey};
use verdict::meters::{Budget, Limit, LimitKey};

pub use accounts::Accounts;
pub use apply::Outcome;
pub(crate) use cgroups::is_guarded;
pub use cgroups::{Cgroups, Guard};
pub use clock::Clock;
pub use error::Error;
pub use events::Events;
pub use flows::Collector;
pub use hooks::{HookKind, Hooks};
pub use judge::TestRun;
pub use limits::Limits;
pub use meters::Meters;
pub use object::{Origin, Program};
pub use places::Places;
pub use probe::{Capabilities, Feature, TCX_LINKS, may_probe, probe};
pub use table::batch_write;

use object::{Group, Later, Programs};
use pins::Held;
use shared::Shared;
use state::State;
use table::Table;

/// The live flow between two ends, from what is pinned below `bpffs`; `None` when there is none.
///
/// # Errors
///
/// [`Error`] when the table is not there or cannot be read.
pub fn find_flow(
    bpffs: &Path,
    (network, protocol): (u32, u8),
    ends: [(std::net::IpAddr, u16); 2],
) -> Result<Option<FlowEntry>, Error> {
    flows::find(&object::root(bpffs)?.join("maps"), (network, protocol), ends)
}

/// The programs and maps of this node.
pub struct Datapath {
    root: PathBuf,
    bpffs: PathBuf,
    origin: Origin,
    programs: Arc<Programs>,
    /// Those of uplinks and of ports that nobody has.
    at_places: Later,
    /// Those at cgroups.
    at_cgroups: Later,
    /// Every map and the links, so that they outlive their pins.
    held_maps: Vec<(&'static str, OwnedFd)>,
    held: Arc<Held>,
    hooks: Hooks,
    clock: Clock,
    config: Arc<Shared<Config>>,
    endpoints: Shared<Endpoint>,
    peers: Shared<Peer>,
    exact: Table<PeerKey, u32>,
    prefixes: Table<PrefixKey, u32>,
    rows: Table<RowKey, Row>,
    ports: Table<PortKey, PortEntry>,
    limits: Table<LimitKey, Limit>,
    budgets: Arc<Shared<Budget>>,
    tenant_flows: u64,
    /// What the maps hold, once it has been read.
    state: Option<State>,
    /// Waits until removed elements may be reused.
    settling: Option<std::thread::JoinHandle<Result<(), Error>>>,
}

impl Datapath {
    /// Adopts the maps and programs pinned below `bpffs`, or creates them with the sizes in
    /// `limits`. When the pinned programs are not those of this binary, ours are loaded over the
    /// same maps and take every TCX link over, one by one and without a gap. Programs of uplinks and of
    /// cgroups are loaded when something wants them, or when older ones are attached.
    ///
    /// A BPF file system is mounted when there is none (see [`Datapath::remove_all`]).
    ///
    /// # Errors
    ///
    /// [`Error::OtherAbi`], [`Error::MapGone`] and [`Error::ForeignMap`] when what is pinned cannot
    /// be adopted; the other variants when the kernel refuses something.
    pub fn open(bpffs: &Path, limits: &Limits) -> Result<Self, Error> {
        mount::prepare(bpffs)?;
        let root = object::root(bpffs)?;
        let (programs, origin) = object::load(&root, limits)?;
        let programs = Arc::new(programs);
        let later = |group| Later::new(&root, *limits, group);
        let (at_places, at_cgroups) = (later(Group::Places), later(Group::Cgroups));
        let held = Arc::new(Held::new());
        let hooks = Hooks::new(Arc::clone(&programs), at_places.clone(), probe::hook_kind());
        let hooks = hooks.holding(Arc::clone(&held));
        hooks.sweep()?;
        if origin == Origin::Replaced {
            hooks.replace_all()?;
            if root.join("cgroups").exists() {
                Cgroups::open(at_cgroups.clone(), &root)?.replace_all()?;
            }
            if hooks.kind() == HookKind::Tcx {
                object::remove_others(&programs)?;
            }
        }
        let maps = root.join("maps");
        let clock = Clock::new(|| judge::jiffies(&programs))?;
        let datapath = Self {
            bpffs: bpffs.to_owned(),
            origin,
            hooks,
            clock,
            programs,
            at_places,
            at_cgroups,
            held_maps: object::open_maps(&maps)?,
            held,
            config: Arc::new(Shared::open(&maps, "CONFIG")?),
            endpoints: Shared::open(&maps, "ENDPOINTS")?,
            peers: Shared::open(&maps, "PEERS")?,
            exact: Table::open(&maps, "IPCACHE")?,
            prefixes: Table::open(&maps, "PREFIXES")?,
            rows: Table::open(&maps, "POLICY")?,
            ports: Table::open(&maps, "PORTS")?,
            limits: Table::open(&maps, "LIMITS")?,
            budgets: Arc::new(Shared::open(&maps, "BUDGETS")?),
            tenant_flows: limits.tenant_flows.into(),
            state: None,
            settling: None,
            root,
        };
        Ok(datapath)
    }

    /// Whether the programs were new, adopted or replaced.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The live policy version.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.config.word(0, 0).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }

    /// What attaches the programs to endpoints. Usable from any thread.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        self.hooks.clone()
    }

    /// The clock that flows and reports are stamped with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets the clock right; wanted every few minutes, because it drifts from the kernel's.
    ///
    /// # Errors
    ///
    /// [`Error::TestRun`]; the clock then goes on as it was.
    pub fn set_clock(&mut self) -> Result<Clock, Error> {
        self.clock = self.clock.again(|| judge::jiffies(&self.programs))?;
        Ok(self.clock)
    }

    /// Opens the reader of reports. There must be one at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Reports`].
    pub fn events(&self) -> Result<Events, Error> {
        Events::open(&self.maps())
    }

    /// Opens the collector of silent flows. There should be one.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn collector(&self) -> Result<Collector, Error> {
        Collector::open(&self.maps(), Arc::clone(&self.config), Arc::clone(&self.budgets))
    }

    /// Opens the counters.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn meters(&self) -> Result<Meters, Error> {
        let cpus = aya::util::nr_cpus()
            .map_err(|(file, source)| Error::Open { name: file.to_owned(), source })?;
        Meters::open(&self.maps(), Arc::clone(&self.budgets), cpus)
    }

    /// Reads every live flow.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowEntry)>, Error> {
        flows::dump(&self.maps())
    }

    /// Shows every flow that has not timed out, though it may not be collected yet; a bounded part of the table is in
    /// memory at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Read`]; some flows may have been shown before.
    pub fn each_live_flow(&self, each: impl FnMut(FlowKey, FlowEntry)) -> Result<(), Error> {
        let (config, now) = (self.config.get(0), self.clock().now());
        flows::each_live(&self.maps(), &config, now, each)
    }

    /// Sets how many flows a tenant may have at one time, in place of [`Limits::tenant_flows`].
    /// No effect for numbers at or above [`MAX_TENANTS`].
    pub fn set_budget(&self, tenant: u32, flows: u64) {
        /// Word of `limit` in [`Budget`].
        const LIMIT: usize = 3;
        if tenant < MAX_TENANTS
            && let Some(limit) = self.budgets.word(tenant, LIMIT)
        {
            limit.store(flows, Ordering::Relaxed);
        }
    }

    /// Detaches and removes everything below `bpffs`, whatever its version, and the mount if it was
    /// ours. Endpoints attached by clsact keep their filters until their interfaces go.
    ///
    /// # Errors
    ///
    /// [`Error::Unpin`] when something cannot be removed.
    pub fn remove_all(bpffs: &Path) -> Result<(), Error> {
        if !mount::is_bpffs(bpffs) {
            return Ok(());
        }
        // The kernel's own files in a BPF file system stay.
        for name in object::versions(bpffs)? {
            object::remove(&bpffs.join(name))?;
        }
        mount::release_folder(bpffs)
    }

    fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// The group of a program, loaded.
    fn group_of(&self, program: Program) -> Result<Arc<Programs>, Error> {
        match program.group() {
            Group::Interfaces => Ok(Arc::clone(&self.programs)),
            Group::Places => self.at_places.get(),
            Group::Cgroups => self.at_cgroups.get(),
        }
    }

    /// The folder of the pins.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }
}
