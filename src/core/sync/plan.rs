//! What a decision about a ModelSync says: effects as data, and when to look again. Pure.

use std::time::Duration;

use super::facts::Facts;
use crate::{
    api::{ModelSyncStatus, RunSlot},
    core::{
        poll::request::PollRequest,
        run::{
            backend::RunKind,
            effects::{CreateRun, DeleteRun, StopRun},
        },
        status::plan,
        time::Now,
    },
};

/// The rule that decided. One per branch: the model checker and the tests require that each is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The object is being deleted.
    Deleting,
    /// Runs are not known.
    RunsUnknown,
    /// The spec cannot be carried out.
    InvalidSpec,
    /// The run's kind is not installed.
    RunKindMissing,
    /// The reserved run is active.
    RunActive,
    /// The reserved run is active, and is to be ended now.
    StopRun,
    /// An unfinished run of ours stands beside the protocol.
    UnreservedRunActive,
    /// The reserved run has ended: record that.
    RecordEnd,
    /// The reservation is fresh: create its run.
    CreateRun,
    /// The API server refused the run; wait, then try again.
    CreateRefused,
    /// It is uncertain whether the reserved run exists: look.
    LookUpRun,
    /// It is uncertain whether the reserved run exists: too early to say.
    AwaitDeadline,
    /// The reserved run is gone for certain: record that.
    RecordGone,
    /// Another owner has the run's name.
    NameConflict,
    /// The same attempt must be decided again, and no answer is usable for that.
    AwaitReserveAgain,
    /// The same attempt is reserved again.
    ReserveAgain,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning,
    /// Suspended.
    Suspended,
    /// No run was ever reserved: an earlier operator's unfinished one is looked for.
    FindLegacyRun,
    /// An earlier operator's run has not ended.
    LegacyRunActive,
    /// No usable answer yet.
    AwaitResponse,
    /// The endpoint did not give a usable answer.
    PollFailed,
    /// There is nothing desired yet.
    DesiredUnknown,
    /// Nothing needs to be done.
    UpToDate,
    /// A wait is over: the last answer is from before its end.
    PollAgain,
    /// The last run for this target failed a short while ago.
    BackOff,
    /// Runs for this target failed too often in a row.
    RetriesExhausted,
    /// The last run for this target was cancelled by somebody.
    Cancelled,
    /// The last run for this target succeeded a short while ago.
    Settle,
    /// A run for this target succeeded, and it is not to be repeated.
    SettledForGood,
    /// No window is open.
    OutsideWindow,
    /// Every number of an attempt is used up.
    NoAttemptLeft,
    /// A run is needed: reserve it.
    Reserve,
}

impl Rule {
    /// Every rule.
    pub const ALL: &[Self] = &[
        Self::Deleting,
        Self::RunsUnknown,
        Self::InvalidSpec,
        Self::RunKindMissing,
        Self::RunActive,
        Self::StopRun,
        Self::UnreservedRunActive,
        Self::RecordEnd,
        Self::CreateRun,
        Self::CreateRefused,
        Self::LookUpRun,
        Self::AwaitDeadline,
        Self::RecordGone,
        Self::NameConflict,
        Self::AwaitReserveAgain,
        Self::ReserveAgain,
        Self::PredecessorRunning,
        Self::Suspended,
        Self::FindLegacyRun,
        Self::LegacyRunActive,
        Self::AwaitResponse,
        Self::PollFailed,
        Self::DesiredUnknown,
        Self::UpToDate,
        Self::PollAgain,
        Self::BackOff,
        Self::RetriesExhausted,
        Self::Cancelled,
        Self::Settle,
        Self::SettledForGood,
        Self::OutsideWindow,
        Self::NoAttemptLeft,
        Self::Reserve,
    ];
}

/// Something that changes the world, or asks about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this status, conditional on the resourceVersion of the facts.
    WriteStatus(Box<ModelSyncStatus>),
    /// Create a run, once, without a retry of the client's.
    CreateRun(CreateRun),
    /// Look for a run, live.
    LookUpRun(RunSlot),
    /// End a run that is on its way.
    StopRun(StopRun),
    /// Look, live, for an unfinished run of this object that an earlier operator started.
    FindLegacyRun(RunKind),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// What is decided about a ModelSync.
pub type Plan = plan::Plan<Rule, Effect>;

impl Plan {
    /// Writes a status if it differs from the stored one.
    pub(super) fn write(facts: &Facts<'_>, rule: Rule, status: ModelSyncStatus) -> Self {
        let mut plan = Self::idle(rule);
        if status != *facts.status {
            plan.effects.push(Effect::WriteStatus(Box::new(status)));
        }
        plan
    }

    /// Asks the endpoint after `wait`.
    pub(super) fn polling(mut self, facts: &Facts<'_>, wait: Duration, now: Now) -> Self {
        let previous =
            facts.memory.last_poll.as_ref().filter(|last| last.context.generation == facts.object.generation);
        self.poll = Some(PollRequest {
            at: now.mono + wait,
            context: facts.context(),
            previous: previous
                .and_then(|last| last.result.as_ref().ok())
                .filter(|response| response.etag.is_some())
                .cloned(),
        });
        self
    }
}
