//! Answers the reasons of a training when it ends. Pure.

use jiff::Timestamp;

use super::{
    Freshness, SETTLE,
    reasons::{answers, entry, firing, order},
};
use crate::{
    api::{AnsweredReason, AttemptVerdict, ModelTrainStatus, ScheduleStatus, StaleReason, StaleReasonType},
    core::time::{after, whole_seconds},
};

/// The fields about reasons in the write that records a training's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// `status.answeredReasons`, sorted by type and name.
    pub reasons: Vec<AnsweredReason>,
    /// `status.schedule`.
    pub schedule: Option<ScheduleStatus>,
}

/// Answers the reasons that were `pinned` at a training's reservation, when the training ends.
///
/// `status` is the status before the end. `freshness` is `None` if the spec has become invalid; the waits are then the
/// defaults. Reasons that wait and were not pinned have not been false in the meantime: this training answers them once
/// more, so that they do not start the same training right after it. An accepted version makes every reason false
/// except those that observe the served model, `Metric` and `Endpoint`.
pub fn answer_reasons(
    status: &ModelTrainStatus,
    pinned: &[StaleReason],
    verdict: AttemptVerdict,
    freshness: Option<&Freshness>,
    ended_at: Timestamp,
) -> Answers {
    if !answers(verdict) {
        return Answers { reasons: status.answered_reasons.clone(), schedule: status.schedule.clone() };
    }
    let settle = freshness.map_or(SETTLE, |freshness| freshness.settle);
    let ended_at = whole_seconds(ended_at);
    let waiting = |reason: &StaleReason, count: i64| AnsweredReason {
        reason: reason.clone(),
        until: waits(reason.type_).then(|| after(ended_at, settle.after(count))),
        count,
    };
    let remains = |type_| verdict != AttemptVerdict::Accepted || may_hold_after_acceptance(type_);
    let mut reasons: Vec<_> = pinned
        .iter()
        .filter(|reason| reason.type_ != StaleReasonType::Unrecognised && remains(reason.type_))
        .map(|reason| waiting(reason, answered_before(status, reason).saturating_add(1)))
        .collect();
    for entry in status.answered_reasons.iter().filter(|entry| remains(entry.reason.type_)) {
        if pinned.iter().any(|reason| order(reason) == order(&entry.reason)) {
            continue;
        }
        let again = entry.until.is_some();
        reasons.push(if again { waiting(&entry.reason, entry.count.saturating_add(1)) } else { entry.clone() });
    }
    reasons.sort_by(|a, b| order(&a.reason).cmp(&order(&b.reason)));
    reasons.dedup_by(|a, b| order(&a.reason) == order(&b.reason));
    Answers { reasons, schedule: handled(status.schedule.as_ref(), pinned) }
}

/// The number of trainings in a row that have answered this reason with this value.
fn answered_before(status: &ModelTrainStatus, reason: &StaleReason) -> i64 {
    entry(status, reason.type_, &reason.name)
        .filter(|entry| entry.reason.value == reason.value)
        .map_or(0, |entry| entry.count.max(0))
}

/// The schedule with the pinned time as handled. The handled time never goes back.
fn handled(schedule: Option<&ScheduleStatus>, pinned: &[StaleReason]) -> Option<ScheduleStatus> {
    let answered = pinned.iter().filter(|reason| reason.type_ == StaleReasonType::Schedule).filter_map(firing).max();
    let mut schedule = schedule.cloned();
    if let Some(schedule) = &mut schedule {
        schedule.last_handled_time = schedule.last_handled_time.max(answered);
    }
    schedule
}

/// Whether a reason of this type rearms after a wait, not only by a change.
const fn waits(type_: StaleReasonType) -> bool {
    use StaleReasonType::{Endpoint, MaxAge, Metric, NeverAccepted};
    matches!(type_, NeverAccepted | MaxAge | Metric | Endpoint)
}

/// Whether a reason of this type may still be current right after an acceptance.
const fn may_hold_after_acceptance(type_: StaleReasonType) -> bool {
    matches!(type_, StaleReasonType::Metric | StaleReasonType::Endpoint)
}
