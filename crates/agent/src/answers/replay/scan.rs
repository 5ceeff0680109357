//! Goes through the records: each different flow is judged once, every row is counted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use api::ReplayTotals;
use flow::Decision;
use flow::hours::{Actor, Reader, Row};
use model::{Identity, RuleRef};
use rustc_hash::FxHasher;
use verdict::Reason;

pub(crate) use super::lens::Outcome;
use super::lens::{Lens, Stand, Unable};
use super::read::{Read, Records};
use crate::answers::person;

/// Different flows that all threads together remember as judged, about 40 bytes each; more are judged anew each time.
const JUDGED: usize = 1 << 21;
/// Different ends that all threads together remember, about 500 bytes each; of more it is looked up anew each time where they stand.
const KNOWN: usize = 1 << 18;
/// Lines that are counted apart.
const GROUPS: usize = 100_000;
/// The number of an end that is not remembered.
const UNKNOWN: u32 = u32::MAX;
/// Who is at both ends of what is counted together for want of room.
const OTHERS: &str = "others";
/// Threads at most.
const THREADS: usize = 8;

type Fast<K, V> = HashMap<K, V, BuildHasherDefault<FxHasher>>;

/// What becomes of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// It passed, and would be dropped.
    Breaks,
    /// It was dropped, and would pass.
    Passes,
    /// It passed, and would.
    Kept,
    /// It passed, and would, recorded as "would have dropped".
    Audited,
    /// It was dropped, and would be.
    Dropped,
    /// It passed, and the policy in force drops it already.
    EndedAlready,
    /// It was dropped, and the policy in force lets it pass already.
    PassingAlready,
    /// Nobody can tell.
    Unjudged,
}

/// What flows are told as one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) class: Class,
    pub(crate) from: Arc<str>,
    pub(crate) to: Arc<str>,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// What was decided, and by which rule.
    pub(crate) was: Decision,
    pub(crate) rule: Option<RuleRef>,
    /// What would be.
    pub(crate) becomes: Outcome,
    pub(crate) note: Option<Arc<str>>,
}

impl Key {
    /// An order for people.
    pub(crate) fn order(&self) -> (&str, &str, u8, u16) {
        (&self.from, &self.to, self.protocol, self.port)
    }
}

/// How many flows a line is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Group {
    opened: u64,
    closed: u64,
    /// Seconds since 1970.
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Some addresses of who is no workload.
    pub(crate) addresses: Vec<IpAddr>,
    /// One of the flows, when they would break.
    pub(crate) witness: Option<Box<Witness>>,
}

/// A flow as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Who opened it.
    pub(crate) source: Actor,
    /// To whom.
    pub(crate) target: Actor,
    pub(crate) protocol: u8,
    /// Source and destination port; ICMP: type and code.
    pub(crate) ports: (u16, u16),
}

impl Group {
    /// Flows that were opened; of those that opened unseen, how many ended.
    pub(crate) fn flows(&self) -> u64 {
        if self.opened == 0 { self.closed } else { self.opened }
    }

    fn add(&mut self, opened: u64, closed: u64, (first, last): (u32, u32)) {
        if self.opened == 0 && self.closed == 0 {
            (self.first, self.last) = (first, last);
        }
        self.opened = self.opened.saturating_add(opened);
        self.closed = self.closed.saturating_add(closed);
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Scan {
    places: HashMap<Key, u32>,
    /// Most lines.
    most: usize,
    keys: Vec<Key>,
    groups: Vec<Group>,
    /// Lines that found no room.
    pub(crate) omitted: u64,
    /// All flows, by what becomes of them.
    pub(crate) totals: ReplayTotals,
}

impl Scan {
    fn new(most: usize) -> Self {
        Self {
            places: HashMap::new(),
            most,
            keys: Vec::new(),
            groups: Vec::new(),
            omitted: 0,
            totals: ReplayTotals::default(),
        }
    }

    /// Every line and how many flows it is.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Key, &Group)> {
        self.keys.iter().zip(&self.groups)
    }

    /// The line of a key; `None` when there is no room for another one.
    fn place(&mut self, key: Key) -> Option<u32> {
        if let Some(known) = self.places.get(&key) {
            return Some(*known);
        }
        if self.keys.len() >= self.most && &*key.from != OTHERS {
            self.omitted += 1;
            return self.place(Key {
                from: OTHERS.into(),
                to: OTHERS.into(),
                protocol: 0,
                port: 0,
                rule: None,
                note: None,
                ..key
            });
        }
        let number = u32::try_from(self.keys.len()).ok()?;
        self.places.insert(key.clone(), number);
        self.keys.push(key);
        self.groups.push(Group::default());
        Some(number)
    }

    fn merge(&mut self, other: Self) {
        self.omitted += other.omitted;
        for (key, group) in other.keys.into_iter().zip(other.groups) {
            let Some(at) = self.place(key) else { continue };
            let Some(own) = self.groups.get_mut(at as usize) else { continue };
            own.add(group.opened, group.closed, (group.first, group.last));
            for address in group.addresses {
                example(&mut own.addresses, address);
            }
            own.witness = own.witness.take().or(group.witness);
        }
        let (sum, more) = (&mut self.totals, other.totals);
        sum.folded += more.folded;
        sum.beyond_policy += more.beyond_policy;
    }

    /// Sums up the lines, when all are there.
    fn sum(&mut self) {
        let totals = &mut self.totals;
        for (key, group) in self.keys.iter().zip(&self.groups) {
            let flows = group.flows();
            let count = match key.class {
                Class::Breaks => &mut totals.breaks,
                Class::Passes => &mut totals.passes,
                Class::Kept => &mut totals.kept,
                Class::Audited => {
                    totals.kept += flows;
                    &mut totals.audited
                }
                Class::Dropped => &mut totals.dropped,
                Class::EndedAlready => &mut totals.ended_already,
                Class::PassingAlready => &mut totals.passing_already,
                Class::Unjudged => &mut totals.unjudged,
            };
            *count += flows;
        }
    }
}

fn example(list: &mut Vec<IpAddr>, address: IpAddr) {
    if list.len() < super::ADDRESSES && !list.contains(&address) {
        list.push(address);
    }
}

/// A flow as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    ends: u64,
    rule: u32,
    ports: (u16, u16, u16),
    protocol: u8,
    decision: Decision,
}

/// An end, and where it stands before and after.
type Met<'b> = (Actor, [Stand<'b>; 2]);

/// How much one thread remembers.
#[derive(Debug, Clone, Copy)]
struct Room {
    known: usize,
    judged: usize,
    groups: usize,
}

impl Room {
    /// The share of one of some threads.
    fn shared(threads: usize) -> Self {
        let threads = threads.max(1);
        Self { known: KNOWN / threads, judged: JUDGED / threads, groups: GROUPS / threads }
    }
}

/// One thread's work.
struct Worker<'l, 'b> {
    lenses: [Option<&'l Lens<'b>>; 2],
    has_source_ports: bool,
    actors: HashMap<Actor, u32>,
    /// Where each actor stands before and after.
    known: Vec<Met<'b>>,
    room: Room,
    rules: HashMap<RuleRef, u32>,
    judged: Fast<Asked, u32>,
    scan: Scan,
    read: Read,
    /// Actors and rules of the file that is read, by their numbers there.
    local: [Vec<u32>; 2],
}

/// Judges every record before, if anything is in force, and after.
pub(crate) fn scan<'b>(records: &Records, old: Option<&Lens<'b>>, new: &Lens<'b>) -> (Scan, Read) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    scan_by((threads, Room::shared(threads)), records, old, new)
}

fn scan_by<'b>(
    (threads, room): (usize, Room),
    records: &Records,
    old: Option<&Lens<'b>>,
    new: &Lens<'b>,
) -> (Scan, Read) {
    let next = AtomicUsize::new(0);
    let bundles = (old.map(Lens::bundle), new.bundle());
    let work = || {
        // Each thread has tables to ask of its own: their counters are not shared.
        let (old, new) = (bundles.0.map(Lens::new), Lens::new(bundles.1));
        let mut worker = Worker::new(old.as_ref(), &new, room);
        loop {
            // The newest first: what is known when time is up is the last of it.
            let at = next.fetch_add(1, Ordering::Relaxed);
            match at.checked_sub(1).map(|before| records.files.iter().rev().nth(before)) {
                None => worker.current(records),
                Some(Some(file)) if records.is_over() => worker.read.unread.push(file.hour),
                Some(Some(file)) => worker.file(file, records.since),
                Some(None) => break,
            }
        }
        (worker.scan, worker.read)
    };
    let (mut scan, mut read) = (Scan::new(GROUPS), Read::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A panic of a thread is one of the answer.
            let (found, more) =
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            scan.merge(found);
            read.add(more);
        }
    });
    scan.sum();
    (scan, read)
}

impl<'l, 'b> Worker<'l, 'b> {
    fn new(old: Option<&'l Lens<'b>>, new: &'l Lens<'b>, room: Room) -> Self {
        let asks = |lens: &Lens<'_>| lens.asks_source_ports();
        Self {
            lenses: [old, Some(new)],
            has_source_ports: old.is_some_and(asks) || asks(new),
            actors: HashMap::new(),
            known: Vec::new(),
            room,
            rules: HashMap::new(),
            judged: Fast::default(),
            scan: Scan::new(room.groups),
            read: Read::default(),
            local: [Vec::new(), Vec::new()],
        }
    }

    /// Begins another file. When there was no room for all ends, others are remembered from now on.
    fn begin(&mut self) {
        self.local = [Vec::new(), Vec::new()];
        if self.known.len() >= self.room.known || self.rules.len() >= self.room.known {
            self.actors.clear();
            self.known.clear();
            self.rules.clear();
            self.judged.clear();
        }
    }

    fn file(&mut self, file: &store::hours::HourFile, since: u32) {
        // What is gone or broken is a time that nothing covers.
        let Ok(mut frames) = file.frames() else { return };
        let mut reader = Reader::default();
        self.begin();
        if file.sealed {
            while let Some(bytes) = frames.next_frame() {
                if !self.frame(&mut reader, bytes, since) {
                    break;
                }
            }
            return;
        }
        // One that a crash cut off has rows more than once: it is put together first.
        let mut all = Vec::new();
        while let Some(bytes) = frames.next_frame() {
            all.push(bytes.to_vec());
        }
        let budget = flow::hours::Budget::default();
        let Some((hour, beat)) = flow::hours::Hour::read(all.iter().map(Vec::as_slice), budget)
        else {
            return;
        };
        for bytes in hour.whole(beat.alive, beat.lost, beat.clean) {
            self.frame(&mut reader, &bytes, since);
        }
    }

    fn current(&mut self, records: &Records) {
        let mut reader = Reader::default();
        self.begin();
        for bytes in &records.current {
            self.frame(&mut reader, bytes, records.since);
        }
    }

    fn frame(&mut self, reader: &mut Reader, bytes: &[u8], since: u32) -> bool {
        let mut read = std::mem::take(&mut self.read);
        let is_whole = read.frame(reader, bytes, since, |reader, row| self.row(reader, row));
        self.read = read;
        is_whole
    }

    fn row(&mut self, reader: &Reader, row: &Row) {
        if row.folded != 0 {
            self.scan.totals.folded += row.events();
            return;
        }
        if row.decision == Decision::Drop && !is_policy(row.reason) {
            self.scan.totals.beyond_policy += row.events();
            return;
        }
        if self.local[0].len() < reader.actors().len() || self.local[1].len() < reader.rules().len()
        {
            self.learn(reader);
        }
        let actor = |number: u32| self.local[0].get(number as usize).copied().unwrap_or(UNKNOWN);
        let (source, target) = (actor(row.source), actor(row.target));
        let rule = row.rule.checked_sub(1).and_then(|at| self.local[1].get(at as usize).copied());
        let (low, high) = if self.has_source_ports { row.source_ports } else { (0, 0) };
        let asked = Asked {
            ends: u64::from(source) << 32 | u64::from(target),
            rule: rule.map_or(0, |rule| rule + 1),
            ports: (row.port, low, high),
            protocol: row.protocol,
            decision: row.decision,
        };
        let at = match self.judged.get(&asked) {
            Some(at) if source != UNKNOWN && target != UNKNOWN => *at,
            _ => self.ask(asked, (source, target), reader, row),
        };
        if let Some(group) = self.scan.groups.get_mut(at as usize) {
            group.add(row.opened, row.closed, (row.first, row.last));
        }
    }

    /// Gives the actors and rules of a file the numbers that they have here.
    fn learn(&mut self, reader: &Reader) {
        for actor in reader.actors().iter().skip(self.local[0].len()) {
            let number = match self.actors.get(actor) {
                Some(known) => *known,
                None => self.meet(actor),
            };
            self.local[0].push(number);
        }
        for rule in reader.rules().iter().skip(self.local[1].len()) {
            let next = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
            let number = *self.rules.entry(rule.clone()).or_insert(next);
            self.local[1].push(number);
        }
    }

    fn meet(&mut self, actor: &Actor) -> u32 {
        if self.known.len() >= self.room.known {
            return UNKNOWN;
        }
        let number = u32::try_from(self.known.len()).unwrap_or(UNKNOWN);
        self.known.push(met(self.lenses, actor));
        self.actors.insert(actor.clone(), number);
        number
    }

    /// Judges a flow that was not judged yet; the number of its line.
    fn ask(
        &mut self,
        asked: Asked,
        (source, target): (u32, u32),
        reader: &Reader,
        row: &Row,
    ) -> u32 {
        let nowhere = u32::MAX;
        let lenses = self.lenses;
        let end = |known: u32, number: u32| match self.known.get(known as usize) {
            Some(known) => Some(Cow::Borrowed(known)),
            None => Some(Cow::Owned(met(lenses, reader.actors().get(number as usize)?))),
        };
        let (from, to) = (end(source, row.source), end(target, row.target));
        let (Some(from), Some(to)) = (from.as_deref(), to.as_deref()) else { return nowhere };
        let v6 = [&from.0, &to.0].iter().any(|actor| actor.address.is_some_and(|it| it.is_ipv6()));
        let stranger = [&from.0, &to.0].into_iter().find(|actor| actor.workload.is_none());
        let address = stranger.and_then(|actor| actor.address);
        let judge = |side: usize| {
            let lens = self.lenses[side]?;
            let (_, low, high) = asked.ports;
            Some(lens.judge(
                (&from.1[side], &to.1[side]),
                (row.protocol, row.port),
                (low, high),
                v6,
            ))
        };
        let decided = row.decision;
        let (class, becomes, note) = match judge(1) {
            Some(Ok(outcome)) => {
                let before = judge(0).and_then(Result::ok).map(|before| before.verdict);
                (class(decided, before, outcome.verdict), outcome, self.note(from, to))
            }
            Some(Err(why)) => {
                (Class::Unjudged, Outcome::unknown(), Some(unable(why, &from.0, &to.0)))
            }
            None => return nowhere,
        };
        let rule = row.rule.checked_sub(1).and_then(|at| reader.rules().get(at as usize)).cloned();
        let is_told = matches!(class, Class::Breaks | Class::Passes | Class::Unjudged);
        let key = Key {
            class,
            from: name(&from.0),
            to: name(&to.0),
            protocol: row.protocol,
            port: row.port,
            was: decided,
            rule: rule.filter(|_| is_told),
            becomes: if is_told { becomes } else { Outcome::unknown() },
            note: note.map(Arc::from).filter(|_| is_told),
        };
        let Some(at) = self.scan.place(key) else { return nowhere };
        if let Some(group) = self.scan.groups.get_mut(at as usize) {
            if let Some(address) = address {
                example(&mut group.addresses, address);
            }
            if class == Class::Breaks && group.witness.is_none() {
                let [source, target] = [&from.0, &to.0].map(Clone::clone);
                let ports = (row.source_ports.0, row.port);
                group.witness =
                    Some(Box::new(Witness { source, target, protocol: row.protocol, ports }));
            }
        }
        if self.judged.len() < self.room.judged && source != UNKNOWN && target != UNKNOWN {
            self.judged.insert(asked, at);
        }
        at
    }

    fn note(&self, from: &Met<'b>, to: &Met<'b>) -> Option<String> {
        let lens = self.lenses[1]?;
        let mut notes =
            [from, to].into_iter().filter_map(|(actor, stands)| lens.note(actor, &stands[1]));
        let first = notes.next()?;
        Some(notes.fold(first, |all, note| format!("{all}; {note}")))
    }
}

/// Looks up where an end stands.
fn met<'b>(lenses: [Option<&Lens<'b>>; 2], actor: &Actor) -> Met<'b> {
    let stands = lenses.map(|lens| lens.map_or(Stand::Many, |lens| lens.stand(actor)));
    (actor.clone(), stands)
}

impl Outcome {
    fn unknown() -> Self {
        Self { verdict: Decision::Drop, rule: 0, default: None }
    }
}

fn class(was: Decision, before: Option<Decision>, after: Decision) -> Class {
    let passes = |decision: Decision| decision != Decision::Drop;
    match (passes(was), passes(after)) {
        (true, false) if before.is_some_and(|before| !passes(before)) => Class::EndedAlready,
        (true, false) => Class::Breaks,
        (true, true) if after == Decision::Audit => Class::Audited,
        (true, true) => Class::Kept,
        (false, false) => Class::Dropped,
        (false, true) if before.is_some_and(passes) => Class::PassingAlready,
        (false, true) => Class::Passes,
    }
}

/// Whether a drop was a matter of policy.
fn is_policy(reason: u8) -> bool {
    [Reason::PolicyDeny, Reason::DefaultDeny, Reason::Revoked].iter().any(|it| it.code() == reason)
}

/// Who somebody is to people: `shop/web`, `host`, `world`, `unmanaged`.
fn name(actor: &Actor) -> Arc<str> {
    match &actor.workload {
        Some(id) => person(id).into(),
        None if actor.identity == Identity::HOST.0 => "host".into(),
        None if actor.identity == Identity::UNMANAGED.0 => "unmanaged".into(),
        None => "world".into(),
    }
}

fn unable(why: Unable, from: &Actor, to: &Actor) -> String {
    match why {
        Unable::SourceGone => gone(from),
        Unable::TargetGone => gone(to),
        Unable::NoAddress => {
            "a workload has no address of this version of IP in the file".to_owned()
        }
        Unable::Taken => "an address of somebody else is a workload's in the file".to_owned(),
        Unable::Nobody => "neither end is a workload of the file".to_owned(),
    }
}

fn gone(actor: &Actor) -> String {
    let labels = actor.labels.as_deref().map(|labels| format!(", nor another one with {labels}"));
    format!("{} is not in the file{}", name(actor), labels.unwrap_or_default())
}

#[cfg(test)]
mod tests;
