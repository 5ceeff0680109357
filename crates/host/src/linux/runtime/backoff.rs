//! How long to wait before a workload is started again: 0.1 s, doubled at every failure up to 30 s, forgotten after it
//! ran for 10 s.

use std::time::Duration;

use super::Restart;
use super::state::Exit;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
const STEADY: Duration = Duration::from_secs(10);

/// The pauses of one workload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after a run of `ran`.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// Whether the policy starts a workload again after `exit`; `None` is a start that failed.
pub(super) fn wants_restart(policy: Restart, exit: Option<&Exit>) -> bool {
    match policy {
        Restart::Always => true,
        Restart::OnFailure => exit.is_none_or(Exit::is_failure),
        Restart::No => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_are_forgotten() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..11).map(|_| backoff.after(quick).as_millis()).collect();
        let doubled = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
        assert_eq!(pauses, doubled);
        assert_eq!(backoff.after(Duration::from_secs(10)), FIRST);
        assert_eq!(backoff.after(quick), FIRST * 2);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.after(Duration::ZERO), LONGEST);
    }

    #[test]
    fn policies_read_the_exit() {
        let exit = |code, signal| Exit { code, signal, at_ms: 0 };
        let (fine, bad, killed) = (exit(Some(0), None), exit(Some(3), None), exit(None, Some(9)));
        assert!(wants_restart(Restart::Always, Some(&fine)));
        assert!(!wants_restart(Restart::OnFailure, Some(&fine)));
        assert!(wants_restart(Restart::OnFailure, Some(&bad)));
        assert!(wants_restart(Restart::OnFailure, Some(&killed)));
        assert!(wants_restart(Restart::OnFailure, None));
        assert!(!wants_restart(Restart::No, Some(&killed)));
    }
}
