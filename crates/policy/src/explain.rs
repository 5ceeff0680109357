//! What `why` adds to a verdict: the rules that nearly match, what differs, and the line that would allow the flow.
//!
//! Nothing here decides: whether a packet may pass is `verdict`'s answer alone. These functions compare one flow with the
//! rules as people wrote them and put the difference into words.

mod suggest;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use jiff::Timestamp;
use model::{
    Direction, Field, HostProcesses, IcmpMatch, Op, Peer, PortSpec, Proto, RuleKind, RuleRef,
    Selector, Subject, Term,
};
use serde::Serialize;

use crate::document::{Document, Policy, Scope};

pub use suggest::{Suggestion, suggestion};

/// One side of a flow.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// A workload of the document.
    Workload(Subject<'a>),
    /// The host itself.
    Host,
    /// Processes of the host that rules tell apart.
    Account(&'a HostProcesses),
    /// An address that is not an endpoint, not in a network's subnet and not the host.
    World(IpAddr),
    /// An address in a network's subnet that no endpoint owns.
    Unmanaged(IpAddr),
}

/// The flow that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Flow<'a> {
    /// Who sends the first packet.
    pub from: End<'a>,
    /// Who receives it.
    pub to: End<'a>,
    /// Its protocol.
    pub proto: Proto,
    /// Destination port; for icmp `type << 8 | code`; 0 for other protocols.
    pub port: u16,
    /// Source port, if it is known.
    pub source_port: Option<u16>,
}

/// What about a rule does not fit a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The sources.
    Source,
    /// The destinations.
    Destination,
    /// Protocol or port.
    Port,
    /// The source port.
    SourcePort,
    /// The rule is for the opposite direction.
    Direction,
    /// The policy's `until` has passed.
    Expired,
    /// This is outside the policy's schedule.
    Schedule,
}

/// A rule that fits a flow in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleRef,
    /// What does not fit, at least one.
    pub differs: Vec<Difference>,
    /// For example "port and destination match; source wants app=web, this has app=scanner".
    pub sentence: String,
}

impl End<'_> {
    /// Whether the peer of a rule in this scope stands for this side. The endpoints of other tenants are never matched in
    /// a tenant's scope.
    #[must_use]
    pub fn matches(&self, scope: &Scope, peer: &Peer) -> bool {
        match (self, peer) {
            (Self::Workload(subject), Peer::Selector(selector)) => {
                scope.includes(subject.tenant) && selector.matches(subject)
            }
            (Self::Workload(subject), Peer::Any) => scope.includes(subject.tenant),
            (Self::Account(own), Peer::Processes(named)) => **own == *named,
            (Self::Host | Self::Account(_), Peer::Host | Peer::Any)
            | (Self::World(_), Peer::World | Peer::Any)
            | (Self::Unmanaged(_), Peer::Unmanaged | Peer::Any) => true,
            (Self::World(address) | Self::Unmanaged(address), Peer::Cidr(net)) => {
                net.contains(address)
            }
            _ => false,
        }
    }

    fn matches_any(&self, scope: &Scope, peers: &[Peer]) -> bool {
        peers.iter().any(|peer| self.matches(scope, peer))
    }

    /// What this side is, in the words of a selector.
    fn describe(&self) -> String {
        match self {
            Self::Workload(subject) if subject.labels.is_empty() => {
                format!("workload={}", subject.workload)
            }
            Self::Workload(subject) => {
                let labels: Vec<String> =
                    subject.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                labels.join(", ")
            }
            Self::Host => "the host".to_owned(),
            Self::Account(processes) => processes.to_string(),
            Self::World(address) | Self::Unmanaged(address) => address.to_string(),
        }
    }
}

/// The allow rules that nearly match a flow, the nearest first, at most `limit`.
///
/// A rule is near if at least two of source, destination and port fit, or if it would fit the other way round. Rules that
/// fit completely are not misses and are left out.
#[must_use]
pub fn near_misses(
    document: &Document,
    flow: &Flow<'_>,
    now: Timestamp,
    limit: usize,
) -> Vec<NearMiss> {
    let mut found: Vec<(usize, u32, &Policy, Vec<Difference>)> = document
        .policies
        .iter()
        .filter_map(|policy| {
            let differs = differences(policy, flow, now)?;
            Some((differs.len(), policy.order, policy, differs))
        })
        .collect();
    found.sort_by_key(|(count, order, ..)| (*count, *order));
    found.truncate(limit);
    let miss = |(_, _, policy, differs): (usize, u32, &Policy, Vec<Difference>)| {
        let rule = policy.rule(RuleKind::Allow)?.clone();
        Some(NearMiss { rule, sentence: sentence(policy, flow, &differs, now), differs })
    };
    found.into_iter().filter_map(miss).collect()
}

/// What of an allow does not fit; `None` if all of it fits, or too little.
fn differences(policy: &Policy, flow: &Flow<'_>, now: Timestamp) -> Option<Vec<Difference>> {
    if policy.allow.is_empty() {
        return None;
    }
    let port = policy.allow.iter().any(|spec| spec.matches(flow.proto, flow.port));
    let source = flow.from.matches_any(&policy.scope, &policy.from);
    let destination = flow.to.matches_any(&policy.scope, &policy.to);
    let mut differs = Vec::new();
    if !source {
        differs.push(Difference::Source);
    }
    if !destination {
        differs.push(Difference::Destination);
    }
    if differs.len() == 2 {
        let reversed = flow.from.matches_any(&policy.scope, &policy.to)
            && flow.to.matches_any(&policy.scope, &policy.from);
        if !reversed {
            return None;
        }
        differs = vec![Difference::Direction];
    }
    if !port {
        differs.push(Difference::Port);
    }
    if differs.len() > 1 {
        return None;
    }
    let sources_fit = policy.source_ports.is_empty()
        || flow
            .source_port
            .is_none_or(|port| policy.source_ports.iter().any(|range| range.contains(port)));
    if !sources_fit {
        differs.push(Difference::SourcePort);
    }
    if policy.is_expired(now) {
        differs.push(Difference::Expired);
    } else if policy.is_absent(now) {
        differs.push(Difference::Schedule);
    }
    (!differs.is_empty()).then_some(differs)
}

fn sentence(policy: &Policy, flow: &Flow<'_>, differs: &[Difference], now: Timestamp) -> String {
    let parts = [
        ("port", Difference::Port),
        ("source", Difference::Source),
        ("destination", Difference::Destination),
    ];
    let reversed = differs.contains(&Difference::Direction);
    let fits: Vec<&str> = parts
        .into_iter()
        .filter(|(_, part)| !differs.contains(part) && (!reversed || *part == Difference::Port))
        .map(|(word, _)| word)
        .collect();
    let mut clauses: Vec<String> = match fits.as_slice() {
        [] => Vec::new(),
        [one] => vec![format!("{one} matches")],
        [one, two] => vec![format!("{one} and {two} match")],
        _ => vec!["source, destination and port match".to_owned()],
    };
    clauses.extend(differs.iter().map(|difference| clause(policy, flow, *difference, now)));
    clauses.join("; ")
}

fn clause(policy: &Policy, flow: &Flow<'_>, difference: Difference, now: Timestamp) -> String {
    match difference {
        Difference::Source => side("source", &policy.scope, &policy.from, &flow.from),
        Difference::Destination => side("destination", &policy.scope, &policy.to, &flow.to),
        Difference::Port => format!(
            "port wants {}, this is {}",
            join(&policy.allow),
            port_text(flow.proto, flow.port)
        ),
        Difference::SourcePort => {
            let found = flow
                .source_port
                .map_or_else(String::new, |port| format!(", this comes from {port}"));
            format!("source port wants {}{found}", join(&policy.source_ports))
        }
        Difference::Direction => {
            format!(
                "it is for the other direction, from {} to {}",
                join(&policy.from),
                join(&policy.to)
            )
        }
        Difference::Expired => {
            policy.until.map_or_else(String::new, |until| format!("it expired on {until}"))
        }
        Difference::Schedule => policy
            .schedule
            .as_ref()
            .map_or_else(String::new, |times| format!("it is {}", times.pause(now))),
    }
}

fn side(word: &str, scope: &Scope, peers: &[Peer], end: &End<'_>) -> String {
    match foreign(scope, end) {
        Some(text) => format!("{word} {text}"),
        None => format!("{word} wants {}, this has {}", wanted(peers, end), end.describe()),
    }
}

/// A rule of one tenant and a workload of another: no label can help there.
fn foreign(scope: &Scope, end: &End<'_>) -> Option<String> {
    match (scope, end) {
        (Scope::Tenant(own), End::Workload(subject)) if own != subject.tenant => Some(format!(
            "wants a workload of `{own}`, this is {}.{}",
            subject.tenant, subject.workload
        )),
        _ => None,
    }
}

/// What a list of peers wants; of a single selector only the terms that this side does not meet.
fn wanted(peers: &[Peer], end: &End<'_>) -> String {
    if let ([Peer::Selector(selector)], End::Workload(subject)) = (peers, end) {
        let missing: Vec<Term> =
            selector.terms().iter().filter(|term| !term.matches(subject)).cloned().collect();
        if let Some(missing) = Selector::new(missing) {
            return missing.to_string();
        }
    }
    join(peers)
}

fn join<T: ToString>(items: &[T]) -> String {
    let mut shown: Vec<String> = items.iter().take(4).map(ToString::to_string).collect();
    if items.len() > shown.len() {
        shown.push(format!("{} more", items.len() - shown.len()));
    }
    shown.join(" or ")
}

/// The port of a flow as a policy would write it.
fn port_text(proto: Proto, port: u16) -> String {
    port_spec(proto, port).to_string()
}

/// The narrowest port spec that matches.
fn port_spec(proto: Proto, port: u16) -> PortSpec {
    let [kind, code] = port.to_be_bytes();
    if let Some(transport) = proto.transport() {
        return PortSpec::Ports(transport, model::PortRange::single(port));
    }
    let named = model::IcmpName::ALL
        .into_iter()
        .map(IcmpMatch::Named)
        .find(|named| matches!(proto, Proto::Icmp | Proto::Icmp6) && named.matches(proto, port));
    match (proto, named) {
        (_, Some(named)) => PortSpec::Icmp(named),
        (Proto::Icmp, None) => PortSpec::Icmp(IcmpMatch::V4(kind, Some(code))),
        (Proto::Icmp6, None) => PortSpec::Icmp(IcmpMatch::V6(kind, Some(code))),
        _ => PortSpec::Any,
    }
}

/// The direction in which a rule of this document first lacks an allow: for the headline of `why`.
#[must_use]
pub fn first_gap(document: &Document, flow: &Flow<'_>, now: Timestamp) -> Option<Direction> {
    let allowed = document.policies.iter().any(|policy| {
        !policy.is_absent(now)
            && policy.allow.iter().any(|spec| spec.matches(flow.proto, flow.port))
            && flow.from.matches_any(&policy.scope, &policy.from)
            && flow.to.matches_any(&policy.scope, &policy.to)
    });
    match (allowed, flow.from) {
        (true, _) => None,
        (false, End::Workload(_)) => Some(Direction::Egress),
        (false, _) => Some(Direction::Ingress),
    }
}

/// The policy of a Kubernetes manifest because of which an end of the flow lets pass only what policies allow: the source
/// for egress, the destination for ingress.
#[must_use]
pub fn isolating<'d>(
    document: &'d Document,
    flow: &Flow<'_>,
    direction: Direction,
) -> Option<&'d Policy> {
    document.policies.iter().find(|policy| {
        let (end, peers) = match direction {
            Direction::Egress => (flow.from, &policy.from),
            Direction::Ingress => (flow.to, &policy.to),
        };
        policy.standing.isolates
            && policy.standing.ends.covers(direction)
            && end.matches_any(&policy.scope, peers)
    })
}

/// The label terms that make a short selector of a workload.
fn label_terms(subject: &Subject<'_>) -> Vec<Term> {
    let terms = subject
        .labels
        .iter()
        .map(|(key, value)| Term { field: Field::Label(key.clone()), op: Op::Is(value.clone()) });
    terms.collect()
}
