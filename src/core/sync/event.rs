//! The events of a ModelSync. They report transitions, never states. Pure.

use crate::{
    api::{
        ConditionStatus,
        ConditionType::{Ready, Stalled},
        ModelSyncStatus, Outcome, Reason,
    },
    core::status::{condition::find, event::ObjectEvent},
};

/// The events between two stored statuses.
pub fn events(before: &ModelSyncStatus, after: &ModelSyncStatus) -> Vec<ObjectEvent> {
    let mut events = Vec::new();
    // Without a uid, the operator never saw the run: perhaps it never existed.
    let seen = after.last_run.as_ref().filter(|last| last.uid.is_some());
    if let Some(last) = seen.filter(|last| before.last_run.as_deref() != Some(last)) {
        let good = last.outcome == Outcome::Succeeded;
        events.push(ObjectEvent {
            warning: !good,
            reason: if good { Reason::RunSucceeded } else { Reason::RunFailed },
            action: "Observe",
            text: match (good, last.message.as_str()) {
                (true, _) => format!("run {} succeeded", last.name),
                (false, "") => format!("run {} ended as {}", last.name, last.outcome.as_str()),
                (false, message) => format!("run {} ended as {}: {message}", last.name, last.outcome.as_str()),
            },
        });
    }
    let turned = |type_, status| {
        let now = find(&after.conditions, type_).filter(|condition| condition.status == status)?;
        let then = find(&before.conditions, type_);
        then.is_none_or(|then| then.status != status || then.reason != now.reason).then_some(now)
    };
    // A failed run has its own event.
    let unready = turned(Ready, ConditionStatus::False).filter(|ready| ready.reason != Reason::RunFailing);
    if let Some(condition) = turned(Stalled, ConditionStatus::True).or(unready) {
        events.push(ObjectEvent {
            warning: true,
            reason: condition.reason,
            action: "Reconcile",
            text: condition.message.clone(),
        });
    }
    events
}
