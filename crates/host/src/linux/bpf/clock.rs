//! The kernel's jiffies: the clock that flows and reports are stamped with.
//!
//! The programs read jiffies because a finer clock would cost them more than everything else. How
//! fast they run depends on how the kernel was built and is nowhere told; but they begin at
//! `-300 * HZ` at boot and follow the monotonic clock (include/linux/jiffies.h), so one look at both
//! clocks tells. Where it does not, they are watched for a while.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Error;

/// Rates that kernels are built with, in ticks a second.
const RATES: [u32; 8] = [100, 128, 200, 250, 256, 300, 1000, 1024];
/// How far apart the clocks may be soon after boot, in milliseconds.
const TOLERANCE_MS: u64 = 250;
/// How far apart they may be later, as a part of the time since boot: the monotonic clock is slewed
/// to real time and a guest loses ticks, but two rates are never nearer than 1 in 42.
const TOLERANCE_PART: u128 = 200;
/// How long jiffies are watched when one look does not tell.
const WATCH: Duration = Duration::from_secs(2);

/// Turns jiffies into time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks a second.
    pub hz: u32,
    /// The monotonic clock and jiffies at one moment.
    anchor: (Duration, u32),
}

impl Clock {
    /// Finds out the rate; `read` returns jiffies.
    pub(super) fn new(mut read: impl FnMut() -> Result<u32, Error>) -> Result<Self, Error> {
        let mut look = || Ok::<_, Error>((monotonic(), read()?));
        let anchor = look()?;
        if let Some(hz) = RATES.into_iter().find(|hz| fits(*hz, anchor)) {
            return Ok(Self { hz, anchor });
        }
        let began = Instant::now();
        let mut last = look()?;
        while began.elapsed() < WATCH {
            last = look()?;
        }
        let hz = rate(anchor, last).ok_or(Error::Clock)?;
        Ok(Self { hz, anchor: last })
    }

    /// The same rate from a new look at both clocks: they drift apart by seconds a day.
    pub(super) fn again(self, mut read: impl FnMut() -> Result<u32, Error>) -> Result<Self, Error> {
        Ok(Self { hz: self.hz, anchor: (monotonic(), read()?) })
    }

    /// Jiffies now, without asking the kernel's programs; at most a few ticks off.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.at(monotonic())
    }

    /// Jiffies at a moment of the monotonic clock.
    #[must_use]
    pub fn at(&self, moment: Duration) -> u32 {
        let (then, jiffies) = self.anchor;
        let (later, gap) = match moment.checked_sub(then) {
            Some(gap) => (true, gap),
            None => (false, then.saturating_sub(moment)),
        };
        let ticks = self.ticks(gap);
        if later { jiffies.wrapping_add(ticks) } else { jiffies.wrapping_sub(ticks) }
    }

    /// How long ago a stamp was taken; zero for one that lies ahead.
    #[must_use]
    pub fn age(&self, jiffies: u32) -> Duration {
        let ticks = self.now().wrapping_sub(jiffies);
        if ticks > u32::MAX / 2 { Duration::ZERO } else { self.duration(ticks) }
    }

    /// How long so many ticks last.
    #[must_use]
    pub fn duration(&self, ticks: u32) -> Duration {
        Duration::from_millis(u64::from(ticks) * 1000 / u64::from(self.hz))
    }

    /// How many ticks a duration lasts, the low 32 bits.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "jiffies wrap as the kernel's do")]
    pub fn ticks(&self, duration: Duration) -> u32 {
        (duration.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u32
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Whether jiffies at this rate would show what they show.
fn fits(hz: u32, (moment, jiffies): (Duration, u32)) -> bool {
    let clock = Clock { hz, anchor: (Duration::ZERO, (300 * hz).wrapping_neg()) };
    let gap = clock.at(moment).wrapping_sub(jiffies).cast_signed().unsigned_abs();
    let tolerance = u128::from(TOLERANCE_MS).max(moment.as_millis() / TOLERANCE_PART);
    u128::from(gap) * 1000 <= tolerance * u128::from(hz)
}

/// The known rate nearest to what was watched, if one is near.
fn rate(first: (Duration, u32), last: (Duration, u32)) -> Option<u32> {
    let ticks = u128::from(last.1.wrapping_sub(first.1));
    let nanos = last.0.checked_sub(first.0)?.as_nanos().max(1);
    let hz = u32::try_from(ticks * 1_000_000_000 / nanos).ok()?;
    let nearest = RATES.into_iter().min_by_key(|rate| rate.abs_diff(hz))?;
    (nearest.abs_diff(hz) * 20 <= nearest).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_tells_the_rate() {
        let day = Duration::from_hours(24);
        for hz in [100, 250, 1000] {
            let kernel = Clock { hz, anchor: (Duration::ZERO, (300 * hz).wrapping_neg()) };
            let clock = Clock::new(|| Ok(kernel.now())).expect("a rate that is known");
            assert_eq!(clock.hz, hz);
            assert_eq!(clock.ticks(day), 86_400 * hz);
        }
    }

    #[test]
    fn clocks_that_drifted_apart_still_tell_the_rate() {
        let moment = Duration::from_hours(3);
        for hz in RATES {
            let kernel = Clock { hz, anchor: (Duration::ZERO, (300 * hz).wrapping_neg()) };
            for drift in [Duration::ZERO, Duration::from_secs(9)] {
                let jiffies = kernel.at(moment.saturating_sub(drift));
                let fitting: Vec<u32> =
                    RATES.into_iter().filter(|rate| fits(*rate, (moment, jiffies))).collect();
                assert_eq!(fitting, [hz], "after a drift of {drift:?}");
            }
        }
    }

    #[test]
    fn jiffies_that_lie_ahead_have_no_age() {
        let clock = Clock { hz: 250, anchor: (monotonic(), 1000) };
        assert_eq!(clock.age(clock.now().wrapping_add(500)), Duration::ZERO);
        assert_eq!(clock.duration(500), Duration::from_secs(2));
    }
}
