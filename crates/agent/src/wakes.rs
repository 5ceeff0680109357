//! Hears from the kernel when somebody changes our nftables table on the host, and tells the keeper at once.
//!
//! **Failure.** Without it the drift timer finds what was changed, up to ten seconds later; that is a warning in the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::linux::nft::monitor::Monitor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::fault::sentence;
use crate::shared::Shared;

/// How often is looked whether the agent ends.
const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// After an answer that makes no sense.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until `stop` is set, in the network namespace of the calling thread.
pub(crate) fn run(shared: &Shared, stop: &AtomicBool) {
    let mut monitor = match Monitor::open() {
        Ok(monitor) => monitor,
        Err(error) => {
            tracing::warn!(
                "changes of nftables by others are found by the timer alone: {}",
                sentence(&error)
            );
            return;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&monitor, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&INTERVAL)), Ok(1..)) {
            continue;
        }
        match monitor.read() {
            Ok(Some(touch)) => shared.commands.touched(touch),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("hear of changes of nftables: {}", sentence(&error));
                std::thread::park_timeout(PAUSE);
            }
        }
    }
}
