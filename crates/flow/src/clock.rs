//! The kernel's jiffies to wall clock time.

use jiff::{SignedDuration, Timestamp};

/// One moment in both clocks. The agent takes a new one for every batch of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The low 32 bits of the kernel's jiffies at [`Clock::wall`].
    pub jiffies: u32,
    /// The wall clock at [`Clock::jiffies`].
    pub wall: Timestamp,
    /// Jiffies in a second: the kernel's `CONFIG_HZ`.
    pub per_second: u32,
}

impl Clock {
    /// The wall clock at another jiffy, up to 2³¹ jiffies (at 1000 Hz 24 days) away in both directions.
    #[must_use]
    pub fn at(&self, jiffies: u32) -> Timestamp {
        let away = i64::from(jiffies.wrapping_sub(self.jiffies).cast_signed());
        let per_second = i64::from(self.per_second.max(1));
        let millis = away.saturating_mul(1000) / per_second;
        self.wall.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(self.wall)
    }

    /// Milliseconds from one jiffy to a later one.
    #[must_use]
    pub fn between_ms(&self, from: u32, to: u32) -> u64 {
        u64::from(to.wrapping_sub(from)) * 1000 / u64::from(self.per_second.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jiffies_may_wrap_between_the_two() {
        let wall: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
        let clock = Clock { jiffies: 50, wall, per_second: 250 };
        assert_eq!(clock.at(u32::MAX - 199).to_string(), "2026-11-22T09:59:59Z");
        assert_eq!(clock.at(300).to_string(), "2026-11-22T10:00:01Z");
        assert_eq!(clock.between_ms(u32::MAX - 199, 50), 1000);
    }
}
