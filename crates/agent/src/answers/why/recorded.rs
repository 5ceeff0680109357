//! The answer about a flow record: what was decided then, and what would be decided now for the same addresses and ports.

use std::sync::Arc;

use api::{Error, Why, WhyRequest, codes};
use flow::{Filter, Protocol, Record};

use crate::answers::flows;
use crate::answers::party::Who;
use crate::answers::service::Asked;
use crate::fault::refused;
use crate::force::Force;
use crate::shared::Shared;

use super::{Case, arrival, connection, told, walk, warned};

/// Answers about the record with this number.
///
/// # Errors
/// `BH0240` when there is no such record any more, or none that can be judged; `BH0204` when a pair is asked about too.
pub(super) fn why(
    shared: &Shared,
    force: &Force,
    number: u64,
    request: &WhyRequest,
) -> Result<Why, Error> {
    let is_pair =
        [&request.from, &request.to, &request.service].iter().any(|text| !text.is_empty());
    if is_pair || request.source_port.is_some() {
        let message = "a flow record or a pair is asked about, not both";
        return Err(refused(codes::BAD_REQUEST, message));
    }
    let record = find(shared, number)?;
    let (case, from, to) = case(force, &record)?;
    let mut why = told(shared, force, &case);
    warned(shared, &mut why, &case);
    why.connection = connection::find(shared, force, &case);
    if request.walk {
        why.walk = Some(walk::walk(shared, force, (&from, &to), &case, &why));
    }
    why.recorded = Some(flows::shown(&record));
    Ok(why)
}

fn find(shared: &Shared, number: u64) -> Result<Arc<Record>, Error> {
    let before = number.saturating_sub(1);
    let found = shared.flows().ring.after(before, &Filter::default(), 1);
    let found = found.into_iter().find(|record| record.number == number && number > 0);
    found.ok_or_else(|| {
        let newest = shared.flows().ring.last_number();
        refused(codes::NO_FLOW, format!("there is no flow record {number}"))
            .with_hint(format!("the newest one is {newest}: bulkhead observe"))
    })
}

/// The question that a record asks.
fn case(force: &Force, record: &Record) -> Result<(Case, Who, Who), Error> {
    let cannot = |why: &str| {
        let hint = "its own line says what was decided: bulkhead observe";
        refused(codes::NO_FLOW, format!("flow record {}: {why}", record.number)).with_hint(hint)
    };
    let bundle = &force.wanted.bundle;
    let is_network = |router: &&planner::Router| {
        record.network.split_once('.') == Some((router.tenant.as_str(), router.name.as_str()))
    };
    let router = bundle.routers.iter().find(is_network);
    let router = router
        .ok_or_else(|| cannot(&format!("there is no network {} any more", record.network)))?;
    let Protocol::Ip(protocol) = record.protocol else {
        return Err(cannot("it is about a frame that no rule is asked about"));
    };
    let service = match (protocol, record.icmp) {
        (6, _) => format!("tcp/{}", record.target.port),
        (17, _) => format!("udp/{}", record.target.port),
        (132, _) => format!("sctp/{}", record.target.port),
        (1, Some([kind, code])) => format!("icmp/{kind}/{code}"),
        (58, Some([kind, code])) => format!("icmp6/{kind}/{code}"),
        _ => return Err(cannot(&format!("protocol {protocol} has no ports to ask about"))),
    };
    let service = Asked::parse(&service)?;
    let (source, target) = (record.source.address, record.target.address);
    let numbers = service.numbers(source.is_ipv6());
    let (proto, port) = numbers.ok_or_else(|| cannot("its protocol and addresses do not fit"))?;
    let who = |end: &flow::End| match &end.workload {
        Some(id) if bundle.attachment(id).is_some() => Who::Workload(Arc::clone(id)),
        _ => Who::Address(end.address),
    };
    let (from, to) = (who(&record.source), who(&record.target));
    let network = u32::from(router.number);
    let arrives = arrival(bundle, &to, network);
    let source_port = record.source.port;
    let case = Case { network, arrives, source, target, proto, port, source_port, service };
    Ok((case, from, to))
}
