//! The manual overrides: the hold, approve and reject annotations. Pure.

use super::{
    acceptance::{accepted_version, record_acceptance},
    facts::Facts,
};
use crate::{
    api::{AttemptVerdict, ConditionType, ModelTrainStatus, Reason, Verdict},
    core::time::Now,
};

/// The stored status after the manual overrides. The held version is the accepted one. An approval or a rejection of
/// the version that waits for it takes effect once.
pub fn applied(facts: &Facts<'_>, now: Now) -> ModelTrainStatus {
    let mut status = facts.stored.clone();
    let Some(manual) = &facts.object.manual else { return status };
    let pending = status.pending_approval.as_ref().map(|pending| pending.version.clone());
    if let Some(version) = pending {
        if manual.reject.as_ref() == Some(&version) {
            decide(&mut status, &version, Reason::Rejected, AttemptVerdict::Rejected);
        } else if manual.approve.as_ref() == Some(&version) && facts.hold().is_none_or(|held| *held == version) {
            accept(facts, &mut status, &version, now);
            if status.accepted_version.as_ref().is_some_and(|accepted| accepted.name == version) {
                decide(&mut status, &version, Reason::Approved, AttemptVerdict::Accepted);
            }
        }
    }
    if let Some(held) = facts.hold().filter(|held| can_be_held(facts, held)) {
        accept(facts, &mut status, held, now);
    }
    status
}

/// Whether the hold annotation names no version that can be held.
pub fn hold_is_invalid(facts: &Facts<'_>) -> bool {
    facts.hold().is_some_and(|held| !can_be_held(facts, held))
}

/// Whether the version is the accepted one, was accepted once, or passed the gate. Other than the accepted one, a
/// version whose removal is noted cannot be held: the request that deletes its record may be in flight.
fn can_be_held(facts: &Facts<'_>, name: &str) -> bool {
    let accepted = facts.stored.accepted_version.as_ref().is_some_and(|accepted| accepted.name == name);
    let once = facts.stored.history.iter().any(|past| past.name == name);
    let passed = facts.version(name).is_some_and(|version| {
        let approved = matches!(version.decision, Some(Reason::Best | Reason::Approved | Reason::Restored));
        version.sound && (version.verdict == Verdict::Passed || once || approved)
    });
    let goes = facts.stored.removed.iter().any(|removed| removed.name == name);
    accepted || (passed && !goes && facts.details(name).is_some())
}

/// Makes a version with a record the accepted one.
fn accept(facts: &Facts<'_>, status: &mut ModelTrainStatus, name: &str, now: Now) {
    if status.accepted_version.as_ref().is_some_and(|accepted| accepted.name == name) {
        return;
    }
    if let Some(spec) = facts.details(name) {
        let accepted = accepted_version(spec, now.wall);
        record_acceptance(status, &accepted.name, accepted.accepted_at);
        status.accepted_version = Some(Box::new(accepted));
    }
}

/// Ends the wait for approval, with this decision about the version.
fn decide(status: &mut ModelTrainStatus, version: &str, decision: Reason, verdict: AttemptVerdict) {
    status.pending_approval = None;
    status.conditions.retain(|condition| condition.type_ != ConditionType::AwaitingApproval);
    for report in status.slots.iter_mut().filter(|report| report.run == version) {
        report.decision = Some(decision);
    }
    if let Some(last) = &mut status.last_attempt
        && last.verdict == AttemptVerdict::AwaitingApproval
    {
        last.verdict = verdict;
        last.winner = (verdict == AttemptVerdict::Accepted).then(|| version.to_owned());
    }
}
