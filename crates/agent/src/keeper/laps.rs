//! How long each part of a change took: one line of the log with `BULKHEAD_LOG=debug`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// A stopwatch that remembers its laps.
#[derive(Debug)]
pub(super) struct Laps {
    began: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Laps {
    /// Starts it.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, parts: Vec::new() }
    }

    /// Ends a lap; laps of one name are added up.
    pub(super) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        let took = now - self.last;
        self.last = now;
        match self.parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += took,
            None => self.parts.push((name, took)),
        }
    }

    /// Writes them to the log: `up in 12.1 ms: compile 3.0, network 7.2`.
    pub(super) fn tell(&self, what: &str) {
        tracing::debug!("{what} in {:.1} ms: {}", ms(self.began.elapsed()), self.text());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, took) in &self.parts {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a text cannot fail.
            let _written = write!(text, "{comma}{name} {:.1}", ms(*took));
        }
        text
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_of_one_name_are_one_part() {
        let mut laps = Laps::begin();
        for name in ["compile", "tables", "compile"] {
            laps.lap(name);
        }
        laps.parts[0].1 = Duration::from_micros(1_500);
        laps.parts[1].1 = Duration::from_micros(60);
        assert_eq!(laps.text(), "compile 1.5, tables 0.1");
    }
}
