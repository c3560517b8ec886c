//! The mutants. Each alters the facts that `decide` gets, its plan, or how its requests are sent.

use std::time::Duration;

use modelsync::{
    api::ModelSyncStatus,
    core::{
        run::{
            backend::RunRecord,
            claim::{CREATE_WINDOW, REQUEST_TIMEOUT},
        },
        sync::{LegacyRun, Memory, Rule},
        time::{MonotonicTime, Now},
    },
};

use super::world::ModelSync;
use crate::common::{Id, Knowledge, Request, mutants};

mutants! {
    RandomRunNames,
    CreateBeforeReserve,
    ReserveWithoutVersion,
    EndWithoutVersion,
    SameNonce,
    NextFromRunStore,
    SameAtOnceAfter404,
    LowersNotAfter,
    OldLookUpCounts,
    ClearsEarly,
    DeletesByAgeSinceCreation,
    UnknownAsEmpty,
    StopsByName,
    TimeoutCountsAsCancelled,
    ForgetsFailuresAtRestart,
    OldResponseAfterWait,
    SearchesOnlyOnce,
    ForgetsRefusalAtRestart,
}

/// The facts that `decide` gets, as far as mutants change them.
#[derive(Clone)]
pub struct Altered {
    pub status: ModelSyncStatus,
    pub memory: Memory,
    pub nonce: String,
    pub process: String,
    /// Whether this process is not the replica's first.
    pub restarted: bool,
}

impl Altered {
    /// Undoes alterations of the stored status in the status to be written.
    pub fn restore(&self, stored: &ModelSyncStatus, written: &mut ModelSyncStatus) {
        if let (Some(shown), Some(stored), Some(written)) =
            (&self.status.reservation, &stored.reservation, &mut written.reservation)
            && written.nonce == shown.nonce
        {
            // A refusal is the only part of a reservation that a later write adds.
            let refusal = written.refusal.take().or_else(|| stored.refusal.clone());
            written.clone_from(stored);
            written.refusal = refusal;
        }
    }
}

impl Mutant {
    /// Alters the runs that `decide` sees.
    pub fn alter_runs(self, runs: &mut [RunRecord]) {
        if self == Self::TimeoutCountsAsCancelled {
            for run in runs.iter_mut().filter(|run| !run.is_active()) {
                run.stopped = None;
            }
        }
    }

    /// Alters the knowledge about runs.
    pub fn knowledge(self, knowledge: Knowledge) -> Knowledge {
        match (self, knowledge) {
            (Self::UnknownAsEmpty, Knowledge::Unknown) => Knowledge::Known,
            _ => knowledge,
        }
    }

    /// Alters the facts.
    pub fn alter(self, facts: &mut Altered, own: &[&RunRecord], now: Now, min_age: Duration) {
        let slot =
            facts.status.reservation.as_ref().and_then(|open| open.slots.first()).map(|slot| slot.run_name.clone());
        match self {
            Self::SameNonce => {
                "same".clone_into(&mut facts.process);
                "same-nonce".clone_into(&mut facts.nonce);
            }
            Self::NextFromRunStore => {
                let ended = own.iter().any(|run| Some(&run.name) == slot.as_ref() && !run.is_active());
                if ended && let Some(open) = facts.status.reservation.take() {
                    // The poll was sent before the run ended: treat its result as one from after the end.
                    if let Some(polled) = &mut facts.memory.last_poll
                        && polled.context.attempt == open.attempt
                    {
                        polled.context.ended = true;
                    }
                }
            }
            Self::SameAtOnceAfter404 => {
                let absent = facts.memory.lookup.as_ref().is_some_and(|lookup| lookup.foreign.is_none());
                if let (true, Some(open)) = (absent, &mut facts.status.reservation) {
                    // As if this process had reserved, had sent no create, and had no time left to send one.
                    open.nonce = format!("{}-unsent", facts.process);
                    open.not_after = now.server_or_wall();
                    facts.memory.post = None;
                }
            }
            Self::OldLookUpCounts => facts.memory.sighted = None,
            Self::ClearsEarly => {
                if let Some(open) = &mut facts.status.reservation
                    && (facts.memory.post_of(&open.nonce).is_some() || !open.nonce.starts_with(&facts.process))
                {
                    open.not_after -= REQUEST_TIMEOUT;
                }
            }
            Self::DeletesByAgeSinceCreation => {
                for run in own.iter().filter(|run| !run.is_active()) {
                    // The model's runs are old enough since their creation once they have ended.
                    let long_ago = MonotonicTime::new(now.mono.since_start().saturating_sub(min_age));
                    facts.memory.recorded_since.insert(run.uid.clone(), long_ago);
                }
            }
            Self::ForgetsFailuresAtRestart => {
                if let (true, Some(target)) = (facts.restarted, &mut facts.status.target) {
                    target.failures = 0;
                }
            }
            Self::OldResponseAfterWait => {
                if let Some(polled) = &mut facts.memory.last_poll {
                    polled.sent = now.mono;
                }
            }
            Self::ForgetsRefusalAtRestart => {
                if let (true, Some(open)) = (facts.restarted, &mut facts.status.reservation)
                    && open.refusal.take().is_some()
                {
                    facts.memory.post = None;
                }
            }
            Self::SearchesOnlyOnce => {
                if facts.restarted {
                    facts.memory.legacy_run = Some(LegacyRun { run: None, at: now.mono });
                }
            }
            Self::None
            | Self::RandomRunNames
            | Self::CreateBeforeReserve
            | Self::ReserveWithoutVersion
            | Self::EndWithoutVersion
            | Self::LowersNotAfter
            | Self::UnknownAsEmpty
            | Self::StopsByName
            | Self::TimeoutCountsAsCancelled => {}
        }
    }

    /// Alters the status that a reserve writes.
    pub fn reserve(self, status: &mut ModelSyncStatus, now: Now) {
        if self == Self::LowersNotAfter
            && let Some(open) = &mut status.reservation
        {
            open.not_after = now.server_or_wall() + CREATE_WINDOW;
        }
    }

    /// Alters the requests.
    pub fn requests(
        self,
        rule: Rule,
        replica: u8,
        requests: &mut Vec<Request<ModelSync>>,
        post: impl Fn(Id) -> Request<ModelSync>,
    ) {
        if self == Self::CreateBeforeReserve
            && rule == Rule::Reserve
            && let Some(Request::Patch { after, .. }) = requests.first()
        {
            let post = post(*after);
            requests.insert(0, post);
        }
        if self == Self::RandomRunNames {
            for request in requests {
                if let Request::Post { run, .. } = request {
                    run.name.slot = replica + 1;
                }
            }
        }
    }

    /// Whether a write by this rule carries the resourceVersion.
    pub const fn is_conditional(self, rule: Rule) -> bool {
        match self {
            Self::ReserveWithoutVersion => !matches!(rule, Rule::Reserve | Rule::ReserveAgain),
            Self::EndWithoutVersion => !matches!(rule, Rule::RecordEnd | Rule::RecordGone),
            _ => true,
        }
    }
}
