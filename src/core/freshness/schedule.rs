//! Which time of a schedule is due. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{firing, left_unanswered, under_way};
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
/// A handled time that is farther ahead was written by a clock that was wrong. Less is what clocks of two replicas may
/// differ by, and what was handled is not to be handled again.
const CLOCK_ERROR: Duration = Duration::from_hours(1);

/// Times of `spec.freshness.schedule`.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    cron: Cron,
    /// The expression and its zone, as status knows them.
    expression: String,
    starting_deadline: Option<Duration>,
}

/// A schedule, seen at one moment.
pub(super) struct Sight {
    /// What status ought to say.
    pub status: ScheduleStatus,
    /// The time that a training is due for.
    pub due: Option<Timestamp>,
    /// When time alone changes this.
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

    /// Of the times after the one handled last, the last one is due. One that is too old counts as handled, unless a
    /// training was started for it in time and is on its way, or is to be tried again.
    pub(super) fn look(&self, status: &ModelTrainStatus, created_at: Timestamp, now: Timestamp) -> Sight {
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
        Sight { status: known, due, next }
    }

    /// What status says of this very expression. Another expression, or one that was added to an object that has been
    /// looked at before, begins now: it has had no times before. That of a new object begins with the object.
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
