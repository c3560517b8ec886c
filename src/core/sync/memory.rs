//! What this process alone knows of an object: its requests and what came back. Lost at a restart, and safe to lose. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::ModelSyncStatus,
    core::{
        answer::Answered,
        reservation::{Lookup, Post, PostState},
        retention::{Limits, surplus},
        run::RunRecord,
        time::Mono,
    },
};

/// A live look for an unfinished run that an earlier operator started for the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    /// Name of the run; `None` when there is none.
    pub run: Option<String>,
    /// When it was looked for.
    pub at: Mono,
}

/// What this process knows of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last answer.
    pub answer: Option<Answered>,
    /// How many questions in a row were not answered.
    pub unanswered: u32,
    /// Since when a run has been needed that is neither on its way nor has succeeded; for a metric.
    pub demand_since: Option<Timestamp>,
    /// The last POST.
    pub post: Option<Post>,
    /// The last look-up.
    pub lookup: Option<Lookup>,
    /// When the reserved run was last seen: its name, its uid and the moment.
    pub sighted: Option<(String, String, Mono)>,
    /// How often a watched source of the object has changed.
    pub revision: u64,
    /// The last look for a run of an earlier operator.
    pub unlabelled: Option<Unlabelled>,
    /// Since when the recorded end of each finished run beyond the limits is known, by its uid.
    pub recorded_since: BTreeMap<String, Mono>,
}

impl Memory {
    /// Takes in what a question brought.
    pub fn take_answer(&mut self, answered: Answered) {
        self.unanswered = if answered.result.is_ok() { 0 } else { self.unanswered.saturating_add(1) };
        self.answer = Some(answered);
    }

    /// Takes in what the run store shows now: when the reserved run was last seen, and since when the end of each finished
    /// run is durable in status. Forgets what belongs to runs that are not reserved any more.
    pub fn observe(&mut self, own: &[&RunRecord], limits: Limits, status: &ModelSyncStatus, now: Mono) {
        let open = status.reservation.as_ref();
        let reserved = open.and_then(|open| open.slots.first());
        // An earlier operator's run is looked for before the first attempt only.
        self.unlabelled.take_if(|_| status.attempt > 0);
        self.post.take_if(|post| open.is_none_or(|open| open.nonce != post.nonce));
        self.lookup.take_if(|lookup| reserved.is_none_or(|slot| slot.run_name != lookup.run_name));
        self.sighted.take_if(|(name, ..)| reserved.is_none_or(|slot| slot.run_name != *name));
        if let Some(run) = own.iter().find(|run| reserved.is_some_and(|slot| slot.run_name == run.name)) {
            self.sighted = Some((run.name.clone(), run.uid.clone(), now));
        }
        let recorded = |run: &RunRecord| {
            !run.is_active() && run.attempt <= status.attempt && open.is_none_or(|open| open.attempt != run.attempt)
        };
        let target = status.target.as_deref().filter(|target| open.is_none() && target.successes == 0);
        self.demand_since = target.map(|target| target.since);
        let surplus = surplus(own.iter().copied(), limits);
        self.recorded_since.retain(|uid, _| surplus.iter().any(|run| run.uid == *uid));
        for run in surplus.iter().filter(|run| recorded(run)) {
            self.recorded_since.entry(run.uid.clone()).or_insert(now);
        }
    }

    /// What became of the POST of this nonce, if this process sent it.
    pub fn post_of(&self, nonce: &str) -> Option<&PostState> {
        self.post.as_ref().filter(|post| post.nonce == nonce).map(|post| &post.state)
    }
}
