//! B1 and B4: packet rate and connection rate of one path, against the peer and the limits.

use anyhow::Result;

use super::{AnyArm, Run, lane_with};
use crate::arms::{BareVeth, Bridge, Filter, Ours, Redirect, Rules};
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
    /// Least ratio of ours to a redirect without a verdict.
    over_redirect: Goal,
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
        over_redirect: Goal::AtLeast(0.9),
        quick_rounds: 15,
        full_rounds: 31,
    },
    Path {
        id: "B4",
        unit: "connects/s",
        open: |route| Ok(Box::new(Connects::open(route)?)),
        over_peer: Goal::AtLeast(1.1),
        over_redirect: Goal::None,
        quick_rounds: 15,
        full_rounds: 31,
    },
    Path {
        id: "RR",
        unit: "tcp exchanges/s",
        open: |route| Ok(Box::new(Exchanges::open(route)?)),
        over_peer: Goal::None,
        over_redirect: Goal::None,
        quick_rounds: 15,
        full_rounds: 41,
    },
    Path {
        id: "BULK",
        unit: "byte/s",
        open: |route| Ok(Box::new(Stream::open(route)?)),
        over_peer: Goal::None,
        over_redirect: Goal::None,
        quick_rounds: 5,
        full_rounds: 15,
    },
];

/// Runs the paths that `wanted` names; in quick mode only those with a goal.
///
/// # Errors
/// When an arm cannot be set up or gives a wrong verdict.
pub fn run(run: &mut Run, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let quick = run.quick;
    let is_in = |path: &&Path| wanted(path.id) && (!quick || path.over_peer != Goal::None);
    for path in PATHS.iter().filter(is_in) {
        eprintln!("{}: {}", path.id, path.unit);
        one(run, path)?;
    }
    Ok(())
}

fn one(run: &mut Run, path: &Path) -> Result<()> {
    let mut lanes = Vec::new();
    let mut arms: Vec<AnyArm> = vec![
        Box::new(Bridge::stand(Filter::NftLinear(Rules::ONE))?),
        Box::new(Bridge::stand(Filter::NftLinear(Rules::ONE))?),
        Box::new(Bridge::stand(Filter::None)?),
        Box::new(BareVeth::stand()?),
    ];
    ours(run, path.id, &mut arms);
    for arm in &arms {
        lanes.push(lane_with(arm, path.open)?);
    }
    let series = rounds::run(&mut lanes, run.schedule(path.quick_rounds, path.full_rounds))?;
    let [peer, again, plain, bare, rest @ ..] = &series[..] else { return Ok(()) };
    let report = &mut run.report;
    report.ratio(path.id, path.unit, again, peer, Goal::Same);
    report.ratio(path.id, path.unit, peer, plain, Goal::None);
    report.ratio(path.id, path.unit, peer, bare, Goal::None);
    if let [own, same @ ..] = rest {
        report.ratio(path.id, path.unit, own, peer, path.over_peer);
        report.ratio(path.id, path.unit, own, bare, Goal::None);
        if let [redirect] = same {
            report.ratio(path.id, path.unit, own, redirect, path.over_redirect);
            report.ratio(path.id, path.unit, redirect, bare, Goal::None);
        }
    }
    report.series.extend(series.into_iter().map(|s| (path.id.to_owned(), s)));
    Ok(())
}

/// Our arm, and the limit that needs a program of ours; a gap in the report where one is missing.
fn ours(run: &mut Run, id: &str, arms: &mut Vec<AnyArm>) {
    let own = match Ours::stand() {
        Ok(own) => own,
        Err(cause) => return run.report.gap(id, "bulkhead", format!("{cause:#}")),
    };
    let redirect = own.pinned_program("redirect_peer").and_then(|pin| Redirect::stand(&pin));
    arms.push(Box::new(own));
    match redirect {
        Ok(redirect) => arms.push(Box::new(redirect)),
        Err(cause) => run.report.gap(id, "redirect_peer without a verdict", format!("{cause:#}")),
    }
}
