//! The host itself: what `host:` says, and which policies speak of it.

use std::fmt;
use std::sync::Arc;

use model::digest::Digest64;
use model::{HostProcesses, Peer, Postures};

use super::{Audit, Document, Policy, Scope, Span};

/// The host's own policy on its uplinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Interfaces in file order, each once; empty are those that carry a default route.
    pub uplinks: Vec<Uplink>,
    /// What happens to flows that no policy names.
    pub postures: Postures,
    /// What its `audit:` says.
    pub audit: Audit,
    /// Processes that send only what policies allow, whatever the posture; each once.
    pub confined: Vec<HostProcesses>,
    /// Where the section stands.
    pub span: Span,
}

/// An interface of the host by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uplink(pub Arc<str>);

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Policy {
    /// Whether the host is a side of it at its uplinks: a policy at the top of the file that names `host` or `any`.
    #[must_use]
    pub fn is_about_host(&self) -> bool {
        let names_host = |peer: &Peer| matches!(peer, Peer::Host | Peer::Any | Peer::Processes(_));
        self.scope == Scope::Host && self.from.iter().chain(&self.to).any(names_host)
    }
}

impl Document {
    /// Number of the host part: what the file says of the host, wherever it stands in the file. 0 without `host:`.
    ///
    /// Published ports are not in it: they come and go with workloads.
    #[must_use]
    pub fn host_part(&self) -> u64 {
        let Some(host) = &self.host else { return 0 };
        let mut digest = Digest64::new("host part");
        let Host { uplinks, postures, audit, confined, span: _ } = host;
        let text = format!("{uplinks:?} {postures:?} {audit:?} {:?} {confined:?}", self.audit);
        let mut rules: Vec<String> =
            self.policies.iter().filter(|policy| policy.is_about_host()).map(said).collect();
        rules.sort_unstable();
        digest.text(&text);
        for rule in &rules {
            digest.text(rule);
        }
        digest.finish().max(1)
    }
}

/// What a policy says, but for its place in the file.
fn said(policy: &Policy) -> String {
    let Policy { from, to, allow, deny, source_ports, audit, until, schedule, standing, .. } =
        policy;
    format!(
        "{} {from:?} {to:?} {allow:?} {deny:?} {source_ports:?} {audit} {until:?} {schedule:?} {:?} {:?} {:?}",
        policy.path(),
        standing.ends,
        standing.tier,
        standing.pass,
    )
}
