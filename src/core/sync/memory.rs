//! What only this process knows of a ModelSync: its requests and their results. Lost at a restart, and safe to lose.
//! Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    api::ModelSyncStatus,
    core::{
        poll::response::PollResult,
        run::{
            backend::RunRecord,
            claim::{CreateRefusal, Lookup, Post, PostState},
            obstacle::{self, Inspections},
            proof::is_run_of,
            retention::{HistoryLimits, surplus},
        },
        time::MonotonicTime,
    },
};

/// The result of a live lookup of an unfinished legacy run of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyRun {
    /// Name of the run. `None` if there is none.
    pub run: Option<String>,
    /// When the operator looked it up.
    pub at: MonotonicTime,
}

/// What this process knows of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last poll result.
    pub last_poll: Option<PollResult>,
    /// Number of polls in a row that ended in a poll error.
    pub failed_polls: u32,
    /// Since when a run has been needed, while none is reserved and none has succeeded for the target. Exported as a
    /// metric.
    pub demand_since: Option<Timestamp>,
    /// The last POST.
    pub post: Option<Post>,
    /// The last lookup of the reserved run.
    pub lookup: Option<Lookup>,
    /// The last sighting of the reserved run in the watch: its name, its uid and the time.
    pub sighted: Option<(String, String, MonotonicTime)>,
    /// How often a watched source of the object has changed.
    pub revision: u64,
    /// The last lookup of a legacy run.
    pub legacy_run: Option<LegacyRun>,
    /// When this process first saw the end of each finished run beyond the limits in status, by uid of the run.
    pub recorded_since: BTreeMap<String, MonotonicTime>,
    /// What is known of active runs of which nothing runs.
    pub inspections: Inspections,
    /// When the operator last published that the API server refuses the status of the object.
    pub status_refused: Option<MonotonicTime>,
}

impl Memory {
    /// Stores the poll result.
    pub fn record_poll_result(&mut self, polled: PollResult) {
        self.failed_polls = if polled.result.is_ok() { 0 } else { self.failed_polls.saturating_add(1) };
        self.last_poll = Some(polled);
    }

    /// Updates the memory from the run store and from status: when the reserved run was last seen, since when the end of
    /// each finished run is durable in status, and the refusal that an earlier process stored. Drops what belongs to runs
    /// that are no longer reserved.
    pub fn observe(&mut self, own: &[&RunRecord], limits: HistoryLimits, status: &ModelSyncStatus, now: MonotonicTime) {
        let open = status.reservation.as_ref();
        let reserved = open.and_then(|open| open.slots.first());
        // The operator looks for a legacy run only before the first attempt.
        self.legacy_run.take_if(|_| status.attempt > 0);
        self.post.take_if(|post| open.is_none_or(|open| open.nonce != post.nonce));
        if let Some(open) = open
            && let (None, Some(refusal)) = (&self.post, &open.refusal)
        {
            let state = PostState::Refused(CreateRefusal::restored(refusal, now));
            self.post = Some(Post { nonce: open.nonce.clone(), state });
        }
        self.lookup.take_if(|lookup| reserved.is_none_or(|slot| slot.run_name != lookup.run_name));
        self.sighted.take_if(|(name, ..)| reserved.is_none_or(|slot| slot.run_name != *name));
        if let Some(run) = own.iter().find(|run| reserved.is_some_and(|slot| is_run_of(run, slot))) {
            self.sighted = Some((run.name.clone(), run.uid.clone(), now));
        }
        let recorded = |run: &RunRecord| !run.is_active() && open.is_none_or(|open| open.attempt != run.attempt);
        obstacle::observe(&mut self.inspections, own, now);
        let target = status.target.as_deref().filter(|target| open.is_none() && target.successes == 0);
        self.demand_since = target.map(|target| target.since);
        self.forget_parameters(status.attempt);
        let surplus = surplus(own.iter().copied(), status.attempt, limits);
        self.recorded_since.retain(|uid, _| surplus.iter().any(|run| run.uid == *uid));
        for run in surplus.iter().filter(|run| recorded(run)) {
            self.recorded_since.entry(run.uid.clone()).or_insert(now);
        }
    }

    /// Drops the parameters of a response from which a run was reserved: no other run starts from it. A response with
    /// an entity tag keeps them, because the endpoint may confirm it with 304.
    fn forget_parameters(&mut self, attempt: i64) {
        let used = self.last_poll.as_mut().filter(|polled| polled.context.attempt < attempt);
        if let Some(PollResult { result: Ok(response), .. }) = used
            && response.etag.is_none()
            && !response.parameters.is_empty()
        {
            Arc::make_mut(response).parameters = BTreeMap::new();
        }
    }

    /// Whether this process knows that its last POST created a run.
    pub fn created(&self) -> bool {
        self.post.as_ref().is_some_and(|post| post.state == PostState::Created)
    }

    /// Whether this process knows that its POST of this nonce was refused.
    pub fn was_refused(&self, nonce: &str) -> bool {
        matches!(self.post_of(nonce), Some(PostState::Refused(_)))
    }

    /// The state of the POST with this nonce, if this process sent it.
    pub fn post_of(&self, nonce: &str) -> Option<&PostState> {
        self.post.as_ref().filter(|post| post.nonce == nonce).map(|post| &post.state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        api::{Reservation, RunSlot},
        core::poll::{context::PollContext, response::PollResponse},
    };

    fn remembered(process: MonotonicTime) -> Memory {
        let at = Timestamp::UNIX_EPOCH;
        Memory {
            post: Some(Post { nonce: "p-1".into(), state: PostState::Created }),
            lookup: Some(Lookup { run_name: "a-1".into(), sent_at: at, sent: process, foreign: None }),
            sighted: Some(("a-1".into(), "uid".into(), process)),
            legacy_run: Some(LegacyRun { run: None, at: process }),
            ..Memory::default()
        }
    }

    fn reserved(nonce: &str, run_name: &str) -> ModelSyncStatus {
        let slot = RunSlot {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            run_name: run_name.into(),
            proofs: Vec::new(),
        };
        let open = Reservation {
            attempt: 1,
            nonce: nonce.into(),
            generation: 1,
            target: String::new(),
            not_after: Timestamp::UNIX_EPOCH,
            slots: vec![slot],
            create_failures: 0,
            refusal: None,
        };
        ModelSyncStatus { attempt: 1, reservation: Some(open.into()), ..ModelSyncStatus::default() }
    }

    #[test]
    fn keeps_memory_of_the_reserved_run() {
        let now = MonotonicTime::default();
        let mut memory = remembered(now);
        memory.observe(&[], HistoryLimits::KEEP_ALL, &reserved("p-1", "a-1"), now);
        assert_eq!(memory, Memory { legacy_run: None, ..remembered(now) });
    }

    #[test]
    fn drops_memory_of_a_run_that_is_no_longer_reserved() {
        let now = MonotonicTime::default();
        for status in [reserved("p-2", "a-2"), ModelSyncStatus { attempt: 1, ..ModelSyncStatus::default() }] {
            let mut memory = remembered(now);
            memory.observe(&[], HistoryLimits::KEEP_ALL, &status, now);
            assert_eq!(memory, Memory::default());
        }
    }

    #[test]
    fn drops_parameters_of_a_response_once_a_run_is_reserved_from_it() {
        let now = MonotonicTime::default();
        let parameters = || BTreeMap::from([("name".to_owned(), "churn".to_owned())]);
        let context =
            PollContext { uid: "uid".into(), generation: 1, attempt: 0, ended: true, trigger: None, revision: 0 };
        for (attempt, etag, keeps) in [(0, None, true), (1, None, false), (1, Some("7".to_owned()), true)] {
            let response = PollResponse { parameters: parameters(), etag, ..PollResponse::default() };
            let result = Ok(Arc::new(response.clone()));
            let polled = PollResult { context: context.clone(), sent: now, took: Duration::ZERO, result };
            let mut memory = Memory { last_poll: Some(polled), ..Memory::default() };
            let status = ModelSyncStatus { attempt, ..ModelSyncStatus::default() };
            memory.observe(&[], HistoryLimits::KEEP_ALL, &status, now);
            let parameters = if keeps { parameters() } else { BTreeMap::new() };
            assert_eq!(
                *memory.last_poll.unwrap().result.unwrap(),
                PollResponse { parameters, ..response },
                "{attempt}"
            );
        }
    }

    #[test]
    fn keeps_the_lookup_of_a_legacy_run_until_the_first_attempt() {
        let now = MonotonicTime::default();
        let mut memory = remembered(now);
        memory.observe(&[], HistoryLimits::KEEP_ALL, &ModelSyncStatus::default(), now);
        assert_eq!(memory.legacy_run, remembered(now).legacy_run);
    }
}
