//! The benchmarks, one module a row (or a family of rows) of the list.

pub mod apply;
pub mod attach;
pub mod modes;
pub mod paths;
pub mod plan;
pub mod program;
pub mod reach;
pub mod replay;
pub mod revoke;
pub mod runtimes;
pub mod scale;
pub mod survive;

use anyhow::Result;

use crate::arm::{Arm, verify};
use crate::load::Load;
use crate::report::Report;
use crate::rounds::{Lane, Schedule};

/// What a suite gets to work with.
#[derive(Debug)]
pub struct Run {
    /// Where results go.
    pub report: Report,
    /// True for the whole list within three minutes.
    pub quick: bool,
    /// CPU of the load.
    pub cpu: usize,
}

impl Run {
    /// Slices and rounds of this mode; exchanges need more pairs.
    #[must_use]
    pub fn schedule(&self, quick_rounds: usize, full_rounds: usize) -> Schedule {
        let (millis, rounds) = if self.quick { (200, quick_rounds) } else { (500, full_rounds) };
        Schedule { slice: std::time::Duration::from_millis(millis), rounds, cpu: self.cpu }
    }
}

/// A boxed arm.
pub type AnyArm = Box<dyn Arm>;

/// How tables call our own arm.
pub const OURS: &str = "bulkhead";

/// A load that is open.
pub type OpenLoad = Box<dyn Load + Send>;

/// Checks an arm's verdicts and opens a load over it.
///
/// # Errors
/// When a verdict is wrong (the run is void) or the load cannot be opened.
pub fn lane_with(
    arm: &AnyArm,
    open: impl FnOnce(&crate::arm::Route) -> Result<OpenLoad>,
) -> Result<Lane> {
    verify(arm.as_ref())?;
    let route = arm.route();
    Ok(Lane::over(route, arm.name().to_owned(), open(route)?))
}

/// Whether a socket with a read timeout had nothing to read.
fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
