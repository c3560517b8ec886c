//! Reasons in the status of a ModelTrain: how they are built, ordered and found. Pure.

use jiff::Timestamp;

use crate::api::{AnsweredReason, AttemptVerdict, ModelTrainStatus, StaleReason, StaleReasonType};

/// Longest value of a reason, in bytes.
const MAX_VALUE: usize = 256;

/// Whether a training with this verdict answers its reasons. A training without a run that succeeded does not: it says
/// nothing about the model, and `spec.retry` bounds how often it is tried. A training that started no run, because the
/// spec was edited or suspended first, does not either. Every other verdict does, even one that this release cannot
/// read: users notice a training that is missing, but pay for one that is not needed.
pub const fn answers(verdict: AttemptVerdict) -> bool {
    !matches!(verdict, AttemptVerdict::Failed | AttemptVerdict::Skipped)
}

/// Builds a reason. Cuts a value that is too long for status.
pub(super) fn reason(type_: StaleReasonType, name: &str, value: &str) -> StaleReason {
    let value = value[..value.floor_char_boundary(MAX_VALUE)].to_owned();
    StaleReason { type_, name: name.to_owned(), value }
}

/// The entry of `status.answeredReasons` with this type and name, and any value.
pub(super) fn entry<'a>(
    status: &'a ModelTrainStatus,
    type_: StaleReasonType,
    name: &str,
) -> Option<&'a AnsweredReason> {
    status.answered_reasons.iter().find(|entry| entry.reason.type_ == type_ && entry.reason.name == name)
}

/// Whether the last training had this reason and did not answer it.
pub(super) fn left_unanswered(
    status: &ModelTrainStatus,
    type_: StaleReasonType,
    holds: impl Fn(&StaleReason) -> bool,
) -> bool {
    status.last_attempt.as_deref().is_some_and(|last| !answers(last.verdict) && pinned(&last.reasons, type_, holds))
}

/// Whether the active training has this reason.
pub(super) fn under_way(
    status: &ModelTrainStatus,
    type_: StaleReasonType,
    holds: impl Fn(&StaleReason) -> bool,
) -> bool {
    status.reservation.as_deref().is_some_and(|reservation| pinned(&reservation.reasons, type_, holds))
}

fn pinned(reasons: &[StaleReason], type_: StaleReasonType, holds: impl Fn(&StaleReason) -> bool) -> bool {
    reasons.iter().any(|reason| reason.type_ == type_ && holds(reason))
}

/// The scheduled time that a `Schedule` reason has as its value.
pub(super) fn firing(reason: &StaleReason) -> Option<Timestamp> {
    reason.value.parse().ok()
}

/// The order of reasons in status: by type, then by name.
pub(super) fn order(reason: &StaleReason) -> (StaleReasonType, &str) {
    (reason.type_, &reason.name)
}
