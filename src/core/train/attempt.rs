//! An open training: create its runs, see each one end, or find out for certain that it is gone. Pure.
//!
//! Each slot has a claim of its own (nonce, deadline), so that what holds for one run of a ModelSync holds for each of
//! these: see `reservation`.

use std::collections::BTreeMap;

use super::{
    facts::Facts,
    judge,
    plan::{Effect, Plan, Rule},
    summarise::{Situation, as_before, report, reported},
};
use crate::{
    api::{ActiveRun, ModelTrainStatus, Reason, RunSlot, SlotState, TrainReservation, TrainSlot, keys},
    core::{
        run::{
            backend::{Ending, RunRecord},
            claim::{CREATE_WINDOW, PostState, Refusal, RunLocation, fence_deadline, locate_run, too_late},
            effects::{CreateRun, StopRun},
        },
        time::{
            MonotonicTime, Now, after,
            backoff::{CREATE_BACKOFF, INVALID_RETRY},
            whole_seconds,
        },
    },
};

/// Where a slot is, by what is known now.
#[derive(Clone, Copy, Debug)]
pub enum CandidateRunState<'a> {
    /// It waits for its turn.
    Waiting,
    /// It is over: on record, or left out.
    Done,
    /// Its run is on its way.
    Active(&'a RunRecord),
    /// Its run has ended.
    Ended(&'a RunRecord, &'a Ending),
    /// Its run is gone for certain.
    Gone,
    /// This process claimed it and has not sent the POST: nobody else will.
    Unsent,
    /// The API server said no for certain.
    Refused(&'a Refusal),
    /// Nobody sees its run.
    Lost(RunLocation<'a>),
}

/// Where each slot is, in order.
pub fn candidate_run_states<'a>(
    facts: &Facts<'a>,
    open: &TrainReservation,
    own: &[&'a RunRecord],
    now: Now,
) -> Vec<CandidateRunState<'a>> {
    open.slots.iter().map(|slot| state(facts, slot, own, now)).collect()
}

fn state<'a>(facts: &Facts<'a>, slot: &TrainSlot, own: &[&'a RunRecord], now: Now) -> CandidateRunState<'a> {
    match slot.state {
        SlotState::Waiting => return CandidateRunState::Waiting,
        SlotState::Recorded | SlotState::Skipped => return CandidateRunState::Done,
        SlotState::Reserved => {}
    }
    if let Some(run) = own.iter().find(|run| run.name == slot.run_name) {
        return run.ending().map_or(CandidateRunState::Active(run), |ending| CandidateRunState::Ended(run, ending));
    }
    match facts.memory.post_of(&slot.run_name, &slot.nonce) {
        None if slot.nonce.starts_with(facts.process) => return CandidateRunState::Unsent,
        Some(PostState::Refused(refusal)) => return CandidateRunState::Refused(refusal),
        _ => {}
    }
    let lookup = facts.memory.lookups.get(&slot.run_name);
    let sighted = facts.memory.sighted.get(&slot.run_name).map(|(_, at)| *at);
    let not_after = slot.not_after.unwrap_or_else(|| whole_seconds(after(now.server_or_wall(), CREATE_WINDOW)));
    match locate_run(not_after, lookup, sighted, facts.fence, now) {
        RunLocation::Gone => CandidateRunState::Gone,
        lost => CandidateRunState::Lost(lost),
    }
}

/// Decides for an object with an open training. The first that applies: end what takes too long, create what is claimed,
/// claim what has its turn, find out about what is lost, record what has ended, decide.
pub fn open_training(facts: &Facts<'_>, open: &TrainReservation, own: &[&RunRecord], now: Now) -> Plan {
    let candidate_run_states = candidate_run_states(facts, open, own, now);
    let slots: Vec<_> = open.slots.iter().zip(candidate_run_states.iter().copied()).collect();
    if let Some(plan) = stop(facts, &slots, now) {
        return plan;
    }
    // What was edited or suspended since makes no more runs; those on their way go on.
    let starts = facts.object.generation == open.generation && facts.spec.as_ref().is_ok_and(|valid| !valid.suspended);
    let plan = if starts { create_or_claim(facts, open, &slots, now) } else { skip(facts, open, &slots, now) };
    if let Some(plan) = plan.or_else(|| look_up(&slots)) {
        return plan;
    }
    let mut plan = judge::next_record(facts, open, &slots, now).unwrap_or_else(|| waiting(facts, open, &slots, now));
    for at in wake_ups(facts, &slots, now) {
        plan.wake_up = plan.wake_up.or_at(at);
    }
    plan
}

type Slots<'a, 'f> = [(&'a TrainSlot, CandidateRunState<'f>)];

/// Ends a run that takes longer than it may, or that the cancel annotation names.
fn stop(facts: &Facts<'_>, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    let timeout = facts.spec.as_ref().ok().and_then(|valid| valid.run_timeout);
    slots.iter().find_map(|(_, state)| {
        let CandidateRunState::Active(run) = state else { return None };
        let stop = StopRun::due(run, facts.object.cancel.as_deref(), timeout, now)?;
        Some(Plan::doing(Rule::StopRun, Effect::StopRun(stop)))
    })
}

/// Creates what is claimed; claims what has its turn, and anew what was refused or whose claim is too old.
fn create_or_claim(facts: &Facts<'_>, open: &TrainReservation, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    let valid = facts.spec.as_ref().ok()?;
    let fresh = |slot: &TrainSlot| slot.not_after.is_some_and(|not_after| !too_late(not_after, now));
    let unsent = slots.iter().filter(|(slot, state)| matches!(state, CandidateRunState::Unsent) && fresh(slot));
    let creates: Vec<_> = unsent.map(|(slot, _)| Effect::CreateRun(create(facts, valid.kind, open, slot))).collect();
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
                refusal.trigger != facts.object.trigger || retry_at(slot, refusal) <= now.mono
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
            claim(slot, facts.nonce, now);
        }
    }
    Some(write(facts, Rule::ClaimSlots, &claimed, now))
}

/// Claims a slot. Its deadline is never lowered: an earlier request for it may be on its way until then.
pub fn claim(slot: &mut TrainSlot, nonce: &str, now: Now) {
    let not_after = whole_seconds(after(now.server_or_wall(), CREATE_WINDOW));
    slot.state = SlotState::Reserved;
    nonce.clone_into(&mut slot.nonce);
    slot.not_after = Some(slot.not_after.map_or(not_after, |earlier| earlier.max(not_after)));
}

fn retry_at(slot: &TrainSlot, refusal: &Refusal) -> MonotonicTime {
    let pause =
        if refusal.stalled { INVALID_RETRY } else { CREATE_BACKOFF.after(slot.create_failures.saturating_add(1)) };
    refusal.at + pause
}

/// Leaves out every slot that certainly nothing was created for.
fn skip(facts: &Facts<'_>, open: &TrainReservation, slots: &Slots<'_, '_>, now: Now) -> Option<Plan> {
    let uncreated = |state: &CandidateRunState<'_>| {
        matches!(state, CandidateRunState::Waiting | CandidateRunState::Unsent | CandidateRunState::Refused(_))
            || matches!(state, CandidateRunState::Lost(RunLocation::Unfenced))
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

/// Looks for a run that nobody sees.
fn look_up(slots: &Slots<'_, '_>) -> Option<Plan> {
    let mut lost = slots.iter().filter(|(_, state)| matches!(state, CandidateRunState::Lost(RunLocation::LookUp)));
    lost.next().map(|(slot, _)| Plan::doing(Rule::LookUpRun, Effect::LookUpRun(run_slot(slot))))
}

/// Nothing to do now: says what is waited for.
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
                return report(facts, rule, &situation, now);
            }
            CandidateRunState::Lost(RunLocation::Foreign { owner, .. }) => {
                let message = format!(
                    "{} {} is needed for a run but belongs to {owner}: delete it, or rename this object",
                    slot.kind, slot.run_name
                );
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

/// Every moment at which one of the slots has to be looked at again.
fn wake_ups(facts: &Facts<'_>, slots: &Slots<'_, '_>, now: Now) -> Vec<MonotonicTime> {
    let timeout = facts.spec.as_ref().ok().and_then(|valid| valid.run_timeout);
    let due = |(slot, state): &(&TrainSlot, CandidateRunState<'_>)| match state {
        CandidateRunState::Active(run) => StopRun::due_in(run, timeout, now).map(|wait| now.mono + wait),
        CandidateRunState::Refused(refusal) => Some(retry_at(slot, refusal)),
        CandidateRunState::Lost(RunLocation::Foreign { retry_at, .. }) => Some(*retry_at),
        CandidateRunState::Lost(RunLocation::Uncertain { wait, .. } | RunLocation::FenceUnknown { wait }) => {
            Some(now.mono + *wait)
        }
        _ => None,
    };
    slots.iter().filter_map(due).collect()
}

fn create(
    facts: &Facts<'_>,
    kind: crate::core::run::backend::RunKind,
    open: &TrainReservation,
    slot: &TrainSlot,
) -> CreateRun {
    let valid = facts.spec.as_ref().ok();
    let not_after = slot.not_after.unwrap_or_default();
    let mut labels = BTreeMap::from([
        (keys::OWNER_UID.to_owned(), facts.object.uid.to_string()),
        (keys::OWNER_KIND.to_owned(), "ModelTrain".to_owned()),
        (keys::ATTEMPT.to_owned(), open.attempt.to_string()),
    ]);
    if !slot.candidate.is_empty() {
        labels.insert(keys::CANDIDATE.to_owned(), slot.candidate.clone());
    }
    CreateRun {
        kind,
        name: slot.run_name.clone(),
        nonce: slot.nonce.clone(),
        not_after,
        parameters: slot.parameters.clone(),
        labels,
        annotations: BTreeMap::from([
            (keys::OWNER_NAME.to_owned(), facts.object.name.to_string()),
            (keys::TARGET.to_owned(), open.target.clone()),
            (keys::GENERATION.to_owned(), open.generation.to_string()),
            (keys::NOT_AFTER.to_owned(), fence_deadline(not_after).to_string()),
        ]),
        timeout: valid.and_then(|valid| valid.run_timeout),
        owned: valid.is_some_and(|valid| valid.owned),
    }
}

/// The plan that stores this reservation.
fn write(facts: &Facts<'_>, rule: Rule, open: &TrainReservation, now: Now) -> Plan {
    let status = ModelTrainStatus {
        active: active(facts, open),
        reservation: Some(Box::new(open.clone())),
        ..reported(facts, &Situation::Training(open), now)
    };
    Plan::write(facts, rule, status)
}

/// `status.active`: the runs that are claimed and have not ended.
pub fn active(facts: &Facts<'_>, open: &TrainReservation) -> Vec<ActiveRun> {
    let claimed = open.slots.iter().filter(|slot| slot.state == SlotState::Reserved);
    claimed
        .map(|slot| ActiveRun {
            api_version: slot.api_version.clone(),
            kind: slot.kind.clone(),
            namespace: facts.object.namespace.to_string(),
            name: slot.run_name.clone(),
        })
        .collect()
}

/// The run of a slot.
pub fn run_slot(slot: &TrainSlot) -> RunSlot {
    RunSlot { api_version: slot.api_version.clone(), kind: slot.kind.clone(), run_name: slot.run_name.clone() }
}
