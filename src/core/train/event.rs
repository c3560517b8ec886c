//! The events of a ModelTrain. They report transitions, never states. Pure.

use super::parameters::reasons_text;
use crate::{
    api::{
        AttemptVerdict, ConditionStatus,
        ConditionType::{AwaitingApproval, Ready, Stalled},
        ModelTrainStatus, Reason,
    },
    core::status::{condition::find, event::ObjectEvent},
};

/// The events between two stored statuses.
pub fn events(before: &ModelTrainStatus, after: &ModelTrainStatus) -> Vec<ObjectEvent> {
    let mut events = Vec::new();
    let mut emit = |warning, reason, action, text| events.push(ObjectEvent { warning, reason, action, text });
    if let Some(open) = after.reservation.as_ref().filter(|_| before.attempt < after.attempt) {
        let text = format!("training {} of {} runs: {}", open.attempt, open.slots.len(), reasons_text(&open.reasons));
        emit(false, Reason::TrainingStarted, "Train", text);
    }
    if let Some(last) = after
        .last_attempt
        .as_ref()
        .filter(|last| before.last_attempt.as_ref().is_none_or(|earlier| earlier.attempt < last.attempt))
    {
        let good = matches!(last.verdict, AttemptVerdict::Accepted | AttemptVerdict::NotImproved);
        emit(!good, Reason::TrainingEnded, "Judge", format!("training {} ended: {:?}", last.attempt, last.verdict));
    }
    let accepted = |status: &ModelTrainStatus| status.accepted_version.as_ref().map(|version| version.name.clone());
    if let Some(name) = accepted(after).filter(|name| accepted(before).as_ref() != Some(name)) {
        emit(false, Reason::VersionAccepted, "Accept", format!("version {name} is the accepted one"));
    }
    let turned = |type_, status| {
        let now = find(&after.conditions, type_).filter(|condition| condition.status == status)?;
        let then = find(&before.conditions, type_);
        then.is_none_or(|then| then.status != status || then.reason != now.reason).then_some(now)
    };
    // A failed training has its own event.
    let unready = turned(Ready, ConditionStatus::False).filter(|ready| ready.reason != Reason::RunFailing);
    let awaiting = turned(AwaitingApproval, ConditionStatus::True);
    for condition in turned(Stalled, ConditionStatus::True).or(unready).into_iter().chain(awaiting) {
        emit(true, condition.reason, "Reconcile", condition.message.clone());
    }
    events
}
