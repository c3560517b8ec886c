//! Finds the finished runs that exceed the history limits. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{backend::RunRecord, effects::DeleteRun};
use crate::api::Outcome;
use crate::core::time::MonotonicTime;

/// How many finished runs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Succeeded ones.
    pub succeeded: usize,
    /// All others.
    pub failed: usize,
}

/// Limit if the user sets none.
pub const DEFAULT_LIMIT: usize = 100;

impl HistoryLimits {
    /// Keeps every run: an invalid spec deletes nothing.
    pub const KEEP_ALL: Self = Self { succeeded: usize::MAX, failed: usize::MAX };
}

/// Exactly the runs that exceed the limit of their class, oldest first. Runs that are active or already being deleted
/// are neither counted nor returned, and neither are those whose label names no attempt that there was: `attempt` is the
/// last one.
///
/// The order is attempt, then start, then name: total, so that the result is unique even if start times are equal or
/// missing. A run of an old attempt is old, even if another user makes it anew.
pub fn surplus<'a>(
    runs: impl IntoIterator<Item = &'a RunRecord>,
    attempt: i64,
    limits: HistoryLimits,
) -> Vec<&'a RunRecord> {
    let (mut succeeded, mut failed): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .filter(|run| !run.deleting && (1..=attempt).contains(&run.attempt))
        .filter_map(|run| run.ending().map(|ending| (run, ending.outcome)))
        .partition(|(_, outcome)| *outcome == Outcome::Succeeded);
    let mut named = Vec::new();
    for (class, limit) in [(&mut succeeded, limits.succeeded), (&mut failed, limits.failed)] {
        class.sort_by_cached_key(|(run, _)| age_key(run));
        named.extend(class.iter().take(class.len().saturating_sub(limit)).map(|(run, _)| *run));
    }
    named.sort_by_cached_key(|run| age_key(run));
    named
}

/// The surplus runs to be deleted now, and the time of the next deletion. A run is kept until its end has been on
/// record for `min_age`, so that other clients that watch runs have seen it.
pub fn due<'a>(
    surplus: impl IntoIterator<Item = &'a RunRecord>,
    recorded_since: &BTreeMap<String, MonotonicTime>,
    min_age: Duration,
    now: MonotonicTime,
) -> (Vec<DeleteRun>, Option<MonotonicTime>) {
    let (mut now_due, mut next) = (Vec::new(), None::<MonotonicTime>);
    for run in surplus {
        let Some(at) = recorded_since.get(&run.uid).map(|since| *since + min_age) else { continue };
        if at > now {
            next = Some(next.map_or(at, |next| next.min(at)));
        } else {
            now_due.push(DeleteRun::of(run));
        }
    }
    (now_due, next)
}

fn age_key(run: &RunRecord) -> (i64, Timestamp, String) {
    let started = run.observed.started_at.or(run.created_at).unwrap_or(Timestamp::MIN);
    (run.attempt, started, run.name.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::run::backend::{Ending, Observed, Phase, RunKind};

    fn run(attempt: i64, outcome: Option<Outcome>, start: Option<i64>, deleting: bool) -> RunRecord {
        let phase = outcome.map_or(Phase::Active, |outcome| {
            Phase::Ended(Ending {
                outcome,
                reason: String::new(),
                message: String::new(),
                finished_at: None,
                outputs: Vec::new(),
            })
        });
        RunRecord {
            kind: RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" },
            namespace: "ns".into(),
            name: format!("r-{attempt}"),
            uid: format!("uid-{attempt}"),
            resource_version: "1".into(),
            owner_uid: "o".into(),
            owner_kind: "ModelSync".into(),
            owner_name: "o".into(),
            controlled: true,
            proof: String::new(),
            attempt,
            target: String::new(),
            deleting,
            created_at: None,
            stopped: None,
            observed: Observed {
                phase,
                started_at: start.map(|second| Timestamp::from_second(second).unwrap()),
                idle: false,
            },
        }
    }

    #[test]
    fn keeps_exactly_the_limit_where_start_times_are_equal() {
        let runs: Vec<_> = (1..=1000).map(|n| run(n, Some(Outcome::Succeeded), Some(n / 100), false)).collect();
        let named = surplus(&runs, 1000, HistoryLimits { succeeded: 100, failed: 0 });
        assert_eq!(named.len(), 900);
        assert!(named.iter().zip(1..).all(|(run, attempt)| run.attempt == attempt), "oldest first");
    }

    proptest! {
        #[test]
        fn names_exactly_the_surplus_of_each_class_and_only_finished_runs(
            outcomes in prop::collection::vec((prop::option::of(0..4_u8), prop::option::of(0..3_i64), any::<bool>()), 0..40),
            succeeded in 0..6_usize, failed in 0..6_usize,
        ) {
            let outcome = |code| [Outcome::Succeeded, Outcome::Failed, Outcome::TimedOut, Outcome::Cancelled][usize::from(code)];
            let runs: Vec<_> = (1..).zip(&outcomes).map(|(n, (code, start, deleting))| run(n, code.map(outcome), *start, *deleting)).collect();
            let named = surplus(&runs, 40, HistoryLimits { succeeded, failed });
            let count = |runs: &[&RunRecord], good: bool| runs.iter()
                .filter(|run| !run.deleting && run.ending().is_some_and(|end| (end.outcome == Outcome::Succeeded) == good)).count();
            let all: Vec<_> = runs.iter().collect();
            prop_assert_eq!(count(&named, true), count(&all, true).saturating_sub(succeeded));
            prop_assert_eq!(count(&named, false), count(&all, false).saturating_sub(failed));
            prop_assert!(named.iter().all(|run| !run.deleting && !run.is_active()));
            let newest_named = |good| named.iter().filter(|r| (r.ending().unwrap().outcome == Outcome::Succeeded) == good).map(|r| age_key(r)).max();
            for remaining in all.iter().filter(|run| !run.deleting && !run.is_active() && !named.iter().any(|n| n.uid == run.uid)) {
                let good = remaining.ending().unwrap().outcome == Outcome::Succeeded;
                prop_assert!(newest_named(good).is_none_or(|key| key < age_key(remaining)), "a kept run is older than a named one");
            }
        }
    }
}
