//! Workloads that come and go between two documents, at the cost of what they touch: a runtime starts and ends containers all
//! day, and nothing else changes.
//!
//! **Order.** Who goes gives back its seat and its addresses, the rest changes as ever, who comes takes an address and a
//! seat. An address space is cut again where a rule names the very address that came or went.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::Document;
use policy::document::Workload as Source;
use rustc_hash::FxHashSet;
use verdict::abi::{Addr, PeerKey};

use super::{Compiler, is_single};
use crate::allocate::{self, Allocations};
use crate::bundle::Facts;
use crate::{PlanErrors, topology};

/// More workloads than this are compiled as a whole.
const MANY: usize = 256;

/// Who is in one of two documents only.
#[derive(Debug, Default)]
struct Moves {
    /// Ids of those of the old document.
    gone: FxHashSet<String>,
    /// Ids of those of the new document.
    come: FxHashSet<String>,
}

impl Moves {
    /// `None` when it is nobody, or too many.
    fn between(old: &Document, new: &Document) -> Option<Self> {
        if old.workloads.is_shared_with(&new.workloads) {
            return None;
        }
        let ids = |document: &Document| -> FxHashSet<String> {
            document.workloads.iter().map(|workload| workload.id()).collect()
        };
        let (old, new) = (ids(old), ids(new));
        let gone: FxHashSet<String> = old.difference(&new).cloned().collect();
        let come: FxHashSet<String> = new.difference(&old).cloned().collect();
        let number = gone.len() + come.len();
        (1..=MANY).contains(&number).then_some(Self { gone, come })
    }
}

impl Compiler {
    /// Puts another document in the place of this one, when workloads came or went and the rest is what
    /// [`Compiler::update`] compiles by itself. `false` when it is not: nothing has changed then.
    pub(super) fn moved(&mut self, document: &Document, facts: &Facts) -> Result<bool, PlanErrors> {
        let Some(moves) = Moves::between(&self.document, document) else { return Ok(false) };
        let published = |ids: &FxHashSet<String>| {
            let mut publishes = self.document.publishes.iter().chain(&document.publishes);
            publishes.any(|each| ids.contains(&format!("{}.{}", each.tenant, each.workload)))
        };
        if published(&moves.gone) || published(&moves.come) {
            return Ok(false);
        }
        let Some(allocations) = self.with_the_same_leases(document, &moves) else {
            return Ok(false);
        };
        let mut staying = self.document.clone();
        staying.workloads.retain(|workload| !moves.gone.contains(&workload.id()));
        let mut kept = document.clone();
        kept.workloads.retain(|workload| !moves.come.contains(&workload.id()));
        let before = std::mem::replace(&mut self.document, staying);
        if self.changes(&kept, facts).is_none() {
            self.document = before;
            return Ok(false);
        }
        self.place_workloads();
        let gone = before.workloads.iter().filter(|each| moves.gone.contains(&each.id()));
        self.leave(gone.map(|workload| &**workload));
        self.update_kept(kept, facts)?;
        self.join(document, allocations, &moves.come);
        self.refresh_expiry();
        self.outcome()?;
        Ok(true)
    }

    /// Numbers and addresses with those who come, if everybody else keeps what it has.
    fn with_the_same_leases(&self, document: &Document, moves: &Moves) -> Option<Allocations> {
        let old = &self.bundle.allocations;
        let new = allocate::allocate(document, old).ok()?;
        let same_networks = old.networks.len() == new.networks.len()
            && new.networks.iter().all(|(id, lease)| {
                old.networks.get(id).is_some_and(|known| known.number == lease.number)
            });
        let mut staying = new.endpoints.iter().filter(|(id, _)| !moves.come.contains(&***id));
        let same = same_networks
            && old.tenants == new.tenants
            && staying.all(|(id, lease)| old.endpoints.get(id) == Some(lease));
        same.then_some(new)
    }

    /// Notes where the workloads of the document stand in it.
    fn place_workloads(&mut self) {
        self.positions.clear();
        let workloads = self.document.workloads.iter().enumerate();
        self.positions.extend(workloads.map(|(at, workload)| (Arc::from(workload.id()), at)));
    }

    /// Takes out who goes.
    fn leave<'w>(&mut self, gone: impl Iterator<Item = &'w Source>) {
        let mut touched = BTreeSet::new();
        for workload in gone {
            let id = workload.id();
            self.forget_identity(workload.identity().0);
            self.bundle.workloads.remove(id.as_str());
            let Some(seat) = self.seats.remove(id.as_str()) else { continue };
            for (at, _, addresses) in &seat.seen {
                let Some(here) = self.bundle.routers.get(*at) else { continue };
                let network = u32::from(here.number);
                for addr in addresses {
                    self.bundle.tables.exact.remove(&PeerKey { network, addr: *addr });
                    if let Some(plane) = self.engine.planes.get_mut(*at) {
                        plane.taken.remove(addr);
                    }
                }
                self.bundle.tables.prefixes.remove(&topology::hosted_prefix(network, seat.number));
                touched.insert(*at);
            }
            self.bundle.tables.endpoints.remove(&seat.number);
            if let Some(home) = self.bundle.routers.get_mut(seat.plane) {
                home.endpoints.retain(|each| u32::from(each.number) != seat.number);
            }
            self.give_back(seat);
        }
        // A rule may name an address that nobody has any more.
        for plane in touched {
            self.place_pieces(plane);
        }
    }

    /// Takes in who comes.
    fn join(&mut self, document: &Document, allocations: Allocations, come: &FxHashSet<String>) {
        self.bundle.allocations = allocations.into();
        self.document = document.clone();
        self.place_workloads();
        let positions: Vec<usize> = {
            let own = come.iter().filter_map(|id| self.positions.get(id.as_str()));
            let mut all: Vec<usize> = own.copied().collect();
            all.sort_unstable();
            all
        };
        let mut touched = BTreeSet::new();
        for at in &positions {
            let Some(workload) = document.workloads.get(*at) else { continue };
            let id: Arc<str> = workload.id().into();
            self.attach(&id, workload, &mut touched);
            self.describe(&id, workload);
        }
        for plane in touched {
            self.place_pieces(plane);
        }
        self.reseat(&positions);
    }

    /// Gives a workload its place in its router and its addresses in every network that sees it. `touched` are the
    /// networks in which a rule names one of them.
    fn attach(&mut self, id: &Arc<str>, workload: &Source, touched: &mut BTreeSet<usize>) {
        let Some((id, lease)) = self.bundle.allocations.endpoints.get_key_value(id) else { return };
        let network = self.document.network(&workload.tenant, &workload.network);
        let Some(network) = network else { return };
        let attachment = topology::attachment(id, lease, network, workload);
        let Some(plane) = self.by_number.get(&lease.network).copied() else { return };
        let Some(home) = self.bundle.routers.get(plane) else { return };
        for (at, here) in self.bundle.routers.iter().enumerate() {
            if at != plane && !topology::is_foreign(here, home) {
                continue;
            }
            let seen = topology::visible(here, home, &attachment);
            let pieces = self.pieces.get(at).into_iter().flatten();
            let mut named = pieces.filter(|piece| is_single(&piece.net));
            if named.any(|piece| seen.contains(&Addr::from(piece.net.addr()))) {
                touched.insert(at);
            }
            if let Some(plane) = self.engine.planes.get_mut(at) {
                plane.taken.extend(seen);
            }
        }
        if let Some(home) = self.bundle.routers.get_mut(plane) {
            let at = home.endpoints.partition_point(|each| each.number < attachment.number);
            home.endpoints.insert(at, attachment);
        }
    }
}
