//! Finds the time of a schedule that is due. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::reasons::{firing, left_unanswered, under_way};
use crate::{
    api::{self, ModelTrainStatus, ScheduleStatus, StaleReasonType},
    core::{
        invalid::Invalid,
        time::{
            after,
            bounds::{Bounds, duration},
            cron::Cron,
            whole_seconds,
        },
    },
};

const STARTING_DEADLINES: Bounds = (Duration::from_secs(10), Duration::from_hours(8760));
/// Largest difference between the clocks of two replicas. A stored time that is further ahead was written by a wrong
/// clock and is ignored. A smaller lead is kept, so that no time is handled twice.
const CLOCK_ERROR: Duration = Duration::from_hours(1);

/// A parsed `spec.freshness.schedule`.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    cron: Cron,
    /// The expression and its zone, as status stores them.
    expression: String,
    starting_deadline: Option<Duration>,
}

/// The state of a schedule at one moment.
pub(super) struct ScheduleState {
    /// The new `status.schedule`.
    pub status: ScheduleStatus,
    /// The scheduled time for which a training is due.
    pub due: Option<Timestamp>,
    /// The next moment at which time alone changes this state.
    pub next: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn parse(spec: &api::Schedule) -> Result<Self, Invalid> {
        let field = "spec.freshness.schedule";
        let cron = Cron::parse(field, &spec.cron, spec.time_zone.as_deref())?;
        let fields: Vec<_> = spec.cron.split_whitespace().chain([spec.time_zone.as_deref().unwrap_or("UTC")]).collect();
        let starting_deadline =
            duration(&format!("{field}.startingDeadline"), spec.starting_deadline, STARTING_DEADLINES)?;
        Ok(Self { cron, expression: fields.join(" "), starting_deadline })
    }

    /// Evaluates the schedule at `now`. Of the times after the one handled last, the latest is due. A time past its
    /// starting deadline counts as handled, unless a training was reserved for it in time and is active or will be
    /// retried.
    pub(super) fn evaluate(&self, status: &ModelTrainStatus, created_at: Timestamp, now: Timestamp) -> ScheduleState {
        let mut known = self.known(status, created_at, now);
        let base = known.last_handled_time.max(known.since).unwrap_or(now);
        let mut due = self.cron.last(now).filter(|firing| *firing > base);
        let mut next = self.cron.next(now.max(base));
        if let (Some(moment), Some(deadline)) = (due, self.starting_deadline)
            && !started(status, moment)
        {
            let expiry = after(moment, deadline);
            if expiry <= now {
                known.last_handled_time = due.take();
            } else {
                next = next.map_or(Some(expiry), |next| Some(next.min(expiry)));
            }
        }
        ScheduleState { status: known, due, next }
    }

    /// The state that status has of this expression. An expression that was edited, or added to an object that has been
    /// evaluated before, begins now: it has no earlier times. The schedule of a new object begins with the object's
    /// creation.
    fn known(&self, status: &ModelTrainStatus, created_at: Timestamp, now: Timestamp) -> ScheduleStatus {
        let since = match &status.schedule {
            Some(known) if known.expression == self.expression && plausible(known, now) => return known.clone(),
            None if status.observed_generation < 0 => whole_seconds(created_at.min(now)),
            _ => whole_seconds(now),
        };
        ScheduleStatus { last_handled_time: None, expression: self.expression.clone(), since: Some(since) }
    }
}

fn plausible(known: &ScheduleStatus, now: Timestamp) -> bool {
    known.last_handled_time.max(known.since).is_some_and(|moment| moment <= after(now, CLOCK_ERROR))
}

/// Whether a training was reserved for this time and has not answered it.
fn started(status: &ModelTrainStatus, moment: Timestamp) -> bool {
    let same = |reason: &api::StaleReason| firing(reason) == Some(moment);
    under_way(status, StaleReasonType::Schedule, same) || left_unanswered(status, StaleReasonType::Schedule, same)
}
