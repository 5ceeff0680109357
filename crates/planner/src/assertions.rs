//! `assert:` of a document, checked exactly: a claim holds for every flow or has a counterexample.
//!
//! The host is asked about where it is enforced: by workloads in each network's plane, and towards everybody else at its uplinks. There it
//! is taken to have addresses of both versions of IP, and to be every process of it, those that rules tell apart among them. A bundle
//! without a policy of the host lets everything pass there, and so it is judged.

mod example;
mod ground;
mod search;

use std::net::IpAddr;
use std::sync::Arc;

use model::{PortSpec, Proto};
use policy::Document;
use policy::document::{Assertion, Claim};
use verdict::Reason;
use verdict::abi::Verdict;

use crate::HostPlane;
use crate::bundle::Bundle;
use crate::nodes::Party;
use crate::reach::Span;
use ground::Ground;
use search::Side;

/// What became of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// As written, without the claim.
    pub text: String,
    /// What is claimed.
    pub claim: Claim,
    /// Where it stands in the file.
    pub line: u32,
    /// A flow that should not pass and does, or that should and does not.
    pub broken: Option<Counterexample>,
}

/// One concrete flow that breaks an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// Who opens it.
    pub from: Party,
    /// With this address.
    pub source: IpAddr,
    /// From this port; `None` for a protocol without ports.
    pub source_port: Option<u16>,
    /// To whom.
    pub to: Party,
    /// With this address.
    pub target: IpAddr,
    /// Protocol.
    pub protocol: Proto,
    /// Destination port; icmp: `type << 8 | code`.
    pub port: u16,
    /// The published port that it goes through, if it does not go straight to the target.
    pub through: Option<Through>,
    /// Whether it passes, and why not.
    pub why: Why,
    /// What the source's end says, when it was asked: a workload, or the host at an uplink.
    pub egress: Option<End>,
    /// What the target's end says, when it was asked.
    pub ingress: Option<End>,
}

/// A published port on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// `<tenant>.<name>` of the publish entry.
    pub publish: String,
    /// To which address of the host the source speaks.
    pub address: IpAddr,
    /// To which port of it.
    pub port: u16,
}

/// What becomes of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It passes, perhaps on trial.
    Passes,
    /// It is dropped.
    Dropped(Reason),
    /// There is no way between the two: other networks, or another version of IP.
    NoWay,
}

/// What one end of a flow says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whose end it is: a workload's id, `host`, or `host user=backup`.
    pub workload: Arc<str>,
    /// Allow, audit or drop.
    pub verdict: Verdict,
    /// The rule that decides, 0 for the posture.
    pub rule: u32,
    /// Whether nothing is enforced there: it is the host, and has no policy.
    pub left_alone: bool,
}

/// Checks every assertion of a document against its bundle, in file order. Exact: over all addresses, protocols and ports. What the
/// bundle has of the host's policy is what counts at the uplinks, see [`crate::HostPlane::complete`].
#[must_use]
pub fn prove(document: &Document, bundle: &Bundle) -> Vec<Outcome> {
    if document.assertions.is_empty() {
        return Vec::new();
    }
    let opened = HostPlane::opened(bundle);
    let ground = match &opened {
        Some(opened) => Ground::new(document, opened, true),
        None => Ground::new(document, bundle, false),
    };
    let outcome = |assertion: &Assertion| Outcome {
        text: assertion.text.clone(),
        claim: assertion.claim,
        line: assertion.span.line,
        broken: counterexample(assertion, &ground),
    };
    document.assertions.iter().map(outcome).collect()
}

fn counterexample(assertion: &Assertion, ground: &Ground<'_>) -> Option<Counterexample> {
    let Assertion { scope, from, to, ports, .. } = assertion;
    let inside = |peers| ground.pick(|spot| ground.inside(spot, peers, scope));
    let side = |spots| Side::new(ground, spots);
    let breaks = |span: &Span| hit(ports, span);
    let passing = |sources: &Side, targets: &Side| {
        let (source, target, way, port) = search::passing(ground, sources, targets, breaks)?;
        example::passing(ground, (source, target), &way, port)
    };
    match assertion.claim {
        Claim::Never => passing(&side(inside(from)), &side(inside(to))),
        Claim::Only => {
            let others = ground.pick(|spot| ground.outside(spot, from, scope));
            passing(&side(others), &side(inside(to)))
        }
        Claim::Isolated => {
            let [members, others] = ground.border(assertion).map(side);
            passing(&others, &members).or_else(|| passing(&members, &others))
        }
        Claim::Always => {
            let (sources, targets) = (side(inside(from)), side(inside(to)));
            let (source, target, part) = search::failing(ground, &sources, &targets, ports)?;
            example::failing(ground, (source, target), part)
        }
    }
}

/// Ports that people know, for examples.
const KNOWN: [u16; 4] = [80, 443, 22, 53];

/// A port of the span that some of the specs mean; of no specs, every port.
fn hit(ports: &[PortSpec], span: &Span) -> Option<u16> {
    let matches = |port: &u16| {
        ports.is_empty() || ports.iter().any(|spec| spec.matches(span.protocol, *port))
    };
    let within = |port: &u16| span.ports.0 <= *port && *port <= span.ports.1;
    let mut candidates: Vec<u16> = Vec::new();
    if span.protocol.transport().is_some() {
        candidates.extend(KNOWN);
        // Nobody offers anything at port 0.
        candidates.push(span.ports.0.max(1));
    }
    candidates.push(span.ports.0);
    candidates.extend(ports.iter().filter_map(|spec| match spec {
        PortSpec::Ports(_, range) => Some(range.first()),
        _ => None,
    }));
    // Types and codes of icmp.
    candidates.extend(span.ports.0..=span.ports.1.min(span.ports.0.saturating_add(255)));
    candidates.into_iter().filter(within).find(matches)
}
