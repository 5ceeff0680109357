//! The flows of one hour, aggregated: what the flow store keeps, and what `replay` and `policy suggest` judge later.
//!
//! An [`Hour`] takes every [`Record`] in and has one [`Row`] for each pair of ends, service and verdict, whatever the source port:
//! addresses, ports and identities as they were, so that another policy can judge it. It is written as [`Frame`]s, as a
//! whole or what changed since it was last written, and read back from them; see [`codec`].
//!
//! **Limits.** A port scanner or random source addresses must not fill the store: each endpoint has a budget of rows ([`Budget`]), for what
//! passed apart from what was dropped, and for workloads apart from addresses. Beyond it, addresses, then ports are no longer told apart: the
//! row says so and goes on counting. What finds no room even so is counted in a [`Gap`].

pub mod codec;
mod gaps;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use model::RuleRef;

use crate::{Decision, Kind, Protocol, Record};

pub use codec::{Broken, Frame, Reader};
pub use gaps::{Gap, GapKind, Gaps};
pub use row::{Actor, Row};

/// Seconds in an hour.
pub const HOUR: u32 = 3_600;

/// How many rows an hour has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of all endpoints together.
    pub rows: usize,
    /// Of one endpoint, for flows that passed: with workloads, and as many with addresses.
    pub passed: u32,
    /// Of one endpoint, for what was dropped: of workloads, and as many of addresses.
    pub dropped: u32,
    /// Of one endpoint, beyond these: ports of which the addresses are no longer told apart.
    pub folded: u32,
}

impl Default for Budget {
    /// At most 131,072 rows, about 25 MiB of memory; 4,096 and 1,024 of each kind for one endpoint.
    fn default() -> Self {
        Self { rows: 131_072, passed: 4_096, dropped: 1_024, folded: 256 }
    }
}

/// What makes two flows the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: u32,
    target: u32,
    rule: u32,
    port: u16,
    protocol: u8,
    decision: Decision,
    reason: u8,
    ingress: bool,
    folded: u8,
}

/// Whose budget a row is of: the endpoint, whether it passed, whether the other end is a workload, whether it is folded.
type Account = (Option<Arc<str>>, bool, bool, bool);

/// The flows of one hour.
#[derive(Debug)]
pub struct Hour {
    number: u32,
    from: u32,
    budget: Budget,
    actors: Vec<Actor>,
    known: HashMap<Actor, u32>,
    rules: Vec<RuleRef>,
    rule_ids: HashMap<RuleRef, u32>,
    rows: Vec<Row>,
    index: HashMap<Key, u32>,
    accounts: HashMap<Account, u32>,
    dirty: Vec<u32>,
    gaps: Gaps,
    folded: u64,
    written: Written,
}

/// How much was written of what only grows.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    head: bool,
    actors: usize,
    rules: usize,
    gaps: u64,
}

impl Hour {
    /// An empty hour; `hour` counts hours since 1970, `from` is since when it is recorded, in seconds since 1970.
    #[must_use]
    pub fn new(hour: u32, from: u32, budget: Budget) -> Self {
        Self {
            number: hour,
            from,
            budget,
            actors: Vec::new(),
            known: HashMap::new(),
            rules: Vec::new(),
            rule_ids: HashMap::new(),
            rows: Vec::new(),
            index: HashMap::new(),
            accounts: HashMap::new(),
            dirty: Vec::new(),
            gaps: Gaps::default(),
            folded: 0,
            written: Written::default(),
        }
    }

    /// Which hour it is, counted since 1970.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Flows and drops so far whose address or port is no longer told apart.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// What is missing of this hour.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        self.gaps.all()
    }

    /// Notes that something is missing.
    pub fn miss(&mut self, gap: Gap) {
        self.gaps.add(gap);
    }

    /// Takes a record in. What is no IP, and what every IPv6 stack says unasked, is not kept.
    pub fn add(&mut self, record: &Record) {
        let Protocol::Ip(protocol) = record.protocol else { return };
        if crate::aggregate::is_chatter(record) {
            return;
        }
        let one = Row::of(record, protocol);
        let mut ends = [&record.source, &record.target].map(|end| Actor::of(&record.network, end));
        let rule = record.rule.as_ref();
        if let Some(at) = self.find(&ends, rule, &one) {
            return self.merge(at, &one);
        }
        let mut one = one;
        for fold in [0, 1, 2] {
            if fold > 0 {
                fold_once(record, &mut ends, &mut one, fold);
                if let Some(at) = self.find(&ends, rule, &one) {
                    self.folded += one.events();
                    return self.merge(at, &one);
                }
            }
            if self.has_room(record, fold) {
                if fold > 0 {
                    self.folded += one.events();
                }
                return self.insert(ends, rule, one);
            }
        }
        let (from, to) = (one.first, one.last);
        self.gaps.add(Gap { from, to, kind: GapKind::Full, events: Some(one.events()) });
    }

    fn find(&self, ends: &[Actor; 2], rule: Option<&RuleRef>, one: &Row) -> Option<u32> {
        let source = *self.known.get(&ends[0])?;
        let target = *self.known.get(&ends[1])?;
        let rule = rule.map_or(Some(0), |rule| self.rule_ids.get(rule).copied())?;
        self.index.get(&key(&Row { source, target, rule, ..*one })).copied()
    }

    /// Whether another row may be made, and counts it.
    fn has_room(&mut self, record: &Record, fold: u8) -> bool {
        if self.rows.len() >= self.budget.rows {
            return false;
        }
        let passed = record.decision != Decision::Drop;
        let both = record.source.workload.is_some() && record.target.workload.is_some();
        let account = (record.endpoint.clone(), passed, both, fold > 0);
        let limit = match (fold, passed) {
            // What tells neither addresses nor ports apart always has room: there are as many as protocols.
            (2, _) => return true,
            (1, _) => self.budget.folded,
            (_, true) => self.budget.passed,
            (_, false) => self.budget.dropped,
        };
        let used = self.accounts.entry(account).or_default();
        if *used >= limit {
            return false;
        }
        *used += 1;
        true
    }

    fn insert(&mut self, ends: [Actor; 2], rule: Option<&RuleRef>, one: Row) {
        let [source, target] = ends.map(|actor| self.actor(actor));
        let rule = rule.map_or(0, |rule| self.rule(rule));
        self.put(Row { source, target, rule, ..one });
    }

    fn put(&mut self, row: Row) {
        let at = narrow(self.rows.len());
        self.index.insert(key(&row), at);
        self.rows.push(Row { dirty: true, ..row });
        self.dirty.push(at);
    }

    fn merge(&mut self, at: u32, one: &Row) {
        let Some(row) = self.rows.get_mut(at as usize) else { return };
        row.merge(one);
        if !std::mem::replace(&mut row.dirty, true) {
            self.dirty.push(at);
        }
    }

    fn actor(&mut self, actor: Actor) -> u32 {
        match self.known.entry(actor) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let number = narrow(self.actors.len());
                self.actors.push(place.key().clone());
                *place.insert(number)
            }
        }
    }

    /// Numbers of rules begin at 1: 0 is none.
    fn rule(&mut self, rule: &RuleRef) -> u32 {
        if let Some(known) = self.rule_ids.get(rule) {
            return *known;
        }
        self.rules.push(rule.clone());
        let number = narrow(self.rules.len());
        self.rule_ids.insert(rule.clone(), number);
        number
    }

    /// What changed since this was asked last, for the end of what is written: `alive` is now, and `lost` how many
    /// events the kernel could not hand over so far. `clean` when nobody will add anything any more.
    pub fn changes(&mut self, alive: u32, lost: u64, clean: bool) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if !self.written.head {
            out.push(codec::head(self.number, self.from));
        }
        out.extend(codec::actors(self.actors.get(self.written.actors..).unwrap_or_default()));
        out.extend(codec::rules(self.rules.get(self.written.rules..).unwrap_or_default()));
        let dirty = std::mem::take(&mut self.dirty);
        for at in &dirty {
            if let Some(row) = self.rows.get_mut(*at as usize) {
                row.dirty = false;
            }
        }
        let changed = dirty.iter().filter_map(|at| Some((*at, self.rows.get(*at as usize)?)));
        out.extend(codec::rows(changed, self.number * HOUR));
        if self.gaps.version() != self.written.gaps {
            out.push(codec::gaps(self.gaps.all()));
        }
        out.push(codec::beat(self.beat(alive, lost, clean)));
        self.written = Written {
            head: true,
            actors: self.actors.len(),
            rules: self.rules.len(),
            gaps: self.gaps.version(),
        };
        out
    }

    /// All of it, to be written in place of what was.
    #[must_use]
    pub fn whole(&self, alive: u32, lost: u64, clean: bool) -> Vec<Vec<u8>> {
        let mut out = vec![codec::head(self.number, self.from)];
        out.extend(codec::actors(&self.actors));
        out.extend(codec::rules(&self.rules));
        let all = self.rows.iter().enumerate().map(|(at, row)| (narrow(at), row));
        out.extend(codec::rows(all, self.number * HOUR));
        out.push(codec::gaps(self.gaps.all()));
        out.push(codec::beat(self.beat(alive, lost, clean)));
        out
    }

    fn beat(&self, alive: u32, lost: u64, clean: bool) -> Beat {
        Beat { alive, lost, folded: self.folded, clean }
    }

    /// Forgets what was written: the next [`Hour::changes`] are all of it.
    pub fn forget_written(&mut self) {
        self.written = Written::default();
        self.dirty = (0..narrow(self.rows.len())).collect();
        self.rows.iter_mut().for_each(|row| row.dirty = true);
    }

    /// Reads an hour back to go on with it, and its last beat. Frames that are broken end it; what came before them stays.
    pub fn read<'f>(
        frames: impl IntoIterator<Item = &'f [u8]>,
        budget: Budget,
    ) -> Option<(Self, Beat)> {
        let mut reader = Reader::default();
        let mut this: Option<Self> = None;
        let mut last = Beat::default();
        for bytes in frames {
            let Ok(frame) = reader.frame(bytes) else { break };
            match (frame, &mut this) {
                (Frame::Head { hour, from }, None) => this = Some(Self::new(hour, from, budget)),
                (Frame::Rows(rows), Some(hour)) => hour.take_rows(rows, &reader),
                (Frame::Gaps(gaps), Some(hour)) => hour.gaps = Gaps::from_iter(gaps),
                (Frame::Beat(beat), Some(hour)) => {
                    hour.folded = beat.folded;
                    last = beat;
                }
                _ => {}
            }
        }
        let mut this = this?;
        this.forget_written();
        Some((this, last))
    }

    fn take_rows(&mut self, rows: Vec<(u32, Row)>, reader: &Reader) {
        for (at, row) in rows {
            if let Some(known) = self.rows.get_mut(at as usize) {
                *known = row;
                continue;
            }
            let ends = [row.source, row.target].map(|end| reader.actors().get(end as usize));
            let [Some(source), Some(target)] = ends else { continue };
            let rule = row.rule.checked_sub(1).and_then(|at| reader.rules().get(at as usize));
            let both = source.workload.is_some() && target.workload.is_some();
            let owner = if row.ingress { target } else { source };
            let passed = row.decision != Decision::Drop;
            let account = (owner.workload.clone(), passed, both, row.folded != 0);
            *self.accounts.entry(account).or_default() += 1;
            self.insert([source.clone(), target.clone()], rule, row);
        }
    }
}

/// The end of something that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beat {
    /// Until when everything is in it, in seconds since 1970.
    pub alive: u32,
    /// Events that the kernel could not hand over so far.
    pub lost: u64,
    /// Flows and drops of the hour whose address or port is not told apart.
    pub folded: u64,
    /// Whether nothing was waiting to be written: an end that was meant.
    pub clean: bool,
}

/// Tells less apart: first the address of who is no workload, or between workloads the port; then the rest.
fn fold_once(record: &Record, ends: &mut [Actor; 2], one: &mut Row, fold: u8) {
    let outside = ends.iter().position(|actor| actor.workload.is_none());
    if let Some(actor) = outside.and_then(|at| ends.get_mut(at)) {
        actor.address = None;
        one.folded |= Row::ADDRESS;
    }
    if fold == 2 || outside.is_none() {
        one.port = 0;
        one.source_ports = (0, 0);
        one.folded |= Row::PORT;
    }
    if fold == 2 && outside.is_none() {
        // Of many workloads, the one at which it did not happen.
        let other = usize::from(record.endpoint == record.source.workload);
        if let Some(actor) = ends.get_mut(other) {
            actor.address = None;
            actor.workload = None;
            actor.identity = 0;
            actor.labels = None;
            one.folded |= Row::ADDRESS;
        }
    }
}

fn key(row: &Row) -> Key {
    Key {
        source: row.source,
        target: row.target,
        rule: row.rule,
        port: row.port,
        protocol: row.protocol,
        decision: row.decision,
        reason: row.reason,
        ingress: row.ingress,
        folded: row.folded,
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Seconds since 1970, 0 before that.
#[must_use]
pub fn seconds(at: jiff::Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or_default()
}

/// An address that is one: packets without one have none.
fn address(address: IpAddr) -> Option<IpAddr> {
    (!crate::decode::is_no_address(address)).then_some(address)
}

/// Whether a record stands for a new flow.
fn opens(record: &Record) -> bool {
    record.kind == Kind::Open
}
