//! An open reservation: create its run, record its end, or prove that it is gone. Pure.
//!
//! The absence of a run does not distinguish "never created" from "created and deleted", and a create request may still
//! be in flight. The order of the rules below prevents two runs of one attempt (`ARCHITECTURE.md`, "How a run starts").

use std::time::Duration;

use super::{
    facts::Facts,
    plan::{Effect, Plan, Rule},
    respond::{desired_unknown, next_phase, outside_window, report, reported, reserve, without_response},
    summarise::{Situation, awaits_first_response, suspended},
    target::{Pause, fresh_target, pause, paused},
    validate::Valid,
};
use crate::{
    api::{LastRun, ModelSyncStatus, Outcome, Reason, Reservation, RunSlot, SuccessfulRun, Target},
    core::{
        poll::response::{Demand, PollResponse, map_parameters},
        run::{
            backend::{Ending, RunRecord},
            claim::{Claim, CreateRefusal, PostState, RunLocation, locate_run, name_conflict, outcome, too_late},
            effects::StopRun,
            obstacle::{self, InspectRun},
            proof::is_run_of,
        },
        time::{Now, whole_seconds},
    },
};

/// Decides for an object with an open reservation.
pub(super) fn decide_reserved(facts: &Facts<'_>, open: &Reservation, own: &[&RunRecord], now: Now) -> Plan {
    let Some(slot) = open.slots.first() else { return record_gone(facts, open, "", now) };
    if let Some(run) = own.iter().find(|run| is_run_of(run, slot)) {
        return match run.ending() {
            None => running(facts, run, now),
            Some(ending) => record_end(facts, open, run, ending, now),
        };
    }
    // A run that has the name but no proof is no reason to wait for its end: its name is in the way.
    if let Some(run) = own.iter().find(|run| run.is_active() && run.name != slot.run_name) {
        return active(facts, run, now);
    }
    // While the spec is invalid or suspended, this process gives the attempt up as any other process would. What it
    // knows of its own POST must not matter.
    let starts = facts.spec.as_ref().is_ok_and(|valid| !valid.policy.suspended);
    match facts.memory.post_of(&open.nonce) {
        None if open.nonce.starts_with(facts.process) && starts => create_run(facts, open, slot, now),
        Some(PostState::Refused(refusal)) if starts => refused(facts, open, slot, refusal, now),
        _ => resolve_missing_run(facts, open, slot, now),
    }
}

/// The reserved run is active: stops it if it exceeds its timeout or the cancel annotation names it. Inspects it if
/// nothing of it runs.
fn running(facts: &Facts<'_>, run: &RunRecord, now: Now) -> Plan {
    let timeout = facts.spec.as_ref().ok().and_then(|valid| valid.policy.run_timeout);
    if let Some(stop) = StopRun::due(run, facts.object.cancel.as_deref(), timeout, now) {
        return Plan::doing(Rule::StopRun, Effect::StopRun(stop));
    }
    let inspections = &facts.memory.inspections;
    if let Some(inspect) = InspectRun::due(run, inspections, now) {
        return Plan::doing(Rule::RunActive, Effect::InspectRun(inspect));
    }
    let waits = [StopRun::due_in(run, timeout, now), obstacle::due_in(run, inspections, now)];
    let plan = active(facts, run, now);
    waits.into_iter().flatten().fold(plan, |plan, wait| plan.waking_at(now.mono + wait))
}

/// The run is active. If the spec has changed since, polls at once, so that its generation gets its first response.
fn active(facts: &Facts<'_>, run: &RunRecord, now: Now) -> Plan {
    let plan = report(facts, Rule::RunActive, &Situation::RunActive { run: &run.name }, now);
    match &facts.spec {
        Ok(valid) if awaits_first_response(facts) && !valid.policy.suspended => {
            plan.polling(facts, Duration::ZERO, now)
        }
        _ => plan,
    }
}

/// Records the end and closes the reservation in one write. Only once it is durable may the next attempt be reserved.
fn record_end(facts: &Facts<'_>, open: &Reservation, run: &RunRecord, ending: &Ending, now: Now) -> Plan {
    let digest = if run.target.is_empty() { open.target.clone() } else { run.target.clone() };
    let outcome = outcome(run, ending);
    let last = LastRun {
        attempt: open.attempt,
        name: run.name.clone(),
        uid: Some(run.uid.clone()),
        target: digest,
        outcome,
        reason: ending.reason.clone(),
        message: ending.message.clone(),
        // The user who cancels a run knows the spec as it is now. A failure says nothing about an edit that was made
        // after the run was created.
        generation: if outcome == Outcome::Cancelled { facts.object.generation } else { open.generation },
        outputs: ending.outputs.clone(),
        started_at: run.observed.started_at,
        // A clock that is ahead of ours must not lengthen the waits that count from this time.
        finished_at: whole_seconds(ending.finished_at.unwrap_or(now.wall).min(now.wall)),
    };
    close(facts, last, Rule::RecordEnd, now)
}

fn record_gone(facts: &Facts<'_>, open: &Reservation, run_name: &str, now: Now) -> Plan {
    let sighted = facts.memory.sighted.as_ref().filter(|(name, ..)| name == run_name);
    let last = LastRun {
        attempt: open.attempt,
        name: run_name.to_owned(),
        uid: sighted.map(|(_, uid, _)| uid.clone()),
        target: open.target.clone(),
        outcome: Outcome::Gone,
        reason: Outcome::Gone.as_str().to_owned(),
        message: if sighted.is_some() {
            "the run was deleted before its end was recorded".to_owned()
        } else {
            "the run was never created, or was deleted before it was seen".to_owned()
        },
        generation: open.generation,
        outputs: Vec::new(),
        started_at: None,
        finished_at: whole_seconds(now.wall),
    };
    close(facts, last, Rule::RecordGone, now)
}

/// Writes the status after the end of a run: the outcome counted on its target, the reservation closed, the next wait
/// set.
fn close(facts: &Facts<'_>, last: LastRun, rule: Rule, now: Now) -> Plan {
    let mut ended = facts.status.clone();
    ended.reservation = None;
    ended.active = Vec::new();
    ended.next_attempt_at = None;
    if let Some(target) = &mut ended.target {
        count(target, &last);
    }
    if last.outcome == Outcome::Succeeded {
        ended.last_successful_run = Some(Box::new(SuccessfulRun {
            attempt: last.attempt,
            name: last.name.clone(),
            target: last.target.clone(),
            finished_at: last.finished_at,
        }));
    }
    let unseen = last.outcome == Outcome::Gone && last.uid.is_none() && !facts.memory.created();
    // Without a wait, the rule only selects the situation that is reported.
    let by_outcome = if last.outcome == Outcome::Succeeded { Rule::Settle } else { Rule::BackOff };
    ended.last_run = Some(Box::new(last));
    if unseen {
        // A run that the operator never saw is no failed run. What follows from the next poll is reported then.
        let facts = &Facts { status: &ended, ..facts.clone() };
        let edited = ended.observed_generation != facts.object.generation;
        let run = ended.last_run.as_ref().map_or("", |last| &last.name);
        let situation = if edited { Situation::AwaitingFirstResponse } else { Situation::NeverCreated { run } };
        return Plan::doing(rule, Effect::WriteStatus(Box::new(reported(facts, &situation, now))));
    }
    let facts = &Facts { status: &ended, ..facts.clone() };
    let next = match (&facts.spec, &ended.target) {
        (Ok(valid), Some(target)) => pause(facts, valid, target, now),
        _ => None,
    };
    let next = next.unwrap_or(Pause { rule: by_outcome, until: Some(now.wall) });
    let waits = next.until.filter(|at| *at > now.wall);
    let status = ModelSyncStatus { next_attempt_at: waits, ..reported(facts, &paused(&ended, &next), now) };
    let mut plan = Plan::idle(rule);
    plan.effects.push(Effect::WriteStatus(Box::new(status)));
    plan
}

/// Counts the outcome on the target, if the run was for it. A run that is gone says nothing about its target.
fn count(target: &mut Target, last: &LastRun) {
    if target.digest == last.target {
        match last.outcome {
            Outcome::Succeeded => (target.failures, target.successes) = (0, target.successes.saturating_add(1)),
            Outcome::Gone => {}
            _ => (target.failures, target.successes) = (target.failures.saturating_add(1), 0),
        }
    }
}

/// This process made the reservation and has not sent the POST. No other process will.
fn create_run(facts: &Facts<'_>, open: &Reservation, slot: &RunSlot, now: Now) -> Plan {
    let stale = open.generation != facts.object.generation || too_late(open.not_after, now);
    let (Ok(valid), false) = (&facts.spec, stale) else { return retry_attempt(facts, open, slot, now) };
    let target = facts.status.target.as_ref();
    let mut plan = report(facts, Rule::CreateRun, &Situation::RunActive { run: &slot.run_name }, now);
    let claim = Claim {
        object: facts.object,
        owner_kind: "ModelSync",
        attempt: open.attempt,
        candidate: "",
        target: &open.target,
        generation: open.generation,
        run_name: &slot.run_name,
        nonce: &open.nonce,
        not_after: open.not_after,
        key: facts.claim_key,
        proofs: &slot.proofs,
    };
    let parameters = target.map(|target| target.parameters.clone()).unwrap_or_default();
    let create = claim.create(valid.policy.kind(), parameters, valid.policy.run_timeout, valid.owned);
    plan.effects.push(Effect::CreateRun(create));
    plan
}

/// The API server certainly refused the create. The same attempt is tried again after a backoff, or once the spec or
/// the trigger has changed.
fn refused(facts: &Facts<'_>, open: &Reservation, slot: &RunSlot, refusal: &CreateRefusal, now: Now) -> Plan {
    let due = refusal.retry_at(open.create_failures);
    let changed = refusal.generation != facts.object.generation || refusal.trigger != facts.handled_trigger();
    if changed || due <= now.mono {
        return retry_attempt(facts, open, slot, now);
    }
    let situation = if refusal.stalled {
        Situation::Stalled { reason: refusal.reason, message: refusal.message.clone() }
    } else {
        Situation::Hindered { reason: refusal.reason, message: &refusal.message }
    };
    let rule = if refusal.reason == Reason::NameConflict { Rule::NameConflict } else { Rule::CreateRefused };
    // The refusal is stored with the condition. A process that finds only the reservation would take the run for lost.
    let stored = open.refusal.clone().unwrap_or_else(|| refusal.stored());
    let status = ModelSyncStatus {
        next_attempt_at: None,
        reservation: Some(Box::new(Reservation { refusal: Some(stored), ..open.clone() })),
        ..reported(facts, &situation, now)
    };
    Plan::write(facts, rule, status).waking_at(due)
}

/// Reserves the same attempt again if a poll made since its reservation still says that a sync is needed. If the
/// response says that no sync is needed or that there is no desired value, or if no window is open, the attempt is
/// given up like a lost one: an open reservation would show a run that does not exist, and another process, which does
/// not know of the refusal, would give it up anyway.
fn retry_attempt(facts: &Facts<'_>, open: &Reservation, slot: &RunSlot, now: Now) -> Plan {
    let valid = match &facts.spec {
        Ok(valid) => valid,
        Err(invalid) => {
            let situation = Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() };
            return report(facts, Rule::InvalidSpec, &situation, now);
        }
    };
    let context = facts.context();
    let polled = facts.memory.last_poll.as_ref().filter(|polled| polled.context == context);
    match polled.map(|polled| &polled.result) {
        None => {
            let plan = if awaits_first_response(facts) {
                report(facts, Rule::AwaitReserveAgain, &Situation::AwaitingFirstResponse, now)
            } else {
                Plan::idle(Rule::AwaitReserveAgain)
            };
            plan.polling(facts, Duration::ZERO, now)
        }
        Some(Err(poll_error)) => without_response(facts, valid, poll_error, Rule::AwaitReserveAgain, now),
        Some(Ok(response)) if response.demand != Demand::Needed => resolve_missing_run(facts, open, slot, now),
        Some(Ok(response)) => match map_parameters(&response.parameters, valid.mapping, valid.unmapped) {
            Err(poll_error) => without_response(facts, valid, &poll_error, Rule::AwaitReserveAgain, now),
            Ok(parameters) => {
                let target = fresh_target(facts, valid, response, parameters, now);
                if outside_window(facts, valid, (&target, response), now).is_some() {
                    return resolve_missing_run(facts, open, slot, now);
                }
                reserve(facts, valid, (target, response), open.attempt, Rule::ReserveAgain, now)
            }
        },
    }
}

/// The plan that waits for a window. `None` if a run may start now, or if the parameters cannot be mapped.
fn closed(facts: &Facts<'_>, valid: &Valid<'_>, response: &PollResponse, now: Now) -> Option<Plan> {
    let parameters = map_parameters(&response.parameters, valid.mapping, valid.unmapped).ok()?;
    let target = fresh_target(facts, valid, response, parameters, now);
    outside_window(facts, valid, (&target, response), now)
}

/// The watch does not show the run, and its create request may be in flight: look it up, wait until the deadline has
/// certainly passed, look it up again.
fn resolve_missing_run(facts: &Facts<'_>, open: &Reservation, slot: &RunSlot, now: Now) -> Plan {
    let memory = facts.memory;
    let lookup = memory.lookup.as_ref().filter(|lookup| lookup.run_name == slot.run_name);
    let sighted = memory.sighted.as_ref().filter(|(name, ..)| *name == slot.run_name).map(|(.., at)| *at);
    match locate_run(open.not_after, lookup, sighted, facts.fence, now) {
        RunLocation::LookUp => look_up(slot),
        RunLocation::Gone => record_gone(facts, open, &slot.run_name, now),
        RunLocation::Unfenced => keep_name_lock(facts, open, slot, now),
        RunLocation::FenceUnknown { wait } => Plan::idle(Rule::AwaitDeadline).waking_at(now.mono + wait),
        RunLocation::Uncertain { certain_at, wait } => {
            let situation = Situation::Unconfirmed { run: &slot.run_name, until: certain_at };
            report(facts, Rule::AwaitDeadline, &situation, now).waking_at(now.mono + wait)
        }
        RunLocation::Foreign { owner, retry_at } => {
            let message = name_conflict(&slot.kind, &slot.run_name, owner);
            let situation = Situation::Stalled { reason: Reason::NameConflict, message };
            report(facts, Rule::NameConflict, &situation, now).waking_at(retry_at)
        }
    }
}

fn look_up(slot: &RunSlot) -> Plan {
    let mut plan = Plan::idle(Rule::LookUpRun);
    plan.effects.push(Effect::LookUpRun(slot.clone()));
    plan
}

/// Without the fence, the name of the run is the only lock, so the attempt cannot be given up. It stays open, and is
/// reserved again once a run is needed.
fn keep_name_lock(facts: &Facts<'_>, open: &Reservation, slot: &RunSlot, now: Now) -> Plan {
    let Ok(valid) = &facts.spec else { return retry_attempt(facts, open, slot, now) };
    if valid.policy.suspended {
        return report(facts, Rule::Suspended, &suspended(facts), now);
    }
    let context = facts.context();
    let polled = facts.memory.last_poll.as_ref().filter(|polled| polled.context == context);
    match polled.map(|polled| &polled.result) {
        Some(Ok(response)) if response.demand == Demand::NotNeeded => {
            let situation = Situation::UpToDate { compared: response.values.is_some() };
            report(facts, Rule::UpToDate, &situation, now).polling(facts, next_phase(facts, valid, now), now)
        }
        Some(Ok(response)) if response.demand == Demand::DesiredUnknown => desired_unknown(facts, valid, response, now),
        Some(Ok(response)) => {
            closed(facts, valid, response, now).unwrap_or_else(|| retry_attempt(facts, open, slot, now))
        }
        _ => retry_attempt(facts, open, slot, now),
    }
}
