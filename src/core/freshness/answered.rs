//! What becomes of its reasons when a training ends. Pure.

use jiff::Timestamp;

use super::{Freshness, SETTLE, entry, firing, order};
use crate::{
    api::{AnsweredReason, AttemptVerdict, ModelTrainStatus, ScheduleStatus, StaleReason, StaleReasonType},
    core::time::{after, whole_seconds},
};

/// What the write that records a training's end says of its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// `status.answeredReasons`, sorted by type and name.
    pub reasons: Vec<AnsweredReason>,
    /// `status.schedule`.
    pub schedule: Option<ScheduleStatus>,
}

/// Whether a training with this verdict answers its reasons. One without a run that succeeded does not: it says nothing
/// of the model, and `spec.retry` bounds how often it is tried. Neither does one of which nothing was run, because the spec
/// was edited or suspended first. Everything else does, also what this release cannot read:
/// a reason too few is noticed, a training too many is paid for.
pub const fn answers(verdict: AttemptVerdict) -> bool {
    !matches!(verdict, AttemptVerdict::Failed | AttemptVerdict::Skipped)
}

/// Status after a training with the reasons `pinned` at its reservation has ended.
///
/// `status` is that from before the end. `freshness` is `None` where the spec has become invalid: the waits are those by
/// default then. Reasons that wait and were not pinned have stood all the time: they are answered once more, so that
/// they do not start the same training right after this one. An accepted version makes every reason false but those
/// that look at what is live, metrics and endpoint.
pub fn answer_reasons(
    status: &ModelTrainStatus,
    pinned: &[StaleReason],
    verdict: AttemptVerdict,
    freshness: Option<&Freshness>,
    ended_at: Timestamp,
) -> Spent {
    if !answers(verdict) {
        return Spent { reasons: status.answered_reasons.clone(), schedule: status.schedule.clone() };
    }
    let settle = freshness.map_or(SETTLE, |freshness| freshness.settle);
    let ended_at = whole_seconds(ended_at);
    let waiting = |reason: &StaleReason, count: i64| AnsweredReason {
        reason: reason.clone(),
        until: waits(reason.type_).then(|| after(ended_at, settle.after(count))),
        count,
    };
    let remains = |type_| verdict != AttemptVerdict::Accepted || looks_at_what_is_live(type_);
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
    Spent { reasons, schedule: handled(status.schedule.as_ref(), pinned) }
}

/// How many trainings in a row have answered this very reason.
fn answered_before(status: &ModelTrainStatus, reason: &StaleReason) -> i64 {
    entry(status, reason.type_, &reason.name)
        .filter(|entry| entry.reason.value == reason.value)
        .map_or(0, |entry| entry.count.max(0))
}

/// The schedule with the pinned time handled. It never goes back.
fn handled(schedule: Option<&ScheduleStatus>, pinned: &[StaleReason]) -> Option<ScheduleStatus> {
    let answered = pinned.iter().filter(|reason| reason.type_ == StaleReasonType::Schedule).filter_map(firing).max();
    let mut schedule = schedule.cloned();
    if let Some(schedule) = &mut schedule {
        schedule.last_handled_time = schedule.last_handled_time.max(answered);
    }
    schedule
}

/// Whether a reason of this type counts again after a wait, besides by a change.
const fn waits(type_: StaleReasonType) -> bool {
    use StaleReasonType::{Endpoint, MaxAge, Metric, NeverAccepted};
    matches!(type_, NeverAccepted | MaxAge | Metric | Endpoint)
}

/// Whether a reason of this type may still stand right after an acceptance.
const fn looks_at_what_is_live(type_: StaleReasonType) -> bool {
    matches!(type_, StaleReasonType::Metric | StaleReasonType::Endpoint)
}
