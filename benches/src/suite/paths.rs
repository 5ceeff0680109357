//! B1 and B4: packet rate and connection rate of one path, against the peer and the limits.

use anyhow::Result;

use super::{AnyArm, Run, lane_with};
use crate::arms::{BareVeth, Bridge, Filter};
use crate::load::{Connects, Datagrams, Exchanges, Opener, Stream};
use crate::report::Goal;
use crate::rounds;

/// A load, how it is called and its goals.
struct Path {
    id: &'static str,
    unit: &'static str,
    open: Opener,
    /// Least ratio of ours to the peer.
    over_peer: Goal,
    quick_rounds: usize,
    full_rounds: usize,
}

/// The loads of this family.
const PATHS: &[Path] = &[
    Path {
        id: "B1",
        unit: "udp pps",
        open: |route| Ok(Box::new(Datagrams::open(route)?)),
        over_peer: Goal::AtLeast(1.4),
        quick_rounds: 15,
        full_rounds: 31,
    },
    Path {
        id: "B4",
        unit: "connects/s",
        open: |route| Ok(Box::new(Connects::open(route)?)),
        over_peer: Goal::AtLeast(1.1),
        quick_rounds: 15,
        full_rounds: 31,
    },
    Path {
        id: "RR",
        unit: "tcp exchanges/s",
        open: |route| Ok(Box::new(Exchanges::open(route)?)),
        over_peer: Goal::None,
        quick_rounds: 15,
        full_rounds: 41,
    },
    Path {
        id: "BULK",
        unit: "byte/s",
        open: |route| Ok(Box::new(Stream::open(route)?)),
        over_peer: Goal::None,
        quick_rounds: 5,
        full_rounds: 15,
    },
];

/// Runs the paths that `wanted` names.
///
/// # Errors
/// When an arm cannot be set up or gives a wrong verdict.
pub fn run(run: &mut Run, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    for path in PATHS.iter().filter(|path| wanted(path.id)) {
        eprintln!("{}: {}", path.id, path.unit);
        one(run, path)?;
    }
    Ok(())
}

fn one(run: &mut Run, path: &Path) -> Result<()> {
    let arms: Vec<AnyArm> = vec![
        Box::new(Bridge::stand(Filter::NftLinear(1))?),
        Box::new(Bridge::stand(Filter::NftLinear(1))?),
        Box::new(Bridge::stand(Filter::None)?),
        Box::new(BareVeth::stand()?),
    ];
    let mut lanes = Vec::new();
    for arm in &arms {
        lanes.push(lane_with(arm, path.open)?);
    }
    let series = rounds::run(&mut lanes, run.schedule(path.quick_rounds, path.full_rounds))?;
    let [peer, again, plain, bare] = &series[..] else { return Ok(()) };
    run.report.ratio(path.id, path.unit, again, peer, Goal::Same);
    run.report.ratio(path.id, path.unit, peer, plain, Goal::None);
    run.report.ratio(path.id, path.unit, peer, bare, Goal::None);
    run.report.series.extend(series.into_iter().map(|s| (path.id.to_owned(), s)));
    Ok(())
}
