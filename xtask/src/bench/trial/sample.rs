//! Statistics of measured values. Pure.

use std::time::Duration;

/// Durations in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample(Vec<Duration>);

impl Sample {
    /// Sorts the durations.
    pub(super) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }

    /// The smallest duration that at least `percent` percent do not exceed, in milliseconds; zero without durations.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0.0, |found| found.as_secs_f64() * 1e3)
    }

    /// The largest, in milliseconds.
    pub(super) fn max(&self) -> f64 {
        self.percentile(100)
    }
}

/// The middle one of an odd number of values; zero without values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The mean; zero without values.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sample = Sample::of((1..=200).rev().map(Duration::from_millis));
        let found = [50, 99, 100].map(|percent| sample.percentile(percent));
        assert!(
            found.iter().zip([100.0, 198.0, 200.0]).all(|(found, right)| (found - right).abs() < 1e-9),
            "{found:?}"
        );
    }

    #[test]
    fn statistics_of_one_value_are_that_value_and_of_none_are_zero() {
        assert!((Sample::of([Duration::from_millis(7)]).percentile(1) - 7.0).abs() < 1e-9);
        assert!(Sample::default().max().abs() < 1e-9);
        assert!((mean([7.0]) - 7.0).abs() < 1e-9 && mean([]).abs() < 1e-9);
    }

    #[test]
    fn mean_counts_every_value_and_the_median_only_the_middle_one() {
        let values = [1.0, 2.0, 9.0];
        assert!((mean(values) - 4.0).abs() < 1e-9 && (median(values) - 2.0).abs() < 1e-9);
    }
}
