//! Plans that several decisions about a ModelSync share: those that follow from a poll result, and the status that they
//! write. Pure.

use std::time::Duration;

use super::{
    facts::Facts,
    plan::{Plan, Rule},
    serves,
    summarise::{Situation, conditions},
    validate::Valid,
};
use crate::{
    api::{ActiveRun, ConditionType, ModelSyncStatus, Reason, Reservation, RunSlot, Target},
    core::{
        poll::{
            jitter::{next_poll_in, poll_in_after_absence},
            response::{PollError, PollErrorKind, PollResponse, Values},
        },
        run::{claim::deadline, knowledge::RunKnowledge, name},
        status::condition::{find, truncated},
        time::{Now, until},
    },
};

/// Maximum length of a value that status shows, in bytes.
const MAX_SHOWN_VALUE: usize = 256;

/// Minimum and maximum time until the next poll that an endpoint may request.
const POLL_AFTER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(1));

/// Failed polls in a row after which the operator changes conditions that a response had set.
const FAILED_POLLS_TOLERATED: u32 = 3;

/// Reports that there is no desired value yet. This is no failure, and no run starts.
pub(super) fn desired_unknown(facts: &Facts<'_>, valid: &Valid<'_>, response: &PollResponse, now: Now) -> Plan {
    let status = ModelSyncStatus {
        next_attempt_at: None,
        last_handled_trigger: handled(facts),
        ..compared(response, reported(facts, &Situation::DesiredUnknown, now))
    };
    Plan::write(facts, Rule::DesiredUnknown, status).polling(facts, next_poll(facts, valid, now), now)
}

/// The plan that waits for a window. `None` if a window is open, if there are none, or if the trigger overrides them.
pub(super) fn outside_window(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    (target, response): (&Target, &PollResponse),
    now: Now,
) -> Option<Plan> {
    let permission = valid.policy.windows.permission(now.wall);
    let left = until(now.wall, permission.until()?);
    if facts.overrides_windows() {
        return None;
    }
    let opens = permission.opening();
    let status = ModelSyncStatus {
        target: Some(Box::new(target.clone())),
        next_attempt_at: opens.as_ref().map(|opens| opens.at),
        ..compared(response, reported(facts, &Situation::OutsideWindow { opens: opens.clone() }, now))
    };
    let plan = Plan::write(facts, Rule::OutsideWindow, status);
    let next = next_poll(facts, valid, now);
    Some(match opens {
        // As at the end of any wait, the operator polls before it starts a run.
        Some(_) => plan.polling(facts, next.min(left), now).waking_at(now.mono + left),
        // After a search without an opening, the regular polls search again.
        None => plan.polling(facts, next, now),
    })
}

/// Handles a poll error. It is reported at once if conditions show no response for this generation, otherwise only
/// after several in a row. Unusable parameters are always reported at once.
pub(super) fn without_response(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    poll_error: &PollError,
    rule: Rule,
    now: Now,
) -> Plan {
    // Reasons that an object can show without any response.
    let shown_without_response = |reason| {
        use Reason::{
            AwaitingFirstResponse, EndpointFailing, InternalError, InvalidSpec, PredecessorRunning, RunKindMissing,
            SourceFailing, Suspended,
        };
        matches!(
            reason,
            AwaitingFirstResponse
                | EndpointFailing
                | InternalError
                | InvalidSpec
                | PredecessorRunning
                | RunKindMissing
                | SourceFailing
                | Suspended
        )
    };
    let had_good_response = facts.status.observed_generation == facts.object.generation
        && find(&facts.status.conditions, ConditionType::InSync)
            .is_some_and(|in_sync| !shown_without_response(in_sync.reason));
    let passing = facts.memory.failed_polls < FAILED_POLLS_TOLERATED && poll_error.class != PollErrorKind::Parameters;
    let plan = if had_good_response && passing {
        Plan::idle(rule)
    } else {
        let reason = if valid.compares { Reason::SourceFailing } else { Reason::EndpointFailing };
        report(facts, rule, &Situation::PollsFailing { reason, message: &poll_error.message }, now)
    };
    plan.polling(facts, next_phase(facts, valid, now), now)
}

/// The status with the values that the poll compared.
pub(super) fn compared(response: &PollResponse, status: ModelSyncStatus) -> ModelSyncStatus {
    let shown = |value: &str| truncated(value, MAX_SHOWN_VALUE);
    let (desired, actual) = match &response.values {
        Some(Values { desired, actual }) => (desired.as_deref().map(shown), Some(shown(actual))),
        None => (None, None),
    };
    ModelSyncStatus { desired, actual, ..status }
}

/// Reserves an attempt. The write is a compare-and-swap on the snapshot for which the response was found usable. Its
/// nonce makes it differ from any other write.
pub(super) fn reserve(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    (target, response): (Target, &PollResponse),
    attempt: i64,
    rule: Rule,
    now: Now,
) -> Plan {
    let run_name = name::run_name(&facts.object.name, &facts.object.uid, attempt);
    let again = facts.status.reservation.as_deref().filter(|open| open.attempt == attempt);
    let reservation = Reservation {
        attempt,
        nonce: facts.nonce.to_owned(),
        generation: facts.object.generation,
        target: target.digest.clone(),
        not_after: deadline(again.map(|open| open.not_after), now),
        create_failures: again
            .map_or(0, |open| open.create_failures.saturating_add(i64::from(facts.memory.was_refused(&open.nonce)))),
        refusal: None,
        slots: vec![RunSlot {
            api_version: valid.policy.kind().api_version(),
            kind: valid.policy.kind().kind.to_owned(),
            proofs: facts.claim_key.proofs(facts.nonce, &run_name, again.map_or(&[], earlier_proofs)),
            run_name: run_name.clone(),
        }],
    };
    let status = ModelSyncStatus {
        attempt: attempt.max(facts.status.attempt),
        active: vec![active_run(
            &facts.object.namespace,
            &valid.policy.kind().api_version(),
            valid.policy.kind().kind,
            &run_name,
        )],
        reservation: Some(Box::new(reservation)),
        target: Some(Box::new(target)),
        next_attempt_at: None,
        last_handled_trigger: handled(facts),
        ..compared(response, reported(facts, &Situation::RunActive { run: &run_name }, now))
    };
    Plan::write(facts, rule, status)
}

/// The proofs of the claim on the run of an attempt that is reserved already.
fn earlier_proofs(open: &Reservation) -> &[String] {
    open.slots.first().map_or(&[], |slot| &slot.proofs)
}

/// The stored status with the conditions of the situation. `serving` is removed once the spec no longer names its
/// ModelTrain.
pub(super) fn reported(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> ModelSyncStatus {
    ModelSyncStatus {
        observed_generation: facts.object.generation,
        conditions: conditions(facts, situation, now),
        active: still_active(facts),
        serving: serves::still(facts),
        ..facts.status.clone()
    }
}

/// A plan that only reports the situation in status.
pub(super) fn report(facts: &Facts<'_>, rule: Rule, situation: &Situation<'_>, now: Now) -> Plan {
    Plan::write(facts, rule, ModelSyncStatus { next_attempt_at: None, ..reported(facts, situation, now) })
}

/// The runs of `status.active` that have not ended. One that is reserved may not exist yet.
pub(super) fn still_active(facts: &Facts<'_>) -> Vec<ActiveRun> {
    let RunKnowledge::Known { own, .. } = &facts.runs else { return facts.status.active.clone() };
    let reserved = facts.status.reservation.is_some();
    let is_active = |shown: &&ActiveRun| {
        // Runs of two kinds may have one name.
        let mut named = own.iter().filter(|run| run.name == shown.name).peekable();
        if named.peek().is_none() { reserved } else { named.any(|run| run.is_active()) }
    };
    facts.status.active.iter().filter(is_active).cloned().collect()
}

/// The value of `status.lastHandledTrigger` after a response. The first response to a poll that was made under a
/// trigger handles that trigger.
pub(super) fn handled(facts: &Facts<'_>) -> Option<String> {
    facts.handled_trigger().or_else(|| facts.status.last_handled_trigger.clone())
}

pub(super) fn active_run(namespace: &str, api_version: &str, kind: &str, name: &str) -> ActiveRun {
    ActiveRun { api_version: api_version.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

/// Time until the object's next regular poll. Regular polls are one interval apart, at a phase derived from the uid, so
/// that neither a restart nor an apply of many objects makes all of them poll at once.
pub(super) fn next_phase(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    next_poll_in(&facts.object.uid, valid.policy.interval, now.wall)
}

/// Time until the first poll of this process. A turn that came while no process polled is made up for.
pub(super) fn first_poll(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    let Some(unpolled) = facts.unpolled else { return next_phase(facts, valid, now) };
    poll_in_after_absence(&facts.object.uid, valid.policy.interval, now.wall, unpolled)
}

/// Time until the next poll after a response: the time that the endpoint requested, otherwise the next regular poll.
pub(super) fn next_poll(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    let wanted = facts.memory.last_poll.as_ref().and_then(|polled| {
        let after = polled.result.as_ref().ok()?.poll_after?.clamp(POLL_AFTER.0, POLL_AFTER.1);
        Some((polled.sent + after).since(now.mono))
    });
    wanted.unwrap_or_else(|| next_phase(facts, valid, now))
}
