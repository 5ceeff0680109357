//! Assertions: one claim each, about peers, ports and groups that exist.

use model::{Field, Name, Op, Peer};

use super::policy::Reader;
use super::processes;
use crate::codes::Code;
use crate::decode::{List, Mapping, Val};
use crate::diagnostic::Diagnostic;
use crate::document::{Assertion, Claim, Document, Scope, Span};
use crate::raw::RawAssertion;
use crate::scalar::{Border, Group, SegmentRef, Statement};

/// What an assertion says, before names are resolved.
#[derive(Clone, Copy)]
enum Said<'r> {
    Flows(Claim, &'r Val<Statement>),
    Border(&'r Val<Border>),
}

impl Said<'_> {
    fn span(self) -> Span {
        match self {
            Self::Flows(_, statement) => statement.span,
            Self::Border(border) => border.span,
        }
    }
}

impl Reader<'_, '_> {
    /// Adds the assertions of a scope to the document.
    pub(super) fn assertions(
        &mut self,
        scope: &Scope,
        list: Option<&List<RawAssertion>>,
        document: &mut Document,
    ) {
        for raw in list.iter().flat_map(|list| &list.items) {
            let Some(said) = self.claim(raw) else { continue };
            let assertion = match said {
                Said::Flows(claim, statement) => {
                    Some(self.flows(scope, claim, statement, document))
                }
                Said::Border(border) => self.border(scope, border, document),
            };
            document.assertions.extend(assertion);
        }
    }

    /// The one claim of an entry.
    fn claim<'r>(&mut self, raw: &'r RawAssertion) -> Option<Said<'r>> {
        let flows =
            [(Claim::Never, &raw.never), (Claim::Only, &raw.only), (Claim::Always, &raw.always)];
        let flows = flows.into_iter().filter_map(|(claim, said)| Some((claim, said.as_ref()?)));
        let mut all = flows
            .map(|(claim, statement)| Said::Flows(claim, statement))
            .chain(raw.isolated.as_ref().map(Said::Border));
        let first = all.next();
        if let Some(second) = all.next() {
            let message = "an assertion has one claim";
            self.problems.push(
                Diagnostic::error(Code::Exclusive, second.span(), message)
                    .hint("write two entries of the list"),
            );
            return None;
        }
        let keys = [Claim::Never, Claim::Only, Claim::Always, Claim::Isolated].map(Claim::as_str);
        if first.is_none() && !keys.iter().any(|key| raw.given(key)) {
            let message = "this assertion claims nothing";
            self.problems.push(Diagnostic::error(Code::MissingKey, raw.span(), message).hint(
                "write `never:`, `only:` or `always: FROM -> TO`, or `isolated: tenant NAME`",
            ));
        }
        first
    }

    fn flows(
        &mut self,
        scope: &Scope,
        claim: Claim,
        statement: &Val<Statement>,
        document: &Document,
    ) -> Assertion {
        let Statement { from, to, ports, is_bare, text } = &statement.value;
        let [from, to] = [from, to].map(|side| self.side(scope, side, statement.span, document));
        processes::received(&to, statement.span, self.problems);
        if *is_bare && claim == Claim::Always {
            let message = "a port that is always to be reached has a protocol";
            self.problems.push(
                Diagnostic::error(Code::Assertion, statement.span, message)
                    .hint("write it behind the port: always: web -> api:8080/tcp"),
            );
        }
        let ports = ports
            .iter()
            .flat_map(|word| self.ports.resolve(word, statement.span, self.problems))
            .collect();
        Assertion {
            scope: scope.clone(),
            claim,
            from,
            to,
            ports,
            text: text.clone(),
            span: statement.span,
        }
    }

    /// The peers of one side, names and sets resolved.
    fn side(
        &mut self,
        scope: &Scope,
        peers: &[Peer],
        span: Span,
        document: &Document,
    ) -> Vec<Peer> {
        let mut all = Vec::with_capacity(peers.len());
        for peer in peers {
            let named = named(scope, peer, document);
            let peer = named.as_ref().unwrap_or(peer);
            if let Some(members) = self.members(scope, peer, span) {
                all.extend(members.peers);
            } else {
                self.peer(scope, peer, span);
                all.push(peer.clone());
            }
        }
        all
    }

    fn border(
        &mut self,
        scope: &Scope,
        border: &Val<Border>,
        document: &Document,
    ) -> Option<Assertion> {
        let Border { group, except, text } = &border.value;
        let except = self.side(scope, except, border.span, document);
        processes::none(&except, border.span, self.problems);
        let selector = match (group, scope) {
            (Group::Tenant(name), _) => format!("tenant={name}"),
            (Group::Network(name), Scope::Tenant(_)) => format!("network={name}"),
            (Group::Segment(segment), Scope::Tenant(tenant)) => {
                self.segment(tenant, segment, border.span, document)?
            }
            (Group::Network(_), Scope::Host) => return self.elsewhere("network", border.span),
            (Group::Segment(_), Scope::Host) => return self.elsewhere("segment", border.span),
        };
        // Of names alone, which are values of labels too.
        let peer: Peer = selector.parse().ok()?;
        self.peer(scope, &peer, border.span);
        Some(Assertion {
            scope: scope.clone(),
            claim: Claim::Isolated,
            from: vec![peer],
            to: except,
            ports: Vec::new(),
            text: text.clone(),
            span: border.span,
        })
    }

    /// The selector of a segment; a name that several networks have needs the network's.
    fn segment(
        &mut self,
        tenant: &Name,
        wanted: &SegmentRef,
        span: Span,
        document: &Document,
    ) -> Option<String> {
        let SegmentRef { network, segment } = wanted;
        if let Some(network) = network {
            return Some(format!("network={network}, segment={segment}"));
        }
        let own = document.networks.iter().filter(|network| network.tenant == *tenant);
        let mut holding = own.filter(|network| network.segment(segment).is_some());
        if let (Some(first), Some(_)) = (holding.next(), holding.next()) {
            let message = format!("several networks have a segment `{segment}`");
            self.problems.push(
                Diagnostic::error(Code::Choice, span, message)
                    .hint(format!("write `isolated: segment {}/{segment}`", first.name)),
            );
            return None;
        }
        Some(format!("segment={segment}"))
    }

    /// Refuses a group that stands in a tenant, where no tenant is.
    fn elsewhere(&mut self, what: &str, span: Span) -> Option<Assertion> {
        let message = format!("a {what} is one of a tenant, and here is none");
        self.problems.push(
            Diagnostic::error(Code::Assertion, span, message)
                .hint("write it in the tenant: tenants: { shop: { assert: [..] } }"),
        );
        None
    }
}

/// What a bare word means that is no label of the tenant's workloads: the segment or the workload of that name. `None` leaves it a
/// label, also where a segment and a workload have the name.
fn named(scope: &Scope, peer: &Peer, document: &Document) -> Option<Peer> {
    let (Scope::Tenant(tenant), Peer::Selector(selector)) = (scope, peer) else { return None };
    let [term] = selector.terms() else { return None };
    let (Field::Label(key), Op::Exists) = (&term.field, &term.op) else { return None };
    let word = key.to_string();
    let mut workloads = document.workloads.iter().filter(|workload| workload.tenant == *tenant);
    if workloads.clone().any(|workload| workload.labels.iter().any(|(label, _)| label == key)) {
        return None;
    }
    let is_workload = workloads.any(|workload| workload.name.as_str() == word);
    let mut networks = document.networks.iter().filter(|network| network.tenant == *tenant);
    let is_segment = networks
        .any(|network| network.segments.iter().any(|segment| segment.name.as_str() == word));
    let field = match (is_segment, is_workload) {
        (true, false) => "segment",
        (false, true) => "workload",
        _ => return None,
    };
    format!("{field}={word}").parse().ok()
}
