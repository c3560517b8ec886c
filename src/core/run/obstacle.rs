//! The inspection of an active run of which nothing runs: when it is due, and what it found. Pure.
//!
//! A pod that is forbidden, that fits on no node, or whose image cannot be pulled does not end its run, and the run's own
//! object may say nothing about it. So the operator reads what the cluster says about such a run, seldom: a minute after
//! its creation, then at growing intervals, and every minute only while there is an obstacle to show.

use std::{collections::BTreeMap, time::Duration};

use super::backend::{Obstacle, RunKind, RunRecord};
use crate::core::{
    status::condition::truncated,
    time::{MonotonicTime, Now, after, until},
};

/// How long a run may be idle before it is inspected, and the time between two inspections while there is an obstacle.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time between two inspections of a run without an obstacle.
const LONGEST: Duration = Duration::from_mins(10);
/// Longest words of an obstacle, in bytes. A condition's message has room for them.
const MAX_WORDS: usize = 768;

/// Ends the part of a message that says what the obstacle is.
const HEAD_END: &str = ": ";

/// What this process knows of an active run from inspections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whether nothing of the run ran when it was last seen.
    idle: bool,
    /// When the run is inspected next.
    next: MonotonicTime,
    /// Why the run does not start its work.
    obstacle: Option<Obstacle>,
}

/// Inspections by uid of the run.
pub type Inspections = BTreeMap<String, Inspection>;

/// A run to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl InspectRun {
    /// The inspection of this run, if it is due.
    pub fn due(run: &RunRecord, inspections: &Inspections, now: Now) -> Option<Self> {
        let due = due_in(run, inspections, now)?.is_zero();
        due.then(|| Self { kind: run.kind, name: run.name.clone(), uid: run.uid.clone() })
    }
}

/// How long until the run is to be inspected. `None` if it is not idle, or is about to end.
pub fn due_in(run: &RunRecord, inspections: &Inspections, now: Now) -> Option<Duration> {
    if !waits(run) {
        return None;
    }
    Some(match inspections.get(&run.uid) {
        Some(known) => known.next.since(now.mono),
        // A creation in the future comes from a clock that runs ahead.
        None => until(now.server_or_wall(), after(run.created_at?, PATIENCE)).min(PATIENCE),
    })
}

/// Why the run does not start its work, by the last inspection.
pub fn obstacle<'a>(run: &RunRecord, inspections: &'a Inspections) -> Option<&'a Obstacle> {
    inspections.get(&run.uid).filter(|_| waits(run))?.obstacle.as_ref()
}

/// The message about an obstacle.
pub fn message(run_name: &str, Obstacle { reason, words }: &Obstacle) -> String {
    format!("run {run_name} is active, and does not start its work ({reason}){HEAD_END}{words}")
}

/// Whether two messages are about the same obstacle. The words may differ: they name another pod at each try.
pub fn is_same(message: &str, other: &str) -> bool {
    let head = |message: &str| message.split_once(HEAD_END).map(|(head, _)| head.to_owned());
    head(message) == head(other)
}

/// Notes which runs are idle, and forgets runs that have ended. A run that becomes idle is left alone for a while: the
/// last pods of a Job end before the Job does.
pub fn observe(inspections: &mut Inspections, own: &[&RunRecord], now: MonotonicTime) {
    inspections.retain(|uid, _| own.iter().any(|run| run.uid == *uid && run.is_active()));
    for run in own.iter().filter(|run| run.is_active()) {
        let seen = || Inspection { idle: run.observed.idle, next: now + PATIENCE, obstacle: None };
        match inspections.get_mut(&run.uid) {
            Some(known) if known.idle != run.observed.idle => *known = seen(),
            None if !run.observed.idle => drop(inspections.insert(run.uid.clone(), seen())),
            _ => {}
        }
    }
}

/// Stores what an inspection that ended now has found.
pub fn record(inspections: &mut Inspections, run: &RunRecord, obstacle: Option<Obstacle>, now: Now) {
    let obstacle = obstacle.map(|found| Obstacle { words: truncated(&found.words, MAX_WORDS), ..found });
    let age = run.created_at.map_or(PATIENCE, |created| until(created, now.server_or_wall()));
    let pause = if obstacle.is_some() { PATIENCE } else { age.clamp(PATIENCE, LONGEST) };
    inspections.insert(run.uid.clone(), Inspection { idle: true, next: now.mono + pause, obstacle });
}

/// Notes that an inspection could not be made now. What was known stays.
pub fn postpone(inspections: &mut Inspections, run: &RunRecord, now: Now) {
    let obstacle = inspections.remove(&run.uid).and_then(|known| known.obstacle);
    inspections.insert(run.uid.clone(), Inspection { idle: true, next: now.mono + PATIENCE, obstacle });
}

/// Whether the run is meant to run, and nothing of it does.
fn waits(run: &RunRecord) -> bool {
    run.is_active() && run.observed.idle && !run.deleting && run.stopped.is_none()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::run::backend::{Observed, Phase};

    fn run(idle: bool) -> RunRecord {
        RunRecord {
            kind: RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" },
            namespace: "team".into(),
            name: "churn-1".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            owner_uid: "o".into(),
            controlled: true,
            proof: String::new(),
            owner_kind: "ModelSync".into(),
            owner_name: "churn".into(),
            attempt: 1,
            target: String::new(),
            deleting: false,
            created_at: Some(Timestamp::UNIX_EPOCH),
            stopped: None,
            observed: Observed { phase: Phase::Active, started_at: None, idle },
        }
    }

    /// This many seconds after the creation of the run.
    fn at(second: u64) -> Now {
        let wall = after(Timestamp::UNIX_EPOCH, Duration::from_secs(second));
        Now { wall, server: Some(wall), mono: MonotonicTime::new(Duration::from_secs(1000 + second)) }
    }

    fn quota() -> Obstacle {
        Obstacle { reason: "QuotaExceeded".into(), words: "exceeded quota: pods".into() }
    }

    fn seconds(left: Option<Duration>) -> Option<u64> {
        left.map(|left| left.as_secs())
    }

    #[test]
    fn an_idle_run_is_inspected_after_a_minute_and_then_less_and_less_often() {
        let (run, mut known) = (run(true), Inspections::new());
        assert_eq!(seconds(due_in(&run, &known, at(20))), Some(40));
        assert!(InspectRun::due(&run, &known, at(59)).is_none());
        assert!(InspectRun::due(&run, &known, at(60)).is_some());
        for (second, pause) in [(60, 60), (120, 120), (240, 240), (480, 480), (960, 600), (90_000, 600)] {
            record(&mut known, &run, None, at(second));
            assert_eq!(seconds(due_in(&run, &known, at(second))), Some(pause), "{second}");
            assert_eq!(obstacle(&run, &known), None);
        }
    }

    #[test]
    fn an_obstacle_is_checked_every_minute_and_stays_while_nothing_can_be_read() {
        let (run, mut known) = (run(true), Inspections::new());
        record(&mut known, &run, Some(quota()), at(3600));
        for second in [3600, 3660, 3720] {
            assert_eq!(seconds(due_in(&run, &known, at(second))), Some(60));
            assert_eq!(obstacle(&run, &known), Some(&quota()));
            postpone(&mut known, &run, at(second + 60));
        }
        record(&mut known, &run, None, at(3600));
        assert_eq!(obstacle(&run, &known), None);
    }

    #[test]
    fn a_run_that_runs_stops_or_ends_has_no_obstacle_and_is_not_inspected() {
        let mut known = Inspections::new();
        record(&mut known, &run(true), Some(quota()), at(100));
        let stopped = RunRecord { stopped: Some("Cancelled".into()), ..run(true) };
        for run in [run(false), stopped, RunRecord { deleting: true, ..run(true) }] {
            assert_eq!((obstacle(&run, &known), due_in(&run, &known, at(500))), (None, None));
        }
    }

    #[test]
    fn a_run_that_becomes_idle_again_is_left_alone_for_a_minute() {
        let mut known = Inspections::new();
        observe(&mut known, &[&run(false)], at(100).mono);
        observe(&mut known, &[&run(true)], at(5000).mono);
        assert_eq!(seconds(due_in(&run(true), &known, at(5000))), Some(60));
        observe(&mut known, &[&run(true)], at(5030).mono);
        assert_eq!(seconds(due_in(&run(true), &known, at(5030))), Some(30));
        observe(&mut known, &[], at(5031).mono);
        assert!(known.is_empty());
    }

    #[test]
    fn messages_are_about_the_same_obstacle_whatever_its_words() {
        let with = |reason: &str, words: &str| message("a-1", &Obstacle { reason: reason.into(), words: words.into() });
        assert_eq!(with("X", "b: c"), "run a-1 is active, and does not start its work (X): b: c");
        assert!(is_same(&with("X", "pod a-1-x: c"), &with("X", "pod a-1-y: c")));
        assert!(!is_same(&with("X", "c"), &with("Y", "c")));
    }

    #[test]
    fn a_run_that_progresses_loses_its_obstacle() {
        let mut known = Inspections::new();
        record(&mut known, &run(true), Some(quota()), at(100));
        observe(&mut known, &[&run(false)], at(110).mono);
        observe(&mut known, &[&run(true)], at(120).mono);
        assert_eq!(obstacle(&run(true), &known), None);
    }
}
