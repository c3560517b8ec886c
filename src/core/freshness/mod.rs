//! When a model is stale, and when a training is due. Pure.
//!
//! ```text
//! spec.freshness ── parse ─► Freshness ┐
//! what is seen of the world ───► Seen ─┼─ evaluate ─► Evaluation {standing, live, …} ─► status
//! status ──────────────────────────────┘
//! a training ends ── spend ─► status.answeredReasons, status.schedule
//! ```
//!
//! A reason *stands* while it is true. It is *live* while it stands and no training has answered it: then a training is
//! due. A training that ends answers the reasons that its reservation pinned, so that a rejected model is not trained for
//! ever; they are *spent* until they revive:
//!
//! | Reason | Revives |
//! |---|---|
//! | `NeverAccepted`, `MaxAge`, `Metric`, `Endpoint` | once it was false in between, or when its wait is over |
//! | `Input` | when the digest is neither the one tried last nor the accepted version's |
//! | `Schedule` | at a later time of the schedule |
//! | `Trigger` | with a new value |
//!
//! A training without a run that succeeded answers nothing: `spec.retry` says when it is tried again.
//!
//! All that is remembered is in status, so that a restart forgets nothing. What is not known starts nothing and clears
//! nothing: a reason that status says stands goes on standing, and is not live.

mod answered;
mod evaluate;
mod parse;
mod schedule;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial;

pub use answered::{Spent, answer_reasons, answers};
pub use evaluate::{Evaluation, InputSeen, MissingInput, Seen, evaluate};
pub use parse::{Freshness, SETTLE};

use jiff::Timestamp;

use crate::api::{AnsweredReason, ModelTrainStatus, StaleReason, StaleReasonType};

/// Longest value of a reason, in bytes.
const MAX_VALUE: usize = 256;

/// A reason; a value that is too long for status is cut.
fn reason(type_: StaleReasonType, name: &str, value: &str) -> StaleReason {
    let value = value[..value.floor_char_boundary(MAX_VALUE)].to_owned();
    StaleReason { type_, name: name.to_owned(), value }
}

/// The entry of `status.answeredReasons` for this reason, whatever its value.
fn entry<'a>(status: &'a ModelTrainStatus, type_: StaleReasonType, name: &str) -> Option<&'a AnsweredReason> {
    status.answered_reasons.iter().find(|entry| entry.reason.type_ == type_ && entry.reason.name == name)
}

/// Whether the last training had this reason, and gave no answer to it.
fn left_unanswered(status: &ModelTrainStatus, type_: StaleReasonType, holds: impl Fn(&StaleReason) -> bool) -> bool {
    status.last_attempt.as_deref().is_some_and(|last| !answers(last.verdict) && pinned(&last.reasons, type_, holds))
}

/// Whether the training that is on its way has this reason.
fn under_way(status: &ModelTrainStatus, type_: StaleReasonType, holds: impl Fn(&StaleReason) -> bool) -> bool {
    status.reservation.as_deref().is_some_and(|reservation| pinned(&reservation.reasons, type_, holds))
}

fn pinned(reasons: &[StaleReason], type_: StaleReasonType, holds: impl Fn(&StaleReason) -> bool) -> bool {
    reasons.iter().any(|reason| reason.type_ == type_ && holds(reason))
}

/// The time of the schedule that a reason stands for.
fn firing(reason: &StaleReason) -> Option<Timestamp> {
    reason.value.parse().ok()
}

/// The order of reasons in status: by type, then by name.
fn order(reason: &StaleReason) -> (StaleReasonType, &str) {
    (reason.type_, &reason.name)
}
