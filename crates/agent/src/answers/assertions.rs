//! Assertions as the API carries them: of a plan, and of a file that nobody applies.

use std::net::{IpAddr, SocketAddr};

use api::{AssertionResult, Example, ExampleEnd, PROOF_SCHEMA, Proof};
use flow::Protocol;
use planner::{Bundle, Counterexample, End, Outcome, Why};
use policy::Document;
use policy::kubernetes::CheckedSet;

use crate::fault;

use super::plan::{name, service};
use super::{person, reason, rule_at};

/// Checks every assertion of a file against its bundle; no agent is needed.
#[must_use]
pub fn prove(checked: &CheckedSet, bundle: &Bundle) -> Proof {
    let document = &checked.document;
    let assertions = shown(&planner::prove(document, bundle), document, bundle);
    Proof {
        schema: PROOF_SCHEMA.to_owned(),
        file: document.file.to_string(),
        holds: assertions.iter().all(|assertion| assertion.holds),
        assertions,
        warnings: checked.warnings.iter().flat_map(fault::diagnostics).collect(),
    }
}

/// What became of assertions, for people and programs.
pub(super) fn shown(
    outcomes: &[Outcome],
    document: &Document,
    bundle: &Bundle,
) -> Vec<AssertionResult> {
    let result = |outcome: &Outcome| {
        let example = outcome.broken.as_ref().map(|broken| example(broken, bundle));
        AssertionResult {
            text: format!("{}: {}", outcome.claim.as_str(), outcome.text),
            file: document.file.to_string(),
            line: outcome.line,
            holds: example.is_none(),
            counterexample: example.as_ref().map(sentence),
            example,
        }
    };
    outcomes.iter().map(result).collect()
}

fn sentence(example: &Example) -> String {
    let Example { from, to, source, target, service, .. } = example;
    let passes = if example.passes { "" } else { " does not pass" };
    format!("{from} ({source}) → {to} ({target}) {service}{passes}")
}

fn example(broken: &Counterexample, bundle: &Bundle) -> Example {
    let is_ported = broken.protocol.transport().is_some();
    let target_port = Some(broken.port).filter(|_| is_ported);
    let end = |direction: &str, end: &End| ExampleEnd {
        workload: end.workload.to_string(),
        direction: direction.to_owned(),
        verdict: verdict(end.verdict),
        rule: bundle.rules.get(&end.rule).map(rule_at),
    };
    let ends = [("egress", &broken.egress), ("ingress", &broken.ingress)];
    Example {
        from: name(&broken.from),
        to: name(&broken.to),
        source: spoken(broken.source, broken.source_port),
        target: spoken(broken.target, target_port),
        service: service(Protocol::Ip(broken.protocol.number()), broken.port),
        passes: broken.why == Why::Passes,
        published: broken.through.as_ref().map(|through| person(&through.publish)),
        published_at: broken
            .through
            .as_ref()
            .map(|through| spoken(through.address, Some(through.port))),
        reason: match broken.why {
            Why::Dropped(why) => reason(why),
            Why::Passes | Why::NoWay => None,
        },
        ends: ends.into_iter().filter_map(|(word, each)| Some(end(word, each.as_ref()?))).collect(),
    }
}

fn verdict(verdict: verdict::abi::Verdict) -> api::Verdict {
    match verdict {
        verdict::abi::Verdict::Allow => api::Verdict::Allow,
        verdict::abi::Verdict::Audit => api::Verdict::Audit,
        verdict::abi::Verdict::Drop | verdict::abi::Verdict::Silent => api::Verdict::Drop,
    }
}

/// `10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1`.
fn spoken(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}
