//! The decision about a ModelSync, as an ordered list of rules. Pure: no async, no client, no clock, no log.

use std::{collections::BTreeMap, time::Duration};

use super::{
    attempt,
    facts::Facts,
    plan::{Effect, Plan, Rule},
    respond::{
        active_run, compared, desired_unknown, first_poll, handled, next_poll, outside_window, report, reported,
        reserve, still_active, without_response,
    },
    serves,
    summarise::{Situation, awaits_first_response, suspended},
    target::{Pause, fresh_target, pause, paused},
    validate::Valid,
};
use crate::{
    api::{ConditionType, ModelSyncStatus, Reason, Target},
    core::{
        poll::response::{Demand, PollResponse, map_parameters},
        run::{
            backend::RunRecord,
            claim::no_attempt_left,
            knowledge::{PREDECESSOR_RETRY, RunKnowledge, UNKNOWN_RETRY},
            name::MAX_ATTEMPT,
            retention::{self, surplus},
        },
        status::condition::find,
        time::{MonotonicTime, Now, until},
    },
};

/// Time until an active legacy run is looked up again.
const LEGACY_RUN_RETRY: Duration = Duration::from_secs(15);
/// Decides what is to be done about an object, and when it is reconciled again.
///
/// The first rule that applies decides. If it leads to no effect, the plan deletes runs beyond the history limits. So a
/// deletion never depends on a status that is about to change.
pub fn decide(facts: &Facts<'_>, now: Now) -> Plan {
    let mut plan = first_rule(facts, now);
    drop_ended(facts, &mut plan);
    retire(facts, now, &mut plan);
    plan
}

/// Takes runs that have ended out of status. A plan without a status write would leave them there. Conditions of an
/// earlier generation, or in words of another release, wait for the write that replaces them.
fn drop_ended(facts: &Facts<'_>, plan: &mut Plan) {
    let active = still_active(facts);
    let conditions = &facts.status.conditions;
    let up_to_date = facts.status.observed_generation == facts.object.generation
        && [ConditionType::Ready, ConditionType::InSync].iter().all(|type_| find(conditions, *type_).is_some())
        && conditions.iter().all(|condition| {
            condition.observed_generation == facts.object.generation
                && condition.reason != Reason::Unrecognised
                && condition.type_ != ConditionType::Unrecognised
        });
    if plan.effects.is_empty() && !facts.object.deleting && up_to_date && active != facts.status.active {
        plan.effects.push(Effect::WriteStatus(Box::new(ModelSyncStatus { active, ..facts.status.clone() })));
    }
}

fn first_rule(facts: &Facts<'_>, now: Now) -> Plan {
    if facts.object.deleting {
        return Plan::idle(Rule::Deleting);
    }
    let RunKnowledge::Known { own, predecessors, kind_missing } = &facts.runs else {
        return Plan::idle(Rule::RunsUnknown).waking_at(now.mono + UNKNOWN_RETRY);
    };
    if let Some(reservation) = &facts.status.reservation {
        return attempt::decide_reserved(facts, reservation, own, now);
    }
    if let Some(run) = own.iter().find(|run| run.is_active()) {
        return unreserved_run(facts, run, now);
    }
    let valid = match &facts.spec {
        Ok(valid) => valid,
        Err(invalid) => {
            let situation = Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() };
            return report(facts, Rule::InvalidSpec, &situation, now);
        }
    };
    if let Some(run) = predecessors.first() {
        let plan = report(facts, Rule::PredecessorRunning, &Situation::PredecessorRunning { run: &run.name }, now);
        return plan.waking_at(now.mono + PREDECESSOR_RETRY);
    }
    if valid.policy.suspended {
        return report(facts, Rule::Suspended, &suspended(facts), now);
    }
    if *kind_missing {
        let message = format!(
            "{} is not installed in this cluster; the operator picks it up once it is installed",
            valid.policy.kind()
        );
        let situation = Situation::Hindered { reason: Reason::RunKindMissing, message: &message };
        return report(facts, Rule::RunKindMissing, &situation, now);
    }
    decide_by_response(facts, valid, now)
}

/// A run of this object without a reservation: status was lost or forged. It blocks new runs and is shown in status.
fn unreserved_run(facts: &Facts<'_>, run: &RunRecord, now: Now) -> Plan {
    let status = ModelSyncStatus {
        active: vec![active_run(&facts.object.namespace, &run.kind.api_version(), run.kind.kind, &run.name)],
        next_attempt_at: None,
        ..reported(facts, &Situation::RunActive { run: &run.name }, now)
    };
    Plan::write(facts, Rule::UnreservedRunActive, status)
}

/// No run is active: the poll result decides.
fn decide_by_response(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let context = facts.context();
    let Some(polled) = facts.memory.last_poll.as_ref().filter(|polled| polled.context == context) else {
        return await_response(facts, valid, now);
    };
    let response = match &polled.result {
        Ok(response) => response,
        Err(poll_error) => return without_response(facts, valid, poll_error, Rule::PollFailed, now),
    };
    match response.demand {
        Demand::NotNeeded => up_to_date(facts, valid, response, now),
        Demand::DesiredUnknown => desired_unknown(facts, valid, response, now),
        Demand::Needed => match map_parameters(&response.parameters, valid.mapping, valid.unmapped) {
            Err(poll_error) => without_response(facts, valid, &poll_error, Rule::PollFailed, now),
            Ok(parameters) => needed(facts, valid, (response, polled.sent), parameters, now),
        },
    }
}

fn up_to_date(facts: &Facts<'_>, valid: &Valid<'_>, response: &PollResponse, now: Now) -> Plan {
    let situation = Situation::UpToDate { compared: response.values.is_some() };
    let status = ModelSyncStatus {
        target: None,
        next_attempt_at: None,
        last_handled_trigger: handled(facts),
        serving: serves::in_sync(facts, valid, response, now),
        ..compared(response, reported(facts, &situation, now))
    };
    Plan::write(facts, Rule::UpToDate, status).polling(facts, next_poll(facts, valid, now), now)
}

/// A sync is needed: start it, unless its target has to wait.
fn needed(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    (response, sent): (&PollResponse, MonotonicTime),
    parameters: BTreeMap<String, String>,
    now: Now,
) -> Plan {
    let target = fresh_target(facts, valid, response, parameters, now);
    let pause = pause(facts, valid, &target, now);
    if let Some(pause) = pause.as_ref().filter(|pause| pause.until.is_none_or(|end| end > now.wall)) {
        return wait_for(facts, valid, target, (response, pause), now);
    }
    if let Some(plan) = outside_window(facts, valid, (&target, response), now) {
        return plan;
    }
    // A response from before the end of a wait says nothing about the time after it. An edit of the spec removes that
    // end from status, but not from the pause.
    let shown = facts.status.next_attempt_at.filter(|at| *at <= now.wall);
    let waited = pause.and_then(|pause| pause.until).max(shown);
    if waited.is_some_and(|at| now.mono.since(sent) > until(at, now.wall)) {
        return Plan::idle(Rule::PollAgain).polling(facts, Duration::ZERO, now);
    }
    if facts.status.attempt == 0
        && let Some(plan) = legacy_run(facts, valid, now)
    {
        return plan;
    }
    // Counted from status alone: a label on a run may be anyone's.
    let attempt = facts.status.attempt.saturating_add(1);
    if attempt > MAX_ATTEMPT {
        let message = no_attempt_left(facts.status.attempt);
        let situation = Situation::Stalled { reason: Reason::NoAttemptLeft, message };
        return report(facts, Rule::NoAttemptLeft, &situation, now);
    }
    reserve(facts, valid, (target, response), attempt, Rule::Reserve, now)
}

/// Waits for a legacy run. The controller that this operator replaces set no label on its runs, so no watch shows them.
/// The operator lists them live before the first attempt.
fn legacy_run(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Option<Plan> {
    match &facts.memory.legacy_run {
        Some(seen) if seen.run.is_none() => None,
        Some(seen) if now.mono.since(seen.at) < LEGACY_RUN_RETRY => {
            let run = seen.run.as_deref().unwrap_or_default();
            let status = reported(facts, &Situation::RunActive { run }, now);
            Some(Plan::write(facts, Rule::LegacyRunActive, status).waking_at(seen.at + LEGACY_RUN_RETRY))
        }
        _ => {
            let mut plan = Plan::idle(Rule::FindLegacyRun);
            plan.effects.push(Effect::FindLegacyRun(valid.policy.kind()));
            Some(plan)
        }
    }
}

/// Polls at once if something changed since the last poll result. After a restart without a change, polls at the
/// object's regular time, or soon if that came while no process polled. Status does not say whether a run ended after the last poll, so the operator also polls at
/// once while it waits for the effect of a run.
fn await_response(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let unchanged = facts.memory.last_poll.is_none()
        && facts.memory.revision == 0
        && !facts.trigger_pending()
        && !awaits_first_response(facts)
        && find(&facts.status.conditions, ConditionType::InSync).is_some_and(|in_sync| {
            use Reason::{DesiredUnknown, EndpointFailing, SourceFailing, UpToDate};
            matches!(in_sync.reason, UpToDate | EndpointFailing | SourceFailing | DesiredUnknown)
        });
    let wait = if unchanged { first_poll(facts, valid, now) } else { Duration::ZERO };
    let plan = if awaits_first_response(facts) {
        report(facts, Rule::AwaitResponse, &Situation::AwaitingFirstResponse, now)
    } else {
        // Without a new poll result, the conditions of the last one stay.
        Plan::idle(Rule::AwaitResponse)
    };
    plan.polling(facts, wait, now)
}

/// Waits for the end of the target's pause. Only a person or another target ends a pause without an end.
fn wait_for(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    target: Target,
    (response, pause): (&PollResponse, &Pause),
    now: Now,
) -> Plan {
    let status = ModelSyncStatus {
        target: Some(Box::new(target)),
        next_attempt_at: pause.until,
        ..compared(response, reported(facts, &paused(facts.status, pause), now))
    };
    let plan = Plan::write(facts, pause.rule, status);
    let regular = next_poll(facts, valid, now);
    let Some(end) = pause.until else { return plan.polling(facts, regular, now) };
    // The poll at the end of the wait is planned now: the next attempt is decided by its response.
    let left = until(now.wall, end);
    plan.polling(facts, regular.min(left), now).waking_at(now.mono + left)
}

/// Deletes finished runs beyond the limits: runs of this object by uid, with a recorded end, old enough, and exactly
/// the surplus.
fn retire(facts: &Facts<'_>, now: Now, plan: &mut Plan) {
    let (RunKnowledge::Known { own, .. }, Ok(valid)) = (&facts.runs, &facts.spec) else { return };
    if !plan.effects.is_empty() || facts.object.deleting {
        return;
    }
    let surplus = surplus(own.iter().copied(), facts.status.attempt, valid.policy.limits);
    let (deletes, next) = retention::due(surplus, &facts.memory.recorded_since, facts.min_run_age, now.mono);
    plan.effects.extend(deletes.into_iter().map(Effect::DeleteRun));
    if let Some(next) = next {
        plan.wake_by(next);
    }
}
