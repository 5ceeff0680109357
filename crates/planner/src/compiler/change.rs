//! Changes of a compiled document, at the cost of what they touch.
//!
//! **Order.** The endpoints that a change is about give their slots and classes back, the rules
//! change, address spaces are cut again where ranges came or went, and the endpoints are seated again.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use model::{Labels, Name, Peer};
use policy::Document;
use policy::document::{Policy, Scope, Workload as Source};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Compiler, Seat, grounds};
use crate::bundle::Facts;
use crate::engine::RuleId;
use crate::matchers::MatcherId;
use crate::{PlanErrors, terms, topology};

/// More changed policies than this are compiled as a whole.
const MANY: usize = 512;

/// After an error a compiler is of no use and must be dropped.
impl Compiler {
    /// Gives a workload other labels. Does nothing when there is no such workload.
    ///
    /// # Errors
    ///
    /// A collision of numbers.
    pub fn relabel(&mut self, workload: &str, labels: Labels) -> Result<(), PlanErrors> {
        let Some(at) = self.positions.get(workload).copied() else { return Ok(()) };
        self.relabel_all(vec![(at, labels)]);
        self.outcome()
    }

    /// Puts a policy in the place of the one with its name, or behind all others.
    ///
    /// # Errors
    ///
    /// A collision of numbers.
    pub fn replace_policy(&mut self, mut policy: Policy) -> Result<(), PlanErrors> {
        let same = |each: &Policy| each.name == policy.name && each.scope == policy.scope;
        let old = self.document.policies.iter().position(same);
        if let Some(old) = old.and_then(|at| self.document.policies.get_mut(at)) {
            policy.order = old.order;
            let old = std::mem::replace(old, policy.clone());
            self.exchange(&[&old], &[&policy]);
        } else {
            policy.order = self.document.policies.last().map_or(0, |last| last.order + 1);
            self.document.policies.push(policy.clone());
            self.exchange(&[], &[&policy]);
        }
        self.refresh_expiry();
        self.outcome()
    }

    /// Removes a policy. Does nothing when there is no such policy.
    ///
    /// # Errors
    ///
    /// A collision of numbers.
    pub fn remove(&mut self, scope: &Scope, name: &Name) -> Result<(), PlanErrors> {
        let same = |each: &Policy| each.name == *name && each.scope == *scope;
        if let Some(at) = self.document.policies.iter().position(same) {
            let old = self.document.policies.remove(at);
            self.exchange(&[&old], &[]);
            self.refresh_expiry();
        }
        self.outcome()
    }

    /// Puts another document in the place of this one, with the facts of now.
    ///
    /// Other labels and policies, and workloads that come and go, are compiled by themselves; everything else compiles the whole.
    ///
    /// # Errors
    ///
    /// Every reason why there is no bundle.
    pub fn update(&mut self, document: Document, facts: &Facts) -> Result<(), PlanErrors> {
        if terms::terms(&document, facts.now) != *self.bundle.terms {
            *self = Self::new(document, &self.bundle.allocations, facts)?;
            return Ok(());
        }
        if self.moved(&document, facts)? {
            return Ok(());
        }
        self.update_kept(document, facts)
    }

    /// As [`Compiler::update`], for a document with the same workloads.
    pub(super) fn update_kept(
        &mut self,
        document: Document,
        facts: &Facts,
    ) -> Result<(), PlanErrors> {
        let Some(changes) = self.changes(&document, facts) else {
            *self = Self::new(document, &self.bundle.allocations, facts)?;
            return Ok(());
        };
        let before = std::mem::replace(&mut self.document, document);
        self.facts = facts.clone();
        let policies = std::mem::take(&mut self.document.policies);
        for policy in &policies {
            let key = (policy.scope.clone(), policy.name.clone());
            let id = self.rules.get(&key).copied();
            let rule =
                id.and_then(|id| self.engine.rules.get_mut(id as usize)).and_then(Option::as_mut);
            if let Some(rule) = rule {
                rule.order = policy.order;
                for rule in policy.rules().filter(|_| !policy.is_absent(facts.now)) {
                    if self.bundle.rules.get(&rule.id.0) != Some(rule) {
                        self.bundle.rules.insert(rule.id.0, rule.clone());
                    }
                }
            }
        }
        let old: Vec<&Policy> =
            changes.removed.iter().filter_map(|at| before.policies.get(*at)).collect();
        let new: Vec<&Policy> = changes.added.iter().filter_map(|at| policies.get(*at)).collect();
        self.exchange(&old, &new);
        self.document.policies = policies;
        let labels = |at: &usize| Some((*at, self.document.workloads.get(*at)?.labels.clone()));
        let relabeled: Vec<(usize, Labels)> = changes.relabeled.iter().filter_map(labels).collect();
        for at in &changes.relabeled {
            let old = before.workloads.get(*at).cloned();
            if let (Some(old), Some(place)) = (old, self.document.workloads.get_mut(*at)) {
                place.labels.clone_from(&old.labels);
            }
        }
        self.relabel_all(relabeled);
        for workload in &self.document.workloads {
            let id = workload.id();
            let known = self.bundle.workloads.get(id.as_str());
            if known.is_some_and(|known| known.start != workload.start)
                && let Some(entry) = self.bundle.workloads.get_mut(id.as_str())
            {
                entry.start = workload.start.clone();
            }
        }
        self.refresh_expiry();
        self.outcome()
    }

    pub(super) fn outcome(&mut self) -> Result<(), PlanErrors> {
        let errors = std::mem::take(&mut self.engine.errors);
        if errors.is_empty() { Ok(()) } else { Err(PlanErrors(errors)) }
    }

    fn relabel_all(&mut self, changes: Vec<(usize, Labels)>) {
        let mut positions = Vec::with_capacity(changes.len());
        let mut seats = Vec::with_capacity(changes.len());
        for (at, labels) in changes {
            let Some(mut workload) = self.document.workloads.get(at).cloned() else { continue };
            let id: Arc<str> = workload.id().into();
            seats.extend(self.seats.remove(&id));
            self.forget_identity(workload.identity().0);
            workload.labels = labels;
            self.describe(&id, &workload);
            if let Some(place) = self.document.workloads.get_mut(at) {
                *place = workload;
            }
            positions.push(at);
        }
        // The old seats go when the new ones are taken: what both have is never written.
        self.reseat(&positions);
        for seat in seats {
            self.give_back(seat);
        }
    }

    pub(super) fn forget_identity(&mut self, identity: u64) {
        if let Some(uses) = self.identity_uses.get_mut(&identity) {
            *uses -= 1;
            if *uses == 0 {
                self.identity_uses.remove(&identity);
                if let Entry::Occupied(entry) = self.bundle.identities.entry(identity) {
                    entry.remove();
                }
            }
        }
    }

    /// Takes policies out and others in.
    fn exchange(&mut self, old: &[&Policy], new: &[&Policy]) {
        self.engine.forget_subjects();
        let affected = self.affected(old, new);
        for at in &affected {
            if let Some(id) = self.document.workloads.get(*at).map(|each| each.id()) {
                self.unseat(&id);
            }
        }
        let mut ids: Vec<RuleId> = Vec::new();
        for policy in old {
            ids.extend(self.rules.remove(&(policy.scope.clone(), policy.name.clone())));
            for rule in policy.rules() {
                self.bundle.rules.remove(&rule.id.0);
            }
        }
        let mut moved: Vec<MatcherId> = Vec::new();
        for policy in new {
            moved.extend(self.add_policy(policy));
        }
        let gone: Vec<MatcherId> = ids.into_iter().flat_map(|id| self.remove_policy(id)).collect();
        moved.extend(&gone);
        let planes = self.recut(&moved);
        for matcher in gone {
            self.engine.matchers.purge(matcher);
        }
        for plane in planes {
            self.place_pieces(plane);
        }
        self.engine.matchers.recycle();
        self.reseat(&affected);
    }

    /// Workloads that a policy of either list is about, on any side.
    fn affected(&self, old: &[&Policy], new: &[&Policy]) -> Vec<usize> {
        let mut peers: FxHashSet<(&Scope, &Peer)> = FxHashSet::default();
        for policy in old.iter().chain(new) {
            for peer in policy.from.iter().chain(&policy.to) {
                if matches!(peer, Peer::Selector(_) | Peer::Any) {
                    peers.insert((&policy.scope, peer));
                }
            }
        }
        let matches = |workload: &Source| {
            let subject = workload.subject();
            peers.iter().any(|(scope, peer)| {
                scope.includes(&workload.tenant)
                    && match peer {
                        Peer::Selector(selector) => selector.matches(&subject),
                        _ => true,
                    }
            })
        };
        let workloads = self.document.workloads.iter().enumerate();
        workloads.filter(|(_, workload)| matches(workload)).map(|(at, _)| at).collect()
    }

    /// Networks whose address space these matchers cut.
    fn recut(&self, moved: &[MatcherId]) -> Vec<usize> {
        let scopes: Vec<&Scope> = moved
            .iter()
            .filter_map(|id| self.engine.matchers.get(*id))
            .filter(|matcher| matcher.names_addresses())
            .map(|matcher| &matcher.scope)
            .collect();
        let routers = self.bundle.routers.iter().enumerate();
        routers
            .filter(|(_, router)| scopes.iter().any(|scope| scope.includes(&router.tenant)))
            .map(|(at, _)| at)
            .collect()
    }

    /// Takes classes and slots of an endpoint back. Its addresses stay until it is seated again.
    fn unseat(&mut self, id: &str) {
        if let Some(seat) = self.seats.remove(id) {
            self.give_back(seat);
        }
    }

    pub(super) fn give_back(&mut self, seat: Seat) {
        for slot in seat.slots.into_iter().flatten() {
            self.engine.slot_down(&mut self.bundle.tables, seat.plane, slot);
            self.engine.release_slot(slot);
        }
        if let Some(slot) = seat.binds {
            self.engine.close_to_bind(&mut self.bundle.tables, slot);
        }
        for (at, class, _) in seat.seen {
            self.engine.class_down(&mut self.bundle.tables, at, class);
            self.engine.release_class(class);
        }
    }

    /// Seats endpoints again after rules or labels about them have changed.
    pub(super) fn reseat(&mut self, positions: &[usize]) {
        let document = std::mem::take(&mut self.document);
        let workloads = || positions.iter().filter_map(|at| document.workloads.get(*at));
        for workload in workloads() {
            self.seat(&workload.id().into(), workload);
        }
        for workload in workloads() {
            let network = document.network(&workload.tenant, &workload.network);
            let tenant = document.tenants.iter().find(|tenant| tenant.name == workload.tenant);
            let outer = [document.audit, tenant.map(|tenant| tenant.audit).unwrap_or_default()];
            self.arm(workload, grounds(outer, network, workload, self.facts.now));
        }
        self.document = document;
    }

    /// What differs, when it is only labels and a few policies that keep their order.
    pub(super) fn changes(&self, document: &Document, facts: &Facts) -> Option<Changes> {
        let (old, new) = (&self.document, document);
        let audits = |document: &Document, now| {
            document.audits().map(|(_, audit)| audit.is_on(now)).collect::<Vec<_>>()
        };
        let same_ground = old.audit == new.audit
            && audits(old, self.facts.now) == audits(new, facts.now)
            && old.tenants == new.tenants
            && old.networks == new.networks
            && old.unmanaged_posture() == new.unmanaged_posture()
            && old.publishes == new.publishes
            && old
                .publishes
                .iter()
                .all(|publish| publish.is_expired(self.facts.now) == publish.is_expired(facts.now))
            && old.workloads.len() == new.workloads.len()
            && self.facts.addresses == facts.addresses
            && self.facts.jiffies_per_second == facts.jiffies_per_second;
        if !same_ground {
            return None;
        }
        let mut changes = Changes::default();
        for (at, (old, new)) in old.workloads.iter().zip(&new.workloads).enumerate() {
            if !same_place(old, new) {
                return None;
            }
            if old.labels != new.labels {
                changes.relabeled.push(at);
            }
        }
        self.changed_policies(document, facts, &mut changes)?;
        let few = changes.removed.len() + changes.added.len() <= MANY;
        few.then_some(changes)
    }

    fn changed_policies(
        &self,
        document: &Document,
        facts: &Facts,
        changes: &mut Changes,
    ) -> Option<()> {
        let key = |policy: &Policy| (policy.scope.clone(), policy.name.clone());
        let mut old: FxHashMap<(Scope, Name), usize> =
            self.document.policies.iter().enumerate().map(|(at, each)| (key(each), at)).collect();
        let mut last = None;
        for (at, policy) in document.policies.iter().enumerate() {
            let Some(before) = old.remove(&key(policy)) else {
                changes.added.push(at);
                continue;
            };
            // Policies that change places may change which of them names a flow.
            if last.is_some_and(|last| before < last) {
                return None;
            }
            last = Some(before);
            let same = self.document.policies.get(before).is_some_and(|old| {
                same_policy(old, policy)
                    && old.is_absent(self.facts.now) == policy.is_absent(facts.now)
            });
            if !same {
                changes.removed.push(before);
                changes.added.push(at);
            }
        }
        changes.removed.extend(old.into_values());
        changes.removed.sort_unstable();
        Some(())
    }
}

/// Positions of what differs between two documents.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Workloads, in both.
    relabeled: Vec<usize>,
    /// Policies of the old document.
    removed: Vec<usize>,
    /// Policies of the new document.
    added: Vec<usize>,
}

/// Whether nothing but labels and what runs in it differs.
fn same_place(old: &Source, new: &Source) -> bool {
    old.name == new.name
        && old.tenant == new.tenant
        && old.network == new.network
        && old.segment == new.segment
        && old.v4 == new.v4
        && old.v6 == new.v6
        && topology::port_of(old) == topology::port_of(new)
}

/// Whether two policies say the same, wherever they stand.
fn same_policy(old: &Policy, new: &Policy) -> bool {
    let ids = |policy: &Policy| {
        [&policy.allow_rule, &policy.deny_rule, &policy.audit_rule]
            .map(|rule| rule.as_ref().map(|rule| rule.id))
    };
    old.from == new.from
        && old.to == new.to
        && old.allow == new.allow
        && old.deny == new.deny
        && old.source_ports == new.source_ports
        && old.audit == new.audit
        && old.standing == new.standing
        && old.until == new.until
        && old.schedule == new.schedule
        && ids(old) == ids(new)
}
