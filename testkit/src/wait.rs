//! Waiting for a condition with a deadline: what tests use where others would sleep.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long one look at the condition is apart from the next.
const STEP: Duration = Duration::from_millis(2);

/// Calls `probe` until it gives a value; an error that names `what` after `deadline`.
///
/// # Errors
/// When the deadline passes first.
#[expect(clippy::disallowed_methods, reason = "the one place that polls")]
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("gave up after {deadline:?} waiting for {what}");
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When the deadline passes first.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, deadline, || condition().then_some(()))
}
