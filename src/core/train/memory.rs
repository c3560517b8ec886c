//! What only this process knows of a ModelTrain: its requests and their results. Lost at a restart, and safe to lose.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::poll::{Read, TrainPollResponse};
use crate::{
    api::{ModelTrainStatus, Reason, SlotState},
    core::{
        gate::Judgement,
        poll::{context::PollContext, response::PollResult},
        results::Results,
        run::{
            backend::RunRecord,
            claim::{CreateRefusal, Lookup, Post, PostState},
            obstacle::{self, Inspections},
            proof::proves,
            retention::{HistoryLimits, surplus},
        },
        time::{MonotonicTime, backoff::RECORD_BACKOFF},
    },
};

/// The measured metrics of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Values as text, by name.
    pub values: BTreeMap<String, Read<String>>,
    /// When the poll was sent.
    pub sent: MonotonicTime,
}

/// A certain refusal to write a record or its status: nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRefusal {
    /// The reason that users see.
    pub reason: Reason,
    /// What could not be written, and the API server's message.
    pub message: String,
    /// When it was refused.
    pub at: MonotonicTime,
    /// How often in a row.
    pub times: i64,
}

impl RecordRefusal {
    /// A refusal now, after `earlier`.
    pub fn after(earlier: Option<&Self>, reason: Reason, message: String, at: MonotonicTime) -> Self {
        Self { reason, message, at, times: earlier.map_or(0, |earlier| earlier.times).saturating_add(1) }
    }

    /// When the write is tried again.
    pub fn retry_at(&self) -> MonotonicTime {
        self.at + RECORD_BACKOFF.after(self.times)
    }
}

/// What this process knows of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last response to an `Observe` poll.
    pub observed: Option<PollResult<TrainPollResponse>>,
    /// Number of `Observe` polls in a row that failed or whose response was incomplete.
    pub failed_polls: u32,
    /// The last POST for each run.
    pub posts: BTreeMap<String, Post>,
    /// The last lookup of each run.
    pub lookups: BTreeMap<String, Lookup>,
    /// When each reserved run was last seen, and its uid.
    pub sighted: BTreeMap<String, (String, MonotonicTime)>,
    /// The results of each run that has ended, by its uid.
    pub results: BTreeMap<String, Results>,
    /// The measured metrics of each run, by its uid.
    pub measured: BTreeMap<String, Measured>,
    /// When the last `Measure` poll of the open training was sent that ended in a poll error.
    pub unmeasured: Option<MonotonicTime>,
    /// The judgement of each candidate, by the name of its run, with the digest of its evidence.
    pub judged: BTreeMap<String, (String, Judgement)>,
    /// Records whose name another object has, by name: what a person must do, and when the operator saw it.
    pub conflicts: BTreeMap<String, (String, MonotonicTime)>,
    /// Records that the API server refused, by name.
    pub refused_records: BTreeMap<String, RecordRefusal>,
    /// The refusal of the status of a record.
    pub refused_publication: Option<RecordRefusal>,
    /// When the operator last published that the API server refuses the status of the object.
    pub status_refused: Option<MonotonicTime>,
    /// Names of records of the open training that are certainly gone.
    pub absent: BTreeSet<String>,
    /// When this process first saw the end of each finished run beyond the limits in status, by uid of the run.
    pub recorded_since: BTreeMap<String, MonotonicTime>,
    /// How often a watched source of the object has changed.
    pub revision: u64,
    /// What is known of active runs of which nothing runs.
    pub inspections: Inspections,
}

impl Memory {
    /// Stores the poll result.
    pub fn record_poll_result(&mut self, polled: PollResult<TrainPollResponse>) {
        match polled.result.as_deref() {
            Ok(TrainPollResponse::Measured(run_uid, values)) => {
                let measured = Measured { values: values.clone(), sent: polled.sent };
                self.measured.insert(run_uid.clone(), measured);
                self.unmeasured = None;
            }
            Ok(response @ TrainPollResponse::Observed(_)) => {
                self.failed_polls = if response.is_complete() { 0 } else { self.failed_polls.saturating_add(1) };
                self.observed = Some(polled);
            }
            Err(_) if !polled.context.ended => self.unmeasured = Some(polled.sent),
            Err(_) => self.failed_polls = self.failed_polls.saturating_add(1),
        }
    }

    /// The last response to an `Observe` poll of this context, and when that poll was sent.
    pub fn observed_in(&self, context: &PollContext) -> Option<(&Arc<TrainPollResponse>, MonotonicTime)> {
        let observed = self.observed.as_ref().filter(|observed| observed.context == *context)?;
        observed.result.as_ref().ok().map(|response| (response, observed.sent))
    }

    /// Updates the memory from the run store, and drops what belongs to trainings that have ended.
    pub fn observe(
        &mut self,
        own: &[&RunRecord],
        limits: HistoryLimits,
        status: &ModelTrainStatus,
        now: MonotonicTime,
    ) {
        let open = status.reservation.as_deref();
        let reserved = |name: &str| open.is_some_and(|open| open.slots.iter().any(|slot| slot.run_name == name));
        let claimed = |run: &RunRecord| {
            open.is_some_and(|open| open.slots.iter().any(|slot| proves(run, &slot.run_name, &slot.proofs)))
        };
        for run in own.iter().filter(|run| claimed(run)) {
            self.sighted.insert(run.name.clone(), (run.uid.clone(), now));
        }
        obstacle::observe(&mut self.inspections, own, now);
        self.unmeasured = self.unmeasured.filter(|_| open.is_some());
        self.posts.retain(|name, _| reserved(name));
        for slot in open.iter().flat_map(|open| &open.slots) {
            if let Some(refusal) = &slot.refusal
                && self.post_of(&slot.run_name, &slot.nonce).is_none()
            {
                let state = PostState::Refused(CreateRefusal::restored(refusal, now));
                self.posts.insert(slot.run_name.clone(), Post { nonce: slot.nonce.clone(), state });
            }
        }
        self.lookups.retain(|name, _| reserved(name));
        self.sighted.retain(|name, _| reserved(name));
        self.judged.retain(|name, _| reserved(name));
        self.conflicts.retain(|name, _| reserved(name));
        self.refused_records.retain(|name, _| reserved(name));
        self.absent.retain(|name| reserved(name));
        let needed = |uid: &String| open.is_some() && own.iter().any(|run| run.uid == *uid);
        self.results.retain(|uid, _| needed(uid));
        self.measured.retain(|uid, _| needed(uid));
        let unrecorded = |run: &RunRecord| {
            let slots = open.iter().flat_map(|open| &open.slots);
            slots.into_iter().any(|slot| slot.run_name == run.name && slot.state != SlotState::Recorded)
        };
        let recorded = |run: &RunRecord| !run.is_active() && !unrecorded(run);
        let surplus = surplus(own.iter().copied(), status.attempt, limits);
        self.recorded_since.retain(|uid, _| surplus.iter().any(|run| run.uid == *uid));
        for run in surplus.iter().filter(|run| recorded(run)) {
            self.recorded_since.entry(run.uid.clone()).or_insert(now);
        }
    }

    /// The refusal of a record or its status that has not been overcome yet.
    pub fn record_refusal(&self) -> Option<&RecordRefusal> {
        self.refused_records.values().next().or(self.refused_publication.as_ref())
    }

    /// The state of the POST with this nonce for this run, if this process sent it.
    pub fn post_of(&self, run_name: &str, nonce: &str) -> Option<&PostState> {
        self.posts.get(run_name).filter(|post| post.nonce == nonce).map(|post| &post.state)
    }
}
