//! B3: does cost grow with the number of rules? Packet and connection rate at 10 to 100,000 rules.
//!
//! The load hits the last rule, or random ones ("cold"). All lanes of one load are interleaved, so
//! a peer's curve and ours come from the same minutes.

use anyhow::Result;

use super::{AnyArm, Run, lane_with};
use crate::arms::{Filter, Ours, Uplink};
use crate::load::{Connects, Datagrams};
use crate::report::Goal;
use crate::rounds::{self, Series};

/// Rows of this module.
pub const ID: &str = "B3";

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

/// One way of holding rules, standing at every size.
struct Family {
    name: &'static str,
    sizes: Vec<(u32, AnyArm)>,
}

/// Runs it.
///
/// # Errors
/// When a peer cannot be set up or gives a wrong verdict.
pub fn run(run: &mut Run) -> Result<()> {
    let sizes: &[u32] =
        if run.quick { &[10, 1_000, 20_000] } else { &[10, 100, 1_000, 10_000, 100_000] };
    eprintln!("{ID}: setting up {sizes:?} rules for every peer");
    let peer =
        |filter: fn(u32) -> Filter| move |n| Ok(Box::new(Uplink::stand(filter(n))?) as AnyArm);
    let mut families = vec![
        family("iptables", sizes, peer(Filter::IptablesLinear))?,
        family("ipset", sizes, peer(Filter::Ipset))?,
        family("nft set", sizes, peer(Filter::NftSet))?,
    ];
    let mut own = Family { name: super::OURS, sizes: Vec::new() };
    for size in sizes {
        match Ours::stand_uplink(*size) {
            Ok(ours) => own.sizes.push((*size, Box::new(ours))),
            Err(cause) => run.report.gap(ID, &format!("bulkhead {size}"), format!("{cause:#}")),
        }
    }
    families.push(own);
    for kind in Kind::ALL {
        one(run, &families, kind)?;
    }
    Ok(())
}

fn family(
    name: &'static str,
    sizes: &[u32],
    stand: impl Fn(u32) -> Result<AnyArm>,
) -> Result<Family> {
    let stand = |n: &u32| Ok((*n, stand(*n)?));
    Ok(Family { name, sizes: sizes.iter().map(stand).collect::<Result<_>>()? })
}

fn one(run: &mut Run, families: &[Family], kind: Kind) -> Result<()> {
    let mut lanes = Vec::new();
    for family in families {
        for (size, arm) in &family.sizes {
            lanes.push(lane_with(arm, |route| match kind {
                Kind::Established => Ok(Box::new(Datagrams::open(route)?)),
                Kind::Connect => Ok(Box::new(Connects::open(route)?)),
                Kind::ConnectCold => Ok(Box::new(Connects::open_cold(route, size - 1)?)),
            })?);
        }
    }
    let mut schedule = run.schedule(9, 15);
    if run.quick {
        schedule.slice /= 2;
    }
    let series = rounds::run(&mut lanes, schedule)?;
    let mut rest = &series[..];
    let mut largest = Vec::new();
    for family in families {
        let (own, others) = rest.split_at(family.sizes.len());
        flatness(run, family.name, own, kind);
        let size = family.sizes.last().map(|(size, _)| *size);
        largest.extend(own.last().filter(|_| size == families[0].sizes.last().map(|(n, _)| *n)));
        rest = others;
    }
    // Ours is the last family; it is missing here when its largest size could not be set up.
    if largest.len() == families.len()
        && let [peers @ .., own] = &largest[..]
    {
        for peer in peers {
            run.report.ratio(ID, kind.unit(), own, peer, Goal::None);
        }
    }
    run.report.series.extend(series.into_iter().map(|s| (format!("{ID} {}", kind.unit()), s)));
    Ok(())
}

/// The largest size against the smallest, of one family.
fn flatness(run: &mut Run, name: &str, own: &[Series], kind: Kind) {
    let [least, .., most] = own else { return };
    let goal = if name == super::OURS { Goal::AtLeast(0.9) } else { Goal::None };
    run.report.ratio(ID, kind.unit(), most, least, goal);
}
