//! Named sets of peers: `set=office` stands for what the set lists, sets in it included.
//!
//! **Limits.** A set stands for as many peers as a side of a policy may have, all sets together for as many as a file may have
//! values. A set that contains itself is refused.

use std::collections::{BTreeMap, HashSet};

use model::{Field, Name, Op, Peer};

use super::policy::{MAX_ENTRIES, too_long};
use super::vocabulary::Vocabulary;
use crate::codes::Code;
use crate::decode::{OneOrMany, Table, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Scope, Span};
use crate::raw::RawFile;

/// The word that a reference begins with; no label of a workload has this key.
pub(super) const KEY: &str = "set";

/// What sets stand for.
#[derive(Default)]
pub(super) struct Sets {
    host: BTreeMap<Name, Set>,
    tenants: BTreeMap<Name, BTreeMap<Name, Set>>,
}

struct Set {
    span: Span,
    peers: Vec<Peer>,
    is_used: bool,
}

/// A set as it is written.
type Raw<'r> = BTreeMap<&'r str, (&'r Val<Name>, Option<&'r OneOrMany<Val<Peer>>>)>;

/// What a peer says of sets.
pub(super) enum Mention<'p> {
    /// Nothing.
    No,
    /// It stands for this one.
    Of(&'p str),
    /// It names one among other terms, or otherwise than by `=`.
    Mixed,
}

/// What a peer says of sets.
pub(super) fn mention(peer: &Peer) -> Mention<'_> {
    let Peer::Selector(selector) = peer else { return Mention::No };
    let is_set = |field: &Field| matches!(field, Field::Label(key) if key.as_str() == KEY);
    match selector.terms() {
        [term] if is_set(&term.field) => match &term.op {
            Op::Is(name) => Mention::Of(name.as_str()),
            _ => Mention::Mixed,
        },
        terms if terms.iter().any(|term| is_set(&term.field)) => Mention::Mixed,
        _ => Mention::No,
    }
}

impl Sets {
    /// Reads all sets of a file, the tenants' after those of the top, which they may contain.
    pub(super) fn read(
        raw: &RawFile,
        vocabulary: &Vocabulary,
        most: usize,
        problems: &mut Problems<'_>,
    ) -> Self {
        let mut this = Self::default();
        let mut left = most;
        this.host = this.scope(&Scope::Host, raw.sets.as_ref(), vocabulary, &mut left, problems);
        for (name, tenant) in raw.tenants.iter().flat_map(|table| &table.entries) {
            let Some(table) = tenant.as_ref().and_then(|tenant| tenant.sets.as_ref()) else {
                continue;
            };
            let scope = Scope::Tenant(name.value.clone());
            let own = this.scope(&scope, Some(table), vocabulary, &mut left, problems);
            this.tenants.insert(name.value.clone(), own);
        }
        this
    }

    fn scope(
        &mut self,
        scope: &Scope,
        table: Option<&Table<Name, OneOrMany<Val<Peer>>>>,
        vocabulary: &Vocabulary,
        left: &mut usize,
        problems: &mut Problems<'_>,
    ) -> BTreeMap<Name, Set> {
        let entries = table.map_or(&[][..], |table| table.entries.as_slice());
        let raw: Raw<'_> = entries
            .iter()
            .map(|(name, peers)| (name.value.as_str(), (name, peers.as_ref())))
            .collect();
        for (name, peers) in entries {
            if let Some(outer) = self.host.get(&name.value) {
                let message =
                    format!("a set `{}` stands at the top of the file already", name.value);
                problems.push(
                    Diagnostic::error(Code::DuplicateKey, name.span, message)
                        .related(outer.span, "here")
                        .hint("a name has one meaning in a file: choose another one"),
                );
            }
            for peer in peers.iter().flat_map(|peers| &peers.items) {
                if let (Mention::No, Peer::Selector(selector)) = (mention(&peer.value), &peer.value)
                {
                    vocabulary.check(scope, selector, peer.span, problems);
                }
            }
        }
        let mut work =
            Work { raw: &raw, outer: self, done: BTreeMap::new(), path: Vec::new(), problems };
        for (name, _) in entries {
            work.resolve(name.value.as_str());
        }
        let Work { done, .. } = work;
        let mut found = BTreeMap::new();
        for (name, _) in entries {
            let peers = done.get(name.value.as_str()).cloned().unwrap_or_default();
            let fits = peers.len() <= *left;
            if !fits && *left > 0 {
                let message = "all sets together stand for too many peers, from here on";
                problems.push(Diagnostic::error(Code::Limit, name.span, message));
            }
            *left = left.saturating_sub(peers.len());
            let peers = if fits { peers } else { Vec::new() };
            found.insert(name.value.clone(), Set { span: name.span, peers, is_used: false });
        }
        found
    }

    /// What a name stands for in a scope; nothing after a problem was reported.
    pub(super) fn find(
        &mut self,
        scope: &Scope,
        name: &str,
        span: Span,
        problems: &mut Problems<'_>,
    ) -> Vec<Peer> {
        let own = match scope {
            Scope::Tenant(tenant) => self.tenants.get_mut(tenant),
            Scope::Host => None,
        };
        let known: Vec<String> = own
            .iter()
            .flat_map(|own| own.keys())
            .chain(self.host.keys())
            .map(ToString::to_string)
            .collect();
        let found = own.and_then(|own| own.get_mut(name)).or_else(|| self.host.get_mut(name));
        if let Some(set) = found {
            set.is_used = true;
            return set.peers.clone();
        }
        let at = problems.within(span, name);
        problems.push(super::unknown("set", name, at, known.iter().map(String::as_str)));
        Vec::new()
    }

    /// Reports every set that nothing uses; one that is part of another one is used by that.
    pub(super) fn report_unused(&self, raw: &RawFile, problems: &mut Problems<'_>) {
        let tables = raw.tenants.iter().flat_map(|table| &table.entries);
        let tables = tables.filter_map(|(_, tenant)| tenant.as_ref()?.sets.as_ref());
        let parts: HashSet<&str> = raw
            .sets
            .iter()
            .chain(tables)
            .flat_map(|table| &table.entries)
            .flat_map(|(_, peers)| peers.iter().flat_map(|peers| &peers.items))
            .filter_map(|peer| match mention(&peer.value) {
                Mention::Of(name) => Some(name),
                _ => None,
            })
            .collect();
        let all = self.host.iter().chain(self.tenants.values().flatten());
        for (name, set) in all.filter(|(name, set)| !set.is_used && !parts.contains(name.as_str()))
        {
            let message = format!("nothing uses the set `{name}`");
            problems.push(Diagnostic::warning(Code::Unused, set.span, message));
        }
    }
}

/// Sets of one scope on their way.
struct Work<'w, 'r, 'p, 't> {
    raw: &'w Raw<'r>,
    outer: &'w Sets,
    done: BTreeMap<&'r str, Vec<Peer>>,
    /// The sets that are being resolved, each because of the one before.
    path: Vec<&'r str>,
    problems: &'p mut Problems<'t>,
}

impl<'r> Work<'_, 'r, '_, '_> {
    /// Deepest nesting of sets.
    const DEPTH: usize = 16;

    fn resolve(&mut self, name: &'r str) {
        if self.done.contains_key(name) {
            return;
        }
        let Some((at, Some(raw))) = self.raw.get(name).copied() else { return };
        if raw.written == 0 {
            self.problems.push(super::empty_list(raw.span, "write what belongs to the set"));
        }
        if raw.written > MAX_ENTRIES {
            self.problems.push(too_long(raw.written, raw.span));
            self.done.insert(name, Vec::new());
            return;
        }
        self.path.push(name);
        let mut peers: Vec<Peer> = Vec::with_capacity(raw.items.len());
        let mut seen: HashSet<Peer> = HashSet::with_capacity(raw.items.len());
        for item in &raw.items {
            let part = match mention(&item.value) {
                Mention::No => vec![item.value.clone()],
                Mention::Of(other) => self.part(other, item.span),
                Mention::Mixed => {
                    self.problems.push(mixed(item.span));
                    Vec::new()
                }
            };
            peers.extend(part.into_iter().filter(|peer| seen.insert(peer.clone())));
            if peers.len() > MAX_ENTRIES {
                let message = format!(
                    "with the sets in it, `{name}` stands for more than {MAX_ENTRIES} peers"
                );
                self.problems.push(
                    Diagnostic::error(Code::Limit, at.span, message)
                        .hint("write larger ranges, or give the workloads a label of their own"),
                );
                peers.clear();
                break;
            }
        }
        self.path.pop();
        self.done.insert(name, peers);
    }

    /// What a set in a set stands for.
    fn part(&mut self, name: &'r str, span: Span) -> Vec<Peer> {
        if let Some(first) = self.path.iter().position(|each| *each == name) {
            let ring: Vec<&str> = self.path.iter().skip(first).copied().chain([name]).collect();
            let message = format!("the set `{name}` contains itself: {}", ring.join(" → "));
            self.problems.push(Diagnostic::error(Code::Value, span, message));
            return Vec::new();
        }
        if self.path.len() >= Self::DEPTH {
            let message = format!("sets are nested deeper than {}", Self::DEPTH);
            self.problems.push(Diagnostic::error(Code::Limit, span, message));
            return Vec::new();
        }
        if self.raw.contains_key(name) {
            self.resolve(name);
            return self.done.get(name).cloned().unwrap_or_default();
        }
        if let Some(set) = self.outer.host.get(name) {
            return set.peers.clone();
        }
        let known = self.raw.keys().copied().chain(self.outer.host.keys().map(Name::as_str));
        let known: Vec<&str> = known.collect();
        let at = self.problems.within(span, name);
        self.problems.push(super::unknown("set", name, at, known.iter().copied()));
        Vec::new()
    }
}

/// The finding for a set that does not stand alone.
pub(super) fn mixed(span: Span) -> Diagnostic {
    Diagnostic::error(Code::Selector, span, "a set stands alone: set=NAME")
        .hint("alternatives are a list: [set=office, app=web]; terms that must hold too belong into the set")
}
