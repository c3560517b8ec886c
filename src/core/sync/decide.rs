//! The decision about a ModelSync, as an ordered list of rules. Pure: no async, no client, no clock, no log.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    attempt,
    facts::Facts,
    plan::{Effect, Plan, Rule},
    respond::{
        active_run, compared, desired_unknown, handled, next_phase, next_poll, outside_window, report, reported,
        reserve, without_response,
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

/// How soon an earlier operator's run is looked at again.
const LEGACY_RUN_RETRY: Duration = Duration::from_secs(15);
/// What is to be done about an object, and when to look again.
///
/// The first rule that applies decides. Whatever it is, runs beyond the history limits are retired in passes that write
/// no status, so that a deletion never rests on a status that is about to change.
pub fn decide(facts: &Facts<'_>, now: Now) -> Plan {
    let mut plan = first_rule(facts, now);
    retire(facts, now, &mut plan);
    plan
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
    if valid.suspended {
        return report(facts, Rule::Suspended, &suspended(facts), now);
    }
    if *kind_missing {
        let message = format!("{} is not installed in this cluster; it is picked up when it is", valid.kind);
        let situation = Situation::Hindered { reason: Reason::RunKindMissing, message: &message };
        return report(facts, Rule::RunKindMissing, &situation, now);
    }
    decide_by_response(facts, valid, now)
}

/// A run of ours that no reservation names: status was lost or forged. It blocks, and it is shown.
fn unreserved_run(facts: &Facts<'_>, run: &RunRecord, now: Now) -> Plan {
    let status = ModelSyncStatus {
        active: vec![active_run(&facts.object.namespace, &run.kind.api_version(), run.kind.kind, &run.name)],
        next_attempt_at: None,
        ..reported(facts, &Situation::RunActive { run: &run.name }, now)
    };
    Plan::write(facts, Rule::UnreservedRunActive, status)
}

/// Nothing is on its way: what the answer says decides.
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
    match pause {
        Some(Pause { rule, until: None }) => return parked(facts, valid, target, (response, rule), now),
        Some(Pause { rule, until: Some(at) }) if at > now.wall => {
            return wait_until(facts, valid, target, (response, rule, at), now);
        }
        _ => {}
    }
    if let Some(plan) = outside_window(facts, valid, (&target, response), now) {
        return plan;
    }
    // What was heard during a wait is not news about the moment at which it ends. Status forgets that moment at an edit;
    // the pause does not.
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
    let attempt = next_attempt(facts);
    if attempt > MAX_ATTEMPT {
        let message = no_attempt_left(attempt - 1);
        let situation = Situation::Stalled { reason: Reason::NoAttemptLeft, message };
        return report(facts, Rule::NoAttemptLeft, &situation, now);
    }
    reserve(facts, valid, (target, response), attempt, Rule::Reserve, now)
}

/// The controller that this one succeeds gave its runs no label, so no watch of ours shows them. Before the first attempt
/// they are looked for live.
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
            plan.effects.push(Effect::FindLegacyRun(valid.kind));
            Some(plan)
        }
    }
}

/// Asks at once where something changed since the last answer; after a restart into an unchanged world, in phase. Whether
/// a run's end came after the last answer is not in status, so where a run's effect is awaited it is asked at once.
fn await_response(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let unchanged = facts.memory.last_poll.is_none()
        && facts.memory.revision == 0
        && !facts.trigger_pending()
        && !awaits_first_response(facts)
        && find(&facts.status.conditions, ConditionType::InSync).is_some_and(|in_sync| {
            use Reason::{DesiredUnknown, EndpointFailing, SourceFailing, UpToDate};
            matches!(in_sync.reason, UpToDate | EndpointFailing | SourceFailing | DesiredUnknown)
        });
    let wait = if unchanged { next_phase(facts, valid, now) } else { Duration::ZERO };
    let plan = if awaits_first_response(facts) {
        report(facts, Rule::AwaitResponse, &Situation::AwaitingFirstAnswer, now)
    } else {
        // No answer yet is no news: what the last answer said stands.
        Plan::idle(Rule::AwaitResponse)
    };
    plan.polling(facts, wait, now)
}

fn wait_until(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    target: Target,
    (response, rule, at): (&PollResponse, Rule, Timestamp),
    now: Now,
) -> Plan {
    let situation = paused(facts.status, &Pause { rule, until: Some(at) });
    let status = ModelSyncStatus {
        target: Some(Box::new(target)),
        next_attempt_at: Some(at),
        ..compared(response, reported(facts, &situation, now))
    };
    // The question for the end of the wait is planned with it: its answer is what the next attempt is decided on.
    let left = until(now.wall, at);
    Plan::write(facts, rule, status)
        .polling(facts, next_poll(facts, valid, now).min(left), now)
        .waking_at(now.mono + left)
}

/// The target waits for a person, for another target, or for nothing at all.
fn parked(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    target: Target,
    (response, rule): (&PollResponse, Rule),
    now: Now,
) -> Plan {
    let situation = paused(facts.status, &Pause { rule, until: None });
    let status = ModelSyncStatus {
        target: Some(Box::new(target)),
        next_attempt_at: None,
        ..compared(response, reported(facts, &situation, now))
    };
    Plan::write(facts, rule, status).polling(facts, next_poll(facts, valid, now), now)
}

/// One more than every attempt that status or a run of ours has had.
fn next_attempt(facts: &Facts<'_>) -> i64 {
    let own = if let RunKnowledge::Known { own, .. } = &facts.runs { own.as_slice() } else { &[] };
    own.iter().map(|run| run.attempt).fold(facts.status.attempt, i64::max).saturating_add(1)
}

/// Deletes finished runs beyond the limits: ours by uid, their end recorded, old enough, exactly the surplus.
fn retire(facts: &Facts<'_>, now: Now, plan: &mut Plan) {
    let (RunKnowledge::Known { own, .. }, Ok(valid)) = (&facts.runs, &facts.spec) else { return };
    if !plan.effects.is_empty() || facts.object.deleting {
        return;
    }
    let surplus = surplus(own.iter().copied(), valid.limits);
    let (deletes, next) = retention::due(surplus, &facts.memory.recorded_since, facts.min_run_age, now.mono);
    plan.effects.extend(deletes.into_iter().map(Effect::DeleteRun));
    if let Some(next) = next {
        plan.wake_by(next);
    }
}
