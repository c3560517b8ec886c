//! The candidate runs of a training: the state of each, and its claim. Pure.
//!
//! Each has its own claim (nonce and deadline), so it has the same guarantees as the run of a ModelSync: see
//! [`claim`](crate::core::run::claim).

use super::facts::Facts;
use crate::{
    api::{ActiveRun, RunSlot, SlotState, TrainReservation, TrainSlot},
    core::{
        run::{
            backend::{Ending, RunRecord},
            claim::{CreateRefusal, PostState, RunLocation, deadline, locate_run},
            knowledge::RunKnowledge,
            proof::proves,
        },
        time::Now,
    },
};

/// The state of a slot by current knowledge.
#[derive(Clone, Copy, Debug)]
pub enum CandidateRunState<'a> {
    /// It waits for its turn.
    Waiting,
    /// It is done: its run has a record, or it was skipped.
    Done,
    /// Its run is active.
    Active(&'a RunRecord),
    /// Its run has ended.
    Ended(&'a RunRecord, &'a Ending),
    /// Its run was seen, and is certainly gone.
    Gone,
    /// No run of it was seen, and none can appear any more.
    NeverSeen,
    /// This process claimed it and has not sent the POST. No other process will.
    Unsent,
    /// The API server certainly refused the create.
    Refused(&'a CreateRefusal),
    /// The watch does not show its run, and the run is not certainly gone.
    Lost(RunLocation<'a>),
}

/// The state of each slot, in order.
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
    if let Some(run) = own.iter().find(|run| proves(run, &slot.run_name, &slot.proofs)) {
        return run.ending().map_or(CandidateRunState::Active(run), |ending| CandidateRunState::Ended(run, ending));
    }
    let post = facts.memory.post_of(&slot.run_name, &slot.nonce);
    match post {
        None if slot.nonce.starts_with(facts.process) => return CandidateRunState::Unsent,
        Some(PostState::Refused(refusal)) => return CandidateRunState::Refused(refusal),
        _ => {}
    }
    let lookup = facts.memory.lookups.get(&slot.run_name);
    let sighted = facts.memory.sighted.get(&slot.run_name).map(|(_, at)| *at);
    let not_after = slot.not_after.unwrap_or_else(|| deadline(None, now));
    match locate_run(not_after, lookup, sighted, facts.fence, now) {
        RunLocation::Gone if sighted.is_none() && post != Some(&PostState::Created) => CandidateRunState::NeverSeen,
        RunLocation::Gone => CandidateRunState::Gone,
        lost => CandidateRunState::Lost(lost),
    }
}

/// Claims a slot. Its deadline is never lowered: until then, an earlier create request for it may be in flight.
pub fn claim(slot: &mut TrainSlot, facts: &Facts<'_>, now: Now) {
    slot.state = SlotState::Reserved;
    facts.nonce.clone_into(&mut slot.nonce);
    slot.proofs = facts.claim_key.proofs(facts.nonce, &slot.run_name, &slot.proofs);
    slot.refusal = None;
    slot.not_after = Some(deadline(slot.not_after, now));
}

/// The value of `status.active` with this open training: the runs that are claimed and are not known to have ended. The
/// record of a run may come much later than its end.
pub fn active(facts: &Facts<'_>, open: &TrainReservation, now: Now) -> Vec<ActiveRun> {
    let own = if let RunKnowledge::Known { own, .. } = &facts.runs { own.as_slice() } else { &[] };
    let ended = |slot: &TrainSlot| {
        use CandidateRunState::{Ended, Gone, NeverSeen};
        matches!(state(facts, slot, own, now), Ended(..) | Gone | NeverSeen)
    };
    let claimed = open.slots.iter().filter(|slot| slot.state == SlotState::Reserved && !ended(slot));
    claimed
        .map(|slot| ActiveRun {
            api_version: slot.api_version.clone(),
            kind: slot.kind.clone(),
            namespace: facts.object.namespace.to_string(),
            name: slot.run_name.clone(),
        })
        .collect()
}

/// The runs of `status.active` that have not ended.
pub fn still_active(facts: &Facts<'_>, now: Now) -> Vec<ActiveRun> {
    if let Some(open) = &facts.status.reservation {
        return active(facts, open, now);
    }
    let own = if let RunKnowledge::Known { own, .. } = &facts.runs { own.as_slice() } else { &[] };
    let is_active = |shown: &&ActiveRun| own.iter().any(|run| run.name == shown.name && run.is_active());
    facts.status.active.iter().filter(is_active).cloned().collect()
}

/// The run of a slot, as a lookup needs it.
pub fn run_slot(slot: &TrainSlot) -> RunSlot {
    let TrainSlot { api_version, kind, run_name, proofs, .. } = slot.clone();
    RunSlot { api_version, kind, run_name, proofs }
}
