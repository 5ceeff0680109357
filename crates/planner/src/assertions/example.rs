//! A concrete packet for a flow that breaks a claim, and what both of its ends say of it.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Proto, RuleId, RuleKind};
use verdict::abi::{Addr, HOST_ENDPOINT, Ports, UPLINKS, Verdict};
use verdict::{Judgement, Reason};

use super::ground::Ground;
use super::search::{Seat, Way};
use super::{Counterexample, End, Through, Why, hit};
use crate::published::{Leg, Passage};
use crate::reach::Span;

/// The first port that systems take for themselves (RFC 6335 section 6).
const EPHEMERAL: u16 = 49_152;

/// What the ends of a flow say.
#[derive(Default)]
struct Ends {
    egress: Option<End>,
    ingress: Option<End>,
    dropped: Option<Reason>,
}

/// The packet of a flow that passes.
pub(super) fn passing(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    way: &Way<'_>,
    port: u16,
) -> Option<Counterexample> {
    let span = way.span();
    let (pair, mut example) = packet(ground, (from, to), span, port)?;
    let ends = match way {
        Way::Direct(_) => direct(ground, (from, to), pair, &example),
        Way::Published(passage) => {
            example.source = passage.way.leaves.source;
            example.target = passage.way.enters.target;
            example.through = Some(through(passage));
            published(ground, passage, example.source_port.unwrap_or(EPHEMERAL))
        }
    };
    Some(Counterexample { egress: ends.egress, ingress: ends.ingress, ..example })
}

/// The packet of a flow that does not pass.
pub(super) fn failing(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    missing: Span,
) -> Option<Counterexample> {
    let port = hit(&[], &missing).unwrap_or(missing.ports.0);
    let (pair, mut example) = match packet(ground, (from, to), &missing, port) {
        Some(example) => example,
        // Other versions of IP: told with the addresses that there are.
        None => unlike(ground, (from, to), &missing, port)?,
    };
    let (near, far) = (ground.spots.get(from.spot)?, ground.spots.get(to.spot)?);
    let meet = near.network == far.network || near.routed && far.routed;
    if !meet || !is_alike(pair) {
        return Some(Counterexample { why: Why::NoWay, ..example });
    }
    let ends = direct(ground, (from, to), pair, &example);
    example.why = Why::Dropped(ends.dropped.unwrap_or(Reason::UnknownPeer));
    Some(Counterexample { egress: ends.egress, ingress: ends.ingress, ..example })
}

/// The addresses by which the tables are asked about a packet.
type Pair = (Addr, Addr);

/// Whether both addresses can be of one version; what stands for an address of the host stands for both.
fn is_alike((source, target): Pair) -> bool {
    source.is_v4() == target.is_v4() || source.is_hosted() || target.is_hosted()
}

/// The bare packet; nobody is asked yet.
fn packet(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    span: &Span,
    port: u16,
) -> Option<(Pair, Counterexample)> {
    let (source, target) = (from.place, to.place);
    let v4 = source.v4.zip(target.v4).filter(|_| span.protocol != Proto::Icmp6);
    let v6 = source.v6.zip(target.v6).filter(|_| span.protocol != Proto::Icmp);
    build(ground, (from, to), v4.or(v6)?, span, port)
}

/// The same between ends that have no version of IP in common.
fn unlike(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    span: &Span,
    port: u16,
) -> Option<(Pair, Counterexample)> {
    let one = |seat: Seat| seat.place.v4.or(seat.place.v6);
    build(ground, (from, to), (one(from)?, one(to)?), span, port)
}

fn build(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    (source, target): Pair,
    span: &Span,
    port: u16,
) -> Option<(Pair, Counterexample)> {
    let sources = span.sources.unwrap_or((0, u16::MAX));
    let source_port = if sources.0 <= EPHEMERAL && EPHEMERAL <= sources.1 {
        EPHEMERAL
    } else {
        sources.0.max(1).min(sources.1)
    };
    let example = Counterexample {
        from: ground.spots.get(from.spot)?.party.clone(),
        source: spoken(ground, source, target),
        source_port: span.protocol.transport().map(|_| source_port),
        to: ground.spots.get(to.spot)?.party.clone(),
        target: spoken(ground, target, source),
        protocol: span.protocol,
        port,
        through: None,
        why: Why::Passes,
        egress: None,
        ingress: None,
    };
    Some(((source, target), example))
}

/// The address that a packet has. Where one stands for the host's addresses that is the host's of the other end's version, the
/// unspecified one when it is not known.
fn spoken(ground: &Ground<'_>, addr: Addr, other: Addr) -> IpAddr {
    if !addr.is_hosted() {
        return addr.into();
    }
    let host = ground.bundle.tables.endpoints.get(&HOST_ENDPOINT);
    let host = host.map(|host| if other.is_v4() { host.v4 } else { host.v6 });
    host.unwrap_or(Addr::UNSPECIFIED).into()
}

fn through(passage: &Passage<'_>) -> Through {
    let way = &passage.way;
    Through {
        publish: format!("{}.{}", way.router.tenant, way.publish.name),
        address: way.leaves.target,
        port: way.leaves.port,
    }
}

/// Asks in every network that the packet crosses.
fn direct(
    ground: &Ground<'_>,
    (from, to): (Seat, Seat),
    pair: Pair,
    example: &Counterexample,
) -> Ends {
    let mut ends = Ends::default();
    let mut networks = vec![from.place.network, to.place.network];
    networks.dedup();
    let ports = Ports { source: example.source_port.unwrap_or(0), target: example.port };
    for network in networks {
        let judgement = ground.atlas.judge(network, pair, ports, example.protocol.number());
        ends.add(ground, &judgement);
    }
    ends
}

/// Asks where the packet leaves and where it enters.
fn published(ground: &Ground<'_>, passage: &Passage<'_>, source: u16) -> Ends {
    let mut ends = Ends::default();
    let transport = Proto::from(passage.way.publish.transport).number();
    let mut ask = |leg: &Leg| {
        let ports = Ports { source, target: leg.port };
        let pair = (leg.source.into(), leg.target.into());
        let judgement = ground.atlas.judge(leg.network.into(), pair, ports, transport);
        ends.add(ground, &judgement);
    };
    ask(&passage.way.leaves);
    ask(&passage.way.enters);
    ends
}

impl Ends {
    /// Takes over what one network says.
    fn add(&mut self, ground: &Ground<'_>, judgement: &Judgement) {
        let dropped = judgement.verdict == Verdict::Drop;
        if dropped && self.dropped.is_none() {
            self.dropped = Some(judgement.reason);
        }
        let is_asked = judgement.source != 0 && self.egress.is_none();
        if is_asked {
            let drops = dropped && !judgement.ingress;
            let rule = judgement.egress_rule;
            self.egress = end(ground, judgement.source, 0, rule, drops);
        }
        // After the source's no, nobody asks the target.
        if judgement.target != 0 && (!dropped || judgement.ingress) && self.ingress.is_none() {
            self.ingress = end(ground, judgement.target, 1, judgement.ingress_rule, dropped);
        }
    }
}

fn end(ground: &Ground<'_>, number: u32, direction: usize, rule: u32, drops: bool) -> Option<End> {
    let is_host = (UPLINKS..=HOST_ENDPOINT).contains(&number);
    let workload: Arc<str> = if is_host {
        "host".into()
    } else if let Some(name) = ground.bundle.accounts.name(number) {
        name.into()
    } else {
        ground.bundle.endpoint(u16::try_from(number).ok()?)?.1.workload.clone()
    };
    let left_alone = is_host && ground.left_alone;
    let posture = ground.bundle.tables.endpoints.get(&number)?.posture[0][direction];
    let kind = ground.bundle.rules.get(&RuleId(rule).0).map(|rule| rule.kind);
    let verdict = match (drops, kind) {
        (true, _) => Verdict::Drop,
        (false, Some(RuleKind::Allow)) => Verdict::Allow,
        (false, Some(_)) => Verdict::Audit,
        (false, None) if posture == verdict::abi::Posture::Audit as u8 => Verdict::Audit,
        (false, None) => Verdict::Allow,
    };
    Some(End { workload, verdict, rule, left_alone })
}
