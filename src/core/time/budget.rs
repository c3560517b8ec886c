//! Bounds the number of runs that start in a span of time. Pure.
//!
//! Each candidate is a run. A training whose runs do not all fit waits with all of them. Only the starts in status
//! count, so that a restart loses nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    after,
    bounds::{Bounds, duration},
};
use crate::api;
use crate::core::invalid::Invalid;

const WINDOWS: Bounds = (Duration::from_mins(1), Duration::from_hours(8760));
/// Largest number of runs of a budget, and of starts in status.
const MAX_RUNS: usize = 100;

/// A parsed `spec.budget`, for trainings with a known number of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    runs: usize,
    window: Duration,
    attempt: usize,
}

/// Whether a training may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Now.
    Now,
    /// Not before this moment, and not then either if other trainings have started by then.
    FreeAt(Timestamp),
}

impl Budget {
    /// Parses `spec.budget` for trainings with this many candidates. A training without candidates is one run.
    pub fn parse(spec: &api::Budget, candidates: usize) -> Result<Self, Invalid> {
        let attempt = candidates.max(1);
        let runs = usize::try_from(spec.runs).ok().filter(|runs| (1..=MAX_RUNS).contains(runs));
        let runs = runs.ok_or_else(|| Invalid::new("spec.budget.runs", "must be at least 1 and at most 100"))?;
        if attempt > runs {
            let problem = format!(
                "is {runs}, but an attempt has {attempt} candidates and starts them all: make it at least {attempt}, or \
                 remove candidates"
            );
            return Err(Invalid::new("spec.budget.runs", problem));
        }
        let window = duration("spec.budget.window", Some(spec.window), WINDOWS)?.unwrap_or(WINDOWS.0);
        Ok(Self { runs, window, attempt })
    }

    /// Whether a training fits at `now`. `started_at` is `status.budget.startedAt`, in any order.
    ///
    /// A start counts for the length of the window, from its own moment on.
    pub fn capacity(&self, started_at: &[Timestamp], now: Timestamp) -> Capacity {
        let counting = self.counting(started_at, now);
        let too_many = (counting.len() + self.attempt).saturating_sub(self.runs);
        // That many of the oldest must leave the window first. `parse` refuses an attempt larger than the budget.
        let last_to_leave = too_many.checked_sub(1).and_then(|index| counting.get(index));
        last_to_leave.map_or(Capacity::Now, |start| Capacity::FreeAt(after(*start, self.window)))
    }

    /// The starts to store with the reservation of a training: those that still count and its own, oldest first. Of
    /// more than 100, the newest 100.
    pub fn note(&self, started_at: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let mut starts = self.counting(started_at, now);
        starts.extend(std::iter::repeat_n(now, self.attempt));
        starts.split_off(starts.len().saturating_sub(MAX_RUNS))
    }

    fn counting(&self, started_at: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let mut starts = clamp_to_now(started_at, now);
        starts.retain(|start| after(*start, self.window) > now);
        starts
    }
}

/// `starts` in order, with those later than `now` moved to `now`: the clock went back, and no training may wait longer
/// than the window.
///
/// The caller stores the result while a training waits, because each call moves later starts anew. If the clock runs
/// on, nothing changes: starts that have left the window stay until [`Budget::note`], so that time alone causes no
/// write.
pub fn clamp_to_now(starts: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let mut starts: Vec<_> = starts.iter().map(|start| *start.min(&now)).collect();
    starts.sort_unstable();
    starts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(runs: i64, window: &str, candidates: usize) -> Result<Budget, Invalid> {
        let spec = serde_json::from_value(json!({ "runs": runs, "window": window })).unwrap();
        Budget::parse(&spec, candidates)
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-06-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn an_attempt_that_can_never_fit_is_refused_with_its_number_of_candidates() {
        assert_eq!(
            parse(3, "24h", 4).unwrap_err().to_string(),
            "spec.budget.runs is 3, but an attempt has 4 candidates and starts them all: make it at least 4, or remove \
             candidates"
        );
        assert!(parse(4, "24h", 4).is_ok());
        assert!(parse(1, "24h", 0).is_ok(), "without candidates a training is one run");
    }

    #[test]
    fn bounds_of_the_schema_are_checked_again() {
        for (runs, window, message) in [
            (0, "24h", "spec.budget.runs must be at least 1 and at most 100"),
            (-1, "24h", "spec.budget.runs must be"),
            (101, "24h", "spec.budget.runs must be"),
            (1, "59s", "spec.budget.window must be at least 1m and at most 8760h"),
            (1, "-24h", "spec.budget.window must be"),
        ] {
            let invalid = parse(runs, window, 1).unwrap_err();
            assert!(invalid.to_string().starts_with(message), "{invalid}");
        }
    }

    #[test]
    fn attempt_that_does_not_fit_waits_until_enough_runs_have_left_the_window() {
        let budget = parse(4, "1h", 2).unwrap();
        let starts = [at("10:00:00"), at("10:10:00"), at("10:20:00")];
        assert_eq!(budget.capacity(&starts[..2], at("10:30:00")), Capacity::Now);
        assert_eq!(budget.capacity(&starts, at("10:30:00")), Capacity::FreeAt(at("11:00:00")), "one has to leave");
        assert_eq!(budget.capacity(&starts, at("11:00:00")), Capacity::Now, "the first has left");
        let full = [at("10:00:00"), at("10:10:00"), at("10:20:00"), at("10:20:00")];
        assert_eq!(budget.capacity(&full, at("10:30:00")), Capacity::FreeAt(at("11:10:00")), "two have to leave");
    }

    #[test]
    fn smaller_budget_counts_earlier_starts() {
        let starts = [at("10:00:00"), at("10:10:00"), at("10:20:00"), at("10:30:00")];
        assert_eq!(parse(2, "1h", 1).unwrap().capacity(&starts, at("10:40:00")), Capacity::FreeAt(at("11:20:00")));
    }

    #[test]
    fn noted_starts_are_those_that_still_count_and_the_new_ones() {
        let budget = parse(4, "1h", 2).unwrap();
        let noted = budget.note(&[at("10:20:00"), at("09:00:00")], at("10:30:00"));
        assert_eq!(noted, [at("10:20:00"), at("10:30:00"), at("10:30:00")]);
    }

    #[test]
    fn clock_that_went_back_makes_no_training_wait_longer_than_the_window() {
        let budget = parse(1, "1h", 1).unwrap();
        let ahead = [at("20:00:00")];
        let corrected = clamp_to_now(&ahead, at("10:00:00"));
        assert_eq!(budget.capacity(&corrected, at("10:00:00")), Capacity::FreeAt(at("11:00:00")));
        assert_eq!(clamp_to_now(&corrected, at("10:30:00")), corrected, "stored starts stay");
        assert_eq!(budget.capacity(&corrected, at("11:00:00")), Capacity::Now);
    }

    #[test]
    fn more_starts_than_status_holds_keep_the_newest() {
        let budget = parse(100, "8760h", 16).unwrap();
        let many: Vec<_> = (0..100).map(|second| Timestamp::from_second(1_800_000_000 + second).unwrap()).collect();
        let noted = budget.note(&many, at("10:00:00").max(many[99]));
        assert_eq!((noted.len(), noted[0]), (100, many[16]));
    }

    proptest! {
        #[test]
        fn no_window_ever_has_more_starts_than_the_budget(
            runs in 1_usize..=12,
            attempt in 1_usize..=4,
            window in 60_i64..=600,
            steps in prop::collection::vec(0_i64..200, 1..120),
        ) {
            let attempt = attempt.min(runs);
            let span = Duration::from_secs(window.unsigned_abs());
            let budget = Budget { runs, window: span, attempt };
            let (mut second, mut noted, mut all) = (1_800_000_000, Vec::new(), Vec::new());
            for step in steps {
                second += step;
                let now = Timestamp::from_second(second).unwrap();
                prop_assert_eq!(&clamp_to_now(&noted, now), &noted, "a clock that runs on changes nothing");
                match budget.capacity(&noted, now) {
                    Capacity::Now => {
                        noted = budget.note(&noted, now);
                        all.extend(std::iter::repeat_n(second, attempt));
                    }
                    Capacity::FreeAt(free) => {
                        prop_assert!(now < free && free <= after(now, span));
                        prop_assert_eq!(budget.capacity(&noted, free), Capacity::Now, "then there is room");
                        let just_before = Timestamp::from_second(free.as_second() - 1).unwrap();
                        prop_assert_eq!(budget.capacity(&noted, just_before), Capacity::FreeAt(free), "and not earlier");
                    }
                }
            }
            for first in &all {
                let inside = all.iter().filter(|start| (*first..first + window).contains(start)).count();
                prop_assert!(inside <= runs, "{inside} of {runs} in a window");
            }
        }
    }
}
