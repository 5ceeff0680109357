//! Why a pair may talk or not: the evaluator's answer over the tables in force, with the rules behind it, the nearest
//! misses, what would allow it, and how often it was seen.
//!
//! Flows between two routed networks are judged twice, as their packets are: where they leave, and where they arrive.

mod connection;
mod itself;
mod published;
mod recorded;
mod separate;
mod uplink;
pub(crate) mod walk;
mod words;

use std::net::IpAddr;

use api::{Decided, Error, PartyKind, Seen, Service, WHY_SCHEMA, Why, WhyRequest, codes};
use flow::{Protocol, Record, Resolver as _};
use ipnet::IpNet;
use jiff::Timestamp;
use model::{Direction, Mode, Proto, RuleId, RuleRef};
use planner::{Bundle, Router};
use policy::document::{Audit, Place};
use policy::{Document, explain};
use verdict::abi::{HOST_NETWORK, UPLINKS, Verdict};
use verdict::{Judgement, Reason};

use crate::fault::refused;
use crate::force::{Force, Wanted};
use crate::names::Names;
use crate::shared::Shared;

use super::audits::Audited;
use super::doctor::firewalls;
use super::flows::moment;
use super::frame::First;
use super::judge::Judge;
use super::party::{self, Who};
use super::service::Asked;
use super::{person, reason, remark, rule_at};

/// The first ephemeral port: assumed as the source port when none is given.
const SOURCE_PORT: u16 = 49_152;
/// Near misses that are told.
const NEAREST: usize = 3;

/// A question with everything resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// The network in which it is judged.
    pub(crate) network: u32,
    /// The network in which it arrives, when that is another one.
    arrives: Option<u32>,
    /// Who opens the flow.
    pub(crate) source: IpAddr,
    /// To whom.
    pub(crate) target: IpAddr,
    proto: Proto,
    /// Destination port; ICMP: type and code.
    pub(crate) port: u16,
    source_port: u16,
    service: Asked,
}

/// Answers a question.
///
/// # Errors
/// `BH0211` for unknown names, `BH0204` for an unknown service, `BH0216` without a document.
pub(crate) fn why(shared: &Shared, request: &WhyRequest) -> Result<Why, Error> {
    let force = shared.forced()?;
    if let Some(number) = request.flow {
        return recorded::why(shared, &force, number, request);
    }
    let bundle = &force.wanted.bundle;
    let (from, to) = party::pair(bundle, &request.from, &request.to)?;
    let service = Asked::parse(&request.service)?;
    let source_port = request.source_port.unwrap_or(SOURCE_PORT);
    if let Some(why) = itself::why(&force.wanted, [&from, &to], service, source_port) {
        return Ok(Why { generation: force.generation, ..why });
    }
    let asked = (service, source_port);
    let Some(case) = case(bundle, &from, &to, service, source_port)? else {
        let why = separate::why(&force.wanted, &force.names, (&from, &to), asked)?;
        return Ok(Why { generation: force.generation, ..why });
    };
    let mut why = told(shared, &force, &case);
    warned(shared, &mut why, &case);
    let is_world = |who: &Who| *who == Who::World;
    if is_world(&from) || is_world(&to) {
        worldly(&mut why, is_world(&from));
    }
    why.published = published::ways(&force.wanted, &force.names, (&from, &to), asked, false);
    if why.verdict != api::Verdict::Drop {
        why.warnings.extend(published::limits(bundle, (&from, &to), service));
    }
    if request.source_port.is_some() {
        why.connection = connection::find(shared, &force, &case);
    }
    let hosted = bundle
        .routers
        .iter()
        .any(|router| u32::from(router.number) == case.network && router.mode == Mode::Host);
    if hosted
        && why.verdict != api::Verdict::Drop
        && let Some(also) = uplink::also(bundle, &force.names, &case).filter(|also| !also.passes)
    {
        why.warnings.push(also.text);
    }
    if request.walk && case.network != HOST_NETWORK {
        why.walk = Some(walk::walk(shared, &force, (&from, &to), &case, &why));
    }
    Ok(why)
}

/// Adds what other firewalls may do to a flow that passes here.
fn warned(shared: &Shared, why: &mut Why, case: &Case) {
    if why.verdict != api::Verdict::Drop && is_forwarded(why, case) {
        let others = firewalls::in_the_way(&shared.foreign.look(), Some(case.source.is_ipv6()));
        why.warnings.extend(others);
    }
}

/// The answer about a pair that no hook is asked about: without a generation, and nothing seen.
fn unasked(
    (from, to): (api::Party, api::Party),
    (asked, v6): (Asked, bool),
    source_port: u16,
    verdict: api::Verdict,
    text: String,
) -> Why {
    let numbers = asked.numbers(v6).or(asked.numbers(!v6));
    let (proto, port) = numbers.unwrap_or((Proto::Other(0), 0));
    Why {
        schema: WHY_SCHEMA.to_owned(),
        generation: 0,
        from,
        to,
        service: Service { protocol: proto.to_string(), port, source_port, text: asked.text() },
        verdict,
        reason: None,
        decided: None,
        rule: None,
        egress_rule: None,
        ingress_rule: None,
        audit: None,
        text,
        near_misses: Vec::new(),
        would_allow: None,
        seen: Seen::default(),
        published: Vec::new(),
        warnings: Vec::new(),
        recorded: None,
        connection: None,
        walk: None,
    }
}

/// What is decided on a way through a published port, for a client's usual source port.
pub(crate) fn way(wanted: &Wanted, names: &Names, way: &planner::Way<'_>) -> api::PublishedWay {
    published::told(wanted, names, way, SOURCE_PORT)
}

/// Whether the host forwards the flow between networks and the world, past every other firewall that it has.
fn is_forwarded(why: &Why, case: &Case) -> bool {
    case.arrives.is_some() || [why.from.kind, why.to.kind].contains(&PartyKind::World)
}

/// Says `world` where the address that stood for it was said.
fn worldly(why: &mut Why, is_source: bool) {
    let party = if is_source { &mut why.from } else { &mut why.to };
    let address = std::mem::replace(&mut party.name, "world".to_owned());
    let plain = |text: &mut String| *text = text.replace(&address, "world");
    plain(&mut why.text);
    for miss in &mut why.near_misses {
        plain(&mut miss.text);
        miss.misses.iter_mut().for_each(plain);
    }
    if let Some(allow) = &mut why.would_allow {
        plain(&mut allow.yaml);
    }
}

/// Finds out where and between which addresses a question is judged; `None` when packets of the one never come to the
/// other.
///
/// # Errors
/// `BH0211` when neither is a workload with a network.
pub(crate) fn case(
    bundle: &Bundle,
    from: &Who,
    to: &Who,
    service: Asked,
    source_port: u16,
) -> Result<Option<Case>, Error> {
    for v6 in [false, true] {
        let Some((proto, port)) = service.numbers(v6) else { continue };
        let Some((network, source, target)) = ends(bundle, from, to, v6)? else { continue };
        let arrives = arrival(bundle, to, network);
        let case = Case { network, arrives, source, target, proto, port, source_port, service };
        return Ok(Some(case));
    }
    Ok(None)
}

/// The network in which a flow that was opened in `network` arrives, when it is another one.
fn arrival(bundle: &Bundle, to: &Who, network: u32) -> Option<u32> {
    let Who::Workload(id) = to else { return None };
    let (router, _) = bundle.attachment(id)?;
    Some(u32::from(router.number)).filter(|number| *number != network)
}

fn ends(
    bundle: &Bundle,
    from: &Who,
    to: &Who,
    v6: bool,
) -> Result<Option<(u32, IpAddr, IpAddr)>, Error> {
    match uplink::ends(bundle, from, to, v6) {
        uplink::Asked::Here(ends) => return Ok(Some(ends)),
        uplink::Asked::NotInThisVersion => return Ok(None),
        uplink::Asked::Elsewhere => {}
    }
    match (from, to) {
        (Who::Address(address), other) if address.is_ipv6() == v6 => {
            let Some((router, at)) = attachment(bundle, other)? else { return Err(nobody()) };
            let own = party::address(at, v6);
            Ok(own.map(|own| (u32::from(router.number), *address, own)))
        }
        (other, Who::Address(address)) if address.is_ipv6() == v6 => {
            let Some((router, at)) = attachment(bundle, other)? else { return Err(nobody()) };
            let own = party::address(at, v6);
            Ok(own.map(|own| (u32::from(router.number), own, *address)))
        }
        (Who::Address(_), _) | (_, Who::Address(_)) => Ok(None),
        _ => meeting(bundle, from, to, v6),
    }
}

fn nobody() -> Error {
    refused(codes::UNKNOWN_PARTY, "neither end is a workload with a network of this host")
}

fn attachment<'b>(
    bundle: &'b Bundle,
    who: &Who,
) -> Result<Option<(&'b Router, &'b planner::Attachment)>, Error> {
    match who {
        Who::Workload(id) => bundle.attachment(id).map(Some).ok_or_else(|| isolated(id)),
        _ => Ok(None),
    }
}

/// Host and world as a workload's network sees them, and workloads that meet in one network or through the host.
fn meeting(
    bundle: &Bundle,
    from: &Who,
    to: &Who,
    v6: bool,
) -> Result<Option<(u32, IpAddr, IpAddr)>, Error> {
    let (source, target) = (attachment(bundle, from)?, attachment(bundle, to)?);
    let found = match (source, target) {
        (Some((router, a)), Some((other, b))) => {
            let open = router.mode == Mode::Routed && other.mode == Mode::Routed;
            let meet = router.number == other.number || open;
            let both = party::address(a, v6).zip(party::address(b, v6)).filter(|_| meet);
            both.map(|(a, b)| (router.number.into(), a, b))
        }
        (Some((router, at)), None) => {
            let far = other(bundle, router, at, to, v6);
            party::address(at, v6).zip(far).map(|(own, far)| (router.number.into(), own, far))
        }
        (None, Some((router, at))) => {
            let far = match from {
                Who::Host | Who::Account(_) => Some(party::transit(&bundle.tables, router, v6)),
                _ => other(bundle, router, at, from, v6),
            };
            party::address(at, v6).zip(far).map(|(own, far)| (router.number.into(), far, own))
        }
        (None, None) => return Err(nobody()),
    };
    Ok(found)
}

/// An address of host or world, as the network of a workload sees it.
fn other(
    bundle: &Bundle,
    router: &Router,
    at: &planner::Attachment,
    who: &Who,
    v6: bool,
) -> Option<IpAddr> {
    match who {
        Who::Host | Who::Account(_) if router.lan.is_some() => {
            Some(party::transit(&bundle.tables, router, v6))
        }
        Who::Host | Who::Account(_) => party::gateway(at, v6),
        _ => Some(party::world(&bundle.tables, router.number, v6)),
    }
}

fn isolated(id: &str) -> Error {
    refused(codes::UNKNOWN_PARTY, format!("{} has no network: its mode is `none`", person(id)))
}

/// Judges a case as the kernel does: where it leaves, and where it arrives if that is another network.
pub(crate) fn judged(bundle: &Bundle, case: &Case) -> Judgement {
    let tables = Judge::new(&bundle.tables);
    let packet = First {
        source: case.source,
        target: case.target,
        proto: case.proto,
        source_port: case.source_port,
        port: case.port,
    };
    let leaving = tables.first(case.network, &packet);
    match case.arrives {
        Some(network) if leaving.verdict != Verdict::Drop => {
            let arriving = tables.first(network, &packet);
            let audited = leaving.verdict == Verdict::Audit && arriving.verdict != Verdict::Drop;
            let decisive = if audited { leaving } else { arriving };
            Judgement { egress_rule: leaving.egress_rule, source: leaving.source, ..decisive }
        }
        _ => leaving,
    }
}

fn told(shared: &Shared, force: &Force, case: &Case) -> Why {
    let why = explained(&force.wanted, &force.names, case);
    Why { generation: force.generation, seen: seen(shared, case), ..why }
}

/// The answer from a document and its tables alone: without a generation, and nothing seen.
fn explained(wanted: &Wanted, names: &Names, case: &Case) -> Why {
    let (bundle, document) = (&wanted.bundle, &wanted.document);
    let judgement = judged(bundle, case);
    let rule = |id: u32| names.rule(RuleId(id)).filter(|_| id != 0);
    let (egress, ingress) = (rule(judgement.egress_rule), rule(judgement.ingress_rule));
    let from = party::end(document, bundle, case.network, case.source);
    let to = party::end(document, bundle, case.arrives.unwrap_or(case.network), case.target);
    let deciding = match judgement.verdict {
        Verdict::Allow => ingress.clone().or_else(|| egress.clone()),
        _ if judgement.ingress => ingress.clone(),
        _ => egress.clone(),
    };
    let judgement =
        Judgement { reason: flow::reason::meant(judgement.reason, deciding.as_ref()), ..judgement };
    let asked = explain::Flow {
        from,
        to,
        proto: case.proto,
        port: case.port,
        source_port: Some(case.source_port),
    };
    let now = Timestamp::now();
    // Of what is dropped before policy is asked, no rule speaks.
    let broadcast = broadcast_of(bundle, case);
    let is_policy =
        broadcast.is_none() && matches!(judgement.reason, Reason::PolicyDeny | Reason::DefaultDeny);
    let misses =
        if is_policy { explain::near_misses(document, &asked, now, NEAREST) } else { Vec::new() };
    let decided = decided(bundle, &judgement);
    let audit = audited(document, &judgement, decided.as_ref(), deciding.as_ref(), now);
    let mut text = words::sentence(&judgement, deciding.as_ref(), audit.as_ref(), (&from, &to));
    if judgement.verdict == Verdict::Drop && judgement.reason == Reason::DefaultDeny {
        text.extend(words::isolated(document, &asked, judgement.ingress));
    }
    let mut why = Why {
        schema: WHY_SCHEMA.to_owned(),
        generation: 0,
        from: party::shown(&from, bundle, case.network, case.source),
        to: party::shown(&to, bundle, case.arrives.unwrap_or(case.network), case.target),
        service: service(case),
        verdict: verdict_of(judgement.verdict),
        reason: reason(judgement.reason),
        decided,
        rule: deciding.as_ref().map(rule_at),
        egress_rule: egress.as_ref().map(rule_at),
        ingress_rule: ingress.as_ref().map(rule_at),
        audit: audit.map(|(place, _)| place.to_string()),
        text,
        near_misses: misses.iter().map(|miss| words::near_miss(miss, judgement.ingress)).collect(),
        would_allow: if is_policy {
            words::would_allow(document, &asked, &judgement, deciding.as_ref())
        } else {
            None
        },
        seen: Seen::default(),
        published: Vec::new(),
        warnings: broadcast.map(|net| words::unheard(case.target, net)).into_iter().collect(),
        recorded: None,
        connection: None,
        walk: None,
    };
    let told = [&mut why.rule, &mut why.egress_rule, &mut why.ingress_rule].into_iter().flatten();
    for rule in told.chain(why.near_misses.iter_mut().map(|miss| &mut miss.rule)) {
        remark(document, rule);
    }
    why
}

/// The subnet whose broadcast address is asked for.
fn broadcast_of(bundle: &Bundle, case: &Case) -> Option<IpNet> {
    let router = bundle.routers.iter().find(|router| u32::from(router.number) == case.network)?;
    let nets = router.gateways.iter().map(IpNet::trunc).chain(router.subnets.iter().copied());
    let mut nets = nets.filter(|net| net.addr().is_ipv4() && net.prefix_len() < 31);
    nets.find(|net| net.broadcast() == case.target)
}

fn verdict_of(verdict: Verdict) -> api::Verdict {
    match verdict {
        Verdict::Allow => api::Verdict::Allow,
        Verdict::Audit => api::Verdict::Audit,
        Verdict::Drop | Verdict::Silent => api::Verdict::Drop,
    }
}

fn service(case: &Case) -> Service {
    Service {
        protocol: case.proto.to_string(),
        port: case.port,
        source_port: case.source_port,
        text: case.service.text(),
    }
}

/// At whose endpoint, in which direction.
fn decided(bundle: &Bundle, judgement: &Judgement) -> Option<Decided> {
    let at_target =
        judgement.ingress || judgement.verdict == Verdict::Allow && judgement.target != 0;
    let (number, direction) = match (at_target, judgement.source, judgement.target) {
        (true, _, target) | (false, 0, target) => (target, "ingress"),
        (false, source, _) => (source, "egress"),
    };
    if number >= UPLINKS {
        return Some(Decided { workload: "host".to_owned(), direction: direction.to_owned() });
    }
    let (_, at) = bundle.endpoint(u16::try_from(number).ok()?)?;
    Some(Decided { workload: at.workload.to_string(), direction: direction.to_owned() })
}

/// The scope whose audit lets pass what would be dropped.
fn audited(
    document: &Document,
    judgement: &Judgement,
    decided: Option<&Decided>,
    rule: Option<&RuleRef>,
    now: Timestamp,
) -> Option<(Place, Audit)> {
    let decided = decided.filter(|_| judgement.verdict == Verdict::Audit)?;
    let direction = if judgement.ingress { Direction::Ingress } else { Direction::Egress };
    Audited::of(document, now)?.by(&decided.workload, direction, rule)
}

/// How often the two were seen with this destination port.
fn seen(shared: &Shared, case: &Case) -> Seen {
    let protocol = Protocol::Ip(case.proto.number());
    let is_same = |record: &Record| {
        let port = record.icmp.map_or(record.target.port, u16::from_be_bytes);
        record.protocol == protocol
            && port == case.port
            && record.source.address == case.source
            && record.target.address == case.target
    };
    let names = shared.force();
    let network = names.and_then(|force| force.names.network(case.network));
    let found = shared.flows().ring.seen(|record| {
        is_same(record) && network.as_ref().is_none_or(|network| *network == record.network)
    });
    Seen { count: found.count, since: found.since.map(moment), last: found.last.map(moment) }
}

#[cfg(test)]
mod tests;
