//! Assertions as the API carries them: of a plan, and of a file that nobody applies.

use std::net::{IpAddr, SocketAddr};

use api::{AssertionResult, Example, ExampleEnd, PROOF_SCHEMA, Proof};
use flow::Protocol;
use jiff::Timestamp;
use planner::{Allocations, Bundle, Counterexample, End, Facts, HostPlane, Outcome, Why};
use policy::Document;
use policy::kubernetes::CheckedSet;

use crate::fault;

use super::flows::moment;
use super::plan::{name, service};
use super::{person, reason, rule_at};

/// Rules times the moments ahead for which they are compiled; compiling a million takes some 20 seconds.
const AHEAD: usize = 1_000_000;
/// Most moments ahead.
const MOMENTS: usize = 64;

/// Checks every assertion of a file against its bundle, now and at every time at which another set of its policies is in
/// force; no agent is needed.
#[must_use]
pub fn prove(checked: &CheckedSet, bundle: &Bundle, facts: &Facts) -> Proof {
    let document = &checked.document;
    let mut assertions = shown(&planner::prove(document, bundle), document, bundle);
    let allocations = &bundle.allocations;
    ahead(&mut assertions, (document, None), allocations, facts);
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
            from: None,
            unproven: 0,
        }
    };
    outcomes.iter().map(result).collect()
}

/// Proves what holds now for the times ahead, too: schedules open and close, rules and audits end. At the uplinks the host's part of the
/// file counts then, too, unless another one is in force, which stays as it is.
pub(crate) fn ahead(
    results: &mut [AssertionResult],
    (document, host): (&Document, Option<&HostPlane>),
    allocations: &Allocations,
    facts: &Facts,
) {
    if results.iter().all(|result| !result.holds) {
        return;
    }
    let moments = planner::moments(document, facts.now);
    let most = (AHEAD / document.policies.len().max(1)).clamp(1, MOMENTS);
    let looked: Vec<Timestamp> = moments.moments.iter().copied().take(most).collect();
    let left_out = moments.moments.len() - looked.len() + usize::from(moments.is_cut);
    for now in looked {
        let then = Facts { now, ..facts.clone() };
        // What does not compile then is told when it is tried; it changes nothing that is in force.
        let Ok(mut bundle) = planner::compile(document, allocations, &then) else { continue };
        match host.filter(|host| host.part != document.host_part()) {
            Some(other) => other.enter(&mut bundle),
            None if HostPlane::complete(document, &mut bundle, &then).is_err() => continue,
            None => {}
        }
        let outcomes = shown(&planner::prove(document, &bundle), document, &bundle);
        for (result, outcome) in results.iter_mut().zip(outcomes) {
            if result.holds && !outcome.holds {
                *result = AssertionResult { from: Some(moment(now)), ..outcome };
            }
        }
    }
    for result in results.iter_mut().filter(|result| result.holds) {
        result.unproven = left_out as u64;
    }
}

fn sentence(example: &Example) -> String {
    let Example { from, to, source, target, service, .. } = example;
    let passes = if example.passes { "" } else { " does not pass" };
    let is_left_alone = example.passes && example.ends.iter().any(|end| end.left_alone);
    let why = if is_left_alone { ", as the file has no `host:`" } else { "" };
    format!("{from} ({source}) → {to} ({target}) {service}{passes}{why}")
}

fn example(broken: &Counterexample, bundle: &Bundle) -> Example {
    let is_ported = broken.protocol.transport().is_some();
    let target_port = Some(broken.port).filter(|_| is_ported);
    let end = |direction: &str, end: &End| ExampleEnd {
        workload: end.workload.to_string(),
        direction: direction.to_owned(),
        verdict: verdict(end.verdict),
        rule: bundle.rules.get(&end.rule).map(rule_at),
        left_alone: end.left_alone,
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

/// `10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1`, and `host:80` where the host's address is not known.
fn spoken(address: IpAddr, port: Option<u16>) -> String {
    if address.is_unspecified() {
        return port.map_or_else(|| "host".to_owned(), |port| format!("host:{port}"));
    }
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of assertions of two workloads, on a Sunday at noon.
    fn proven(policies: &str, assertions: &str) -> String {
        let text = format!(
            "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      web: {{ labels: {{ app: web }}, netns: web }}
      db: {{ labels: {{ app: db }}, netns: db }}
    policies:
{policies}    assert:
{assertions}"
        );
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let source = policy::Source { name: "f.yaml", text: &text };
        let loaded = policy::load(&source, &|_| None, &policy::Limits::default(), now);
        let document = loaded.unwrap_or_else(|found| panic!("{found}")).document;
        let facts = Facts { addresses: Vec::new(), now, jiffies_per_second: 250 };
        let mut bundle =
            planner::compile(&document, &Allocations::default(), &facts).expect("compiles");
        HostPlane::complete(&document, &mut bundle, &facts).expect("compiles");
        let mut results = shown(&planner::prove(&document, &bundle), &document, &bundle);
        ahead(&mut results, (&document, None), &bundle.allocations, &facts);
        let line = |result: &AssertionResult| {
            let from = result.from.as_deref().map_or(String::new(), |at| format!(" from {at}"));
            format!("{} {}{from}\n", result.text, if result.holds { "holds" } else { "broken" })
        };
        results.iter().map(line).collect()
    }

    #[test]
    fn what_holds_today_must_hold_on_monday() {
        let work = "schedule: { days: mon-fri, hours: 08:00-18:00, zone: UTC }";
        let assertions = "      - never: app=web -> app=db\n      - never: app=db -> app=web\n";
        let allow = format!("      x: {{ from: app=web, to: app=db, allow: [80/tcp], {work} }}\n");
        insta::assert_snapshot!(proven(&allow, assertions), @r"
        never: app=web -> app=db broken from 2026-11-23T08:00:00.000Z
        never: app=db -> app=web holds
        ");
        let deny = "      x: { from: app=db, to: app=web, allow: [80/tcp] }\n      y: { from: any, to: any, deny: [any], until: 2026-12-31 }\n";
        insta::assert_snapshot!(proven(deny, assertions), @r"
        never: app=web -> app=db holds
        never: app=db -> app=web broken from 2027-01-01T00:00:00.000Z
        ");
        let always = "      - always: app=web -> app=db:80/tcp\n";
        let day = "      x: { from: app=web, to: app=db, allow: [80/tcp], schedule: { days: sun, zone: UTC } }\n";
        insta::assert_snapshot!(proven(day, always), @"always: app=web -> app=db:80/tcp broken from 2026-11-23T00:00:00.000Z");
    }
}
