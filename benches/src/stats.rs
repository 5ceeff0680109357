//! Medians, percentiles and bootstrap intervals: the only statistics the results are judged by.
//!
//! The interval is the percentile bootstrap of the median (Efron, 1979) with a seeded generator, so
//! that the same samples always give the same interval.

use serde::Serialize;

/// Resamples of one interval.
const RESAMPLES: usize = 4_000;
/// Seed of the resampling.
const SEED: u64 = 0x0062_756c_6b68_6561;

/// A median with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The median of the samples.
    pub median: f64,
    /// 2.5th percentile of the medians of resamples.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// The value at `quantile` (0..=1) of `samples`, interpolated between neighbours.
///
/// Returns NaN for no samples.
#[must_use]
pub fn percentile(samples: &[f64], quantile: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    of_sorted(&sorted, quantile)
}

/// The median of `samples` and its interval; NaN when there are none.
#[must_use]
pub fn interval(samples: &[f64]) -> Interval {
    let mut random = SplitMix(SEED);
    let mut resample = vec![0.0; samples.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            resample.fill_with(|| random.pick(samples));
            percentile(&resample, 0.5)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Interval {
        median: percentile(samples, 0.5),
        low: of_sorted(&medians, 0.025),
        high: of_sorted(&medians, 0.975),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sample counts are far below 2^52 and the quantile is within 0..=1"
)]
fn of_sorted(sorted: &[f64], quantile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = quantile.clamp(0.0, 1.0) * last as f64;
    let (below, part) = (rank.floor() as usize, rank.fract());
    let above = (below + 1).min(last);
    sorted[below].mul_add(1.0 - part, sorted[above] * part)
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, seeded, good enough to pick samples.
#[derive(Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    fn pick(&mut self, samples: &[f64]) -> f64 {
        let index = self.below(samples.len() as u64);
        usize::try_from(index).ok().and_then(|i| samples.get(i)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert_eq!(percentile(&samples, 0.5), 2.5);
        assert_eq!(percentile(&samples, 1.0), 4.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn an_interval_contains_its_median_and_repeats() {
        let mut random = SplitMix(7);
        #[expect(clippy::cast_precision_loss, reason = "below 1000")]
        let samples: Vec<f64> = (0..40).map(|_| 1.0 + random.below(1000) as f64 / 1000.0).collect();
        let first = interval(&samples);
        assert!(first.low < first.median && first.median < first.high, "{first:?}");
        assert_eq!(first, interval(&samples));
        assert_eq!(interval(&[2.0; 15]), Interval { median: 2.0, low: 2.0, high: 2.0 });
    }
}
