//! MODES: what each mode of a network costs, by one method.
//!
//! One workload, one server, one allowed port range; throughput, round trips, connections and the objects that the kernel holds for it.
//! Every mode is compared with `nat`, as in the table that people know: NAT against bridge against hybrid.

use anyhow::Result;
use testkit::Namespace;

use super::{AnyArm, Run, lane_with};
use crate::arms::{Filter, Ours, Uplink};
use crate::load::{Connects, Exchanges, Opener, Stream};
use crate::report::Goal;
use crate::rounds as interleaved;

/// Row of this module.
pub const ID: &str = "MODES";
/// The modes that have a way to somebody; `none` has none. A hybrid speaks over its internal interface, and has a public one.
const MODES: [&str; 4] = ["nat", "bridge", "routed", "hybrid"];
/// What is measured: its unit, how it is opened, rounds.
const LOADS: [(&str, Opener, usize); 3] = [
    ("byte/s", |route| Ok(Box::new(Stream::open(route)?)), 15),
    ("tcp exchanges/s", |route| Ok(Box::new(Exchanges::open(route)?)), 41),
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
    for mode in MODES {
        let arm = Ours::stand_mode(mode)?;
        let objects = objects(&arm)?;
        let what = format!("{mode}: kernel objects for the first workload");
        let note =
            "links, addresses, routes and nft rules, of the host and of the network's router";
        run.report.single(ID, &what, objects, Goal::None, note);
        arms.push(Box::new(arm));
    }
    arms.push(Box::new(Uplink::stand(Filter::None)?));
    for (unit, open, rounds) in LOADS {
        let lanes: Result<Vec<_>> = arms.iter().map(|arm| lane_with(arm, open)).collect();
        let series = interleaved::run(&mut lanes?, run.schedule(rounds, rounds))?;
        if let [nat, others @ ..] = &series[..] {
            for other in others {
                run.report.ratio(ID, unit, other, nat, Goal::None);
            }
        }
        run.report.series.extend(series.into_iter().map(|each| (ID.to_owned(), each)));
    }
    Ok(())
}

/// How many objects the kernel holds at the host and in the router.
fn objects(arm: &Ours) -> Result<f64> {
    let spaces: [Namespace; 2] = [arm.bulkhead().host().clone(), arm.router()?];
    let mut count = 0;
    for space in &spaces {
        for argv in [
            &["ip", "-o", "link"][..],
            &["ip", "-o", "address"],
            &["ip", "route"],
            &["ip", "-6", "route"],
            &["nft", "-s", "list", "ruleset"],
        ] {
            let done = space.check(argv)?;
            count += match argv[0] {
                "nft" => done.stdout.lines().filter(|line| line.starts_with("\t\t")).count(),
                _ => done.stdout.lines().count(),
            };
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "dozens")]
    let count = count as f64;
    Ok(count)
}
