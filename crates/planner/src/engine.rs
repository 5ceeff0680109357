//! Slots, classes and rows: which of them exist, and keeping the tables equal to that.
//!
//! A *class* is a set of matchers: peers with the same set share it. A *slot* is the list of rules of
//! a subject in one direction with its posture. A row says what a slot says of a class, and is a pure
//! function of the two, so their numbers are hashes of exactly that content: a number never changes
//! its meaning, here or on another host.
//!
//! A row exists while some network has both its slot and its class. Everything is counted, so that
//! an endpoint or a rule is taken out again at the cost of what it alone had brought in.

use std::collections::hash_map::Entry;

use model::Posture;
use model::digest::Digest64;
use rustc_hash::{FxHashMap, FxHashSet};
use verdict::abi::{Addr, Endpoint, RowKey};
use verdict::native::Tables;

use crate::PlanError;
use crate::matchers::{MatcherId, Matchers};
use crate::ports::{Effect, Ground, Resolved, resolve};

pub(crate) type ClassId = u32;
pub(crate) type SlotId = u32;
pub(crate) type RuleId = u32;

/// One policy, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Position in the file.
    pub order: u32,
    /// Matchers of `from` and of `to`.
    pub sides: [Vec<MatcherId>; 2],
    pub effect: Effect,
    /// Whether its subjects have posture deny.
    pub isolates: bool,
    /// Hash of all but the order.
    pub digest: u64,
}

#[derive(Debug)]
struct Class {
    number: u64,
    matchers: Box<[MatcherId]>,
    uses: u32,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    key: SlotKey,
    /// Positions in `key.rules` by the matcher on the peer's side.
    peers: FxHashMap<MatcherId, Vec<u32>>,
    /// Subjects that are known to have it.
    subjects: Vec<Subject>,
    uses: u32,
}

/// What a slot is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SlotKey {
    ingress: bool,
    ground: Ground,
    rules: Box<[RuleId]>,
}

/// Whose policy a slot holds: matchers, direction and posture.
type Subject = (Box<[MatcherId]>, bool, Ground);

/// Most subjects that are remembered for a slot.
const SUBJECTS: usize = 64;

/// Who meets whom: one network.
#[derive(Debug, Default)]
pub(crate) struct Plane {
    classes: FxHashMap<ClassId, u32>,
    slots: FxHashMap<SlotId, u32>,
    classes_by_matcher: FxHashMap<MatcherId, Vec<ClassId>>,
    slots_by_matcher: FxHashMap<MatcherId, Vec<SlotId>>,
    /// Addresses that endpoints have, as this network sees them.
    pub taken: FxHashSet<Addr>,
}

/// What a list of rules says, and how many rows say it.
#[derive(Debug)]
struct Memo {
    resolved: Resolved,
    uses: u32,
}

type MemoKey = (Ground, Box<[RuleId]>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub matchers: Matchers,
    pub rules: Vec<Option<Rule>>,
    pub planes: Vec<Plane>,
    free_rules: Vec<RuleId>,
    classes: Vec<Option<Class>>,
    free_classes: Vec<ClassId>,
    class_by_matchers: FxHashMap<Box<[MatcherId]>, ClassId>,
    class_by_number: FxHashMap<u64, ClassId>,
    slots: Vec<Option<Slot>>,
    free_slots: Vec<SlotId>,
    slot_by_key: FxHashMap<SlotKey, SlotId>,
    slot_by_number: FxHashMap<u64, SlotId>,
    slot_by_subject: FxHashMap<Subject, SlotId>,
    /// Networks that need the row, and what it says.
    rows: FxHashMap<(SlotId, ClassId), (u32, MemoKey)>,
    memos: FxHashMap<MemoKey, Memo>,
    /// Memos that need a port set.
    sets: FxHashMap<u64, u32>,
    /// Which ports may be bound, by slot of ingress, and how many endpoints have that.
    binds: FxHashMap<u64, (u32, Resolved)>,
    /// What went wrong; the tables are then not to be used.
    pub errors: Vec<PlanError>,
}

fn put<T>(all: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(id) = free.pop()
        && let Some(place) = all.get_mut(id as usize)
    {
        *place = Some(value);
        return id;
    }
    all.push(Some(value));
    u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
}

impl Engine {
    /// Adds a rule whose sides are already matchers; they are told by the caller.
    pub(crate) fn put_rule(&mut self, rule: Rule) -> RuleId {
        put(&mut self.rules, &mut self.free_rules, rule)
    }

    pub(crate) fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id as usize)?.as_ref()
    }

    /// Takes a rule out. No slot may have it any more.
    pub(crate) fn take_rule(&mut self, id: RuleId) -> Option<Rule> {
        let rule = self.rules.get_mut(id as usize)?.take()?;
        self.free_rules.push(id);
        Some(rule)
    }

    /// The class of a set of matchers, in ascending order; counted, see [`Self::release_class`].
    pub(crate) fn class(&mut self, matchers: &[MatcherId]) -> ClassId {
        if let Some(id) = self.class_by_matchers.get(matchers) {
            if let Some(Some(class)) = self.classes.get_mut(*id as usize) {
                class.uses += 1;
            }
            return *id;
        }
        let mut digests: Vec<u64> = Vec::with_capacity(matchers.len());
        digests.extend(matchers.iter().filter_map(|id| self.matchers.get(*id)).map(|m| m.digest));
        digests.sort_unstable();
        let number = number("class", digests.iter().copied());
        let matchers: Box<[MatcherId]> = matchers.into();
        let class = Class { number, matchers: matchers.clone(), uses: 1 };
        let id = put(&mut self.classes, &mut self.free_classes, class);
        if self.class_by_number.insert(number, id).is_some() {
            self.collision("class", number);
        }
        self.class_by_matchers.insert(matchers, id);
        id
    }

    pub(crate) fn class_number(&self, id: ClassId) -> u64 {
        self.classes.get(id as usize).and_then(Option::as_ref).map_or(0, |class| class.number)
    }

    pub(crate) fn release_class(&mut self, id: ClassId) {
        let Some(place) = self.classes.get_mut(id as usize) else { return };
        let Some(class) = place else { return };
        class.uses -= 1;
        if class.uses > 0 {
            return;
        }
        if let Some(class) = place.take() {
            self.class_by_matchers.remove(&class.matchers);
            self.class_by_number.remove(&class.number);
            self.free_classes.push(id);
        }
    }

    /// The slot of a subject in one direction; `None` when no rule is about it. Counted.
    pub(crate) fn slot(
        &mut self,
        matchers: &[MatcherId],
        ingress: bool,
        ground: Ground,
    ) -> Option<SlotId> {
        let subject: Subject = (matchers.into(), ingress, ground);
        if let Some(id) = self.slot_by_subject.get(&subject).copied() {
            self.count_slot(id);
            return Some(id);
        }
        let key = SlotKey { ingress, ground, rules: self.rules_of(matchers, ingress) };
        if key.rules.is_empty() {
            return None;
        }
        let id = match self.slot_by_key.get(&key).copied() {
            Some(id) => {
                self.count_slot(id);
                id
            }
            None => self.new_slot(key),
        };
        if let Some(Some(slot)) = self.slots.get_mut(id as usize)
            && slot.subjects.len() < SUBJECTS
        {
            slot.subjects.push(subject.clone());
            self.slot_by_subject.insert(subject, id);
        }
        Some(id)
    }

    /// Forgets which slots subjects have: the rules are about to change.
    pub(crate) fn forget_subjects(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.subjects.clear();
        }
        self.slot_by_subject.clear();
    }

    fn count_slot(&mut self, id: SlotId) {
        if let Some(Some(slot)) = self.slots.get_mut(id as usize) {
            slot.uses += 1;
        }
    }

    /// The rules that have one of the matchers on the subject's side, in file order.
    fn rules_of(&self, matchers: &[MatcherId], ingress: bool) -> Box<[RuleId]> {
        let mut rules: Vec<(u32, RuleId)> = Vec::new();
        for matcher in matchers.iter().filter_map(|id| self.matchers.get(*id)) {
            let [from, to] = &matcher.rules;
            for id in if ingress { to } else { from } {
                let rule = self.rule(*id).filter(|rule| !rule.effect.is_mute());
                rules.extend(rule.map(|rule| (rule.order, *id)));
            }
        }
        rules.sort_unstable();
        rules.dedup();
        rules.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether a policy that isolates is about a subject with these matchers.
    pub(crate) fn is_isolated(&self, matchers: &[MatcherId], ingress: bool) -> bool {
        let mut matchers = matchers.iter().filter_map(|id| self.matchers.get(*id));
        matchers.any(|matcher| {
            let [from, to] = &matcher.rules;
            let mut rules = if ingress { to } else { from }.iter().filter_map(|id| self.rule(*id));
            rules.any(|rule| rule.isolates)
        })
    }

    fn new_slot(&mut self, key: SlotKey) -> SlotId {
        let ground = match key.ground.posture {
            Posture::Deny => 0,
            Posture::Audit => 1,
            Posture::Allow => 2,
        };
        let flags = u64::from(key.ground.sealed)
            | u64::from(key.ground.isolated) << 1
            | u64::from(key.ground.audited) << 2;
        let head = [u64::from(key.ingress), ground, flags];
        let mut peers: FxHashMap<MatcherId, Vec<u32>> = FxHashMap::default();
        let mut digests = Vec::with_capacity(key.rules.len());
        for (at, id) in (0_u32..).zip(&key.rules) {
            let Some(rule) = self.rule(*id) else { continue };
            digests.push(rule.digest);
            let [from, to] = &rule.sides;
            for matcher in if key.ingress { from } else { to } {
                peers.entry(*matcher).or_default().push(at);
            }
        }
        let number = number("slot", head.into_iter().chain(digests));
        let slot = Slot { number, key: key.clone(), peers, subjects: Vec::new(), uses: 1 };
        let id = put(&mut self.slots, &mut self.free_slots, slot);
        if self.slot_by_number.insert(number, id).is_some() {
            self.collision("slot", number);
        }
        self.slot_by_key.insert(key, id);
        id
    }

    pub(crate) fn slot_number(&self, id: Option<SlotId>) -> u64 {
        let slot = id.and_then(|id| self.slots.get(id as usize)).and_then(Option::as_ref);
        slot.map_or(0, |slot| slot.number)
    }

    /// Gives back the slot of a subject.
    pub(crate) fn release_slot(&mut self, id: SlotId) {
        let Some(place) = self.slots.get_mut(id as usize) else { return };
        let Some(slot) = place else { return };
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        if let Some(slot) = place.take() {
            for subject in &slot.subjects {
                self.slot_by_subject.remove(subject);
            }
            self.slot_by_key.remove(&slot.key);
            self.slot_by_number.remove(&slot.number);
            self.free_slots.push(id);
        }
    }

    fn collision(&mut self, what: &'static str, number: u64) {
        let (one, other) = ("one set of rules".to_owned(), "another".to_owned());
        self.errors.push(PlanError::Collision { what, number, one, other });
    }

    /// A class appears in a network once more.
    pub(crate) fn class_up(&mut self, tables: &mut Tables, plane: usize, id: ClassId) {
        let Some(class) = self.classes.get(id as usize).and_then(Option::as_ref) else { return };
        let Some(here) = self.planes.get_mut(plane) else { return };
        let count = here.classes.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        for matcher in &class.matchers {
            here.classes_by_matcher.entry(*matcher).or_default().push(id);
        }
        for (slot, rules) in slots_for(here, &self.slots, class) {
            self.row_up(tables, slot, id, rules);
        }
    }

    /// A class disappears from a network once.
    pub(crate) fn class_down(&mut self, tables: &mut Tables, plane: usize, id: ClassId) {
        let Some(class) = self.classes.get(id as usize).and_then(Option::as_ref) else { return };
        let Some(here) = self.planes.get_mut(plane) else { return };
        if !lower(&mut here.classes, id) {
            return;
        }
        for matcher in &class.matchers {
            forget(&mut here.classes_by_matcher, *matcher, id);
        }
        for (slot, _) in slots_for(here, &self.slots, class) {
            self.row_down(tables, slot, id);
        }
    }

    /// A slot appears in a network once more.
    pub(crate) fn slot_up(&mut self, tables: &mut Tables, plane: usize, id: SlotId) {
        let Some(slot) = self.slots.get(id as usize).and_then(Option::as_ref) else { return };
        let Some(here) = self.planes.get_mut(plane) else { return };
        let count = here.slots.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        for matcher in slot.peers.keys() {
            here.slots_by_matcher.entry(*matcher).or_default().push(id);
        }
        for (class, rules) in classes_for(here, slot) {
            self.row_up(tables, id, class, rules);
        }
    }

    /// A slot disappears from a network once.
    pub(crate) fn slot_down(&mut self, tables: &mut Tables, plane: usize, id: SlotId) {
        let Some(slot) = self.slots.get(id as usize).and_then(Option::as_ref) else { return };
        let Some(here) = self.planes.get_mut(plane) else { return };
        if !lower(&mut here.slots, id) {
            return;
        }
        for matcher in slot.peers.keys() {
            forget(&mut here.slots_by_matcher, *matcher, id);
        }
        for (class, _) in classes_for(here, slot) {
            self.row_down(tables, id, class);
        }
    }

    fn row_up(&mut self, tables: &mut Tables, slot: SlotId, class: ClassId, at: Vec<u32>) {
        let place = match self.rows.entry((slot, class)) {
            Entry::Occupied(mut row) => {
                row.get_mut().0 += 1;
                return;
            }
            Entry::Vacant(place) => place,
        };
        let Some(Some(from)) = self.slots.get(slot as usize) else { return };
        let rules: Box<[RuleId]> =
            at.into_iter().filter_map(|at| from.key.rules.get(at as usize)).copied().collect();
        let ground = from.key.ground;
        let number = from.number;
        let key: MemoKey = (ground, rules);
        place.insert((1, key.clone()));
        let memo = match self.memos.entry(key) {
            Entry::Occupied(memo) => memo.into_mut(),
            Entry::Vacant(place) => {
                let rule = |id: &RuleId| self.rules.get(*id as usize)?.as_ref();
                let effects: Vec<&Effect> =
                    place.key().1.iter().filter_map(rule).map(|rule| &rule.effect).collect();
                let resolved = resolve(&effects, ground);
                share(&mut self.sets, &mut self.errors, tables, &resolved);
                place.insert(Memo { resolved, uses: 0 })
            }
        };
        memo.uses += 1;
        if !memo.resolved.is_silent() {
            let class = self.classes.get(class as usize).and_then(Option::as_ref);
            let key = RowKey { slot: number, class: class.map_or(0, |class| class.number) };
            tables.rows.insert(key, memo.resolved.row);
        }
    }

    fn row_down(&mut self, tables: &mut Tables, slot: SlotId, class: ClassId) {
        let Entry::Occupied(mut row) = self.rows.entry((slot, class)) else { return };
        row.get_mut().0 -= 1;
        if row.get().0 > 0 {
            return;
        }
        let (_, key) = row.remove();
        let slot = self.slot_number(Some(slot));
        tables.rows.remove(&RowKey { slot, class: self.class_number(class) });
        let Entry::Occupied(mut memo) = self.memos.entry(key) else { return };
        memo.get_mut().uses -= 1;
        if memo.get().uses == 0 {
            unshare(&mut self.sets, tables, &memo.remove().resolved);
        }
    }
}

/// Which ports endpoints of the host's stack may bind.
impl Engine {
    /// Writes the row for a slot of ingress: what its rules open, to whomever. Counted, see [`Self::close_to_bind`].
    pub(crate) fn open_to_bind(&mut self, tables: &mut Tables, slot: SlotId) -> u64 {
        let Some(Some(found)) = self.slots.get(slot as usize) else { return 0 };
        let number = found.number;
        if let Some((uses, _)) = self.binds.get_mut(&number) {
            *uses += 1;
            return number;
        }
        let opening = |id: &RuleId| {
            let effect = &self.rule(*id)?.effect;
            let (deny, sources, pass) = Default::default();
            Some(Effect { deny, sources, pass, ..effect.clone() })
        };
        let effects: Vec<Effect> = found.key.rules.iter().filter_map(opening).collect();
        let ground = Ground { posture: Posture::Deny, ..found.key.ground };
        let resolved = resolve(&effects.iter().collect::<Vec<_>>(), ground);
        share(&mut self.sets, &mut self.errors, tables, &resolved);
        if !resolved.is_silent() {
            tables.rows.insert(Endpoint::bind_row(number), resolved.row);
        }
        self.binds.insert(number, (1, resolved));
        number
    }

    /// Takes the row out again when nobody has the slot any more.
    pub(crate) fn close_to_bind(&mut self, tables: &mut Tables, number: u64) {
        let Entry::Occupied(mut binds) = self.binds.entry(number) else { return };
        binds.get_mut().0 -= 1;
        if binds.get().0 > 0 {
            return;
        }
        let (_, resolved) = binds.remove();
        tables.rows.remove(&Endpoint::bind_row(number));
        unshare(&mut self.sets, tables, &resolved);
    }
}

/// SHA-256 over numbers, never 0.
fn number(domain: &str, numbers: impl Iterator<Item = u64>) -> u64 {
    let mut content = Vec::new();
    numbers.for_each(|each| content.extend(each.to_be_bytes()));
    let mut digest = Digest64::new(domain);
    digest.bytes(&content);
    digest.finish().max(1)
}

/// Counts one less; whether that was the last.
fn lower(counts: &mut FxHashMap<u32, u32>, id: u32) -> bool {
    let Entry::Occupied(mut count) = counts.entry(id) else { return false };
    *count.get_mut() -= 1;
    if *count.get() > 0 {
        return false;
    }
    count.remove();
    true
}

fn forget(map: &mut FxHashMap<MatcherId, Vec<u32>>, matcher: MatcherId, id: u32) {
    let Entry::Occupied(mut ids) = map.entry(matcher) else { return };
    if let Some(at) = ids.get().iter().position(|each| *each == id) {
        ids.get_mut().swap_remove(at);
    }
    if ids.get().is_empty() {
        ids.remove();
    }
}

/// The slots of a network with rules about a class, and the positions of those rules.
fn slots_for(plane: &Plane, slots: &[Option<Slot>], class: &Class) -> Vec<(SlotId, Vec<u32>)> {
    let mut found: FxHashMap<SlotId, Vec<u32>> = FxHashMap::default();
    for matcher in &class.matchers {
        for id in plane.slots_by_matcher.get(matcher).into_iter().flatten() {
            let slot = slots.get(*id as usize).and_then(Option::as_ref);
            let at = slot.and_then(|slot| slot.peers.get(matcher)).into_iter().flatten();
            found.entry(*id).or_default().extend(at);
        }
    }
    ordered(found)
}

/// The classes of a network that a slot has rules about, and the positions of those rules.
fn classes_for(plane: &Plane, slot: &Slot) -> Vec<(ClassId, Vec<u32>)> {
    let mut found: FxHashMap<ClassId, Vec<u32>> = FxHashMap::default();
    for (matcher, at) in &slot.peers {
        for id in plane.classes_by_matcher.get(matcher).into_iter().flatten() {
            found.entry(*id).or_default().extend(at);
        }
    }
    ordered(found)
}

fn ordered(found: FxHashMap<u32, Vec<u32>>) -> Vec<(u32, Vec<u32>)> {
    let mut found: Vec<_> = found.into_iter().collect();
    for (_, at) in &mut found {
        at.sort_unstable();
        at.dedup();
    }
    found
}

/// Writes the port sets that are new.
fn share(
    sets: &mut FxHashMap<u64, u32>,
    errors: &mut Vec<PlanError>,
    tables: &mut Tables,
    resolved: &Resolved,
) {
    for (id, entries) in &resolved.sets {
        let uses = sets.entry(*id).or_default();
        *uses += 1;
        if *uses == 1 {
            tables.ports.extend(entries.iter().copied());
        } else if entries.iter().any(|(key, entry)| tables.ports.get(key) != Some(entry)) {
            let (one, other) = ("one list of ports".to_owned(), "another".to_owned());
            errors.push(PlanError::Collision { what: "port set", number: *id, one, other });
        }
    }
}

/// Removes the port sets that nothing needs any more.
fn unshare(sets: &mut FxHashMap<u64, u32>, tables: &mut Tables, resolved: &Resolved) {
    for (id, entries) in &resolved.sets {
        let Entry::Occupied(mut uses) = sets.entry(*id) else { continue };
        *uses.get_mut() -= 1;
        if *uses.get() == 0 {
            uses.remove();
            for (key, _) in entries {
                tables.ports.remove(key);
            }
        }
    }
}
