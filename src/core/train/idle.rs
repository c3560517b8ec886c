//! No training is open: whether one is due, whether it may start now, and its reservation. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    candidate_run::{active, claim},
    facts::Facts,
    parameters::{Origins, resolve},
    plan::{Plan, Rule},
    poll::{Observation, observe},
    summarise::{Situation, as_before, awaits_first_response, report, reported, taken_in, was_kept_from_polling},
    validate::Valid,
};
use crate::{
    api::{
        BudgetStatus, Candidate, ModelTrainStatus, Reason, RecordedInput, SlotReport, SlotState, TrainReservation,
        TrainSlot, TrainTarget,
    },
    core::{
        freshness::{FreshnessEvaluation, Observations, ObservedInput, evaluate},
        poll::{
            jitter::{next_poll_in, poll_in_after_absence},
            response::{Demand, PollError},
        },
        run::{
            claim::no_attempt_left,
            digest,
            name::{self, MAX_ATTEMPT},
        },
        source::validate::describe,
        time::{
            MonotonicTime, Now, after,
            budget::{Capacity, clamp_to_now},
            until,
            window::LONGEST_SEARCH_PAUSE,
        },
        version::chain::recorded_input,
    },
};

/// Failed or incomplete polls in a row after which the operator changes conditions that a complete one had set.
const FAILED_POLLS_TOLERATED: u32 = 3;
/// Maximum age of the poll result that a training is reserved from, because the reservation pins its inputs.
const FRESH_ENOUGH: Duration = Duration::from_secs(30);
/// Maximum wait for a point in time. So the operator notices within a day that a clock jumped.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Maximum size of the parameters of all runs of a training together, in bytes: status pins them.
const MAX_PINNED: usize = 64 * 1024;

/// Decides for an object with a valid spec and without an open training.
pub fn decide_idle(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let polls = observe(valid.spec).is_some();
    let observed = facts.memory.observed_in(&facts.context());
    let observation = observed.and_then(|(response, _)| response.observed());
    let evaluation = evaluate_freshness(facts, valid, observation, now);
    let mut status = facts.status.clone();
    evaluation.store(&mut status);
    status.budget = budget_status(facts, valid);
    let stored = &Facts { status: &status, ..facts.clone() };
    let plan = if polls && observed.is_none() {
        await_response(facts, valid, &evaluation, now)
    } else if evaluation.actionable.is_empty() {
        not_due((facts, stored), observation, &evaluation, now)
    } else {
        let sent = observed.map(|(_, sent)| sent);
        start_if_allowed((facts, stored), valid, (observation, sent), &evaluation, now)
    };
    let plan =
        if polls && plan.poll.is_none() { plan.polling(stored, next_poll(facts, valid, now), now) } else { plan };
    match evaluation.next {
        Some(next) => plan.waking_at(now.mono + until(now.wall, next).min(LONGEST_WAIT)),
        None => plan,
    }
}

/// Evaluates every reason by this observation.
pub fn evaluate_freshness(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    observation: Option<&Observation>,
    now: Now,
) -> FreshnessEvaluation {
    let mut inputs = BTreeMap::new();
    let mut metrics = BTreeMap::new();
    for (name, read) in observation.iter().flat_map(|observation| &observation.inputs) {
        inputs.insert(
            name.clone(),
            match read {
                Ok(Some(value)) => ObservedInput::Digest(crate::core::version::chain::input_digest(&value.text)),
                Ok(None) => ObservedInput::Absent,
                Err(_) => ObservedInput::Unknown,
            },
        );
    }
    for (name, read) in observation.iter().flat_map(|observation| &observation.metrics) {
        let number = read.as_ref().ok().and_then(Option::as_ref).and_then(|text| text.trim().parse::<f64>().ok());
        let rule = valid.live.get(name);
        metrics.insert(name.clone(), number.zip(rule).and_then(|(number, rule)| rule.holds(number).ok()));
    }
    let endpoint = observation.and_then(|observation| observation.endpoint.as_ref()?.as_ref().ok());
    let trigger = facts.pending_trigger();
    let seen = Observations {
        inputs: &inputs,
        metrics: &metrics,
        endpoint: endpoint.map(|response| response.demand == Demand::Needed),
        trigger: trigger.as_deref(),
        awaits_serving: facts.awaits_serving(),
        created_at: facts.object.created_at.unwrap_or(now.wall),
    };
    evaluate(&valid.freshness, facts.status, &seen, now.wall)
}

/// Polls at once if something changed. After a restart without a change, polls at the object's regular time, or soon if
/// that came while no process polled. A reason
/// that becomes actionable by time alone also gets a poll before a training starts for it. Until the poll result
/// arrives, the conditions of the last one stay.
fn await_response(facts: &Facts<'_>, valid: &Valid<'_>, evaluation: &FreshnessEvaluation, now: Now) -> Plan {
    let unchanged = facts.memory.observed.is_none()
        && facts.memory.revision == 0
        && evaluation.actionable.is_empty()
        && !awaits_first_response(facts)
        && !was_kept_from_polling(facts);
    let wait = if unchanged { first_poll(facts, valid, now) } else { Duration::ZERO };
    let plan = if awaits_first_response(facts) {
        report(facts, Rule::AwaitResponse, &Situation::AwaitingFirstResponse, now)
    } else {
        as_before(facts, Rule::AwaitResponse, now)
    };
    plan.polling(facts, wait, now)
}

/// Reports why no training is due: the model is fresh, its reasons are answered, or the poll failed. `before` has the
/// status from before the evaluation.
fn not_due(
    (before, facts): (&Facts<'_>, &Facts<'_>),
    observation: Option<&Observation>,
    evaluation: &FreshnessEvaluation,
    now: Now,
) -> Plan {
    if let Some(failure) = failure(observation).filter(|_| !evaluation.known) {
        return report_failed_poll((before, facts), failure, now);
    }
    let missing: Vec<_> = evaluation.missing_inputs.iter().filter(|missing| missing.counts).collect();
    if let Some(missing) = missing.first() {
        let message = format!("input {:?} has no value", missing.name);
        return report(facts, Rule::InputMissing, &Situation::InputMissing { message }, now);
    }
    if evaluation.current.is_empty() {
        let situation = if facts.status.accepted_version.is_some() { Situation::Fresh } else { Situation::NotDue };
        return report(facts, Rule::Fresh, &situation, now);
    }
    report(facts, Rule::NoBetterCandidate, &Situation::NoBetterCandidate, now)
}

/// Reports a failed or incomplete poll: at once for the first poll of a generation, otherwise only after several in a
/// row.
fn report_failed_poll(
    (before, facts): (&Facts<'_>, &Facts<'_>),
    (reason, message): (Reason, String),
    now: Now,
) -> Plan {
    if facts.memory.failed_polls >= FAILED_POLLS_TOLERATED || !taken_in(facts) || was_kept_from_polling(facts) {
        return report(facts, Rule::PollFailed, &Situation::PollsFailing { reason, message }, now);
    }
    as_before(before, Rule::PollFailed, now)
}

/// The first poll error of the observation: the reason of the condition, and the message.
fn failure(observation: Option<&Observation>) -> Option<(Reason, String)> {
    let observation = observation?;
    let source = |kind: &str, name: &str, poll_error: &PollError| {
        (Reason::SourceFailing, format!("{kind} {name:?}: {}", poll_error.message))
    };
    let inputs = observation.inputs.iter().filter_map(|(name, read)| Some(source("input", name, read.as_ref().err()?)));
    let metrics =
        observation.metrics.iter().filter_map(|(name, read)| Some(source("metric", name, read.as_ref().err()?)));
    let endpoint = observation.endpoint.as_ref().and_then(|response| response.as_ref().err());
    let endpoint = endpoint.map(|poll_error| (Reason::EndpointFailing, poll_error.message.clone()));
    inputs.chain(metrics).chain(endpoint).next()
}

/// Reserves a training that is due, unless it has to wait.
fn start_if_allowed(
    (before, facts): (&Facts<'_>, &Facts<'_>),
    valid: &Valid<'_>,
    (observation, sent): (Option<&Observation>, Option<MonotonicTime>),
    evaluation: &FreshnessEvaluation,
    now: Now,
) -> Plan {
    if let Some(missing) = evaluation.missing_inputs.iter().find(|missing| missing.counts) {
        if let Some(failure) = failure(observation).filter(|_| !missing.absent) {
            return report_failed_poll((before, facts), failure, now);
        }
        let message = format!("input {:?} has no value", missing.name);
        return report(facts, Rule::InputMissing, &Situation::InputMissing { message }, now);
    }
    let inputs = pinned(valid, observation);
    let target = target(facts, valid, &inputs);
    match paused(facts, valid, &target, now) {
        Some(situation @ Situation::BackingOff { until, .. }) => {
            return waiting_until(facts, Rule::BackOff, &situation, Some(until), now);
        }
        Some(situation) => return report(facts, Rule::RetriesExhausted, &situation, now),
        None => {}
    }
    if let Some(plan) = no_room(facts, valid, now).or_else(|| outside_window(facts, valid, now)) {
        return plan;
    }
    if sent.is_some_and(|sent| now.mono.since(sent) > FRESH_ENOUGH) {
        return as_before(before, Rule::AwaitResponse, now).polling(facts, Duration::ZERO, now);
    }
    let attempt = next_attempt(facts);
    if attempt > MAX_ATTEMPT {
        let message = no_attempt_left(attempt - 1);
        let situation = Situation::Stalled { reason: Reason::NoAttemptLeft, message };
        return report(facts, Rule::NoAttemptLeft, &situation, now);
    }
    let origins = Origins { observation, reasons: &evaluation.actionable, attempt };
    match slots(facts, valid, origins, now) {
        Ok(slots) => {
            let open = TrainReservation {
                attempt,
                generation: facts.object.generation,
                target: target.digest.clone(),
                inputs,
                reasons: evaluation.actionable.clone(),
                trigger: facts.pending_trigger(),
                slots,
            };
            reserve(facts, valid, target, open, now)
        }
        Err(message) => report(facts, Rule::InputMissing, &Situation::InputMissing { message }, now),
    }
}

/// The pause of a target whose last trainings failed. A pending trigger or another target ends every pause. An edit of
/// the spec ends the pause of a target that has used up its attempts.
pub fn paused<'a>(facts: &Facts<'_>, valid: &Valid<'_>, target: &TrainTarget, now: Now) -> Option<Situation<'a>> {
    let last = facts.status.last_attempt.as_deref()?;
    if target.failures == 0 || facts.pending_trigger().is_some() {
        return None;
    }
    if target.failures >= valid.policy.max_attempts {
        let edited = last.generation != facts.object.generation;
        return (!edited).then_some(Situation::Exhausted { failures: target.failures, attempt: last.attempt });
    }
    let wait = valid.policy.backoff.after(target.failures);
    let at = after(last.ended_at, wait);
    // If the last training ended later than now by more than the full backoff, a clock was wrong: do not wait.
    let waits = at > now.wall && until(now.wall, last.ended_at) <= wait;
    waits.then_some(Situation::BackingOff { attempt: last.attempt, until: at })
}

/// The plan that waits for the budget. `None` if the whole training fits.
fn no_room(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Option<Plan> {
    let budget = valid.budget?;
    // A start later than now comes from a wrong clock. It is moved to now and stored, so that the wait ends.
    let started = facts.status.budget.as_ref().map_or(&[][..], |budget| &budget.started_at);
    let Capacity::FreeAt(frees_at) = budget.capacity(started, now.wall) else { return None };
    let budget = BudgetStatus { started_at: clamp_to_now(started, now.wall), frees_at: Some(frees_at) };
    let status = ModelTrainStatus { budget: Some(budget), ..facts.status.clone() };
    let facts = &Facts { status: &status, ..facts.clone() };
    Some(waiting_until(facts, Rule::BudgetSpent, &Situation::BudgetSpent { frees_at }, Some(frees_at), now))
}

/// The plan that waits for a window. `None` if a training may start now, or if the trigger overrides the windows.
fn outside_window(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Option<Plan> {
    let permission = valid.policy.windows.permission(now.wall);
    let left = until(now.wall, permission.until()?);
    if facts.overrides_windows() {
        return None;
    }
    let (again, opens) = (permission.search_again_at(), permission.opening());
    let at = opens.as_ref().map(|opens| opens.at);
    let plan = waiting_until(facts, Rule::OutsideWindow, &Situation::OutsideWindow { opens }, at, now);
    // Without an opening, the search goes on where it ended.
    Some(if again.is_some() { plan.waking_at(now.mono + left.min(LONGEST_SEARCH_PAUSE)) } else { plan })
}

/// Reports the situation, and wakes the object at the end of the wait.
fn waiting_until(facts: &Facts<'_>, rule: Rule, situation: &Situation<'_>, at: Option<Timestamp>, now: Now) -> Plan {
    let mut status = facts.status.clone();
    status.next_evaluation_at = at.into_iter().chain(status.next_evaluation_at).min();
    let facts = &Facts { status: &status, ..facts.clone() };
    let plan = report(facts, rule, situation, now);
    match at {
        Some(at) => plan.waking_at(now.mono + until(now.wall, at).min(LONGEST_WAIT)),
        None => plan,
    }
}

/// The starts that status holds. `freesAt` is shown only while a training waits for the budget.
fn budget_status(facts: &Facts<'_>, valid: &Valid<'_>) -> Option<BudgetStatus> {
    valid.budget?;
    let started_at = facts.status.budget.as_ref().map_or_else(Vec::new, |budget| budget.started_at.clone());
    (!started_at.is_empty()).then_some(BudgetStatus { started_at, frees_at: None })
}

/// The inputs that have a value, as the reservation pins them.
fn pinned(valid: &Valid<'_>, observation: Option<&Observation>) -> Vec<RecordedInput> {
    let declared = valid.spec.freshness.iter().flat_map(|freshness| &freshness.inputs);
    declared
        .filter_map(|input| {
            let value = observation?.inputs.get(&input.name)?.as_ref().ok()?.as_ref()?;
            Some(recorded_input(&input.name, &value.text, &describe(&input.source)))
        })
        .collect()
}

/// The target of the training, with its failures in a row. A pending trigger clears them. So does an edit of the spec
/// if the target has used up its attempts.
fn target(facts: &Facts<'_>, valid: &Valid<'_>, inputs: &[RecordedInput]) -> TrainTarget {
    let digests: BTreeMap<_, _> = inputs.iter().map(|input| (input.name.as_str(), input.digest.as_str())).collect();
    let what = serde_json::json!({
        "inputs": digests,
        "parameters": valid.spec.parameters,
        "candidates": valid.spec.candidates,
    });
    let digest = digest::training(&what, &valid.policy.template);
    let known = facts.status.target.as_ref().filter(|known| known.digest == digest);
    let rearmed = facts.pending_trigger().is_some()
        || facts.status.last_attempt.as_ref().is_some_and(|last| {
            last.generation != facts.object.generation
                && known.is_some_and(|known| known.failures >= valid.policy.max_attempts)
        });
    TrainTarget { digest, failures: known.map_or(0, |known| known.failures).min(if rearmed { 0 } else { i64::MAX }) }
}

/// One more than the highest attempt in status and on the records of this object, which only the operator may write. A label
/// on a run may be anyone's.
fn next_attempt(facts: &Facts<'_>) -> i64 {
    let recorded = facts.own_versions().iter().map(|version| version.attempt);
    recorded.fold(facts.status.attempt, i64::max).saturating_add(1)
}

/// The slots of the training. As many are claimed as may run at once. The others wait for their turn.
fn slots(facts: &Facts<'_>, valid: &Valid<'_>, origins: Origins<'_>, now: Now) -> Result<Vec<TrainSlot>, String> {
    let candidates: Vec<Option<&Candidate>> = match valid.spec.candidates.as_slice() {
        [] => vec![None],
        candidates => candidates.iter().map(Some).collect(),
    };
    let mut slots = Vec::with_capacity(candidates.len());
    for (place, candidate) in candidates.into_iter().enumerate() {
        let name = candidate.map_or("", |candidate| candidate.name.as_str());
        let run_name = name::candidate_run_name(&facts.object.name, &facts.object.uid, origins.attempt, name);
        let mut slot = TrainSlot {
            candidate: name.to_owned(),
            api_version: valid.policy.kind().api_version(),
            kind: valid.policy.kind().kind.to_owned(),
            parameters: resolve(facts, valid, candidate, &run_name, origins)?,
            run_name,
            state: SlotState::Waiting,
            nonce: String::new(),
            proofs: Vec::new(),
            not_after: None,
            create_failures: 0,
            refusal: None,
        };
        if place < valid.parallelism {
            claim(&mut slot, facts, now);
        }
        slots.push(slot);
    }
    let pinned: usize =
        slots.iter().flat_map(|slot| &slot.parameters).map(|(name, value)| name.len() + value.len()).sum();
    if pinned > MAX_PINNED {
        return Err(format!("the parameters of all candidates take {pinned} bytes; at most {MAX_PINNED} are allowed"));
    }
    Ok(slots)
}

/// Reserves a training. The write is a compare-and-swap on the snapshot that the decision was made from. Its nonces
/// make it differ from any other write.
fn reserve(facts: &Facts<'_>, valid: &Valid<'_>, target: TrainTarget, open: TrainReservation, now: Now) -> Plan {
    let reports = open.slots.iter().map(|slot| SlotReport {
        candidate: slot.candidate.clone(),
        run: slot.run_name.clone(),
        outcome: None,
        verdict: None,
        score: None,
        decision: None,
    });
    let started = facts.status.budget.as_ref().map_or(&[][..], |budget| &budget.started_at);
    let status = ModelTrainStatus {
        attempt: open.attempt,
        target: Some(target),
        slots: reports.collect(),
        active: active(facts, &open, now),
        budget: valid.budget.map(|budget| BudgetStatus { started_at: budget.note(started, now.wall), frees_at: None }),
        last_handled_trigger: open.trigger.clone().or_else(|| facts.status.last_handled_trigger.clone()),
        ..reported(facts, &Situation::Training(&open), now)
    };
    let status = ModelTrainStatus { reservation: Some(Box::new(open)), ..status };
    Plan::write(facts, Rule::Reserve, status)
}

/// Time until the first poll of this process. A turn that came while no process polled is made up for.
fn first_poll(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    let Some(unpolled) = facts.unpolled else { return next_poll(facts, valid, now) };
    poll_in_after_absence(&facts.object.uid, valid.policy.interval, now.wall, unpolled)
}

/// Time until the object's next regular poll.
fn next_poll(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    next_poll_in(&facts.object.uid, valid.policy.interval, now.wall)
}
