//! What passed, by the ends that the file in force has, and what cannot be used of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use flow::Decision;
use flow::hours::{Actor, Budget, Hour, Reader, Row};
use model::{Identity, Mode, Name};
use planner::{Bundle, Router};

use crate::answers::replay::{Lens, Read, Records, Stand};

/// Different flows that are collected; what comes after them is counted as left out.
const FLOWS: usize = 200_000;

/// One end of a flow that passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    /// `<tenant>.<workload>`.
    Workload(Arc<str>),
    /// The host.
    Host,
    /// An address of a subnet that no workload has; `None` for all of them.
    Unmanaged(Option<IpAddr>),
    /// An address of the world; `None` for all of it.
    World(Option<IpAddr>),
}

/// Protocol number and destination port; ICMP: type and code.
pub(super) type Service = (u8, u16);

/// How often something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Evidence {
    pub(super) opened: u64,
    pub(super) closed: u64,
    /// Of these, with the verdict audit.
    pub(super) audited: u64,
    /// Packets of the responder.
    pub(super) answers: u64,
    /// Seconds since 1970.
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Evidence {
    /// Flows that were opened, or else seen to end.
    pub(super) fn flows(&self) -> u64 {
        if self.opened == 0 { self.closed } else { self.opened }
    }

    /// Adds more.
    pub(super) fn add(&mut self, other: &Self) {
        if *self == Self::default() {
            *self = *other;
            return;
        }
        self.opened += other.opened;
        self.closed += other.closed;
        self.audited += other.audited;
        self.answers += other.answers;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn of(row: &Row) -> Self {
        Self {
            opened: row.opened,
            closed: row.closed,
            audited: if row.decision == Decision::Audit { row.events() } else { 0 },
            answers: row.back[0],
            first: row.first,
            last: row.last,
        }
    }
}

/// A flow and how often it was seen.
pub(super) type Flow = ((End, End, Service), Evidence);

/// Everything that passed.
#[derive(Debug, Default)]
pub(super) struct Observed {
    flows: BTreeMap<(End, End, Service), Evidence>,
    /// Of workloads that the file does not have.
    gone: u64,
    /// Of more addresses and ports than are told apart.
    folded: u64,
    /// Beyond the bound.
    more: u64,
    /// That were dropped.
    dropped: u64,
}

impl Observed {
    /// Reads the records.
    pub(super) fn collect(records: &Records, bundle: &Bundle) -> (Self, Read) {
        let mut collector =
            Collector { lens: Lens::new(bundle), bundle, ends: Vec::new(), out: Self::default() };
        let mut read = Read::default();
        let mut reader = Reader::default();
        for bytes in &records.current {
            collector.frame(&mut read, &mut reader, bytes, records.since);
        }
        // The newest first: what is known when time is up is the last of it.
        for file in records.files.iter().rev() {
            if records.is_over() {
                read.unread.push(file.hour);
                continue;
            }
            let Ok(mut frames) = file.frames() else { continue };
            let (mut reader, mut all) = (Reader::default(), Vec::new());
            collector.ends.clear();
            while let Some(bytes) = frames.next_frame() {
                if !file.sealed {
                    all.push(bytes.to_vec());
                } else if !collector.frame(&mut read, &mut reader, bytes, records.since) {
                    break;
                }
            }
            let hour = Hour::read(all.iter().map(Vec::as_slice), Budget::default());
            let Some((hour, beat)) = hour else { continue };
            for bytes in hour.whole(beat.alive, beat.lost, beat.clean) {
                collector.frame(&mut read, &mut reader, &bytes, records.since);
            }
        }
        (collector.out, read)
    }

    /// Flows of a tenant, and of one workload when that is asked for.
    pub(super) fn of(&self, tenant: &Name, about: Option<&Arc<str>>) -> Vec<Flow> {
        let is_theirs = |end: &End| match end {
            End::Workload(id) => id.split('.').next() == Some(tenant.as_str()),
            _ => false,
        };
        let is_it = |end: &End| about.is_none_or(|id| *end == End::Workload(Arc::clone(id)));
        let flows = self.flows.iter().filter(|((from, to, _), _)| {
            (is_theirs(from) || is_theirs(to)) && (is_it(from) || is_it(to))
        });
        flows.map(|(flow, evidence)| (flow.clone(), *evidence)).collect()
    }

    /// What was not used, a sentence each.
    pub(super) fn left_out(&self) -> Vec<String> {
        let all = [
            (self.dropped, "what was dropped, which is no evidence"),
            (self.gone, "flows with workloads that the file does not have"),
            (self.folded, "more addresses or ports in an hour than are told apart"),
            (self.more, "more different flows than a suggestion holds"),
        ];
        let told = all.into_iter().filter(|(number, _)| *number > 0);
        told.map(|(number, why)| format!("{why}: {}", super::words::count(number, "flow")))
            .collect()
    }
}

/// Reads rows of one file after the other.
struct Collector<'b> {
    lens: Lens<'b>,
    bundle: &'b Bundle,
    /// Where the actors of this file stand.
    ends: Vec<(Actor, Stand<'b>)>,
    out: Observed,
}

impl Collector<'_> {
    fn frame(&mut self, read: &mut Read, reader: &mut Reader, bytes: &[u8], since: u32) -> bool {
        read.frame(reader, bytes, since, |reader, row| self.row(reader, row))
    }

    fn row(&mut self, reader: &Reader, row: &Row) {
        if !row.passed() {
            self.out.dropped += row.events();
            return;
        }
        if row.folded != 0 {
            self.out.folded += row.events();
            return;
        }
        for actor in reader.actors().iter().skip(self.ends.len()) {
            self.ends.push((actor.clone(), self.lens.stand(actor)));
        }
        let at = |number: u32| self.ends.get(number as usize);
        let (Some(source), Some(target)) = (at(row.source), at(row.target)) else { return };
        if [&source.1, &target.1].iter().all(|stand| matches!(stand, Stand::Address(..))) {
            // Of what is nobody's on a bridge of the file: a policy is about workloads.
            return;
        }
        let router = [&source.1, &target.1].into_iter().find_map(|stand| match stand {
            Stand::Workload(router, ..) => Some(*router),
            _ => None,
        });
        let ends = router.map(|router| [source, target].map(|end| self.end(router, &end.1)));
        let Some([Some(from), Some(to)]) = ends else {
            self.out.gone += row.events();
            return;
        };
        let flow = (from, to, (row.protocol, row.port));
        if self.out.flows.len() >= FLOWS && !self.out.flows.contains_key(&flow) {
            self.out.more += row.events();
            return;
        }
        self.out.flows.entry(flow).or_default().add(&Evidence::of(row));
    }

    /// Who an end is to a policy of the file.
    fn end(&self, router: &Router, stand: &Stand<'_>) -> Option<End> {
        let (address, was) = match stand {
            Stand::Workload(_, _, id) => return Some(End::Workload(Arc::clone(id))),
            Stand::Address(address, was) => (*address, *was),
            Stand::Gone | Stand::Many => return None,
        };
        match planner::identity_at(&self.bundle.tables, router.number, address) {
            Some(Identity::HOST) => Some(End::Host),
            _ if was == Identity::HOST.0 => Some(End::Host),
            Some(Identity::UNMANAGED) => Some(End::Unmanaged(Some(address))),
            _ if self.bundle.workload_at(router.number, address).is_some() => None,
            _ => Some(self.far(router, address).unwrap_or(End::World(Some(address)))),
        }
    }

    /// A workload of another routed network of the tenant.
    fn far(&self, router: &Router, address: IpAddr) -> Option<End> {
        let is_beside = |other: &&Router| {
            other.mode == Mode::Routed
                && other.tenant == router.tenant
                && router.mode == Mode::Routed
        };
        let mut others = self.bundle.routers.iter().filter(is_beside);
        let id = others.find_map(|other| self.bundle.workload_at(other.number, address))?;
        Some(End::Workload(Arc::clone(id)))
    }
}
