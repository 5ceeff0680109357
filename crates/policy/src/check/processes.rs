//! Processes of the host as a side of rules: where they can be told apart, and how many accounts there may be
//! (docs/adr/0027-processes-of-the-host.md).

use std::collections::BTreeSet;

use model::{Account, HostProcesses, Peer};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems, Severity};
use crate::document::{Document, Scope, Span};

/// Refuses a policy that could not be enforced.
pub(super) fn sides(
    scope: &Scope,
    [from, to]: [&Vec<Peer>; 2],
    [from_span, to_span]: [Option<Span>; 2],
    problems: &mut Problems<'_>,
) {
    let first = |peers: &[Peer]| peers.iter().find_map(named).cloned();
    if let Some(span) = to_span {
        received(to, span, problems);
    }
    let (Some(processes), Some(span)) = (first(from), from_span) else { return };
    if *scope != Scope::Host {
        let message = format!("a policy of a tenant does not speak of `{processes}`");
        problems.push(
            Diagnostic::error(Code::Selector, span, message)
                .hint("write it under `policies:` at the top of the file"),
        );
        return;
    }
    let is_outside = |peer: &&Peer| matches!(peer, Peer::Cidr(_) | Peer::World | Peer::Any);
    if let (Some(other), Some(span)) = (to.iter().find(|peer| !is_outside(peer)), to_span) {
        let message =
            format!("`{processes}` is not told apart from the rest of the host by `{other}`");
        problems.push(Diagnostic::error(Code::Selector, span, message).hint(
            "processes of the host are told apart where they leave by an uplink: `to` is addresses, `world` or `any`; \
             to workloads of this host they are `host`",
        ));
    }
}

/// Refuses them as those to whom something is sent.
pub(super) fn received(to: &[Peer], span: Span, problems: &mut Problems<'_>) {
    if let Some(processes) = to.iter().find_map(named) {
        let message = format!("`{processes}` cannot be told by what it receives");
        problems.push(Diagnostic::error(Code::Selector, span, message).hint(
            "processes of the host are told apart in what they send: name them as the source, and write `host` as the target",
        ));
    }
}

/// Refuses them at a border, which workloads cross.
pub(super) fn none(peers: &[Peer], span: Span, problems: &mut Problems<'_>) {
    if let Some(processes) = peers.iter().find_map(named) {
        let message = format!("`{processes}` is not told apart from the host by workloads");
        problems.push(Diagnostic::error(Code::Selector, span, message).hint("write `host`"));
    }
}

/// The accounts that a document names: each needs a number, and the host's section.
pub(super) fn accounts(document: &Document, problems: &mut Problems<'_>) {
    let named = document.accounts();
    let naming = document.policies.iter().find(|policy| policy.from.iter().any(named_by));
    if let (None, Some(policy)) = (&document.host, naming) {
        let message = format!(
            "the policy `{}` speaks of processes of the host, and there is no `host:`",
            policy.name
        );
        problems.push(Diagnostic::error(Code::MissingKey, policy.span, message).hint(
            "without that section nothing is enforced at the uplinks: add `host: { posture: { ingress: allow } }` to let in what comes in now",
        ));
    }
    let services = named.iter().filter(|each| matches!(each.account, Account::Service(_))).count();
    for (what, count) in [("services", services), ("users", named.len() - services)] {
        if count > HostProcesses::MOST {
            let span = document.host.as_ref().map(|host| host.span);
            let message = format!(
                "the file names {count} {what} of the host: at most {} are told apart",
                HostProcesses::MOST
            );
            problems.push(Diagnostic::new(Code::Limit, Severity::Error, span, message));
        }
    }
}

fn named_by(peer: &Peer) -> bool {
    named(peer).is_some()
}

fn named(peer: &Peer) -> Option<&HostProcesses> {
    match peer {
        Peer::Processes(processes) => Some(processes),
        _ => None,
    }
}

impl Document {
    /// The accounts of the host that its policies and `host: { confined }` name, in order.
    #[must_use]
    pub fn accounts(&self) -> BTreeSet<HostProcesses> {
        let policies = self.policies.iter().flat_map(|policy| &policy.from).filter_map(named);
        let confined = self.host.iter().flat_map(|host| &host.confined);
        policies.chain(confined).cloned().collect()
    }
}
