//! A judgement in words: one sentence, the nearest misses, what would allow it.

use std::net::IpAddr;

use api::{NearMiss, WouldAllow};
use ipnet::IpNet;
use policy::document::{Audit, Place};
use policy::explain::{self, Difference, End};
use verdict::abi::Verdict;
use verdict::{Judgement, Reason};

use crate::answers::rule_at;

/// One sentence, for example `no policy lets {app=scanner} reach {app=db}`.
pub(super) fn sentence(
    judgement: &Judgement,
    rule: Option<&model::RuleRef>,
    audit: Option<&(Place, Audit)>,
    (from, to): (&End<'_>, &End<'_>),
) -> String {
    let pair = format!("{} reach {}", described(from), described(to));
    if let Some((place, audit)) = audit {
        let until = audit.until.map_or_else(String::new, |until| format!(" until {until}"));
        let enforced = match rule {
            Some(rule) => format!("{rule} would not let {pair}"),
            None => format!("no policy lets {pair}"),
        };
        return format!("{enforced}; the audit of {place} lets it pass and records it{until}");
    }
    match (judgement.verdict, judgement.reason, rule) {
        (Verdict::Allow, _, Some(rule)) => format!("{rule} lets {pair}"),
        (Verdict::Allow, _, None) => format!("the posture is open: it lets {pair}"),
        (Verdict::Audit, Reason::PolicyDeny, Some(rule)) => {
            format!("{rule} would not let {pair}; its `mode: audit` lets it pass and records it")
        }
        (Verdict::Audit, _, Some(rule)) => {
            format!(
                "no policy lets {pair}; the `mode: audit` of {rule} lets it pass and records it"
            )
        }
        (Verdict::Audit, ..) => format!("no policy lets {pair}; the posture `audit` records it"),
        (_, Reason::PolicyDeny, Some(rule)) => format!("{rule} does not let {pair}"),
        (_, Reason::DefaultDeny, _) => format!("no policy lets {pair}"),
        (_, Reason::UnknownPeer, _) => {
            format!("no network of this host carries packets by which {pair}")
        }
        (_, reason, _) => format!("no policy can let {pair} with this: {}", hopeless(reason)),
    }
}

/// Which policy of a manifest closes the end at which a flow is dropped by default.
pub(super) fn isolated(
    document: &policy::Document,
    asked: &explain::Flow<'_>,
    ingress: bool,
) -> Option<String> {
    let (direction, end, way) = if ingress {
        (model::Direction::Ingress, &asked.to, "in")
    } else {
        (model::Direction::Egress, &asked.from, "out")
    };
    let policy = explain::isolating(document, asked, direction)?;
    let (origin, span) = (policy.standing.origin.as_ref()?, policy.span);
    let (line, column) = (span.line, span.column);
    let (path, file, end) = (&origin.path, &origin.file, described(end));
    Some(format!(
        "; {path} {file}:{line}:{column} selects {end}: only what policies allow gets {way}"
    ))
}

/// Why a packet is dropped before any policy is asked.
fn hopeless(reason: Reason) -> &'static str {
    match reason {
        Reason::LocalScope => "multicast, broadcast and link-local packets are never carried",
        Reason::StrayIcmp => {
            "only echo and timestamp requests open a flow; a reply passes with the flow of its request"
        }
        Reason::UnrelatedIcmp => "an ICMP error passes only with the flow that it is about",
        Reason::RogueRouter => "no workload is a router",
        other => flow::reason::text(other),
    }
}

/// What becomes of a packet to a broadcast address, whatever the policy says.
pub(super) fn unheard(target: IpAddr, net: IpNet) -> String {
    format!(
        "{target} is the broadcast address of {net}: nobody has it, no workload takes such packets in, and no policy can change that"
    )
}

/// A near miss as the API carries it.
pub(super) fn near_miss(miss: &explain::NearMiss, ingress: bool) -> NearMiss {
    let parts = [
        (Difference::Source, "source"),
        (Difference::Destination, "destination"),
        (Difference::Port, "port"),
        (Difference::SourcePort, "source port"),
    ];
    let matching = parts.iter().filter(|(part, _)| !miss.differs.contains(part));
    let (_, misses) = miss.sentence.split_once("; ").unwrap_or(("", &miss.sentence));
    NearMiss {
        rule: rule_at(&miss.rule),
        direction: if ingress { "ingress" } else { "egress" }.to_owned(),
        matches: matching.map(|(_, name)| (*name).to_owned()).collect(),
        misses: misses.split("; ").map(str::to_owned).collect(),
        text: miss.sentence.clone(),
    }
}

/// The line that would allow the flow; `None` when no line would.
pub(super) fn would_allow(
    document: &policy::Document,
    asked: &explain::Flow<'_>,
    judgement: &Judgement,
    rule: Option<&model::RuleRef>,
) -> Option<WouldAllow> {
    if judgement.reason == Reason::UnknownPeer {
        return None;
    }
    let found = explain::suggestion(document, asked)?;
    let denies = rule.filter(|_| judgement.reason == Reason::PolicyDeny);
    let when = if judgement.verdict == Verdict::Audit { " once it is enforced" } else { "" };
    let note = denies.map(|rule| {
        format!("{rule} denies it{when}, and a deny beats every allow: change that first")
    });
    Some(WouldAllow { place: found.path, yaml: found.line, note })
}

/// `{app=scanner}`, `the host`, `203.0.113.1`.
fn described(end: &End<'_>) -> String {
    match end {
        End::Workload(subject) if subject.labels.is_empty() => {
            format!("{{workload={}}}", subject.workload)
        }
        End::Workload(subject) => {
            let labels = subject.labels.iter().map(|(key, value)| format!("{key}={value}"));
            format!("{{{}}}", labels.collect::<Vec<_>>().join(", "))
        }
        End::Host => "the host".to_owned(),
        End::Account(processes) => processes.to_string(),
        End::World(address) | End::Unmanaged(address) => address.to_string(),
    }
}
