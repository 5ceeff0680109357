//! Named sets of peers: `set=office` stands for what the set lists, sets in it included.
//!
//! **Limits.** A set stands for as many peers as a side of a policy may have, networks of countries apart, which are bounded
//! by themselves; all sets together for as many as a file may have values. A set that contains itself is refused.

use std::collections::{BTreeMap, HashSet};

use model::{Field, Name, Op, Peer};

use super::countries::Countries;
use super::policy::{MAX_ENTRIES, too_long};
use super::vocabulary::Vocabulary;
use crate::codes::Code;
use crate::decode::{Table, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Scope, Span};
use crate::raw::{RawFile, RawSet};

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
    members: Members,
    is_used: bool,
}

/// What a set stands for.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    /// All of it.
    pub(super) peers: Vec<Peer>,
    /// How many of these are networks of countries.
    pub(super) of_countries: usize,
}

impl Members {
    /// Whether it is more than a side of a policy may have.
    fn is_too_much(&self) -> bool {
        self.peers.len().saturating_sub(self.of_countries) > MAX_ENTRIES
    }
}

/// What sets are made of.
#[derive(Clone, Copy)]
pub(super) struct Given<'g> {
    pub(super) raw: &'g RawFile,
    pub(super) vocabulary: &'g Vocabulary,
    pub(super) countries: &'g Countries,
}

/// Sets as they are written.
type Raw<'r> = BTreeMap<&'r str, (&'r Val<Name>, Option<&'r RawSet>)>;

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
    pub(super) fn read(given: Given<'_>, most: usize, problems: &mut Problems<'_>) -> Self {
        let mut this = Self::default();
        let mut left = most;
        let top = given.raw.sets.as_ref();
        this.host = this.scope(&Scope::Host, top, given, &mut left, problems);
        for (name, tenant) in given.raw.tenants.iter().flat_map(|table| &table.entries) {
            let Some(table) = tenant.as_ref().and_then(|tenant| tenant.sets.as_ref()) else {
                continue;
            };
            let scope = Scope::Tenant(name.value.clone());
            let own = this.scope(&scope, Some(table), given, &mut left, problems);
            this.tenants.insert(name.value.clone(), own);
        }
        this
    }

    fn scope(
        &mut self,
        scope: &Scope,
        table: Option<&Table<Name, RawSet>>,
        given: Given<'_>,
        left: &mut usize,
        problems: &mut Problems<'_>,
    ) -> BTreeMap<Name, Set> {
        let entries = table.map_or(&[][..], |table| table.entries.as_slice());
        let raw: Raw<'_> =
            entries.iter().map(|(name, set)| (name.value.as_str(), (name, set.as_ref()))).collect();
        for (name, set) in entries {
            if let Some(outer) = self.host.get(&name.value) {
                let message =
                    format!("a set `{}` stands at the top of the file already", name.value);
                problems.push(
                    Diagnostic::error(Code::DuplicateKey, name.span, message)
                        .related(outer.span, "here")
                        .hint("a name has one meaning in a file: choose another one"),
                );
            }
            for peer in set.iter().flat_map(RawSet::peers) {
                if let (Mention::No, Peer::Selector(selector)) = (mention(&peer.value), &peer.value)
                {
                    given.vocabulary.check(scope, selector, peer.span, problems);
                }
            }
        }
        let countries = given.countries;
        let (done, path) = (BTreeMap::new(), Vec::new());
        let mut work = Work { raw: &raw, outer: self, countries, done, path, problems };
        for (name, _) in entries {
            work.resolve(name.value.as_str());
        }
        let Work { done, .. } = work;
        let mut found = BTreeMap::new();
        for (name, _) in entries {
            let members = done.get(name.value.as_str()).cloned().unwrap_or_default();
            let fits = members.peers.len() <= *left;
            if !fits && *left > 0 {
                let message = "all sets together stand for too many peers, from here on";
                problems.push(Diagnostic::error(Code::Limit, name.span, message));
            }
            *left = left.saturating_sub(members.peers.len());
            let members = if fits { members } else { Members::default() };
            found.insert(name.value.clone(), Set { span: name.span, members, is_used: false });
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
    ) -> Members {
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
            return set.members.clone();
        }
        let at = problems.within(span, name);
        problems.push(super::unknown("set", name, at, known.iter().map(String::as_str)));
        Members::default()
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
            .flat_map(|(_, set)| set.iter().flat_map(RawSet::peers))
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
    countries: &'w Countries,
    done: BTreeMap<&'r str, Members>,
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
        let Some((written, span)) = raw.written() else { return };
        if written == 0 {
            self.problems.push(super::empty_list(span, "write what belongs to the set"));
        }
        if written > MAX_ENTRIES {
            self.problems.push(too_long(written, span));
            self.done.insert(name, Members::default());
            return;
        }
        self.path.push(name);
        let mut members = Members::default();
        let mut seen: HashSet<Peer> = HashSet::with_capacity(raw.peers().len());
        for country in raw.countries() {
            let networks = self.countries.get(&country.value).into_iter().flatten();
            members.peers.extend(networks.filter(|net| seen.insert((*net).clone())).cloned());
            members.of_countries = members.peers.len();
        }
        for item in raw.peers() {
            let part = match mention(&item.value) {
                Mention::No => Members { peers: vec![item.value.clone()], of_countries: 0 },
                Mention::Of(other) => self.part(other, item.span),
                Mention::Mixed => {
                    self.problems.push(mixed(item.span));
                    Members::default()
                }
            };
            let before = members.peers.len();
            members.peers.extend(part.peers.into_iter().filter(|peer| seen.insert(peer.clone())));
            members.of_countries += part.of_countries.min(members.peers.len() - before);
            if members.is_too_much() {
                self.problems.push(stands_for_too_much(name, at.span));
                members = Members::default();
                break;
            }
        }
        self.path.pop();
        self.done.insert(name, members);
    }

    /// What a set in a set stands for.
    fn part(&mut self, name: &'r str, span: Span) -> Members {
        if let Some(first) = self.path.iter().position(|each| *each == name) {
            let ring: Vec<&str> = self.path.iter().skip(first).copied().chain([name]).collect();
            let message = format!("the set `{name}` contains itself: {}", ring.join(" → "));
            self.problems.push(Diagnostic::error(Code::Value, span, message));
            return Members::default();
        }
        if self.path.len() >= Self::DEPTH {
            let message = format!("sets are nested deeper than {}", Self::DEPTH);
            self.problems.push(Diagnostic::error(Code::Limit, span, message));
            return Members::default();
        }
        if self.raw.contains_key(name) {
            self.resolve(name);
            return self.done.get(name).cloned().unwrap_or_default();
        }
        if let Some(set) = self.outer.host.get(name) {
            return set.members.clone();
        }
        let known = self.raw.keys().copied().chain(self.outer.host.keys().map(Name::as_str));
        let known: Vec<&str> = known.collect();
        let at = self.problems.within(span, name);
        self.problems.push(super::unknown("set", name, at, known.iter().copied()));
        Members::default()
    }
}

fn stands_for_too_much(name: &str, span: Span) -> Diagnostic {
    let message = format!("with the sets in it, `{name}` stands for more than {MAX_ENTRIES} peers");
    Diagnostic::error(Code::Limit, span, message)
        .hint("write larger ranges, or give the workloads a label of their own")
}

/// The finding for a set that does not stand alone.
pub(super) fn mixed(span: Span) -> Diagnostic {
    Diagnostic::error(Code::Selector, span, "a set stands alone: set=NAME")
        .hint("alternatives are a list: [set=office, app=web]; terms that must hold too belong into the set")
}
