//! Every distinct side of a rule, once, and which endpoints and addresses each of them matches.
//!
//! A matcher is a peer expression in its scope. Selectors are found through an index over label
//! values, so that the cost of matching an endpoint grows with what matches it and not with the
//! number of selectors.

use std::hash::{Hash, Hasher};

use ipnet::IpNet;
use model::digest::Digest64;
use model::{Field, Name, Op, Peer, Selector, Subject};
use policy::document::Scope;
use rustc_hash::{FxHashMap, FxHasher};

use crate::PlanError;

/// Index of a matcher. Indices of matchers that are gone are used again.
pub(crate) type MatcherId = u32;

/// One side of rules.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    pub scope: Scope,
    pub peer: Peer,
    /// Hash of scope and peer, the same in every compilation.
    pub digest: u64,
    /// Rules that have it in `from` and speak for egress; in `to` and speak for ingress.
    pub rules: [Vec<u32>; 2],
    /// How often it stands in a rule.
    uses: u32,
    /// Where the index has it; selectors only.
    keys: Vec<u64>,
}

/// What an address is when no endpoint has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Zone {
    /// The host.
    Host,
    /// In a managed subnet.
    Unmanaged,
    /// Everything else.
    World,
}

/// All matchers in use.
#[derive(Debug, Default)]
pub(crate) struct Matchers {
    all: Vec<Option<Matcher>>,
    free: Vec<MatcherId>,
    /// Gone, but classes that are about to go still have them.
    retired: Vec<MatcherId>,
    by_hash: FxHashMap<u64, Vec<MatcherId>>,
    by_digest: FxHashMap<u64, MatcherId>,
    /// Selectors by scope and one of their terms.
    index: FxHashMap<u64, Vec<MatcherId>>,
    /// Matchers that can match addresses, by scope.
    addresses: FxHashMap<Option<Name>, Vec<MatcherId>>,
    /// How many endpoints have a term's value, to index the rarest.
    counts: FxHashMap<u64, u32>,
}

impl Matchers {
    pub(crate) fn get(&self, id: MatcherId) -> Option<&Matcher> {
        self.all.get(id as usize)?.as_ref()
    }

    /// How many numbers matchers have, those that are gone included.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Counts an endpoint's values; better done before the rules come.
    pub(crate) fn count(&mut self, subject: &Subject<'_>) {
        for key in keys_of(subject) {
            *self.counts.entry(key).or_default() += 1;
        }
    }

    /// Notes that a rule has this peer on one side (0: from, 1: to), and whether that side is one for which it speaks.
    /// Tells whether the matcher is new.
    pub(crate) fn add(
        &mut self,
        scope: &Scope,
        peer: &Peer,
        rule: u32,
        (side, speaks): (usize, bool),
    ) -> Result<(MatcherId, bool), PlanError> {
        let hash = hash_of(scope, peer);
        let known = self.by_hash.get(&hash).and_then(|ids| {
            let same = |m: &Matcher| m.scope == *scope && m.peer == *peer;
            ids.iter().copied().find(|id| self.get(*id).is_some_and(same))
        });
        let (id, is_new) = match known {
            Some(id) => (id, false),
            None => (self.insert(scope, peer, hash)?, true),
        };
        if let Some(Some(matcher)) = self.all.get_mut(id as usize) {
            matcher.uses += 1;
            if let Some(rules) = matcher.rules.get_mut(side).filter(|_| speaks) {
                rules.push(rule);
            }
        }
        Ok((id, is_new))
    }

    fn insert(&mut self, scope: &Scope, peer: &Peer, hash: u64) -> Result<MatcherId, PlanError> {
        let mut digest = Digest64::new("matcher");
        digest.text(tenant_of(scope).map_or("", Name::as_str));
        let number = {
            digest.text(&peer.to_string());
            digest.finish()
        };
        if let Some(other) = self.by_digest.get(&number).and_then(|id| self.get(*id)) {
            let (one, other) = (peer.to_string(), other.peer.to_string());
            return Err(PlanError::Collision { what: "matcher", number, one, other });
        }
        let keys = match peer {
            Peer::Selector(selector) => self.pivot(scope, selector),
            Peer::Any => vec![key(scope, "", "")],
            _ => Vec::new(),
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            MatcherId::try_from(self.all.len() - 1).unwrap_or(MatcherId::MAX)
        });
        for key in &keys {
            self.index.entry(*key).or_default().push(id);
        }
        if !matches!(peer, Peer::Selector(_)) {
            self.addresses.entry(tenant_of(scope).cloned()).or_default().push(id);
        }
        self.by_hash.entry(hash).or_default().push(id);
        self.by_digest.insert(number, id);
        let matcher = Matcher {
            scope: scope.clone(),
            peer: peer.clone(),
            digest: number,
            rules: [Vec::new(), Vec::new()],
            uses: 0,
            keys,
        };
        if let Some(place) = self.all.get_mut(id as usize) {
            *place = Some(matcher);
        }
        Ok(id)
    }

    /// Forgets that a rule has this matcher on one side. Tells whether the matcher is gone with it.
    pub(crate) fn remove(&mut self, id: MatcherId, rule: u32, side: usize) -> bool {
        let Some(Some(matcher)) = self.all.get_mut(id as usize) else { return false };
        if let Some(rules) = matcher.rules.get_mut(side)
            && let Some(at) = rules.iter().position(|each| *each == rule)
        {
            rules.swap_remove(at);
        }
        matcher.uses = matcher.uses.saturating_sub(1);
        matcher.uses == 0
    }

    /// Removes a matcher that no rule has any more; see [`Self::recycle`].
    pub(crate) fn purge(&mut self, id: MatcherId) {
        let Some(matcher) = self.all.get_mut(id as usize).and_then(Option::take) else { return };
        for key in &matcher.keys {
            take_out(&mut self.index, key, id);
        }
        take_out(&mut self.by_hash, &hash_of(&matcher.scope, &matcher.peer), id);
        take_out(&mut self.addresses, &tenant_of(&matcher.scope).cloned(), id);
        self.by_digest.remove(&matcher.digest);
        self.retired.push(id);
    }

    /// Lets the numbers of purged matchers be used again.
    pub(crate) fn recycle(&mut self) {
        self.free.append(&mut self.retired);
    }

    /// The index keys of a selector: its rarest positive term, or those of "everybody in scope".
    fn pivot(&self, scope: &Scope, selector: &Selector) -> Vec<u64> {
        let mut best: Option<(u32, Vec<u64>)> = None;
        for term in selector.terms() {
            let keys: Vec<u64> = match &term.op {
                Op::Is(value) => vec![key(scope, term.field.as_str(), value.as_str())],
                Op::In(values) => {
                    let mut keys: Vec<u64> = values
                        .iter()
                        .map(|value| key(scope, term.field.as_str(), value.as_str()))
                        .collect();
                    keys.sort_unstable();
                    keys.dedup();
                    keys
                }
                Op::Exists => match &term.field {
                    Field::Label(label) => vec![key(scope, label.as_str(), "\0")],
                    _ => continue,
                },
                Op::IsNot(_) | Op::NotIn(_) | Op::Missing => continue,
            };
            let weight = keys.iter().map(|key| self.counts.get(key).copied().unwrap_or(0)).sum();
            if best.as_ref().is_none_or(|(least, _)| weight < *least) {
                best = Some((weight, keys));
            }
        }
        best.map_or_else(|| vec![key(scope, "", "")], |(_, keys)| keys)
    }

    /// Every matcher that matches an endpoint, in ascending order.
    pub(crate) fn of_endpoint(&self, subject: &Subject<'_>) -> Vec<MatcherId> {
        let mut out = Vec::new();
        for key in keys_of(subject) {
            for id in self.index.get(&key).into_iter().flatten() {
                if self.get(*id).is_some_and(|matcher| matcher.matches(subject)) {
                    out.push(*id);
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The matchers for addresses that a tenant's networks see: its own and those of the host.
    pub(crate) fn of_addresses(&self, tenant: &Name) -> impl Iterator<Item = MatcherId> {
        let own = self.addresses.get(&Some(tenant.clone()));
        let host = self.addresses.get(&None);
        own.into_iter().chain(host).flatten().copied()
    }
}

impl Matcher {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.scope.includes(subject.tenant)
            && match &self.peer {
                Peer::Selector(selector) => selector.matches(subject),
                Peer::Any => true,
                _ => false,
            }
    }

    /// Whether it matches every address of a zone, whatever the address.
    pub(crate) fn matches_zone(&self, zone: Zone) -> bool {
        match self.peer {
            Peer::Any => true,
            Peer::Host => zone == Zone::Host,
            Peer::World => zone == Zone::World,
            Peer::Unmanaged => zone == Zone::Unmanaged,
            Peer::Selector(_) | Peer::Cidr(_) | Peer::Processes(_) => false,
        }
    }

    /// The range it stands for, when it is one.
    pub(crate) fn range(&self) -> Option<IpNet> {
        match self.peer {
            Peer::Cidr(net) => Some(net),
            _ => None,
        }
    }

    /// Whether it can match addresses that no endpoint has.
    pub(crate) fn names_addresses(&self) -> bool {
        !matches!(self.peer, Peer::Selector(_))
    }
}

fn tenant_of(scope: &Scope) -> Option<&Name> {
    match scope {
        Scope::Host => None,
        Scope::Tenant(tenant) => Some(tenant),
    }
}

fn take_out<K: Hash + Eq>(map: &mut FxHashMap<K, Vec<MatcherId>>, key: &K, id: MatcherId) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|each| *each != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

fn hash_of(scope: &Scope, peer: &Peer) -> u64 {
    let mut hasher = FxHasher::default();
    scope.hash(&mut hasher);
    peer.hash(&mut hasher);
    hasher.finish()
}

/// A key of the index. Two terms may share one: the index only proposes.
fn key(scope: &Scope, field: &str, value: &str) -> u64 {
    let mut hasher = FxHasher::default();
    tenant_of(scope).map(Name::as_str).hash(&mut hasher);
    field.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

/// The index keys under which selectors that match an endpoint can stand.
fn keys_of(subject: &Subject<'_>) -> Vec<u64> {
    let mut out = Vec::with_capacity(2 * (2 * subject.labels.len() + 5));
    for scope in [Scope::Host, Scope::Tenant(subject.tenant.clone())] {
        out.push(key(&scope, "", ""));
        out.push(key(&scope, "tenant", subject.tenant.as_str()));
        out.push(key(&scope, "network", subject.network.as_str()));
        out.push(key(&scope, "workload", subject.workload.as_str()));
        out.extend(subject.segment.map(|segment| key(&scope, "segment", segment.as_str())));
        for (label, value) in subject.labels {
            out.push(key(&scope, label.as_str(), value.as_str()));
            out.push(key(&scope, label.as_str(), "\0"));
        }
    }
    out
}
