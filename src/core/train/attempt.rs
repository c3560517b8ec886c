//! An open training: create its runs, and for each one record its end or prove that it is gone. Pure.
//!
//! Each slot has its own claim (nonce and deadline), so each run has the same guarantees as the run of a ModelSync: see
//! [`claim`](crate::core::run::claim).

use super::{
    candidate_run::{CandidateRunState, active, candidate_run_states, claim, run_slot},
    facts::Facts,
    judge,
    plan::{Effect, Plan, Rule},
    summarise::{Situation, as_before, report, reported},
    validate::Valid,
};
use crate::{
    api::{ModelTrainStatus, Reason, SlotState, TrainReservation, TrainSlot},
    core::{
        run::{
            backend::RunRecord,
            claim::{Claim, RunLocation, name_conflict, too_late},
            effects::{CreateRun, StopRun},
            obstacle::{self, InspectRun},
        },
        time::{MonotonicTime, Now},
    },
};

/// Decides for an object with an open training. The first step that applies decides: stop a run that exceeds its
/// timeout or is cancelled, create claimed runs, claim slots whose turn has come, look up missing runs, record ended
/// runs, decide the training, inspect runs of which nothing runs.
pub fn open_training(facts: &Facts<'_>, open: &TrainReservation, own: &[&RunRecord], now: Now) -> Plan {
    let candidate_run_states = candidate_run_states(facts, open, own, now);
    let slots: Vec<_> = open.slots.iter().zip(candidate_run_states.iter().copied()).collect();
    if let Some(plan) = stop(facts, &slots, now) {
        return plan;
    }
    // After an edit or a suspension, the training creates no more runs. Its active runs continue.
    let starts =
        facts.object.generation == open.generation && facts.spec.as_ref().is_ok_and(|valid| !valid.policy.suspended);
    let skipped = skip(facts, open, (&slots, starts), now);
    let plan = skipped.or_else(|| if starts { create_or_claim(facts, open, &slots, now) } else { None });
    if let Some(plan) = plan.or_else(|| look_up(&slots)) {
        return plan;
    }
    let plan = judge::next_record(facts, open, &slots, now).or_else(|| inspect(facts, &slots, now));
    let mut plan = plan.unwrap_or_else(|| waiting(facts, open, &slots, now));
    for at in wake_ups(facts, &slots, now) {
        plan.wake_up = plan.wake_up.or_at(at);
    }
    plan
}

type Slots<'a, 'f> = [(&'a TrainSlot, CandidateRunState<'f>)];

/// Stops a run that exceeds its timeout, or that the cancel annotation names.
fn stop(facts: &Facts<'_>, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    let timeout = facts.spec.as_ref().ok().and_then(|valid| valid.policy.run_timeout);
    slots.iter().find_map(|(_, state)| {
        let CandidateRunState::Active(run) = state else { return None };
        let stop = StopRun::due(run, facts.object.cancel.as_deref(), timeout, now)?;
        Some(Plan::doing(Rule::StopRun, Effect::StopRun(stop)))
    })
}

/// Inspects the first active run of which nothing runs.
fn inspect(facts: &Facts<'_>, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    slots.iter().find_map(|(_, state)| {
        let CandidateRunState::Active(run) = state else { return None };
        let inspect = InspectRun::due(run, &facts.memory.inspections, now)?;
        Some(Plan::doing(Rule::RunActive, Effect::InspectRun(inspect)))
    })
}

/// Creates the runs of claimed slots. Otherwise claims slots whose turn has come, and claims slots again whose create
/// was refused or whose claim is too old.
fn create_or_claim(facts: &Facts<'_>, open: &TrainReservation, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    let valid = facts.spec.as_ref().ok()?;
    let fresh = |slot: &TrainSlot| slot.not_after.is_some_and(|not_after| !too_late(not_after, now));
    let unsent = slots.iter().filter(|(slot, state)| matches!(state, CandidateRunState::Unsent) && fresh(slot));
    let creates: Vec<_> = unsent.map(|(slot, _)| Effect::CreateRun(create(facts, valid, open, slot))).collect();
    if !creates.is_empty() {
        let mut plan = report(facts, Rule::CreateRuns, &Situation::Training(open), now);
        plan.effects.extend(creates);
        return Some(plan);
    }
    let busy = slots
        .iter()
        .filter(|(_, state)| !matches!(state, CandidateRunState::Waiting | CandidateRunState::Done))
        .count();
    let mut turns = valid.parallelism.saturating_sub(busy);
    let mut again = Vec::with_capacity(slots.len());
    for (slot, state) in slots {
        again.push(match state {
            CandidateRunState::Waiting if turns > 0 => {
                turns -= 1;
                true
            }
            CandidateRunState::Unsent => !fresh(slot),
            CandidateRunState::Refused(refusal) => {
                refusal.trigger != facts.object.handled_trigger() || refusal.retry_at(slot.create_failures) <= now.mono
            }
            // Without the fence the name is the only lock, so the attempt cannot be given up.
            CandidateRunState::Lost(RunLocation::Unfenced) => true,
            _ => false,
        });
    }
    if !again.contains(&true) {
        return None;
    }
    let mut claimed = open.clone();
    for (slot, ((_, state), again)) in claimed.slots.iter_mut().zip(slots.iter().zip(again)) {
        if again {
            slot.create_failures += i64::from(matches!(state, CandidateRunState::Refused(_)));
            claim(slot, facts, now);
        }
    }
    Some(write(facts, Rule::ClaimSlots, &claimed, now))
}

/// Skips every slot without a run whose run is not created any more: because no more runs are created for this training, or
/// because its request was lost. A run that the operator never saw is no failed run, so it gets no record.
fn skip(facts: &Facts<'_>, open: &TrainReservation, (slots, starts): (&Slots<'_, '_>, bool), now: Now) -> Option<Plan> {
    let uncreated = |state: &CandidateRunState<'_>| match state {
        CandidateRunState::NeverSeen => true,
        CandidateRunState::Waiting
        | CandidateRunState::Unsent
        | CandidateRunState::Refused(_)
        | CandidateRunState::Lost(RunLocation::Unfenced) => !starts,
        _ => false,
    };
    if !slots.iter().any(|(_, state)| uncreated(state)) {
        return None;
    }
    let mut left = open.clone();
    for (slot, (_, state)) in left.slots.iter_mut().zip(slots) {
        if uncreated(state) {
            slot.state = SlotState::Skipped;
        }
    }
    Some(write(facts, Rule::SkipSlots, &left, now))
}

/// Looks up the first run that the watch does not show.
fn look_up(slots: &Slots<'_, '_>) -> Option<Plan> {
    let mut lost = slots.iter().filter(|(_, state)| matches!(state, CandidateRunState::Lost(RunLocation::LookUp)));
    lost.next().map(|(slot, _)| Plan::doing(Rule::LookUpRun, Effect::LookUpRun(run_slot(slot))))
}

/// Reports what the training waits for.
fn waiting(facts: &Facts<'_>, open: &TrainReservation, slots: &Slots<'_, '_>, now: Now) -> Plan {
    for (slot, state) in slots {
        match state {
            CandidateRunState::Refused(refusal) => {
                let (rule, message) = (Rule::CreateRefused, refusal.message.clone());
                let rule = if refusal.reason == Reason::NameConflict { Rule::NameConflict } else { rule };
                let situation = if refusal.stalled {
                    Situation::Stalled { reason: refusal.reason, message }
                } else {
                    Situation::Hindered { reason: refusal.reason, message }
                };
                let status = ModelTrainStatus {
                    reservation: Some(Box::new(with_refusals(open, slots))),
                    ..reported(facts, &situation, now)
                };
                return Plan::write(facts, rule, status);
            }
            CandidateRunState::Lost(RunLocation::Foreign { owner, .. }) => {
                let message = name_conflict(&slot.kind, &slot.run_name, owner);
                let situation = Situation::Stalled { reason: Reason::NameConflict, message };
                return report(facts, Rule::NameConflict, &situation, now);
            }
            CandidateRunState::Lost(RunLocation::Uncertain { certain_at, .. }) => {
                let situation = Situation::Unconfirmed { run: &slot.run_name, until: *certain_at };
                return report(facts, Rule::AwaitDeadline, &situation, now);
            }
            CandidateRunState::Lost(_) => return as_before(facts, Rule::AwaitDeadline, now),
            _ => {}
        }
    }
    report(facts, Rule::RunActive, &Situation::Training(open), now)
}

/// The reservation with the refusals of its slots. A process that finds only the reservation would take their runs for
/// lost, and record runs that never existed.
fn with_refusals(open: &TrainReservation, slots: &Slots<'_, '_>) -> TrainReservation {
    let mut open = open.clone();
    for (slot, (_, state)) in open.slots.iter_mut().zip(slots) {
        if let (None, CandidateRunState::Refused(refusal)) = (&slot.refusal, state) {
            slot.refusal = Some(refusal.stored());
        }
    }
    open
}

/// The times at which slots need another reconcile.
fn wake_ups(facts: &Facts<'_>, slots: &Slots<'_, '_>, now: Now) -> Vec<MonotonicTime> {
    let timeout = facts.spec.as_ref().ok().and_then(|valid| valid.policy.run_timeout);
    let due = |(slot, state): &(&TrainSlot, CandidateRunState<'_>)| match state {
        CandidateRunState::Active(run) => {
            let inspection = obstacle::due_in(run, &facts.memory.inspections, now);
            StopRun::due_in(run, timeout, now).into_iter().chain(inspection).min().map(|wait| now.mono + wait)
        }
        CandidateRunState::Refused(refusal) => Some(refusal.retry_at(slot.create_failures)),
        CandidateRunState::Lost(RunLocation::Foreign { retry_at, .. }) => Some(*retry_at),
        CandidateRunState::Lost(RunLocation::Uncertain { wait, .. } | RunLocation::FenceUnknown { wait }) => {
            Some(now.mono + *wait)
        }
        _ => None,
    };
    slots.iter().filter_map(due).collect()
}

/// The plan that stores this reservation.
fn write(facts: &Facts<'_>, rule: Rule, open: &TrainReservation, now: Now) -> Plan {
    let status = ModelTrainStatus {
        active: active(facts, open, now),
        reservation: Some(Box::new(open.clone())),
        ..reported(facts, &Situation::Training(open), now)
    };
    Plan::write(facts, rule, status)
}

/// The effect that creates the run of a claimed slot.
fn create(facts: &Facts<'_>, valid: &Valid<'_>, open: &TrainReservation, slot: &TrainSlot) -> CreateRun {
    let claim = Claim {
        object: facts.object,
        owner_kind: "ModelTrain",
        attempt: open.attempt,
        candidate: &slot.candidate,
        target: &open.target,
        generation: open.generation,
        run_name: &slot.run_name,
        nonce: &slot.nonce,
        not_after: slot.not_after.unwrap_or_default(),
        key: facts.claim_key,
        proofs: &slot.proofs,
    };
    claim.create(valid.policy.kind(), slot.parameters.clone(), valid.policy.run_timeout, valid.owned)
}
