//! The reachability matrix: for every ordered pair what is declared, by the evaluator over the tables in force.

use std::net::IpAddr;
use std::sync::Arc;

use api::{Cell, Error, Matrix, MatrixParty, Verdict, codes};
use model::{Mode, RuleId};
use flow::Resolver as _;
use planner::{Attachment, Bundle, Router};

use crate::fault::refused;
use crate::names::Names;
use crate::shared::Shared;

use super::reach::{Reach, Span, words};
use super::{party, person, rule_at};

/// Most parties that are asked about at once: the answer grows with their square.
const PARTIES: usize = 300;

/// A row and column.
#[derive(Debug, Clone)]
pub(crate) enum Member<'b> {
    /// A workload's endpoint.
    Endpoint(&'b Router, &'b Attachment),
    /// The host itself.
    Host,
    /// Somebody outside.
    World,
}

/// Declared reachability.
///
/// # Errors
/// `BH0216` without a document; `BH0205` for more than 300 workloads.
pub(crate) fn matrix(shared: &Shared) -> Result<Matrix, Error> {
    let force = shared.forced()?;
    let bundle = &force.wanted.bundle;
    let members = members(bundle);
    if members.len() > PARTIES {
        let message = format!("a matrix of {} parties is too large", members.len());
        return Err(refused(codes::BUSY, message).with_hint("ask about pairs: bulkhead why A B tcp/PORT"));
    }
    let reach = Reach::new(&bundle.tables);
    let mut cells = Vec::new();
    for (from, source) in (0_u32..).zip(&members) {
        for (to, target) in (0_u32..).zip(&members) {
            if from != to {
                let spans = between(bundle, &reach, source, target);
                cells.extend(grouped(&spans, &force.names, from, to));
            }
        }
    }
    let parties = members.iter().map(|member| member.shown()).collect();
    Ok(Matrix { generation: force.generation, parties, cells })
}

/// Every workload with an endpoint, then host and world.
pub(crate) fn members(bundle: &Bundle) -> Vec<Member<'_>> {
    let endpoints = bundle.routers.iter().flat_map(|router| {
        router.endpoints.iter().map(move |at| Member::Endpoint(router, at))
    });
    let mut all: Vec<Member<'_>> = endpoints.collect();
    all.sort_by(|a, b| a.id().cmp(&b.id()));
    all.extend([Member::Host, Member::World]);
    all
}

impl Member<'_> {
    /// The workload, `<tenant>.<workload>`.
    pub(crate) fn id(&self) -> Option<Arc<str>> {
        match self {
            Self::Endpoint(_, at) => Some(Arc::clone(&at.workload)),
            Self::Host | Self::World => None,
        }
    }

    /// As a person writes it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Endpoint(_, at) => person(&at.workload),
            Self::Host => "host".to_owned(),
            Self::World => "world".to_owned(),
        }
    }

    fn shown(&self) -> MatrixParty {
        let address = match self {
            Self::Endpoint(_, at) => at.addresses.first().map(|net| net.addr().to_string()),
            Self::Host | Self::World => None,
        };
        MatrixParty {
            name: self.name(),
            workload: self.id().map(|id| id.to_string()),
            address,
        }
    }
}

/// What may pass from one to the other, in the version of IP that both have; nothing when packets of the one never come
/// to the other.
pub(crate) fn between(
    bundle: &Bundle,
    reach: &Reach<'_>,
    source: &Member<'_>,
    target: &Member<'_>,
) -> Vec<Span> {
    let tried = [false, true].into_iter().find_map(|v6| route(bundle, source, target, v6));
    let Some((network, from, to)) = tried else { return Vec::new() };
    let spans = reach.spans(network, from, to);
    spans.into_iter().filter(Span::passes).collect()
}

/// The network in which a flow between two parties is judged, and the addresses it has there.
pub(crate) fn route(
    bundle: &Bundle,
    source: &Member<'_>,
    target: &Member<'_>,
    v6: bool,
) -> Option<(u32, IpAddr, IpAddr)> {
    match (source, target) {
        (Member::Endpoint(router, a), Member::Endpoint(other, b)) => {
            if router.number == other.number {
                return Some((router.number.into(), party::address(a, v6)?, party::address(b, v6)?));
            }
            let open = router.mode == Mode::Routed && other.mode == Mode::Routed;
            let both = (party::address(a, v6)?, party::address(b, v6)?);
            open.then_some((router.number.into(), both.0, both.1))
        }
        (Member::Endpoint(router, at), Member::Host) => {
            Some((router.number.into(), party::address(at, v6)?, party::gateway(at, v6)?))
        }
        (Member::Host, Member::Endpoint(router, at)) => {
            Some((router.number.into(), party::transit(router, v6), party::address(at, v6)?))
        }
        (Member::Endpoint(router, at), Member::World) => {
            let network = u32::from(router.number);
            let world = party::world(&bundle.tables, network, v6);
            Some((network, party::address(at, v6)?, world))
        }
        (Member::World, Member::Endpoint(router, at)) => {
            let network = u32::from(router.number);
            let world = party::world(&bundle.tables, network, v6);
            Some((network, world, party::address(at, v6)?))
        }
        _ => None,
    }
}

/// Blocks that share verdict and rule, as one cell each.
fn grouped(spans: &[Span], names: &Names, from: u32, to: u32) -> Vec<Cell> {
    let key = |span: &Span| (span.judgement.verdict, rule_of(span));
    let mut keys: Vec<_> = Vec::new();
    for span in spans {
        if !keys.contains(&key(span)) {
            keys.push(key(span));
        }
    }
    let cell = |wanted: (verdict::abi::Verdict, u32)| {
        let same: Vec<Span> = spans.iter().filter(|span| key(span) == wanted).copied().collect();
        Cell {
            from,
            to,
            service: words(&same),
            verdict: match wanted.0 {
                verdict::abi::Verdict::Audit => Verdict::Audit,
                _ => Verdict::Allow,
            },
            rule: names.rule(RuleId(wanted.1)).as_ref().map(rule_at),
        }
    };
    keys.into_iter().map(cell).collect()
}

/// The rule to name: the target's before the source's.
pub(crate) fn rule_of(span: &Span) -> u32 {
    match span.judgement.ingress_rule {
        0 => span.judgement.egress_rule,
        rule => rule,
    }
}
