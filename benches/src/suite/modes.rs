//! MODES: what each mode of a network costs, by one method.
//!
//! One workload, one server, one allowed port range; throughput, round trips, connections and the objects that the kernel holds for it.
//! Every mode is compared with `nat`, as in the table that people know, NAT against bridge against hybrid, and with the same way without anything that
//! judges.

use anyhow::Result;

use super::{AnyArm, Run, lane_with};
use crate::arms::{Bridge, Filter, InMode, Mode, Uplink};
use crate::load::{Connects, Exchanges, Opener, Stream};
use crate::report::Goal;
use crate::rounds as interleaved;

/// Row of this module.
pub const ID: &str = "MODES";
/// What is measured: its unit, how it is opened, rounds.
const LOADS: [(&str, Opener, usize); 3] = [
    ("byte/s", |route| Ok(Box::new(Stream::open(route)?)), 11),
    ("tcp exchanges/s", |route| Ok(Box::new(Exchanges::open(route)?)), 31),
    ("connects/s", |route| Ok(Box::new(Connects::open(route)?)), 31),
];

/// Runs it.
///
/// # Errors
/// When an arm cannot be set up or gives a wrong verdict.
pub fn run(run: &mut Run) -> Result<()> {
    if run.quick {
        // Part of the full list: nothing in it has a goal.
        return Ok(());
    }
    measure(run)
}

fn measure(run: &mut Run) -> Result<()> {
    eprintln!("{ID}: one method for every mode");
    let mut arms: Vec<AnyArm> = Vec::new();
    // Which of the arms without a filter has the same way.
    let mut limits: Vec<Limit> = Vec::new();
    for mode in Mode::ALL {
        let arm = match InMode::stand(mode) {
            Ok(arm) => arm,
            Err(cause) => {
                run.report.gap(ID, mode.name(), format!("{cause:#}"));
                continue;
            }
        };
        let what = format!("{}: kernel objects for the first workload", mode.name());
        let note =
            "links, addresses, routes and nft rules that came with it, of the host and of routers";
        #[expect(clippy::cast_precision_loss, reason = "dozens")]
        let objects = arm.objects() as f64;
        run.report.single(ID, &what, objects, Goal::None, note);
        limits.push(Limit::of(mode));
        arms.push(Box::new(arm));
    }
    arms.push(Box::new(Uplink::stand(Filter::None)?));
    arms.push(Box::new(Uplink::stand_host()?));
    arms.push(Box::new(Bridge::stand(Filter::None)?));
    for (unit, open, rounds) in LOADS {
        let lanes: Result<Vec<_>> = arms.iter().map(|arm| lane_with(arm, open)).collect();
        let series = interleaved::run(&mut lanes?, run.schedule(rounds, rounds))?;
        let [modes @ .., through, own, beside] = &series[..] else { continue };
        for (mode, limit) in modes.iter().zip(&limits) {
            let limit = match limit {
                Limit::Through => through,
                Limit::Own => own,
                Limit::Beside => beside,
            };
            run.report.ratio(ID, unit, mode, limit, Goal::None);
        }
        if let [nat, others @ ..] = modes {
            for other in others {
                run.report.ratio(ID, unit, other, nat, Goal::None);
            }
        }
        run.report.series.extend(series.into_iter().map(|each| (ID.to_owned(), each)));
    }
    Ok(())
}

/// The way of a mode without anything that judges.
#[derive(Clone, Copy)]
enum Limit {
    /// Through a routing host.
    Through,
    /// From the host itself.
    Own,
    /// To a neighbour on a bridge.
    Beside,
}

impl Limit {
    const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Host => Self::Own,
            mode if mode.is_to_world() => Self::Through,
            _ => Self::Beside,
        }
    }
}
