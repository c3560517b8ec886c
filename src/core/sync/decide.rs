//! The decision about a ModelSync, as an ordered list of rules. Pure: no async, no client, no clock, no log.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    facts::{Facts, RunKnowledge},
    plan::{DeleteRun, Effect, Inquiry, Plan, Rule, WakeUp},
    slot,
    summarise::{Situation, awaits_first_answer, conditions},
    validate::Valid,
};
use crate::{
    api::{ActiveRun, ConditionType, ModelSyncStatus, Reason, Reservation, RunSlot, Target},
    core::{
        answer::{NoAnswer, NoAnswerClass, map_parameters},
        condition::find,
        digest, name,
        retention::surplus,
        retry::{RUN_BACKOFF, SETTLE},
        run::RunRecord,
        time::{Mono, Now, after, until, whole_seconds},
    },
};

/// How long after its reservation a run may still be created.
pub(super) const CREATE_WINDOW: Duration = Duration::from_secs(30);
/// How soon run knowledge that has become too old is looked at again.
const UNKNOWN_RETRY: Duration = Duration::from_secs(5);
/// How many unanswered questions in a row change conditions that an answer had set.
const UNANSWERED_TOLERATED: u32 = 3;

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
        // A watch that falls silent and speaks again wakes nobody by itself.
        return Plan::idle(Rule::RunsUnknown).waking_at(now.mono + UNKNOWN_RETRY);
    };
    if let Some(reservation) = &facts.status.reservation {
        return slot::reserved(facts, reservation, own, now);
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
        return report(facts, Rule::PredecessorRunning, &Situation::PredecessorRunning { run: &run.name }, now);
    }
    if valid.suspended {
        return report(facts, Rule::Suspended, &Situation::Suspended, now);
    }
    if *kind_missing {
        let message = format!("{} is not installed in this cluster; it is picked up when it is", valid.kind);
        let situation = Situation::Hindered { reason: Reason::RunKindMissing, message: &message };
        return report(facts, Rule::RunKindMissing, &situation, now);
    }
    by_answer(facts, valid, now)
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

/// Nothing is on its way: what the endpoint says decides.
fn by_answer(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let under = facts.under();
    let Some(answered) = facts.memory.answer.as_ref().filter(|answered| answered.under == under) else {
        return await_answer(facts, valid, now);
    };
    let answer = match &answered.result {
        Ok(answer) => answer,
        Err(no_answer) => return without_answer(facts, valid, no_answer, Rule::NoAnswer, now),
    };
    if !answer.needed {
        let status = ModelSyncStatus {
            target: None,
            next_attempt_at: None,
            last_handled_trigger: handled(facts),
            ..reported(facts, &Situation::UpToDate, now)
        };
        return Plan::write(facts, Rule::UpToDate, status).asking(facts, valid, next_phase(facts, valid, now), now);
    }
    match map_parameters(&answer.parameters, valid.mapping, valid.unmapped) {
        Err(no_answer) => without_answer(facts, valid, &no_answer, Rule::NoAnswer, now),
        Ok(parameters) => {
            let target = fresh_target(facts, valid, parameters, now);
            match wait(facts, &target, now) {
                Some((rule, at)) if at > now.wall => wait_until(facts, valid, target, rule, at, now),
                _ => reserve(facts, valid, target, next_attempt(facts), Rule::Reserve, now),
            }
        }
    }
}

/// Asks at once where something changed since the last answer; after a restart into an unchanged world, in phase. Whether
/// a run's end came after the last answer is not in status, so where a run's effect is awaited it is asked at once.
fn await_answer(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Plan {
    let unchanged = facts.memory.answer.is_none()
        && !facts.trigger_pending()
        && !awaits_first_answer(facts)
        && find(&facts.status.conditions, ConditionType::InSync)
            .is_some_and(|in_sync| matches!(in_sync.reason, Reason::UpToDate | Reason::EndpointFailing));
    let wait = if unchanged { next_phase(facts, valid, now) } else { Duration::ZERO };
    let plan = if awaits_first_answer(facts) {
        report(facts, Rule::AwaitAnswer, &Situation::AwaitingFirstAnswer, now)
    } else {
        // No answer yet is no news: what the last answer said stands.
        Plan::idle(Rule::AwaitAnswer)
    };
    plan.asking(facts, valid, wait, now)
}

/// No usable answer: shown at once where nothing good was shown for this generation, else after a few in a row.
pub(super) fn without_answer(facts: &Facts<'_>, valid: &Valid<'_>, no_answer: &NoAnswer, rule: Rule, now: Now) -> Plan {
    // Reasons that an object can show without ever having been answered.
    let unasked = |reason| {
        use Reason::{
            AwaitingFirstAnswer, EndpointFailing, InvalidSpec, PredecessorRunning, RunKindMissing, Suspended,
        };
        matches!(
            reason,
            AwaitingFirstAnswer | EndpointFailing | InvalidSpec | PredecessorRunning | RunKindMissing | Suspended
        )
    };
    let answered_well = facts.status.observed_generation == facts.object.generation
        && find(&facts.status.conditions, ConditionType::InSync).is_some_and(|in_sync| !unasked(in_sync.reason));
    let passing = facts.memory.unanswered < UNANSWERED_TOLERATED && no_answer.class != NoAnswerClass::Parameters;
    let plan = if answered_well && passing {
        Plan::idle(rule)
    } else {
        report(facts, rule, &Situation::EndpointFailing { message: &no_answer.message }, now)
    };
    plan.asking(facts, valid, next_phase(facts, valid, now), now)
}

/// The target of these parameters, with what is known of its past.
pub(super) fn fresh_target(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    parameters: BTreeMap<String, String>,
    now: Now,
) -> Target {
    let digest = digest::target(&parameters, &valid.template);
    let known = facts.status.target.as_ref().filter(|known| known.digest == digest);
    let (failures, successes) = known.map_or((0, 0), |known| (known.failures, known.successes));
    let since = known.map_or_else(|| whole_seconds(now.wall), |known| known.since);
    let mut target = Target { digest, parameters, failures, successes, since };
    if facts.trigger_pending() {
        (target.failures, target.successes) = (0, 0);
    }
    target
}

/// Until when the target is left alone, and by which rule.
///
/// An end that lies further ahead than the whole wait is the mistake of some clock, and is not waited for.
pub(super) fn wait(facts: &Facts<'_>, target: &Target, now: Now) -> Option<(Rule, Timestamp)> {
    let last = facts.status.last_run.as_ref().filter(|last| last.target == target.digest)?;
    let (rule, pause) = match (target.failures, target.successes) {
        (failures, _) if failures > 0 => (Rule::BackOff, RUN_BACKOFF.after(failures)),
        (_, successes) if successes > 0 => (Rule::Settle, SETTLE.after(successes)),
        _ => return None,
    };
    (until(now.wall, last.finished_at) <= pause).then(|| (rule, after(last.finished_at, pause)))
}

fn wait_until(facts: &Facts<'_>, valid: &Valid<'_>, target: Target, rule: Rule, at: Timestamp, now: Now) -> Plan {
    let run = facts.status.last_run.as_ref().map_or("", |last| last.name.as_str());
    let situation = if rule == Rule::BackOff {
        Situation::BackingOff {
            run,
            why: facts.status.last_run.as_ref().map_or("", |last| last.reason.as_str()),
            until: at,
        }
    } else {
        Situation::AwaitingEffect { run, until: at }
    };
    let status =
        ModelSyncStatus { target: Some(target), next_attempt_at: Some(at), ..reported(facts, &situation, now) };
    Plan::write(facts, rule, status)
        .asking(facts, valid, next_phase(facts, valid, now), now)
        .waking_at(now.mono + until(now.wall, at))
}

/// One more than every attempt that status or a run of ours has had.
fn next_attempt(facts: &Facts<'_>) -> i64 {
    let own = if let RunKnowledge::Known { own, .. } = &facts.runs { own.as_slice() } else { &[] };
    own.iter().map(|run| run.attempt).fold(facts.status.attempt, i64::max).saturating_add(1)
}

/// Claims an attempt. The write is a compare-and-swap on the snapshot that the answer was found usable for; its nonce
/// makes it differ from any other write.
pub(super) fn reserve(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    target: Target,
    attempt: i64,
    rule: Rule,
    now: Now,
) -> Plan {
    let run_name = name::run_name(&facts.object.name, &facts.object.uid, attempt);
    let not_after = whole_seconds(after(now.server_or_wall(), CREATE_WINDOW));
    let again = facts.status.reservation.as_ref().filter(|open| open.attempt == attempt);
    let reservation = Reservation {
        attempt,
        nonce: facts.nonce.to_owned(),
        generation: facts.object.generation,
        target: target.digest.clone(),
        // Never lowered: an earlier request for this attempt may be on its way until then.
        not_after: again.map_or(not_after, |open| open.not_after.max(not_after)),
        create_failures: again
            .map_or(0, |open| open.create_failures.saturating_add(i64::from(slot::was_refused(facts, open)))),
        slots: vec![RunSlot {
            api_version: valid.kind.api_version(),
            kind: valid.kind.kind.to_owned(),
            run_name: run_name.clone(),
        }],
    };
    let status = ModelSyncStatus {
        attempt: attempt.max(facts.status.attempt),
        active: vec![active_run(&facts.object.namespace, &valid.kind.api_version(), valid.kind.kind, &run_name)],
        reservation: Some(reservation),
        target: Some(target),
        next_attempt_at: None,
        last_handled_trigger: handled(facts),
        ..reported(facts, &Situation::RunActive { run: &run_name }, now)
    };
    Plan::write(facts, rule, status)
}

/// Deletes finished runs beyond the limits: ours by uid, their end recorded, old enough, exactly the surplus.
fn retire(facts: &Facts<'_>, now: Now, plan: &mut Plan) {
    let (RunKnowledge::Known { own, .. }, Ok(valid)) = (&facts.runs, &facts.spec) else { return };
    if !plan.effects.is_empty() || facts.object.deleting {
        return;
    }
    for run in surplus(own.iter().copied(), valid.limits) {
        let Some(since) = facts.memory.recorded_since.get(&run.uid) else { continue };
        let due = *since + facts.min_run_age;
        if due > now.mono {
            plan.wake_by(due);
            continue;
        }
        plan.effects.push(Effect::DeleteRun(DeleteRun {
            kind: run.kind,
            name: run.name.clone(),
            uid: run.uid.clone(),
            resource_version: run.resource_version.clone(),
        }));
    }
}

/// Status with the conditions of a situation; everything else as stored.
pub(super) fn reported(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> ModelSyncStatus {
    ModelSyncStatus {
        observed_generation: facts.object.generation,
        conditions: conditions(facts, situation, now),
        ..facts.status.clone()
    }
}

/// A plan that only reports.
pub(super) fn report(facts: &Facts<'_>, rule: Rule, situation: &Situation<'_>, now: Now) -> Plan {
    let active = facts.status.reservation.as_ref().map_or_else(Vec::new, |_| facts.status.active.clone());
    Plan::write(facts, rule, ModelSyncStatus { active, next_attempt_at: None, ..reported(facts, situation, now) })
}

/// The trigger is handled by the first good answer that was asked under it.
fn handled(facts: &Facts<'_>) -> Option<String> {
    facts.handled_trigger().or_else(|| facts.status.last_handled_trigger.clone())
}

fn active_run(namespace: &str, api_version: &str, kind: &str, name: &str) -> ActiveRun {
    ActiveRun { api_version: api_version.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

/// Time until the object's next turn. Turns lie a whole interval apart, at a phase that comes from the uid, so that
/// neither a restart nor an apply of many objects makes them ask all at once.
pub(super) fn next_phase(facts: &Facts<'_>, valid: &Valid<'_>, now: Now) -> Duration {
    first_question(&facts.object.uid, valid.interval, now.wall)
}

/// Time from `wall` until the next turn of the object with this uid.
pub fn first_question(uid: &str, interval: Duration, wall: Timestamp) -> Duration {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(uid.as_bytes());
    let seed = hash.iter().take(8).fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = i128::from(seed % interval);
    let into = (i128::from(wall.as_millisecond()) - phase).rem_euclid(i128::from(interval));
    Duration::from_millis(u64::try_from(i128::from(interval) - into).unwrap_or(interval))
}

impl Plan {
    /// Does nothing and waits for an event.
    pub(super) const fn idle(rule: Rule) -> Self {
        Self { rule, effects: Vec::new(), inquiry: None, wake_up: WakeUp::OnEvent }
    }

    /// Writes a status if it differs from the stored one.
    pub(super) fn write(facts: &Facts<'_>, rule: Rule, status: ModelSyncStatus) -> Self {
        let mut plan = Self::idle(rule);
        if status != *facts.status {
            plan.effects.push(Effect::WriteStatus(Box::new(status)));
        }
        plan
    }

    /// Asks the endpoint after `wait`.
    pub(super) fn asking(mut self, facts: &Facts<'_>, valid: &Valid<'_>, wait: Duration, now: Now) -> Self {
        self.inquiry = Some(Inquiry { at: now.mono + wait, question: valid.question.clone(), under: facts.under() });
        self
    }

    /// Wakes at `at`, or earlier where something earlier was planned.
    pub(super) fn waking_at(mut self, at: Mono) -> Self {
        self.wake_by(at);
        self
    }

    fn wake_by(&mut self, at: Mono) {
        self.wake_up = match self.wake_up {
            WakeUp::At(earlier) => WakeUp::At(earlier.min(at)),
            WakeUp::OnEvent => WakeUp::At(at),
        };
    }
}
