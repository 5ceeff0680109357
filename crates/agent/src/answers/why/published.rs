//! Ways to a workload through ports that the host publishes, beside the pair that was asked about.
//!
//! Such a connection is judged twice: at the source on its way to the host, and at the target as it comes from there. The answer for
//! the pair itself speaks of neither, so it names these ways and what is decided on them.

use std::net::IpAddr;

use api::{PublishedWay, Verdict};
use flow::Resolver as _;
use model::{Identity, RuleId, Transport};
use planner::{Bundle, Leg, Way};
use verdict::Judgement;

use crate::answers::party::{self, Who};
use crate::answers::service::Asked;
use crate::answers::{person, rule_at};
use crate::force::Wanted;
use crate::names::Names;

use super::{Case, judged, verdict_of, words};

/// Ways that are told.
const MOST: usize = 10;

/// The ways from a workload to another one, or to a port of the host, that concern a question. Of workloads in networks
/// that are kept apart (`is_apart`) every way does, else those with the port that is asked about.
pub(super) fn ways(
    wanted: &Wanted,
    names: &Names,
    (from, to): (&Who, &Who),
    (asked, source_port): (Asked, u16),
    is_apart: bool,
) -> Vec<PublishedWay> {
    let Who::Workload(source) = from else { return Vec::new() };
    let bundle = &wanted.bundle;
    let mut found: Vec<PublishedWay> = Vec::new();
    for way in planner::ways(bundle, source) {
        let Some(leaves) = concerns(bundle, &way, to, asked, is_apart) else { continue };
        let told = told(wanted, names, &Way { leaves, ..way }, source_port);
        // One line tells both versions of IP.
        if !found.iter().any(|known| known.publish == told.publish) && found.len() < MOST {
            found.push(told);
        }
    }
    found
}

/// The first half of a way, as it was asked about; `None` when the question is another one.
fn concerns(bundle: &Bundle, way: &Way<'_>, to: &Who, asked: Asked, is_apart: bool) -> Option<Leg> {
    let has = |port: u16| asked == Asked::Port(way.publish.transport, port);
    match to {
        Who::Workload(target) => {
            let fits = is_apart || has(way.publish.port) || has(way.publish.target_port);
            (way.publish.workload == *target && fits).then_some(way.leaves)
        }
        Who::Host | Who::Account(_) => has(way.publish.port).then_some(way.leaves),
        Who::Address(address) => {
            let leads = way.publish.address.is_none_or(|published| published == *address);
            let same = address.is_ipv4() == way.leaves.source.is_ipv4();
            let named = way.publish.address == Some(*address);
            let is_there = same && (named || is_host(bundle, way.leaves.network, *address));
            (has(way.publish.port) && leads && is_there)
                .then_some(Leg { target: *address, ..way.leaves })
        }
        Who::World => None,
    }
}

fn is_host(bundle: &Bundle, network: u16, address: IpAddr) -> bool {
    planner::identity_at(&bundle.tables, network, address) == Some(Identity::HOST)
}

/// A way with what is decided on it.
pub(super) fn told(
    wanted: &Wanted,
    names: &Names,
    way: &Way<'_>,
    source_port: u16,
) -> PublishedWay {
    let transport = way.publish.transport;
    let (verdict, rule, text) = {
        let (leaving, leaves) = decided(wanted, names, &way.leaves, transport, source_port);
        if leaving.verdict == verdict::abi::Verdict::Drop {
            (Verdict::Drop, leaves.0, leaves.1)
        } else {
            let (entering, enters) = decided(wanted, names, &way.enters, transport, source_port);
            let is_recorded = leaving.verdict == verdict::abi::Verdict::Audit
                && entering.verdict == verdict::abi::Verdict::Allow;
            let (rule, text) = if is_recorded { leaves } else { enters };
            (verdict_of(if is_recorded { leaving.verdict } else { entering.verdict }), rule, text)
        }
    };
    PublishedWay {
        publish: format!("{}/{}", way.router.tenant, way.publish.name),
        service: format!("{}/{transport}", way.publish.port),
        workload: person(&way.publish.workload),
        target_service: format!("{}/{transport}", way.publish.target_port),
        verdict,
        rule: rule.as_ref().map(rule_at),
        text,
        terms: terms(way.publish),
    }
}

/// What limits the flows that somebody outside opens to a port of a workload that is published.
pub(super) fn limits(bundle: &Bundle, (from, to): (&Who, &Who), asked: Asked) -> Vec<String> {
    let (Who::Workload(target), false) = (to, matches!(from, Who::Workload(_))) else {
        return Vec::new();
    };
    let Some((router, _)) = bundle.attachment(target) else { return Vec::new() };
    let limited = router.publishes.iter().filter(|publish| {
        publish.workload == *target
            && !publish.limit.is_none()
            && asked == Asked::Port(publish.transport, publish.target_port)
    });
    let told = limited.map(|publish| (&publish.name, publish.limit));
    let terms = bundle.terms.iter().filter(|term| {
        term.workload == *target
            && !term.limit.is_none()
            && term.port.is_some_and(|(transport, port)| asked == Asked::Port(transport, port))
    });
    let terms = terms.filter_map(|term| Some((term.publishes.first()?, term.limit)));
    let told = told.chain(terms).map(|(name, limit)| {
        let tenant = &router.tenant;
        format!("{tenant}/{name} lets at most {limit} begin; what is more is dropped (BH-D044)")
    });
    told.take(MOST).collect()
}

/// What the file says of a published port: `at most 20/s per source, until 2027-01-01T00:00:00Z, owner web team`.
fn terms(publish: &planner::Publish) -> Option<String> {
    let limit = (!publish.limit.is_none()).then(|| format!("at most {}", publish.limit));
    let until = publish.until.map(|until| format!("until {until}"));
    let owner = publish.owner.as_ref().map(|owner| format!("owner {owner}"));
    let all: Vec<String> = [limit, until, owner].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What is decided on one half, the rule behind it, and both in words.
fn decided(
    wanted: &Wanted,
    names: &Names,
    leg: &Leg,
    transport: Transport,
    source_port: u16,
) -> (Judgement, (Option<model::RuleRef>, String)) {
    let bundle = &wanted.bundle;
    let case = Case {
        network: leg.network.into(),
        arrives: None,
        source: leg.source,
        target: leg.target,
        proto: transport.into(),
        port: leg.port,
        source_port,
        service: Asked::Port(transport, leg.port),
    };
    let judgement = judged(bundle, &case);
    let id =
        if judgement.ingress_rule == 0 { judgement.egress_rule } else { judgement.ingress_rule };
    let rule = names.rule(RuleId(id)).filter(|_| id != 0);
    let end = |address| party::end(&wanted.document, bundle, case.network, address);
    let meant = flow::reason::meant(judgement.reason, rule.as_ref());
    let judgement = Judgement { reason: meant, ..judgement };
    let at = super::decided(bundle, &judgement);
    let now = jiff::Timestamp::now();
    let audit = super::audited(&wanted.document, &judgement, at.as_ref(), rule.as_ref(), now);
    let ends = (&end(leg.source), &end(leg.target));
    let text = words::sentence(&judgement, rule.as_ref(), audit.as_ref(), ends);
    (judgement, (rule, text))
}
