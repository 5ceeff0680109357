//! B3: does cost grow with the number of rules? Packet and connection rate at 10 to 100,000 rules.
//!
//! Rules are by address range, by identity and by range of ports ([`Shape`]). The load hits the last rule, or
//! random ones ("cold"). All lanes of one load are interleaved, so a peer's curve and ours come from the same
//! minutes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{AnyArm, Run};
use crate::arm::{verify, verify_rules};
use crate::arms::shape::IDENTITIES;
use crate::arms::{Bridge, Filter, Ours, Rules, Shape, Uplink};
use crate::load::{Connects, Datagrams};
use crate::report::Goal;
use crate::rounds::{self, Lane, Schedule, Series};

/// Rows of this module.
pub const ID: &str = "B3";
/// The most rules may cost this much of the rate at the fewest.
const FLAT: Goal = Goal::AtLeast(0.9);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Established,
    Connect,
    ConnectCold,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Established, Self::Connect, Self::ConnectCold];

    fn unit(self) -> &'static str {
        match self {
            Self::Established => "udp pps, established",
            Self::Connect => "connects/s, last rule",
            Self::ConnectCold => "connects/s, random rules",
        }
    }
}

/// One way of holding rules, standing at some sizes, the smallest first.
struct Family {
    sizes: Vec<(Rules, AnyArm)>,
}

/// A peer that holds these rules.
type Peer = fn(Rules) -> Filter;

/// Everything that stands for one shape.
struct Field {
    own: Family,
    /// Ours at its smallest size once more: the two must not differ.
    again: Family,
    /// The same path without a filter: what random targets cost by themselves.
    limit: Family,
    peers: Vec<Family>,
}

/// Runs it.
///
/// # Errors
/// When an arm gives a wrong verdict or a load fails.
pub fn run(run: &mut Run) -> Result<()> {
    for shape in Shape::SCALED {
        let name = shape.name();
        eprintln!("{ID}: setting up rules of kind {name} for everyone");
        match Field::stand(run, shape) {
            Ok(field) => {
                field.verify().context("check verdicts")?;
                for kind in Kind::ALL {
                    one(run, &field, kind)?;
                }
            }
            Err(cause) => {
                run.report.gap(ID, &format!("rules of kind {name}"), format!("{cause:#}"));
            }
        }
    }
    Ok(())
}

impl Field {
    /// A peer that cannot be set up is a gap in the report; ours and the limit must stand.
    fn stand(run: &mut Run, shape: Shape) -> Result<Self> {
        let sizes: &[u32] =
            if run.quick { &[10, 10_000] } else { &[10, 100, 1_000, 10_000, 100_000] };
        let ends: &[u32] = if run.quick { &sizes[1..] } else { &[10, 100_000] };
        let ours = |rules| Ok(Box::new(Ours::stand_rules(rules)?) as AnyArm);
        let peer = |filter| stand_peer(shape, filter);
        let mut peers = Vec::new();
        let filters: [(&str, Peer); 3] = [
            ("iptables", Filter::IptablesLinear),
            ("ipset", Filter::Ipset),
            ("nft set", Filter::NftSet),
        ];
        for (name, filter) in filters {
            match Family::stand(shape, ends, |rules| peer(filter(rules))) {
                Ok(family) => peers.push(family),
                Err(cause) => {
                    run.report.gap(ID, &format!("{name}, {}", shape.name()), format!("{cause:#}"));
                }
            }
        }
        Ok(Self {
            own: Family::stand(shape, sizes, ours)?,
            again: Family::stand(shape, &sizes[..1], ours)?,
            limit: Family::stand(shape, &[sizes[0], sizes[sizes.len() - 1]], |_| {
                peer(Filter::None)
            })?,
            peers,
        })
    }

    fn families(&self) -> impl Iterator<Item = &Family> {
        [&self.own, &self.again, &self.limit].into_iter().chain(&self.peers)
    }

    /// Probes all arms, side by side: a denied probe waits for what must not come.
    fn verify(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let arms = self.families().flat_map(|family| &family.sizes);
            let probes: Vec<_> = arms
                .map(|(rules, arm)| {
                    scope.spawn(|| {
                        verify(arm.as_ref())?;
                        verify_rules(arm.as_ref(), *rules)
                    })
                })
                .collect();
            let joined = probes
                .into_iter()
                .map(|probe| probe.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect()
        })
    }
}

impl Family {
    fn stand(shape: Shape, sizes: &[u32], stand: impl Fn(Rules) -> Result<AnyArm>) -> Result<Self> {
        let stand = |count: &u32| {
            let rules = Rules { shape, count: *count };
            Ok((rules, stand(rules)?))
        };
        Ok(Self { sizes: sizes.iter().map(stand).collect::<Result<_>>()? })
    }
}

/// The path that packets take to what the rules are about: over a bridge to workloads, over a router to the world.
fn stand_peer(shape: Shape, filter: Filter) -> Result<AnyArm> {
    match shape {
        Shape::Identity => Ok(Box::new(Bridge::stand_among(filter, IDENTITIES)?)),
        _ => Ok(Box::new(Uplink::stand(filter)?)),
    }
}

fn lane(rules: Rules, arm: &AnyArm, kind: Kind) -> Result<Lane> {
    let route = arm.route();
    let load: super::OpenLoad = match kind {
        Kind::Established => Box::new(Datagrams::open(route)?),
        Kind::Connect => Box::new(Connects::open(route)?),
        Kind::ConnectCold => Box::new(Connects::open_cold(arm.as_ref(), rules)?),
    };
    // The limit is the same at every size, but for the targets of its load.
    let label =
        if arm.enforces() { arm.name().to_owned() } else { format!("{} {rules}", arm.name()) };
    Ok(Lane::over(route, label, load))
}

fn one(run: &mut Run, field: &Field, kind: Kind) -> Result<()> {
    let arms = field.families().flat_map(|family| &family.sizes);
    let lanes: Result<Vec<_>> = arms.map(|(rules, arm)| lane(*rules, arm, kind)).collect();
    let (millis, rounds) = if run.quick { (50, 4) } else { (200, 15) };
    let slice = Duration::from_millis(millis);
    let series = rounds::run(&mut lanes?, Schedule { slice, rounds, cpu: run.cpu })?;
    judge(run, field, kind, &series);
    run.report.series.extend(series.into_iter().map(|s| (format!("{ID} {}", kind.unit()), s)));
    Ok(())
}

/// Ours at every size against its smallest, then everyone at the largest.
fn judge(run: &mut Run, field: &Field, kind: Kind, series: &[Series]) {
    let mut rest = series;
    let mut next = |family: &Family| {
        let (own, others) = rest.split_at(family.sizes.len());
        rest = others;
        own
    };
    let (own, again, limit) = (next(&field.own), next(&field.again), next(&field.limit));
    let ([least, more @ ..], [again], [few, many]) = (own, again, limit) else { return };
    let unit = kind.unit();
    run.report.ratio(ID, unit, again, least, Goal::Same);
    run.report.ratio(ID, unit, least, few, Goal::None);
    run.report.ratio(ID, unit, many, few, Goal::None);
    let Some((most, between)) = more.split_last() else { return };
    for size in between {
        run.report.ratio(ID, unit, size, least, Goal::None);
    }
    run.report.ratio(ID, unit, most, least, FLAT);
    for peer in &field.peers {
        let peer = next(peer);
        if let [least, .., most] = peer {
            run.report.ratio(ID, unit, most, least, Goal::None);
        }
        if let Some(theirs) = peer.last() {
            run.report.ratio(ID, unit, most, theirs, Goal::None);
        }
    }
}
