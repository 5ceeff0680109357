//! Policies: peers that exist, ports that are defined, at least one rule.

use std::collections::HashSet;

use model::{Name, Peer, PortRange, PortSpec, Transport};

use super::Ports;
use super::processes;
use super::sets::{Members, Mention, Sets, mention, mixed};
use super::vocabulary::Vocabulary;
use crate::codes::Code;
use crate::decode::{List, Mapping, OneOrMany, Table, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Policy, Schedule, Scope, Span, Standing};
use crate::raw::{RawPolicy, RawSchedule};
use crate::scalar::{PolicyMode, PortWord};

/// Most days or hours of a schedule.
const MAX_WINDOWS: usize = 16;

/// Most entries on one side of a policy, and most ports in one list.
pub(super) const MAX_ENTRIES: usize = 1024;

/// Most networks of countries that all policies and assertions may stand for: each takes a row of the kernel's table at least.
const MAX_OF_COUNTRIES: usize = 262_144;

/// The finding for a list with more entries than that.
pub(super) fn too_long(length: usize, span: Span) -> Diagnostic {
    let message = format!("a list has at most {MAX_ENTRIES} entries, this has {length}");
    Diagnostic::error(Code::Limit, span, message)
}

/// What is needed to read policies and assertions.
pub(super) struct Reader<'r, 't> {
    pub(super) vocabulary: &'r Vocabulary,
    pub(super) ports: &'r mut Ports,
    pub(super) sets: &'r mut Sets,
    pub(super) problems: &'r mut Problems<'t>,
}

impl Reader<'_, '_> {
    /// Adds the policies of a scope to the document.
    pub(super) fn policies(
        &mut self,
        scope: &Scope,
        table: Option<&Table<Name, RawPolicy>>,
        document: &mut Document,
    ) {
        for (name, raw) in table.iter().flat_map(|table| &table.entries) {
            let Some(raw) = raw else { continue };
            if let Some(policy) = self.policy(scope, name, raw) {
                document.policies.push(policy);
            }
        }
    }

    fn policy(&mut self, scope: &Scope, name: &Val<Name>, raw: &RawPolicy) -> Option<Policy> {
        let source_ports: Vec<PortRange> =
            raw.source_ports.iter().flat_map(|list| &list.items).map(|range| range.value).collect();
        if let Some(list) = &raw.source_ports {
            self.length(list.written, list.span);
        }
        let from = self.peers(scope, raw.from.as_ref());
        let to = self.peers(scope, raw.to.as_ref());
        if let (Some(from), Some(to)) = (&from, &to) {
            let spans = [&raw.from, &raw.to].map(|side| side.as_ref().map(|side| side.span));
            processes::sides(scope, [from, to], spans, self.problems);
        }
        let allow = self.list(raw.allow.as_ref(), !source_ports.is_empty());
        let deny = self.list(raw.deny.as_ref(), !source_ports.is_empty());
        if !raw.given("allow") && !raw.given("deny") {
            let message = format!("the policy `{}` neither allows nor denies anything", name.value);
            self.problems.push(Diagnostic::error(Code::MissingKey, name.span, message).hint(
                "write allow: [80/tcp], deny: [22/tcp], or both; `any` is every port and protocol",
            ));
        }
        Some(Policy {
            scope: scope.clone(),
            name: name.value.clone(),
            order: 0,
            from: from?,
            to: to?,
            allow,
            deny,
            source_ports,
            audit: raw.mode.as_ref().is_some_and(|mode| mode.value == PolicyMode::Audit),
            until: raw.until.as_ref().map(|until| until.value.0),
            schedule: self.schedule(raw.schedule.as_ref()),
            allow_rule: None,
            deny_rule: None,
            audit_rule: None,
            standing: Standing::default(),
            span: name.span,
        })
    }

    /// When a policy exists.
    fn schedule(&mut self, raw: Option<&RawSchedule>) -> Option<Schedule> {
        let raw = raw?;
        for (written, span) in [
            raw.days.as_ref().map(|list| (list.written, list.span)),
            raw.hours.as_ref().map(|list| (list.written, list.span)),
        ]
        .into_iter()
        .flatten()
        {
            if written == 0 {
                self.problems.push(super::empty_list(span, "leave it out if all are meant"));
            }
            if written > MAX_WINDOWS {
                let message =
                    format!("a schedule has at most {MAX_WINDOWS} of these, this has {written}");
                self.problems.push(Diagnostic::error(Code::Limit, span, message));
            }
        }
        if !raw.given("days") && !raw.given("hours") {
            let message = "this schedule names neither days nor hours";
            self.problems.push(Diagnostic::error(Code::MissingKey, raw.span(), message).hint(
                "write schedule: { days: mon-fri, hours: 08:00-18:00, zone: Europe/Berlin }",
            ));
        }
        let mut days = [raw.days.is_none(); 7];
        for each in raw.days.iter().flat_map(|list| &list.items) {
            for (day, on) in days.iter_mut().zip(each.value.0) {
                *day |= on;
            }
        }
        let hours = raw.hours.iter().flat_map(|list| &list.items);
        let hours = hours.take(MAX_WINDOWS).map(|each| (each.value.0, each.value.1)).collect();
        Some(Schedule { days, hours, zone: raw.zone.as_ref()?.value.0.clone() })
    }

    fn peers(&mut self, scope: &Scope, raw: Option<&OneOrMany<Val<Peer>>>) -> Option<Vec<Peer>> {
        let raw = raw?;
        self.length(raw.written, raw.span);
        let mut peers: Vec<Peer> = Vec::with_capacity(raw.items.len());
        // What the sets stand for, told apart from what stands here; up to the first that is too much.
        let mut known: HashSet<Peer> = HashSet::new();
        let mut of_countries = 0;
        for peer in &raw.items {
            if let Some(members) = self.members(scope, &peer.value, peer.span) {
                if peers.len() - of_countries <= MAX_ENTRIES {
                    known.extend(peers.iter().skip(known.len()).cloned());
                    let before = peers.len();
                    peers.extend(members.peers.into_iter().filter(|it| known.insert(it.clone())));
                    of_countries += members.of_countries.min(peers.len() - before);
                }
                continue;
            }
            self.peer(scope, &peer.value, peer.span);
            if raw.items.len() <= 64 && peers.contains(&peer.value) {
                let message = format!("`{}` stands here twice", peer.value);
                self.problems.push(Diagnostic::warning(Code::Redundant, peer.span, message));
                continue;
            }
            peers.push(peer.value.clone());
        }
        if peers.len() - of_countries > MAX_ENTRIES && raw.written <= MAX_ENTRIES {
            let message = format!(
                "with what its sets stand for, this list has more than {MAX_ENTRIES} peers"
            );
            self.problems.push(Diagnostic::error(Code::Limit, raw.span, message));
            return None;
        }
        Some(peers)
    }

    /// What a set stands for that is named here; `None` for anything else.
    pub(super) fn members(&mut self, scope: &Scope, peer: &Peer, span: Span) -> Option<Members> {
        match mention(peer) {
            Mention::No => None,
            Mention::Of(name) => {
                let members = self.sets.find(scope, name, span, self.problems);
                let is_too_much = self.expanded(members.peers.len(), span)
                    | self.too_many_networks(members.of_countries, span);
                Some(if is_too_much { Members::default() } else { members })
            }
            Mention::Mixed => {
                self.problems.push(mixed(span));
                Some(Members::default())
            }
        }
    }

    /// Counts networks of countries; whether they are more than the kernel's tables hold, which is better said here than
    /// when they are written.
    fn too_many_networks(&mut self, networks: usize, span: Span) -> bool {
        let before = self.ports.of_countries;
        self.ports.of_countries = before.saturating_add(networks);
        let is_more = self.ports.of_countries > MAX_OF_COUNTRIES;
        if is_more && before <= MAX_OF_COUNTRIES {
            let message = format!(
                "the policies name more than {MAX_OF_COUNTRIES} networks of countries together, from here on"
            );
            self.problems.push(
                Diagnostic::error(Code::Limit, span, message)
                    .hint("name them in one policy, or fewer countries"),
            );
        }
        networks > 0 && is_more
    }

    pub(super) fn peer(&mut self, scope: &Scope, peer: &Peer, span: Span) {
        if let Peer::Selector(selector) = peer {
            self.vocabulary.check(scope, selector, span, self.problems);
        }
    }

    fn length(&mut self, length: usize, span: Span) {
        if length == 0 {
            self.problems.push(super::empty_list(span, "write `any` if everything is meant"));
        }
        if length > MAX_ENTRIES {
            self.problems.push(too_long(length, span));
        }
    }

    fn list(
        &mut self,
        raw: Option<&List<Val<PortWord>>>,
        with_source_ports: bool,
    ) -> Vec<PortSpec> {
        let Some(raw) = raw else { return Vec::new() };
        self.length(raw.written, raw.span);
        let mut specs: Vec<PortSpec> = Vec::with_capacity(raw.items.len());
        for word in &raw.items {
            for spec in self.ports.resolve(&word.value, word.span, self.problems) {
                let parts =
                    if with_source_ports { self.with_ports(spec, word.span) } else { vec![spec] };
                for part in parts {
                    if specs.len() <= 64 && specs.contains(&part) {
                        let message = format!("`{part}` stands here twice");
                        self.problems.push(Diagnostic::warning(
                            Code::Redundant,
                            word.span,
                            message,
                        ));
                        continue;
                    }
                    specs.push(part);
                }
            }
            // With what names stand for, at every step: a short list of names must not become a long one of ports.
            if specs.len() > MAX_ENTRIES && raw.written <= MAX_ENTRIES {
                let message = format!(
                    "with what its names stand for, this list has more than {MAX_ENTRIES} ports"
                );
                self.problems.push(
                    Diagnostic::error(Code::Limit, raw.span, message)
                        .hint("write ranges: 8000-8999/tcp"),
                );
                return Vec::new();
            }
        }
        if self.expanded(specs.len(), raw.span) { Vec::new() } else { specs }
    }

    /// Counts what all lists stand for together, so that a small file does not become a large document; whether that is
    /// too much.
    fn expanded(&mut self, ports: usize, span: Span) -> bool {
        let before = self.ports.expanded;
        self.ports.expanded = before.saturating_add(ports);
        let is_more = self.ports.expanded > self.ports.most;
        if is_more && before <= self.ports.most {
            let most = self.ports.most;
            let message = format!(
                "the policies have more than {most} ports and members of sets together, from here on"
            );
            self.problems.push(
                Diagnostic::error(Code::Limit, span, message).hint("write ranges: 8000-8999/tcp"),
            );
        }
        is_more
    }

    /// What a port means in a policy that is limited to source ports.
    fn with_ports(&mut self, spec: PortSpec, span: Span) -> Vec<PortSpec> {
        match spec {
            PortSpec::Any => {
                Transport::ALL.into_iter().map(|t| PortSpec::Ports(t, PortRange::ALL)).collect()
            }
            PortSpec::Ports(..) => vec![spec],
            PortSpec::Icmp(_) => {
                self.problems.push(
                    Diagnostic::error(Code::SourcePorts, span, "icmp has no source ports")
                        .hint("write the icmp part as a policy of its own, without `source-ports`"),
                );
                Vec::new()
            }
        }
    }
}
