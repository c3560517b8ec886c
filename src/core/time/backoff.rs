//! Waits before a retry. Pure, and derived from status, so that a restart loses nothing.

use std::time::Duration;

/// Default first and longest wait after a run that did not succeed.
pub const RUN_BACKOFF: Backoff = Backoff { first: Duration::from_mins(1), longest: Duration::from_hours(1) };
/// Default first and longest wait after a run that succeeded while the endpoint still says that a sync is needed.
pub const SETTLE: Backoff = Backoff { first: Duration::from_mins(10), longest: Duration::from_hours(6) };
/// First and longest wait after the API server refused to create a run. A lifted quota is noticed within a minute.
pub const CREATE_BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_mins(1) };
/// First and longest wait after the API server refused a record or its status. A run has ended and its model waits, so a
/// lifted quota is noticed within seconds.
pub const RECORD_BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(15) };
/// Default number of runs in a row that may fail for one target.
pub const MAX_ATTEMPTS: i64 = 5;
/// Wait before a run that the API server refused as invalid is tried once more: the operator does not see when
/// admission policies change.
pub const INVALID_RETRY: Duration = Duration::from_hours(1);

/// A wait that doubles from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure or success.
    pub first: Duration,
    /// Upper bound.
    pub longest: Duration,
}

impl Backoff {
    /// Wait after `times` failures or successes in a row; zero for zero or less.
    pub fn after(&self, times: i64) -> Duration {
        if times <= 0 {
            return Duration::ZERO;
        }
        let doublings = u32::try_from(times - 1).unwrap_or(u32::MAX).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let minutes = |times| RUN_BACKOFF.after(times).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 6, 7, 1_000].map(minutes), [0, 1, 2, 4, 32, 60, 60]);
        assert_eq!(RUN_BACKOFF.after(i64::MAX), RUN_BACKOFF.longest);
        assert_eq!(RUN_BACKOFF.after(-1), Duration::ZERO);
    }
}
